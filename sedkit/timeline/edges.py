"""Where the level changes near the edges of tiles: onsets and offsets finer than segments, from the samples alone.

Segments tell what is heard, and when to about a tile. When exactly it begins is mostly plain from the level. The why
of the rule is in docs/timeline.md, "Events".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import HOP, SPAN_FRAMES, STEP_FRAMES, segment_count

AROUND = STEP_FRAMES  # frames before and after a change that are compared, and the furthest from a tile's start
LEAST_CHANGE = 1.0  # dB
QUIET = 6.0  # dB below what follows: all that is heard of a recording before its first sound
UNITS = 100  # in one dB: levels are whole numbers, so that their sums are the same wherever a recording is cut
FLOOR = 1e-7  # of a power: -70 dB; what is below is silence, as for the model
WEIGHTS = np.arange(AROUND, 0, -1)  # of the frames before and after, the nearest first
NEARNESS = 2 * AROUND - abs(np.arange(-AROUND, AROUND + 1))  # what a change counts for: half as much at AROUND


def tile_edges(samples: NDArray[np.float32]) -> NDArray[np.int64]:
    """How far from the edges of tiles the level rises most, and falls most.

    That is where the mean of the 0.32 s that follow is furthest above, or below, the mean of the 0.32 s before, in
    which what is near counts more. The further from the edge, the less a change counts: half of it at 0.32 s, nothing
    beyond. The level is in dB, the mean of that of the samples and that of their differences, in which high frequencies
    count more.

    The start and the end of the recording are edges, too. What is heard in the first tile may begin anywhere in it, or
    with the recording: there a rise counts if nothing before it is within 6 dB of the loudest frame of the 0.32 s after
    it, and likewise a fall in the last tile.

    Parameters
    ----------
    samples : 16 kHz, [samples], of a recording or of a piece of one that begins at a multiple of 0.32 s.

    Returns
    -------
    Frames of 10 ms, [K + 1, 2], rise and fall; 0 where that change is less than 1 dB. Row ``k`` is of the edge between
    the tiles ``k - 1`` and ``k``. As in the whole recording for those that lie more than 0.64 s after the beginning of
    the piece and before its end.
    """
    levels = _levels(samples)
    changes = _changes(levels)
    segments, last = segment_count(len(samples)), len(changes) - 1
    starts = STEP_FRAMES * np.arange(1, segments) + (SPAN_FRAMES - STEP_FRAMES) // 2  # of tiles, but the first one
    padded = np.pad(changes, AROUND)
    near = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1)[starts]
    edges = np.zeros((segments + 1, 2), np.int64)
    edges[1:-1] = np.stack([_largest(near), _largest(-near)], axis=1)
    edges[0, 0] = _out_of_quiet(levels, changes[: [*starts, last][0] + 1])
    edges[-1, 1] = -_out_of_quiet(levels[::-1], -changes[[0, *starts][-1] :][::-1])
    return edges


def _levels(samples: NDArray[np.float32]) -> NDArray[np.int64]:
    """Of each whole frame, [frames]: that of its samples and that of their differences, both in dB, added up."""
    frames = len(samples) // HOP
    total = np.zeros(frames, np.int64)
    for signal in (samples, np.diff(samples, prepend=samples[:1])):
        framed = signal[: frames * HOP].reshape(frames, HOP)
        power = np.einsum("fs,fs->f", framed, framed).astype(np.float64) / HOP
        total += np.rint(10 * UNITS * np.log10(power + FLOOR)).astype(np.int64)
    return total


def _changes(levels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of the mean level at the start of each frame, [frames + 1] in dB; 0 at both ends."""
    changes = (_following(levels) - _following(levels[::-1])[::-1]) / (2 * UNITS)
    changes[[0, -1]] = 0  # nothing is known of what is beyond
    return changes


def _following(levels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean of the levels from each frame on, weighted by WEIGHTS, [frames + 1]; those that there are."""
    sums, weights = (
        np.correlate(np.concatenate([values, np.zeros(AROUND, np.int64)]), WEIGHTS, "valid")
        for values in (levels, np.ones_like(levels))
    )
    return np.asarray(sums / weights.clip(1))


def _largest(changes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Where the largest change is, seen from the middle of each row; 0 if it is too small."""
    place = (changes * NEARNESS).argmax(axis=1)
    enough = np.take_along_axis(changes, place[:, None], axis=1)[:, 0] >= LEAST_CHANGE
    return np.where(enough, place - AROUND, 0)


def _out_of_quiet(levels: NDArray[np.int64], changes: NDArray[np.float64]) -> int:
    """Where the largest of the first changes is; 0 if it is too small, or there was something to hear before."""
    place = int(changes.argmax())
    if changes[place] < LEAST_CHANGE:
        return 0
    rise = levels[place : place + AROUND].max() - levels[:place].max()
    return place if rise >= QUIET * 2 * UNITS else 0
