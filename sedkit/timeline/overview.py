"""The overview of a recording: a small log-mel spectrogram and the scores of its segments, for pictures and pages.

Both are collected in the one pass over the audio, beside the result (:class:`OverviewView`), and only for outputs that
draw (``"overview"`` in :attr:`sedkit.formats.writers.Writer.keeps`). Memory is bounded: a spectrogram that has
MAX_COLUMNS columns is halved, and scores are kept as bytes, of the classes that score at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import Geometry
from sedkit.results import Overview, Timeline
from sedkit.timeline.filters import ScoreFilter
from sedkit.timeline.settings import ColumnSettings
from sedkit.timeline.views import View

FRAME = 0.02  # seconds from one frame to the next
BLOCK = 256  # frames transformed at once, which fit into a CPU's cache
WINDOW = 0.016  # seconds
BANDS = 48
LOWEST, HIGHEST = 50.0, 8000.0  # Hz
MAX_COLUMNS = 8192  # two hours at 1.28 s a column
SILENCE = 1e-10  # power, -100 dB; the lowest level of a spectrogram
LOWEST_SCORE = 0.02  # a class that stays below it for a piece is stored as 0 there
LOWEST_PEAK = 0.1  # a class that never reaches it has no track
SETTINGS = ("threshold", "leave", "hold", "min_duration", "merge_gap", "max_duration")  # a page finds events by them
MAX_TRACKS = 80  # classes, those with the highest scores


class OverviewView:
    """A view that collects the overview of a recording for the view that it wraps, whose timeline gets it.

    Parameters
    ----------
    view : makes the result.
    columns : of the reported classes, in the scores.
    settings : of these classes.
    """

    def __init__(self, view: View[Timeline], columns: Sequence[int], settings: ColumnSettings) -> None:
        self.view, self.columns, self.settings = view, np.array(columns), settings
        self.spectrogram, self.tracks = Spectrogram(settings.geometry), Tracks()
        self.filter = ScoreFilter(settings)

    def add(self, samples: NDArray[np.float32], kept: slice, scores: NDArray[np.float32]) -> None:
        self.spectrogram.add(samples, kept)
        self.tracks.add(self.filter.add(scores[:, self.columns], np.zeros((len(scores), 2), np.int64)).scores)
        self.view.add(samples, kept, scores)

    def finish(self, file: str, duration: float) -> Timeline:
        timeline = self.view.finish(file, duration)
        levels, seconds = self.spectrogram.finish()
        present = {event.label for event in timeline.events}
        needed = [column for column, label in enumerate(timeline.labels) if label.name in present]
        self.tracks.add(self.filter.finish().scores)
        classes, tracks = self.tracks.finish(needed)
        own = {name: getattr(self.settings, name)[classes] for name in SETTINGS}
        geometry, method = self.settings.geometry, self.settings.shared.method
        self.spectrogram, self.tracks = Spectrogram(geometry), Tracks()  # free memory: the pipeline may keep the view
        below = rows_below(self.settings.below, classes)
        overview = Overview(
            levels, seconds, tuple(classes), tracks, **own, method=method, below=below, geometry=geometry
        )
        return replace(timeline, overview=overview)


def rows_below(below: Sequence[Sequence[int]], classes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """For each of some classes, the positions in ``classes`` of those below it. ``below`` has positions of all."""
    rows = {column: row for row, column in enumerate(classes)}
    return tuple(tuple(rows[other] for other in below[column] if other in rows) if below else () for column in classes)


def with_overview(
    make_view: Callable[[], View[Timeline]], columns: Sequence[int], settings: ColumnSettings
) -> Callable[[], OverviewView]:
    """A factory of views whose timelines have an overview; parameters as for :class:`OverviewView`."""
    return lambda: OverviewView(make_view(), columns, settings)


class Spectrogram:
    """The log-mel spectrogram of a recording, at most MAX_COLUMNS wide, computed while its samples arrive.

    Parameters
    ----------
    geometry : of the model.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry, self.rate = geometry, geometry.sample_rate
        self.width = 1  # frames per column
        self.parts: list[NDArray[np.float32]] = []  # power, [columns, BANDS]
        self.columns = 0
        self.rest = np.zeros((0, BANDS), np.float32)  # frames of the column that is not complete

    def add(self, samples: NDArray[np.float32], kept: slice) -> None:
        """Add the next piece of the recording, as :meth:`sedkit.timeline.views.View.add`."""
        hop, frame = self.geometry.segment_hop, round(FRAME * self.rate)
        start = kept.start * hop
        stop = len(samples) if kept.stop is None else kept.stop * hop
        frames = -(-max(0, stop - start) // frame)
        needed = (frames - 1) * frame + round(WINDOW * self.rate)
        sound = samples[start : start + needed]
        if len(sound) < needed:
            sound = np.pad(sound, (0, needed - len(sound)))
        self._append(np.concatenate([self.rest, mel_power(sound, self.rate)]) if frames > 0 else self.rest)
        if self.columns > MAX_COLUMNS:
            self._halve()

    def _append(self, frames: NDArray[np.float32]) -> None:
        whole = len(frames) // self.width
        self.rest = frames[whole * self.width :]
        self.parts.append(frames[: whole * self.width].reshape(whole, self.width, BANDS).mean(axis=1))
        self.columns += whole

    def _halve(self) -> None:
        """Make a column of each two. A last odd one is repeated in :attr:`rest`, as its mean."""
        columns = np.concatenate(self.parts)
        while len(columns) > MAX_COLUMNS:
            if len(columns) % 2:
                self.rest = np.concatenate([np.repeat(columns[-1:], self.width, axis=0), self.rest])
            pairs = len(columns) // 2
            columns = columns[: 2 * pairs].reshape(pairs, 2, BANDS).mean(axis=1)
            self.width *= 2
        self.parts, self.columns = [columns], len(columns)

    def finish(self) -> tuple[NDArray[np.uint8], float]:
        """The levels as in :class:`sedkit.results.Overview`, the lowest band first, and the seconds per column."""
        rest = [self.rest.mean(axis=0, keepdims=True)] if len(self.rest) else []
        power = np.concatenate([*self.parts, *rest]) if self.parts or rest else np.zeros((0, BANDS), np.float32)
        decibels = 10 * np.log10(np.maximum(power, SILENCE))
        levels = np.rint((decibels + 100) * 2.55).clip(0, 255).astype(np.uint8)
        return np.ascontiguousarray(levels.T), self.width * FRAME


class Tracks:
    """The scores of all segments of a recording, as bytes, of the classes that matter."""

    def __init__(self) -> None:
        self.segments = 0
        self.peaks: NDArray[np.float32] | None = None  # highest score of each class so far
        self.parts: list[tuple[int, NDArray[np.intp], NDArray[np.uint8]]] = []  # first segment, classes, scores

    def add(self, scores: NDArray[np.float32]) -> None:
        """Add the scores of the next segments, [k, classes]."""
        if len(scores):
            peaks = scores.max(axis=0)
            self.peaks = peaks if self.peaks is None else np.maximum(self.peaks, peaks)
            sounding = np.flatnonzero(peaks >= LOWEST_SCORE)
            self.parts.append((self.segments, sounding, np.rint(scores[:, sounding] * 255).astype(np.uint8)))
            self.segments += len(scores)

    def finish(self, needed: Sequence[int] = ()) -> tuple[list[int], NDArray[np.uint8]]:
        """The classes that have a track, by descending peak, and their scores, [tracks, segments], 255 for 1.

        Parameters
        ----------
        needed : classes that get a track at any score.
        """
        peaks = np.zeros(0, np.float32) if self.peaks is None else self.peaks
        ranked = np.argsort(-peaks, kind="stable").tolist()
        chosen = [c for c in ranked if c in set(needed) or peaks[c] >= LOWEST_PEAK]
        chosen = [c for rank, c in enumerate(chosen) if c in set(needed) or rank < MAX_TRACKS]
        rows = np.full(len(peaks), -1)
        rows[chosen] = np.arange(len(chosen))
        tracks = np.zeros((len(chosen), self.segments), np.uint8)
        for first, classes, scores in self.parts:
            kept = rows[classes] >= 0
            tracks[rows[classes[kept]], first : first + len(scores)] = scores[:, kept].T
        return chosen, tracks


def mel_power(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Power in each mel band, [frames, BANDS]; 1 is a sine of full scale. ``samples``, at `rate`, has whole frames."""
    width = round(WINDOW * rate)
    framed = np.lib.stride_tricks.sliding_window_view(samples, width)[:: round(FRAME * rate)]
    window = np.hanning(width + 1)[:-1].astype(np.float32)
    window *= np.float32(2 / window.sum())
    power = np.empty((len(framed), BANDS), np.float32)
    for first in range(0, len(framed), BLOCK):
        spectrum = np.fft.rfft(framed[first : first + BLOCK] * window, axis=1)
        power[first : first + BLOCK] = (spectrum.real**2 + spectrum.imag**2) @ mel_filters(rate)
    return power


@cache
def mel_filters(rate: int) -> NDArray[np.float32]:
    """Triangular filters, equally wide in mel (2595 log10(1 + f / 700)), [bins, BANDS]; each band sums to 1 or more."""
    lowest, highest = (2595 * math.log10(1 + frequency / 700) for frequency in (LOWEST, HIGHEST))
    mel = np.linspace(lowest, highest, BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    window = round(WINDOW * rate)
    bins = np.arange(window // 2 + 1)[:, None] * (rate / window)
    width = np.maximum(np.diff(edges), rate / window)  # a band that is narrower than a bin still has one
    rising = (bins - edges[1:-1]) / width[:-1] + 1
    falling = (edges[1:-1] - bins) / width[1:] + 1
    return np.asarray(np.clip(np.minimum(rising, falling), 0, 1), np.float32)
