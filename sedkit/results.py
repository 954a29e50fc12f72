"""Results of an analysis: typed, immutable, convertible to dictionaries and DataFrames."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datetime import datetime

    import pandas
    from matplotlib.figure import Figure

    from sedkit.contract import Label


@dataclass(frozen=True, slots=True)
class Tag:
    """A class with its score in [0, 1]. ``mid`` is the AudioSet MID; None for a class that AudioSet lacks."""

    label: str
    mid: str | None
    score: float


@dataclass(frozen=True, slots=True)
class Event:
    """A period in which a class is present; ``onset`` and ``offset`` in seconds from the start of the recording.

    ``score`` is the mean of the three highest segment scores of the event. Missing scores count as 0 if the event has
    fewer than three segments. The first and the last segment of a recording count three times.
    """

    onset: float
    offset: float
    label: str
    mid: str | None
    score: float

    def to_dict(self) -> dict[str, Any]:
        """``{"onset", "offset", "label", "mid", "score"}``; times to 1 ms, the score to 1e-4."""
        return {"onset": round(self.onset, 3), "offset": round(self.offset, 3), **_tag(self)}


@dataclass(frozen=True, slots=True)
class Second:
    """One cell of the timeline's grid, [start, end) in seconds, with the classes that reach the threshold."""

    start: float
    end: float
    tags: tuple[Tag, ...]

    def to_dict(self) -> dict[str, Any]:
        """``{"start", "end", "tags": [{"label", "mid", "score"}]}``; times to 1 ms, scores to 1e-4."""
        tags = [_tag(tag) for tag in self.tags]
        return {"start": round(self.start, 3), "end": round(self.end, 3), "tags": tags}


@dataclass(frozen=True)
class Tagging:
    """The tags of one recording, best first.

    Attributes
    ----------
    file : path as given, ``-`` for standard input, or ``<array>``.
    duration : seconds.
    sample_rate : of the source, in Hz; None if unknown.
    recorded_at : start of the recording; None if unknown.
    """

    file: str
    duration: float
    tags: tuple[Tag, ...]
    sample_rate: float | None = field(default=None, repr=False, compare=False)
    recorded_at: datetime | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """``{"file", "duration", "tags": [{"label", "mid", "score"}]}``; times to 1 ms, scores to 1e-4."""
        return {"file": self.file, "duration": round(self.duration, 3), "tags": [_tag(tag) for tag in self.tags]}

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per tag: file, label, mid, score. Needs pandas."""
        import pandas

        rows = [{"file": self.file, **asdict(tag)} for tag in self.tags]
        return pandas.DataFrame(rows, columns=["file", "label", "mid", "score"])

    def plot(self) -> Figure:
        """Draw the tags as bars, in a matplotlib figure of its own: ``tagging.plot().savefig("tags.png")``.

        Raises
        ------
        SedkitError
            If matplotlib is not installed.
        """
        from sedkit.formats.plot import draw_tagging

        return draw_tagging(self)

    def _repr_html_(self) -> str:
        from sedkit.formats.notebook import tagging_html

        return tagging_html(self)


@dataclass(frozen=True)
class Overview:
    """What a picture of a recording is drawn from, in little memory (:mod:`sedkit.timeline.overview`).

    Attributes
    ----------
    levels : [bands, columns] uint8, the log-mel spectrogram from 50 Hz to 8 kHz; 0 is -100 dB or less, 255 is 0 dB.
    seconds : length of a column.
    classes : the classes that have a track, as positions in :attr:`Timeline.labels`; the highest score first.
    tracks : [classes, segments] uint8, their score in each segment; 255 is 1.
    threshold, leave, hold, min_duration, merge_gap : their post-processing, each [classes]
        (:class:`sedkit.timeline.settings.PostProcessing`).
    """

    levels: NDArray[np.uint8]
    seconds: float
    classes: tuple[int, ...]
    tracks: NDArray[np.uint8]
    threshold: NDArray[np.float64]
    leave: NDArray[np.float64]
    hold: NDArray[np.float64]
    min_duration: NDArray[np.float64]
    merge_gap: NDArray[np.float64]


@dataclass(frozen=True)
class Timeline:
    """The grid and the events of one recording.

    Attributes
    ----------
    file : path as given, ``-`` for standard input, or ``<array>``.
    duration : seconds.
    resolution : seconds per cell, or ``"native"`` for one cell per segment.
    seconds : the cells of the grid; they cover 0 to ``duration`` without gaps.
    events : sorted by onset, then by label.
    scores : [cells, classes] float32, the score of every class in every cell; None if the scores were not kept.
    labels : one per class, in the order of the columns of ``scores``.
    sample_rate : of the source, in Hz; None if unknown.
    recorded_at : start of the recording; None if unknown.
    """

    file: str
    duration: float
    resolution: float | str
    seconds: tuple[Second, ...]
    events: tuple[Event, ...]
    scores: NDArray[np.float32] | None = field(repr=False, compare=False)
    labels: tuple[Label, ...] = field(repr=False, compare=False)
    overview: Overview | None = field(default=None, repr=False, compare=False)
    sample_rate: float | None = field(default=None, repr=False, compare=False)
    recorded_at: datetime | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """``{"file", "duration", "resolution", "seconds", "events"}``; times to 1 ms, scores to 1e-4."""
        return {
            "file": self.file,
            "duration": round(self.duration, 3),
            "resolution": self.resolution,
            "seconds": [second.to_dict() for second in self.seconds],
            "events": [event.to_dict() for event in self.events],
        }

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per event: file, onset, offset, label, mid, score. Needs pandas."""
        import pandas

        rows = [{"file": self.file, **asdict(event)} for event in self.events]
        return pandas.DataFrame(rows, columns=["file", "onset", "offset", "label", "mid", "score"])

    def plot(self) -> Figure:
        """Draw spectrogram, scores and events, in a matplotlib figure of its own: ``timeline.plot().savefig("a.png")``.

        Raises
        ------
        SedkitError
            If matplotlib is not installed.
        """
        from sedkit.formats.plot import draw_timeline

        return draw_timeline(self)

    def _repr_html_(self) -> str:
        from sedkit.formats.notebook import timeline_html

        return timeline_html(self)


@dataclass(frozen=True)
class Embedding:
    """The embedding of one recording: one row for each segment, or one for all.

    Attributes
    ----------
    file : path as given, ``-`` for standard input, or ``<array>``.
    duration : seconds.
    onsets, offsets : [n], seconds; the span of each row.
    values : [n, 1024] float32, the network's layer L3; zeros for a silent segment.
    """

    file: str
    duration: float
    onsets: NDArray[np.float64] = field(repr=False)
    offsets: NDArray[np.float64] = field(repr=False)
    values: NDArray[np.float32] = field(repr=False)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per span: file, onset, offset, embedding (an array [1024]). Needs pandas."""
        import pandas

        columns = {"onset": self.onsets, "offset": self.offsets, "embedding": list(self.values)}
        return pandas.DataFrame({"file": [self.file] * len(self.values), **columns})


def _tag(tag: Tag | Event) -> dict[str, Any]:
    return {"label": tag.label, "mid": tag.mid, "score": round(tag.score, 4)}
