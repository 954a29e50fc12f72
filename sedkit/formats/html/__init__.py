"""Pages for a browser: the timeline of a recording, and the tags of many. Each is one file that needs no network.

``data``      results → the JSON block of a page
``audio``     the audio of a page: embedded, or linked
``page``      template, data and scripts → a page
``assets/``   templates, styles and scripts; they read nothing but the JSON block, so a server can fill it otherwise
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sedkit.formats.html.audio import PageAudio, audio_of
from sedkit.formats.html.data import tags_data, timeline_data
from sedkit.formats.html.page import build
from sedkit.formats.writers import Run
from sedkit.results import Tagging, Timeline

__all__ = ["tags_page", "timeline_page", "timeline_page_parts"]


def timeline_page(timeline: Timeline, run: Run, audio: PageAudio | None = None) -> str:
    """The page of a recording: player, spectrogram, lanes, threshold, editing.

    Parameters
    ----------
    audio : of the page; None for that of the file that the timeline names.
    """
    return "".join(timeline_page_parts(timeline, run, audio))


def timeline_page_parts(timeline: Timeline, run: Run, audio: PageAudio | None = None) -> Iterator[str]:
    """The parts of :func:`timeline_page`, to write one after the other."""
    audio = audio_of(timeline.file, run) if audio is None else audio
    return build("timeline", timeline_data(timeline, run, audio), audio.content)


def tags_page(taggings: Sequence[Tagging], run: Run, linked: bool = True) -> str:
    """The page of the tags of recordings: a heat map of recordings by classes.

    Parameters
    ----------
    linked : whether rows lead to the recordings that they name, or to their pages.
    """
    return "".join(build("tags", tags_data(taggings, run, linked)))
