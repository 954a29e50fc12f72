"""The tiles of recordings' segments (docs/timeline.md): what is heard in each, which lie in events, and thresholds.

Scores and targets are [recordings, segments, classes], unless something else is said.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import SAMPLE_RATE, SEGMENT_HOP, SEGMENT_SPAN
from sedkit.timeline.events import EPSILON, FRAME, HOLDING, SHORTEST, SUSTAIN, with_next
from training.evaluate.measures.reliability import f1_scores

Events = list[tuple[float, float, int]]  # onset and offset in seconds, class
LEVELS = np.concatenate([np.geomspace(0.001, 0.1, 41)[:-1], np.linspace(0.1, 1, 91)])  # thresholds that are tried


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
    """Which tiles lie in events, as :class:`sedkit.timeline.events.Runs` makes them.

    ``thresholds``: [classes]; or [levels, 1, classes] with one recording, [levels, segments, classes] then.
    """
    sustained = scores >= SUSTAIN * thresholds
    heard, last = np.where(sustained, scores, 0), scores.shape[1] - 1
    limits = np.broadcast_to(thresholds, heard.shape)[:, 0]
    inside, so_far = np.zeros_like(sustained), np.zeros(heard.shape)  # the highest of the run, up to each tile
    top = np.zeros((HOLDING, *limits.shape))
    for place in range(last + 1):
        here = sustained[:, place]
        top = with_next(top * here, heard[:, place], HOLDING if place in (0, last) else 1)
        inside[:, place] = here & (top.mean(axis=0) >= limits)
        so_far[:, place] = top[0]
    to_come = heard.astype(np.float64)
    for later in range(last, 0, -1):  # a run's last tile tells of all of it
        same = sustained[:, later - 1] & sustained[:, later]
        inside[:, later - 1] = np.where(same, inside[:, later], inside[:, later - 1])
        to_come[:, later - 1] = np.maximum(to_come[:, later - 1], to_come[:, later] * same)
    outermost = np.zeros_like(inside)
    outermost[:, 1:] = ~inside[:, :-1] & (to_come[:, 1:] > scores[:, 1:])
    outermost[:, 1:-1] |= ~inside[:, 2:] & inside[:, :-2] & (so_far[:, :-2] >= scores[:, 1:-1])
    return inside & ~outermost


def event_scores(
    scores: NDArray[np.floating], edges: NDArray[np.int64], seconds: float
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The highest of ``LEVELS`` at which each moment of a recording lies in an event, or 0.

    What reaches a threshold then are the events that a timeline has at that threshold; but events that touch are one.

    Parameters
    ----------
    scores : [segments, classes].
    edges : [segments + 1, 2], :func:`sedkit.timeline.edges.tile_edges`.
    seconds : of the recording.

    Returns
    -------
    The moments' edges, [n + 1] in seconds, and their scores, [n, classes].
    """
    level, column, onsets, offsets = _events_of_levels(scores, edges, seconds)
    moments, places = np.unique(np.concatenate([onsets, offsets, [0, round(seconds, 6)]]), return_inverse=True)
    begun = np.zeros((len(LEVELS), scores.shape[1], len(moments)), np.int8)
    np.add.at(begun, (level, column, places[: len(level)]), 1)
    np.add.at(begun, (level, column, places[len(level) : 2 * len(level)]), -1)
    heard = (begun.cumsum(axis=2, dtype=np.int8) > 0) * LEVELS[:, None, None]
    return moments, heard.max(axis=0)[:, :-1].T.astype(np.float32)


def _events_of_levels(
    scores: NDArray[np.floating], edges: NDArray[np.int64], seconds: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The events at every one of ``LEVELS``: the level's place, class, onset and offset of each, [events]."""
    inside = in_events(scores[None], LEVELS[:, None, None]).transpose(0, 2, 1)
    beside = np.pad(inside, ((0, 0), (0, 0), (1, 1)))
    level, column, begin = np.nonzero(beside[..., 1:] & ~beside[..., :-1])
    end = np.nonzero(beside[..., :-1] & ~beside[..., 1:])[2]
    tiles = _between(len(scores), seconds)
    rise, fall = (tiles[:, None] + edges * FRAME).T
    short = fall[end] - rise[begin] < SHORTEST - EPSILON
    onsets, offsets = (np.where(short, tiles[at], times[at]) for at, times in ((begin, rise), (end, fall)))
    return level, column, onsets.round(6), offsets.round(6)


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
