"""Level changes near the edges of tiles, computed from the samples. They refine the onsets and offsets of events.

Segment scores tell which class is present, but place its onset only to within about one tile (0.32 s for WELS-Net).
The level of the audio places it to within about 10 ms. docs/timeline.md, "Onsets and offsets", explains the rules.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import WELS_NET, Geometry

AROUND = 32  # frames of 10 ms compared before and after a change; also the largest distance from the edge of a tile
LEAST_CHANGE = 1.0  # dB; smaller changes are ignored
QUIET = 6.0  # dB; at the ends of a recording, the audio before an onset must be this much below the audio after it
UNITS = 100  # per dB; levels are integers, which makes their sums exact wherever a recording is cut
FLOOR = 1e-7  # power, -70 dB; anything below is silence, as in the model
WEIGHTS = np.arange(AROUND, 0, -1)  # of the frames before and after a change, the nearest first
NEARNESS = 2 * AROUND - abs(np.arange(-AROUND, AROUND + 1))  # weight of a change by distance; half at AROUND


def level_changes(samples: NDArray[np.float32], geometry: Geometry = WELS_NET) -> NDArray[np.int64]:
    """Find the largest rise and the largest fall of the level near each edge between two tiles.

    The level is in dB. It is the mean of the level of the samples and the level of their first differences; the latter
    emphasises high frequencies. The change of level at a frame is the weighted mean of the 0.32 s after it minus that
    of the 0.32 s before it, in which nearer frames have more weight. A change counts less the further it is from the
    edge: fully at the edge, half at 0.32 s, not at all beyond.

    The start and the end of the recording are edges, too. In the first tile, a rise counts anywhere in the tile if all
    frames before it are at least 6 dB below the loudest frame of the 0.32 s after it. The same holds, mirrored, for a
    fall in the last tile.

    Parameters
    ----------
    samples : [samples] at the model's sample rate; a recording, or a piece of one that begins at a multiple of the
        segment hop.
    geometry : of the model.

    Returns
    -------
    [K + 1, 2]: distance from the edge to the rise, and to the fall, in frames of 10 ms; 0 if the change is less than
    1 dB. Row ``k`` belongs to the edge between the tiles ``k - 1`` and ``k``. If `samples` is a piece, the rows within
    0.64 s of its ends differ from those of the whole recording.
    """
    levels = _levels(samples, geometry.frame)
    changes = _changes(levels)
    segments, last = geometry.segment_count(len(samples)), len(changes) - 1
    step, first = geometry.segment_hop // geometry.frame, geometry.first_tile // geometry.frame
    starts = step * np.arange(1, segments) + first  # frames; of all tiles except the first
    padded = np.pad(changes, AROUND)
    near = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1)[starts]
    distances = np.zeros((segments + 1, 2), np.int64)
    distances[1:-1] = np.stack([_largest(near), _largest(-near)], axis=1)
    distances[0, 0] = _first_sound(levels, changes[: [*starts, last][0] + 1])
    distances[-1, 1] = -_first_sound(levels[::-1], -changes[[0, *starts][-1] :][::-1])
    return distances


def _levels(samples: NDArray[np.float32], frame: int) -> NDArray[np.int64]:
    """Level of each complete frame, [frames]: level of the samples plus level of their differences, in 1/UNITS dB."""
    frames = len(samples) // frame
    total = np.zeros(frames, np.int64)
    for signal in (samples, np.diff(samples, prepend=samples[:1])):
        framed = signal[: frames * frame].reshape(frames, frame)
        power = np.einsum("fs,fs->f", framed, framed).astype(np.float64) / frame
        total += np.rint(10 * UNITS * np.log10(power + FLOOR)).astype(np.int64)
    return total


def _changes(levels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Change of the mean level at the start of each frame, [frames + 1] in dB; 0 at both ends."""
    changes = (_following(levels) - _following(levels[::-1])[::-1]) / (2 * UNITS)
    changes[[0, -1]] = 0  # no levels beyond the ends
    return changes


def _following(levels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean of up to AROUND levels from each frame on, weighted by WEIGHTS, [frames + 1]."""
    sums, weights = (
        np.correlate(np.concatenate([values, np.zeros(AROUND, np.int64)]), WEIGHTS, "valid")
        for values in (levels, np.ones_like(levels))
    )
    return np.asarray(sums / weights.clip(1))


def _largest(changes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Position of the largest change in each row, relative to the middle of the row; 0 if the change is too small."""
    position = (changes * NEARNESS).argmax(axis=1)
    enough = np.take_along_axis(changes, position[:, None], axis=1)[:, 0] >= LEAST_CHANGE
    return np.where(enough, position - AROUND, 0)


def _first_sound(levels: NDArray[np.int64], changes: NDArray[np.float64]) -> int:
    """Frame of the largest change; 0 if it is too small, or if the frames before it are not quiet."""
    frame = int(changes.argmax())
    if changes[frame] < LEAST_CHANGE:
        return 0
    rise = levels[frame : frame + AROUND].max() - levels[:frame].max()
    return frame if rise >= QUIET * 2 * UNITS else 0
