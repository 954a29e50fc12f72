"""Results of an analysis: typed, immutable, convertible to dictionaries and DataFrames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sedkit import tables
from sedkit.contract import Label
from sedkit.errors import ArgumentError
from sedkit.geometry import WELS_NET, Geometry
from sedkit.selection import is_named, suggestion

if TYPE_CHECKING:
    from datetime import datetime

    import pandas
    import pyarrow
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Tag:
    """A class with its score in [0, 1]. ``mid`` is the AudioSet MID; None for a class that AudioSet lacks."""

    label: str
    mid: str | None
    score: float

    def to_dict(self) -> dict[str, Any]:
        """``{"label", "mid", "score"}``; the score to 1e-4."""
        return _tag(self)


@dataclass(frozen=True, slots=True)
class Event:
    """A period in which a class is present; ``onset`` and ``offset`` in seconds from the start of the recording.

    ``score`` is the mean of the highest segment scores of the event, as many as contain any moment: three for the
    models that come with sedkit. Missing scores count as 0 if the event has fewer segments. The first and the last
    segment of a recording count that often. Of merged events, it is the higher one. With ``method="change-points"``, it
    is the mean of all segments.
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
class Onset:
    """The onset of an event that goes on; an :class:`Event` with this label and onset follows when it has ended.

    ``score`` is that of the event so far.
    """

    onset: float
    label: str
    mid: str | None
    score: float

    def to_dict(self) -> dict[str, Any]:
        """``{"onset", "label", "mid", "score"}``; the time to 1 ms, the score to 1e-4."""
        return {"onset": round(self.onset, 3), **_tag(self)}


@dataclass(frozen=True, slots=True)
class Second:
    """One cell of the timeline's grid, [start, end) in seconds, with the classes that reach the threshold."""

    start: float
    end: float
    tags: tuple[Tag, ...]

    def to_dict(self) -> dict[str, Any]:
        """``{"start", "end", "tags": [{"label", "mid", "score"}]}``; times to 1 ms, scores to 1e-4."""
        tags = [tag.to_dict() for tag in self.tags]
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
    truncated : seconds that the header promises and the recording does not have; 0 if it is complete.
    """

    file: str
    duration: float
    tags: tuple[Tag, ...]
    sample_rate: float | None = field(default=None, repr=False, compare=False)
    recorded_at: datetime | None = field(default=None, repr=False, compare=False)
    truncated: float = field(default=0.0, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """``{"file", "duration", "tags": [{"label", "mid", "score"}]}``; times to 1 ms, scores to 1e-4.

        A truncated recording has ``"truncated"`` too.
        """
        tags = [tag.to_dict() for tag in self.tags]
        return {"file": self.file, "duration": round(self.duration, 3), **_truncated(self), "tags": tags}

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per tag: file, label, mid, score. Needs pandas; raises SedkitError without it."""
        return tables.dataframe(self._columns())

    def to_arrow(self) -> pyarrow.Table:
        """The table of :meth:`to_dataframe` as an Arrow table. Needs pyarrow; raises SedkitError without it."""
        return tables.arrow(self._columns())

    def _columns(self) -> dict[str, list[Any]]:
        own = {name: [getattr(tag, name) for tag in self.tags] for name in ("label", "mid", "score")}
        return {"file": [self.file] * len(self.tags), **own}

    def __iter__(self) -> Iterator[Tag]:
        """Iterate over the tags."""
        return iter(self.tags)

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
    tracks : [classes, segments] uint8, their score in each segment, filtered by the post-processing; 255 is 1.
    threshold, leave, hold, min_duration, merge_gap, max_duration : their post-processing, each [classes]
        (:class:`sedkit.timeline.settings.PostProcessing`).
    method : of the post-processing.
    below : for each class, the rows of ``tracks`` of those that explain it (:class:`sedkit.selection.Selection`).
    geometry : of the model: where the segments lie.
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
    max_duration: NDArray[np.float64]
    method: str = "hysteresis"
    below: tuple[tuple[int, ...], ...] = ()
    geometry: Geometry = WELS_NET


@dataclass(frozen=True)
class Timeline:
    """The grid and the events of one recording.

    Attributes
    ----------
    file : path as given, ``-`` for standard input, or ``<array>``.
    duration : seconds.
    resolution : seconds per cell, or ``"native"`` for one cell per segment.
    seconds : the cells of the grid; they cover 0 to ``duration`` without gaps. A sequence of :class:`Second`. It may be
        a :class:`sedkit.timeline.seconds.Seconds`, which makes each cell on access and equals a tuple of the same
        cells.
    events : sorted by onset, then by label.
    scores : [cells, classes] float32, the score of every class in every cell; None if the scores were not kept.
    labels : one per class, in the order of the columns of ``scores``.
    overview : what pictures are drawn from; None if it was not kept.
    sample_rate : of the source, in Hz; None if unknown.
    recorded_at : start of the recording; None if unknown.
    truncated : seconds that the header promises and the recording does not have; 0 if it is complete.
    """

    file: str
    duration: float
    resolution: float | str
    seconds: Sequence[Second]
    events: tuple[Event, ...]
    scores: NDArray[np.float32] | None = field(repr=False, compare=False)
    labels: tuple[Label, ...] = field(repr=False, compare=False)
    overview: Overview | None = field(default=None, repr=False, compare=False)
    sample_rate: float | None = field(default=None, repr=False, compare=False)
    recorded_at: datetime | None = field(default=None, repr=False, compare=False)
    truncated: float = field(default=0.0, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """``{"file", "duration", "resolution", "seconds", "events"}``; times to 1 ms, scores to 1e-4.

        A truncated recording has ``"truncated"`` too.
        """
        return {
            "file": self.file,
            "duration": round(self.duration, 3),
            **_truncated(self),
            "resolution": self.resolution,
            "seconds": [second.to_dict() for second in self.seconds],
            "events": [event.to_dict() for event in self.events],
        }

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per event: file, onset, offset, label, mid, score. Needs pandas; raises SedkitError without it."""
        return tables.dataframe(self._columns())

    def to_arrow(self) -> pyarrow.Table:
        """The table of :meth:`to_dataframe` as an Arrow table. Needs pyarrow; raises SedkitError without it."""
        return tables.arrow(self._columns())

    def _columns(self) -> dict[str, list[Any]]:
        names = ("onset", "offset", "label", "mid", "score")
        own = {name: [getattr(event, name) for event in self.events] for name in names}
        return {"file": [self.file] * len(self.events), **own}

    def __iter__(self) -> Iterator[Event]:
        """Iterate over the events."""
        return iter(self.events)

    def select(
        self, classes: str | Iterable[str] | None = None, start: float = 0.0, end: float | None = None
    ) -> Timeline:
        """The part of the timeline with these classes, between two times.

        Parameters
        ----------
        classes : names or MIDs, in any case; None for all.
        start, end : seconds. Cells and events that overlap the time between them are kept whole; `end` None is the end.

        Returns
        -------
        A timeline with fewer cells, tags, events, scores and labels, and without overview; times are as before.

        Raises
        ------
        ArgumentError
            If a class is not among the timeline's labels.

        Examples
        --------
        >>> dog, cat = Label("Dog", "/m/0bt9lr"), Label("Cat", "/m/01yrx")
        >>> events = Event(0.5, 1.5, "Dog", dog.mid, 0.8), Event(3.0, 4.0, "Cat", cat.mid, 0.6)
        >>> timeline = Timeline("a.wav", 5.0, 1.0, (), events, None, (dog, cat))
        >>> [event.label for event in timeline.select(start=2)]
        ['Cat']
        >>> timeline.select("dog").events[0].offset
        1.5
        """
        columns = self._chosen(classes)
        until = self.duration if end is None else end
        names = {self.labels[column].name for column in columns}
        cells = [k for k, cell in enumerate(self.seconds) if cell.start < until and cell.end > start]
        seconds = tuple(
            replace(self.seconds[k], tags=tuple(tag for tag in self.seconds[k].tags if tag.label in names))
            for k in cells
        )
        events = tuple(
            event for event in self.events if event.label in names and event.onset < until and event.offset > start
        )
        scores = None if self.scores is None else self.scores[np.ix_(cells, columns)]
        labels = tuple(self.labels[column] for column in columns)
        return replace(self, seconds=seconds, events=events, scores=scores, labels=labels, overview=None)

    def _chosen(self, classes: str | Iterable[str] | None) -> list[int]:
        """Positions of these classes in ``labels``."""
        if classes is None:
            return list(range(len(self.labels)))
        chosen = []
        for name in [classes] if isinstance(classes, str) else classes:
            found = [column for column, label in enumerate(self.labels) if is_named(label, name)]
            if not found:
                remedy = suggestion(name, self.labels) or f"it has {len(self.labels)}, see its labels"
                raise ArgumentError(f"{name}: the timeline has no such class; {remedy}")
            chosen += found
        return sorted(set(chosen))

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
    values : [n, numbers] float32, for WELS-Net the 1024 of layer L3; zeros for a silent segment.
    """

    file: str
    duration: float
    onsets: NDArray[np.float64] = field(repr=False)
    offsets: NDArray[np.float64] = field(repr=False)
    values: NDArray[np.float32] = field(repr=False)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per span: file, onset, offset, embedding (an array). Needs pandas; raises SedkitError without it."""
        columns: dict[str, Any] = {"onset": self.onsets, "offset": self.offsets, "embedding": list(self.values)}
        return tables.dataframe({"file": [self.file] * len(self.values), **columns})


def _truncated(result: Tagging | Timeline) -> dict[str, float]:
    return {"truncated": round(result.truncated, 3)} if result.truncated else {}


def _tag(tag: Tag | Event | Onset) -> dict[str, Any]:
    return {"label": tag.label, "mid": tag.mid, "score": round(tag.score, 4)}
