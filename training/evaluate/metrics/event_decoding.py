"""Event decoding at many thresholds at once.

The time axis is cut into one tile per segment (docs/timeline.md). :func:`in_events` is a vectorised form of
:class:`sedkit.timeline.events.HysteresisDetector`: it says which tiles lie in events, by the same hysteresis.

Scores and targets are [recordings, segments, classes] unless stated otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import SAMPLE_RATE, SEGMENT_HOP, SEGMENT_SPAN, WELS_NET
from sedkit.timeline.events import FRAME, SHORTEST_EVENT
from sedkit.timeline.grid import EPSILON
from sedkit.timeline.settings import PostProcessing

DEFAULT = PostProcessing()
Events = list[tuple[float, float, int]]  # onset and offset in seconds, index of the class
LEVELS = np.concatenate([np.geomspace(0.001, 0.1, 41)[:-1], np.linspace(0.1, 1, 91)])  # thresholds to decode at


def tile_targets(
    events: Events, segments: int, seconds: float, classes: int, unchecked: Sequence[tuple[float, float, int]] = ()
) -> NDArray[np.float32]:
    """Strong labels of one recording per tile, [segments, classes], 0 or 1; NaN where an unchecked class may sound.

    A class is present in a tile if an event covers half of the tile, or if the tile holds half of the event.
    """
    starts = _tile_edges(segments, seconds)
    targets = np.zeros((segments, classes), np.float32)
    for onset, offset, column in events:
        shared = np.minimum(starts[1:], offset) - np.maximum(starts[:-1], onset)
        targets[shared >= np.minimum(np.diff(starts), offset - onset) / 2, column] = 1
    for onset, offset, column in unchecked:
        maybe = (starts[:-1] < offset) & (starts[1:] > onset) & (targets[:, column] == 0)
        targets[maybe, column] = np.nan
    return targets


def in_events(
    scores: NDArray[np.floating],
    thresholds: NDArray[np.floating],
    leave: float = DEFAULT.leave,
    hold: float = DEFAULT.hold,
) -> NDArray[np.bool_]:
    """Which tiles lie in events, decided as :class:`sedkit.timeline.events.HysteresisDetector` does.

    Parameters
    ----------
    scores : [recordings, segments, classes].
    thresholds : [classes]. For one recording also [levels, 1, classes], to decode at several levels.
    leave, hold : of :class:`sedkit.timeline.settings.PostProcessing`.

    Returns
    -------
    [recordings, segments, classes], or [levels, segments, classes].
    """
    in_run, lit = scores >= leave * thresholds, scores >= thresholds
    held = np.floor(hold / WELS_NET.step + EPSILON)
    in_group = in_run & (_near(lit, in_run, held) | _near(lit[:, ::-1], in_run[:, ::-1], held)[:, ::-1])
    member_scores, last = np.where(in_group, scores, 0), scores.shape[1] - 1
    limits = np.broadcast_to(thresholds, member_scores.shape)[:, 0]
    inside = np.zeros_like(in_group)
    top = np.zeros((WELS_NET.overlap, *limits.shape))
    for tile in range(last + 1):
        times = WELS_NET.overlap if tile in (0, last) else 1
        top = insert_score(top * in_group[:, tile], member_scores[:, tile], times)
        inside[:, tile] = in_group[:, tile] & (top.mean(axis=0) >= limits)
    for tile in range(last, 0, -1):  # the last tile of a group decides for the whole group
        same = in_group[:, tile - 1] & in_group[:, tile]
        inside[:, tile - 1] = np.where(same, inside[:, tile], inside[:, tile - 1])
    outermost = np.zeros_like(inside)
    outermost[:, 1:-1] = ~inside[:, :-2] & inside[:, 2:] & (scores[:, 1:-1] < scores[:, 2:])
    outermost[:, 1:-1] |= ~inside[:, 2:] & inside[:, :-2] & (scores[:, 1:-1] <= scores[:, :-2])
    return inside & ~outermost


def _near(lit: NDArray[np.bool_], in_run: NDArray[np.bool_], held: float) -> NDArray[np.bool_]:
    """Which tiles are at most ``held`` tiles after one that is lit, in the same run."""
    near = np.zeros_like(lit & in_run)
    age: NDArray[np.float64] = np.full(near.shape[:1] + near.shape[2:], np.inf)
    for tile in range(near.shape[1]):
        age = np.where(in_run[:, tile], np.where(lit[:, tile], 0, age + 1), np.inf)
        near[:, tile] = age <= held if held < np.inf else age < np.inf
    return near


def event_scores(
    scores: NDArray[np.floating],
    edges: NDArray[np.int64],
    seconds: float,
    leave: float = DEFAULT.leave,
    hold: float = DEFAULT.hold,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Scores whose stretches at or above a threshold are the timeline's events at that threshold.

    The score of a moment is the highest of ``LEVELS`` at which it lies in an event, or 0. PSDS needs such scores: it
    varies the threshold, and sedkit's events are not plain stretches of segment scores. Events that touch are merged.

    Parameters
    ----------
    scores : [segments, classes] of one recording.
    edges : [segments + 1, 2], from :func:`sedkit.timeline.edges.level_changes`.
    seconds : length of the recording.
    leave, hold : of :class:`sedkit.timeline.settings.PostProcessing`.

    Returns
    -------
    Edges of the moments, [n + 1] in seconds, and their scores, [n, classes].
    """
    level, column, onsets, offsets = _events_at_levels(scores, edges, seconds, leave, hold)
    moments, index = np.unique(np.concatenate([onsets, offsets, [0, round(seconds, 6)]]), return_inverse=True)
    changes = np.zeros((len(LEVELS), scores.shape[1], len(moments)), np.int8)  # +1 at onsets, -1 at offsets
    np.add.at(changes, (level, column, index[: len(level)]), 1)
    np.add.at(changes, (level, column, index[len(level) : 2 * len(level)]), -1)
    active = (changes.cumsum(axis=2, dtype=np.int8) > 0) * LEVELS[:, None, None]
    return moments, active.max(axis=0)[:, :-1].T.astype(np.float32)


def _events_at_levels(
    scores: NDArray[np.floating], edges: NDArray[np.int64], seconds: float, leave: float, hold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Events at all ``LEVELS``: index of the level, class, onset and offset in seconds of each, [events]."""
    inside = in_events(scores[None], LEVELS[:, None, None], leave, hold).transpose(0, 2, 1)
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


def insert_score(top: NDArray[np.float64], scores: NDArray[np.floating], times: int = 1) -> NDArray[np.float64]:
    """Insert the scores of one more segment into the highest scores so far.

    Parameters
    ----------
    top : [WELS_NET.overlap, ...], in descending order.
    scores : [...].
    times : how often the segment counts.
    """
    for _ in range(times):
        rest, updated = scores, []
        for highest in top:
            updated.append(np.maximum(highest, rest))
            rest = np.minimum(highest, rest)
        top = np.stack(updated)
    return top
