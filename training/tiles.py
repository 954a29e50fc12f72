"""The tiles of recordings' segments (docs/timeline.md): what is heard in each, which lie in events, and thresholds.

Scores and targets are [recordings, segments, classes], unless something else is said.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import SAMPLE_RATE, SEGMENT_HOP, SEGMENT_SPAN
from sedkit.timeline import HOLDING, SUSTAIN, run_scores, with_next
from training.reliability import f1_scores

Events = list[tuple[float, float, int]]  # onset and offset in seconds, class


def tile_targets(events: Events, segments: int, seconds: float, classes: int) -> NDArray[np.float32]:
    """Which classes are heard in each tile of one recording, [segments, classes], 0 or 1.

    That is, in half of the tile, or for half of the event where that is shorter.
    """
    starts = _between(segments, seconds)
    targets = np.zeros((segments, classes), np.float32)
    for onset, offset, column in events:
        shared = np.minimum(starts[1:], offset) - np.maximum(starts[:-1], onset)
        targets[shared >= np.minimum(np.diff(starts), offset - onset) / 2, column] = 1
    return targets


def in_events(scores: NDArray[np.floating], thresholds: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which tiles lie in events, as :class:`sedkit.timeline.Runs` makes them at ``thresholds`` [classes]."""
    sustained = scores >= np.minimum(SUSTAIN, thresholds)
    heard, last = np.where(sustained, scores, 0), scores.shape[1] - 1
    inside, so_far = np.zeros_like(sustained), np.zeros(heard.shape)  # the highest of the run, up to each tile
    top, lengths = np.zeros((HOLDING, *heard[:, 0].shape)), np.zeros(heard[:, 0].shape, np.int64)
    for place in range(last + 1):
        here = sustained[:, place]
        top, lengths = with_next(top * here, heard[:, place]), (lengths + 1) * here
        inside[:, place] = here & (run_scores(top, lengths, (lengths > place) | (place == last)) >= thresholds)
        so_far[:, place] = top[0]
    to_come = heard.astype(np.float64)
    for later in range(last, 0, -1):  # a run's last tile tells of all of it
        same = sustained[:, later - 1] & sustained[:, later]
        inside[:, later - 1] = np.where(same, inside[:, later], inside[:, later - 1])
        to_come[:, later - 1] = np.where(
            same, np.maximum(to_come[:, later - 1], to_come[:, later]), heard[:, later - 1]
        )
    outermost = np.zeros_like(inside)
    outermost[:, 1:] = ~inside[:, :-1] & (to_come[:, 1:] > scores[:, 1:])
    outermost[:, 1:-1] |= ~inside[:, 2:] & inside[:, :-2] & (so_far[:, :-2] >= scores[:, 1:-1])
    return inside & ~outermost


def _between(segments: int, seconds: float) -> NDArray[np.float64]:
    """Where tiles begin and end, [segments + 1] in seconds."""
    starts = (SEGMENT_SPAN / 2 + SEGMENT_HOP * (np.arange(segments + 1) - 0.5)) / SAMPLE_RATE
    starts[0], starts[-1] = 0, seconds
    return starts


def best_thresholds(
    candidates: Iterable[NDArray[np.floating]], scores: NDArray[np.floating], targets: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Of ``candidates``, [classes] each, those whose events hold the tiles with the highest micro-averaged F1."""

    def f1(thresholds: NDArray[np.floating]) -> float:
        return f1_scores(in_events(scores, thresholds), targets)[0]

    return max(candidates, key=f1)
