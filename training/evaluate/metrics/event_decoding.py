"""Event decoding at many thresholds at once, and the search for the best thresholds.

The time axis is cut into one tile per segment (docs/timeline.md). :func:`in_events` is a vectorised form of
:class:`sedkit.timeline.events.EventDetector`: it says which tiles lie in events, by the same hysteresis.

Scores and targets are [recordings, segments, classes] unless stated otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import SAMPLE_RATE, SEGMENT_HOP, SEGMENT_SPAN
from sedkit.judging.psds_and_f1 import f1_scores
from sedkit.timeline.events import FRAME, HYSTERESIS, OVERLAP, SHORTEST_EVENT, insert_score
from sedkit.timeline.grid import EPSILON

Events = list[tuple[float, float, int]]  # onset and offset in seconds, index of the class
LEVELS = np.concatenate([np.geomspace(0.001, 0.1, 41)[:-1], np.linspace(0.1, 1, 91)])  # thresholds to decode at


def tile_targets(events: Events, segments: int, seconds: float, classes: int) -> NDArray[np.float32]:
    """Strong labels of one recording per tile, [segments, classes], 0 or 1.

    A class is present in a tile if an event covers half of the tile, or if the tile holds half of the event.
    """
    starts = _tile_edges(segments, seconds)
    targets = np.zeros((segments, classes), np.float32)
    for onset, offset, column in events:
        shared = np.minimum(starts[1:], offset) - np.maximum(starts[:-1], onset)
        targets[shared >= np.minimum(np.diff(starts), offset - onset) / 2, column] = 1
    return targets


def in_events(scores: NDArray[np.floating], thresholds: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which tiles lie in events, decided as :class:`sedkit.timeline.events.EventDetector` does.

    Parameters
    ----------
    scores : [recordings, segments, classes].
    thresholds : [classes]. For one recording also [levels, 1, classes], to decode at several levels.

    Returns
    -------
    [recordings, segments, classes], or [levels, segments, classes].
    """
    sustained = scores >= HYSTERESIS * thresholds
    run_scores, last = np.where(sustained, scores, 0), scores.shape[1] - 1
    limits = np.broadcast_to(thresholds, run_scores.shape)[:, 0]
    inside, highest_before = np.zeros_like(sustained), np.zeros(run_scores.shape)  # highest of the run up to a tile
    top = np.zeros((OVERLAP, *limits.shape))
    for tile in range(last + 1):
        in_run = sustained[:, tile]
        top = insert_score(top * in_run, run_scores[:, tile], OVERLAP if tile in (0, last) else 1)
        inside[:, tile] = in_run & (top.mean(axis=0) >= limits)
        highest_before[:, tile] = top[0]
    highest_after = run_scores.astype(np.float64)
    for tile in range(last, 0, -1):  # the last tile of a run decides for the whole run
        same_run = sustained[:, tile - 1] & sustained[:, tile]
        inside[:, tile - 1] = np.where(same_run, inside[:, tile], inside[:, tile - 1])
        highest_after[:, tile - 1] = np.maximum(highest_after[:, tile - 1], highest_after[:, tile] * same_run)
    outermost = np.zeros_like(inside)
    outermost[:, 1:] = ~inside[:, :-1] & (highest_after[:, 1:] > scores[:, 1:])
    outermost[:, 1:-1] |= ~inside[:, 2:] & inside[:, :-2] & (highest_before[:, :-2] >= scores[:, 1:-1])
    return inside & ~outermost


def event_scores(
    scores: NDArray[np.floating], edges: NDArray[np.int64], seconds: float
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Scores whose stretches at or above a threshold are the timeline's events at that threshold.

    The score of a moment is the highest of ``LEVELS`` at which it lies in an event, or 0. PSDS needs such scores: it
    varies the threshold, and sedkit's events are not plain stretches of segment scores. Events that touch are merged.

    Parameters
    ----------
    scores : [segments, classes] of one recording.
    edges : [segments + 1, 2], from :func:`sedkit.timeline.edges.level_changes`.
    seconds : length of the recording.

    Returns
    -------
    Edges of the moments, [n + 1] in seconds, and their scores, [n, classes].
    """
    level, column, onsets, offsets = _events_at_levels(scores, edges, seconds)
    moments, index = np.unique(np.concatenate([onsets, offsets, [0, round(seconds, 6)]]), return_inverse=True)
    changes = np.zeros((len(LEVELS), scores.shape[1], len(moments)), np.int8)  # +1 at onsets, -1 at offsets
    np.add.at(changes, (level, column, index[: len(level)]), 1)
    np.add.at(changes, (level, column, index[len(level) : 2 * len(level)]), -1)
    active = (changes.cumsum(axis=2, dtype=np.int8) > 0) * LEVELS[:, None, None]
    return moments, active.max(axis=0)[:, :-1].T.astype(np.float32)


def _events_at_levels(
    scores: NDArray[np.floating], edges: NDArray[np.int64], seconds: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Events at all ``LEVELS``: index of the level, class, onset and offset in seconds of each, [events]."""
    inside = in_events(scores[None], LEVELS[:, None, None]).transpose(0, 2, 1)
    beside = np.pad(inside, ((0, 0), (0, 0), (1, 1)))
    level, column, begin = np.nonzero(beside[..., 1:] & ~beside[..., :-1])
    end = np.nonzero(beside[..., :-1] & ~beside[..., 1:])[2]
    tiles = _tile_edges(len(scores), seconds)
    rise, fall = (tiles[:, None] + edges * FRAME).T
    short = fall[end] - rise[begin] < SHORTEST_EVENT - EPSILON
    onsets, offsets = (np.where(short, tiles[at], times[at]) for at, times in ((begin, rise), (end, fall)))
    return level, column, onsets.round(6), offsets.round(6)


def _tile_edges(segments: int, seconds: float) -> NDArray[np.float64]:
    """Edges of the tiles of a recording, [segments + 1] in seconds."""
    starts = (SEGMENT_SPAN / 2 + SEGMENT_HOP * (np.arange(segments + 1) - 0.5)) / SAMPLE_RATE
    starts[0], starts[-1] = 0, seconds
    return starts


def best_thresholds(
    candidates: Iterable[NDArray[np.float64]], scores: NDArray[np.floating], targets: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The candidate [classes] whose events give the highest micro-averaged F1 over tiles."""

    def f1(thresholds: NDArray[np.float64]) -> float:
        return f1_scores(in_events(scores, thresholds), targets)[0]

    return max(candidates, key=f1)
