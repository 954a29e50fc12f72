"""The JSON block of a page, which its scripts read. Large arrays are deflated bytes in base64.

A timeline's page has::

    {"title", "about": [text], "recording": {"name", "file", "stem", "duration"},
     "audio": {"url", "type", "note"},         # url: null if the bytes are in the page
     "labels": [[name, mid]],                  # all classes of the model
     "events": [[onset, offset, label, score]],
     "threshold": number,                      # where the slider stands
     "tracks": {"classes": [{"label", "below": [class], "threshold", "leave", "hold", ...}],
                "method", "explaining", "explained_share",
                "segments", "step", "first",   # segment k > 0 begins at first + step * k seconds
                "scores"},                     # uint8 [classes, segments], 255 for 1
     "spectrogram": {"bands", "columns", "seconds", "low", "high", "frequencies": [[text, share of the height]],
                     "levels"}}                # uint8 [bands, columns], the lowest band first

A tags page has ``{"title", "about", "folder", "classes": [name], "recordings": [{"name", "link", "duration", "scores":
[[class, score]]}]}``; ``folder`` comes before each name.
"""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.prefetch import channel_of, path_of
from sedkit.formats.html.audio import PageAudio, address
from sedkit.formats.plot import CONTRAST, FREQUENCIES, band_of
from sedkit.formats.writers import Run
from sedkit.install import version
from sedkit.results import Overview, Tagging, Timeline
from sedkit.selection import EXPLAINING
from sedkit.timeline.overview import SETTINGS
from sedkit.timeline.parents import EXPLAINED_SHARE

if TYPE_CHECKING:
    from sedkit.contract import Label

NO_SETTINGS: dict[str, Any] = dict.fromkeys(SETTINGS, np.zeros(0))
NO_OVERVIEW = Overview(np.zeros((1, 1), np.uint8), 1.0, (), np.zeros((0, 1), np.uint8), **NO_SETTINGS)
FOREVER = 1e6  # seconds; JSON has no infinity
COMPRESSION = 1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE  # half the time, 2 % larger


def timeline_data(timeline: Timeline, run: Run, audio: PageAudio) -> dict[str, Any]:
    """The JSON block of the page of a timeline."""
    name = shown_name(timeline.file)
    overview = timeline.overview or NO_OVERVIEW
    positions = {label.name: position for position, label in enumerate(timeline.labels)}
    thresholds = overview.threshold.tolist()
    settings = [np.minimum(getattr(overview, name), FOREVER).round(4).tolist() for name in SETTINGS]
    below = overview.below or ((),) * len(overview.classes)
    tracks = [
        {"label": label, "below": others, **dict(zip(SETTINGS, values, strict=True))}
        for label, others, *values in zip(overview.classes, below, *settings, strict=True)
    ]
    return {
        "title": f"{name} · sedkit",
        "about": about(run),
        "recording": {
            "name": name,
            "file": shown_name(timeline.file, base=False),
            "stem": (name if channel_of(timeline.file) else Path(name).stem) or "events",
            "duration": round(timeline.duration, 4),
        },
        "audio": {"url": audio.url, "type": audio.type, "note": audio.note},
        "labels": _labels(timeline.labels),
        "events": [
            [round(event.onset, 3), round(event.offset, 3), positions[event.label], round(event.score, 4)]
            for event in timeline.events
        ],
        "threshold": round(median(thresholds), 2) if thresholds else 0.5,
        "tracks": {
            "classes": tracks,
            "method": overview.method,
            "explaining": EXPLAINING,
            "explained_share": EXPLAINED_SHARE,
            "segments": overview.tracks.shape[1],
            "step": overview.geometry.step,
            "overlap": overview.geometry.overlap,
            "first": overview.geometry.tile_start(1) - overview.geometry.step,
            "scores": _deflated(overview.tracks),
        },
        "spectrogram": _spectrogram(overview),
    }


def tags_data(taggings: Sequence[Tagging], run: Run, linked: bool = True) -> dict[str, Any]:
    """The JSON block of the page of tags; with `linked`, rows lead to the files that they name."""
    names = list(dict.fromkeys(tag.label for tagging in taggings for tag in tagging.tags))
    totals = dict.fromkeys(names, 0.0)
    for tagging in taggings:
        for tag in tagging.tags:
            totals[tag.label] += tag.score
    names.sort(key=lambda name: -totals[name])
    columns = {name: column for column, name in enumerate(names)}
    folder = common_folder([tagging.file for tagging in taggings])
    stems = run.stems() if linked and run.stems else {}
    recordings = [
        {
            "name": shown_name(tagging.file.removeprefix(folder), base=False),
            "link": link_of(tagging.file, stems.get(tagging.file), folder, run.path) if linked else None,
            "duration": round(tagging.duration, 2),
            "scores": [[columns[tag.label], round(tag.score, 3)] for tag in tagging.tags],
        }
        for tagging in taggings
    ]
    folder = shown_name(folder, base=False)
    return {
        "title": f"Tags of {folder} · sedkit" if folder else "Tags · sedkit",
        "about": [*([folder] if folder else []), *about(run)],
        "folder": folder,
        "classes": names,
        "recordings": recordings,
    }


def common_folder(names: Sequence[str]) -> str:
    """What the names of all files begin with, as a folder with a separator at its end; empty if there is none."""
    with suppress(ValueError):  # no names, or absolute and relative ones
        folder = os.path.join(os.path.commonpath([os.path.dirname(name) for name in names]), "")
        if all(name.startswith(folder) for name in names):
            return folder
    return ""


def link_of(file: str, stem: str | None, folder: str, page: Path | None) -> str | None:
    """Where the row of a recording leads: to its timeline's page if there is one, otherwise to the recording.

    The page is looked for beside the recording, and where ``--output-dir`` puts it if this page is in that folder too.
    None for a recording that is not a file.

    Parameters
    ----------
    stem : the path of its files in that folder, without their ending; None for that below `folder`.
    folder : that of all recordings, with a separator at its end.
    page : the path of this page; None for standard output.
    """
    if not os.path.isfile(path_of(file)):
        return None
    pages = [_page_of(file)]
    if page is not None:
        pages.append(page.parent / (_page_of(file.removeprefix(folder)) if stem is None else f"{stem}.html"))
    return address(next((str(path) for path in pages if path != page and path.is_file()), path_of(file)), page)


def _page_of(file: str) -> Path:
    """The name of a recording, or of one of its channels, as that of its page."""
    return Path(f"{file}.html") if channel_of(file) else Path(file).with_suffix(".html")


def about(run: Run) -> list[str]:
    """Who made the page: model and version."""
    return [text for text in (run.model and f"model {run.model}", f"sedkit {_version()}") if text]


@cache
def _version() -> str:
    return version()  # which takes milliseconds


def shown_name(file: str, base: bool = True) -> str:
    """A file name for reading: undecodable bytes are replaced."""
    if file == "-":
        return "standard input"
    return os.fsencode(os.path.basename(file) if base else file).decode("utf-8", "replace")


def _labels(labels: Sequence[Label]) -> list[list[str | None]]:
    return [[label.name, label.mid] for label in labels]


def _spectrogram(overview: Overview) -> dict[str, Any]:
    bands, columns = overview.levels.shape
    counts = np.bincount(overview.levels.reshape(-1), minlength=256).cumsum()
    low, high = np.searchsorted(counts, np.array(CONTRAST) / 100 * counts[-1]).tolist()
    frequencies = [f for f in FREQUENCIES if f in (500, 1000, 2000, 4000)]
    return {
        "bands": bands,
        "columns": columns,
        "seconds": overview.seconds,
        "low": low,
        "high": max(high, low + 40),
        "frequencies": [
            [f"{f // 1000} kHz" if f >= 1000 else f"{f} Hz", round(band_of(f, bands) / bands, 3)] for f in frequencies
        ],
        "levels": _deflated(overview.levels),
    }


def _deflated(values: NDArray[np.uint8]) -> str:
    deflating = zlib.compressobj(*COMPRESSION)
    deflated = deflating.compress(np.ascontiguousarray(values).data) + deflating.flush()
    return base64.b64encode(deflated).decode("ascii")
