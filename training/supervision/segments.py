"""Segment-level soft targets from isolated clips, for a student that is trained on overlaid clips.

A weak label does not say when a sound occurs. Where clips are overlaid at known places
(training.data.augment.soundscapes), a teacher's segment scores for each clip by itself do, and Eqs. 2 and 6 hold for
every segment::

    generation-1/alone-KEY.f16       [segments of all clips, classes] float16, clip after clip; memory-mapped
    generation-1/alone-segments.npy  [clips] number of segments of each clip

KEY depends on the teacher's weights. While the file grows its name ends in ``.partial``. They are removed when the
student is trained.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sedkit.geometry import SEGMENT_HOP, SEGMENT_SPAN, segment_count
from training.data.audio import FULL_SCALE
from training.data.augment.soundscapes import Placed
from training.data.clips import Clips
from training.networks.predict import ScoreError, batches
from training.networks.wels import Network
from training.runtime import distributed
from training.runtime.checkpoint import digest_of
from training.runtime.files import replacing
from training.runtime.prefetch import prefetch
from training.supervision.resumable_scores import Step, rows_in, write_rows

MARGIN = SEGMENT_SPAN // SEGMENT_HOP - 1  # segments before and after a clip that contain a part of it
COUNTS = "alone-segments.npy"
CHUNK = 256  # clips scored between two writes


class Taught(NamedTuple):
    """What a teacher that knows only some of the classes teaches.

    Attributes
    ----------
    outputs : the classes that it teaches, among its own.
    columns : the same among those of the manifest, which are ``classes``.
    silent : [clips] bool, the clips for which it gives no target.
    """

    outputs: list[int]
    columns: NDArray[np.int64]
    classes: int
    silent: NDArray[np.bool_]


class SegmentScores:
    """``segments`` [all, classes] of isolated clips; those of clip i start at row ``firsts[i]``.

    The first segment of a clip ends with the first hop of the clip. With ``taught``, the classes are the teacher's own.
    """

    def __init__(self, segments: NDArray[np.float16], firsts: NDArray[np.int64], taught: Taught | None = None) -> None:
        self.segments, self.firsts, self.taught = segments, firsts, taught

    def at(self, clip: int, place: Placed, speed: float, segments: int) -> NDArray[np.float16]:
        """Scores [segments, classes] of a clip placed in a recording that is played at ``speed``.

        Each segment of the recording gets the scores of the clip's nearest segment; NaN for what is not taught.
        """
        first, end = self.firsts[clip : clip + 2]
        centres = (SEGMENT_HOP * np.arange(segments) + SEGMENT_SPAN / 2) * speed - place.onset + place.start
        nearest = np.rint((centres - SEGMENT_SPAN / 2) / SEGMENT_HOP).astype(np.int64) + MARGIN
        scores: NDArray[np.float16] = self.segments[first + nearest.clip(0, end - first - 1)]
        if self.taught is None:
            return scores
        expanded = np.full((segments, self.taught.classes), np.nan, np.float16)
        if not self.taught.silent[clip]:
            expanded[:, self.taught.columns] = scores[:, self.taught.outputs]
        return expanded


def overlap(place: Placed, speed: float, segments: int) -> NDArray[np.float64]:
    """How much of a placed sound each segment of a recording contains: [segments] in [0, 1].

    1 if the sound fills half of the segment, or half of a sound shorter than a segment lies in it; 0 if none of it
    does.
    """
    starts = SEGMENT_HOP * np.arange(segments) * speed
    length = place.stop - place.start
    shared = np.minimum(starts + SEGMENT_SPAN * speed, place.onset + length) - np.maximum(starts, place.onset)
    held: NDArray[np.float64] = (2 * shared / max(1, min(SEGMENT_SPAN * speed, length))).clip(0, 1)
    return held


class Margins(Sequence[NDArray[np.int16]]):
    """``waveforms``, each with ``MARGIN`` segments of silence before and after it."""

    def __init__(self, waveforms: Sequence[NDArray[np.int16]]) -> None:
        self.waveforms = waveforms

    def __len__(self) -> int:
        return len(self.waveforms)

    def __getitem__(self, clip: int) -> NDArray[np.int16]:  # type: ignore[override]  # no slices
        return np.pad(self.waveforms[clip], MARGIN * SEGMENT_HOP)


def score_segments(
    network: Network,
    clips: Clips,
    directory: Path,
    batch_size: int,
    workers: int = 1,
    step: Step = lambda done, seconds: None,
    taught: Taught | None = None,
) -> SegmentScores:
    """Segment scores of ``network`` for each isolated clip, computed unless they lie in ``directory``.

    Every rank calls this and scores its share of the clips; rank 0 writes.

    Parameters
    ----------
    directory : of the student.
    batch_size : clips of up to 10 s at once.
    workers : threads that read them.
    step : called before each chunk of clips.
    taught : of a teacher that knows only some of the classes.

    Raises
    ------
    ScoreError
        If a score is not finite.
    OutputError
        If the file cannot be written. What is done is kept.
    """
    firsts = np.cumsum([0, *_segment_counts(clips.waveforms, directory / COUNTS, workers)])
    shape = int(firsts[-1]), network.wels.classes
    path, took = directory / f"alone-{digest_of(network.state_dict())[:16]}.f16", 0.0
    growing = path.with_suffix(".f16.partial")
    while distributed.on_rank_0(partial(rows_in, path, shape[1])) != shape[0]:
        there = distributed.on_rank_0(partial(rows_in, growing, shape[1]))
        if there == shape[0]:
            distributed.on_rank_0(partial(growing.replace, path))
            continue
        first = int(np.searchsorted(firsts, there, "right")) - 1
        step(first, took)
        started = time.monotonic()
        chosen = range(first, min(first + CHUNK, len(clips)))
        scores = _score_chunk(network, clips.waveforms, chosen, firsts, batch_size, workers)
        distributed.on_rank_0(partial(write_rows, growing, int(firsts[first]), scores))
        took = time.monotonic() - started
    return SegmentScores(np.memmap(path, np.float16, "r", shape=shape), firsts, taught)


def remove_segment_scores(student: Path) -> None:
    """Remove the segment scores in the directory of a student that is trained."""
    for path in student.glob("alone-*"):
        path.unlink()


def _segment_counts(waveforms: Sequence[NDArray[np.int16]], path: Path, workers: int) -> NDArray[np.int64]:
    """Number of segments of each clip with its margins [clips]; kept at ``path``, because counting means decoding."""
    if distributed.on_rank_0(path.exists):
        return distributed.on_rank_0(partial(np.load, path))
    mine = range(distributed.rank(), len(waveforms), distributed.world_size())
    counted = np.zeros(len(waveforms))
    counted[mine] = list(prefetch(lambda clip: _segments(waveforms[clip]), mine, workers))
    counts: NDArray[np.int64] = distributed.sum_over_ranks(counted).astype(np.int64)

    def write() -> None:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, counts)

    distributed.on_rank_0(write)
    return counts


def _segments(waveform: NDArray[np.int16]) -> int:
    return segment_count(len(waveform) + 2 * MARGIN * SEGMENT_HOP)


@torch.no_grad()
def _score_chunk(
    network: Network,
    waveforms: Sequence[NDArray[np.int16]],
    chosen: range,
    firsts: NDArray[np.int64],
    batch_size: int,
    workers: int,
) -> NDArray[np.float16]:
    """Segment scores [segments of the chosen clips, classes]; each rank scores its share, all get the whole."""
    network.eval()
    device = next(network.parameters()).device
    scores = np.zeros((firsts[chosen.stop] - firsts[chosen.start], network.wels.classes), np.float32)
    for clips, batch in batches(
        Margins(waveforms), chosen[distributed.rank() :: distributed.world_size()], batch_size, workers
    ):
        found = network(torch.from_numpy(batch).to(device).float() / FULL_SCALE).segments.cpu().numpy()
        for clip, segments in zip(clips, found, strict=True):
            first = firsts[clip] - firsts[chosen.start]
            scores[first : first + len(segments)] = segments
    scores = distributed.sum_over_ranks(scores)
    if not np.isfinite(scores).all():
        raise distributed.reported_once(
            ScoreError("a teacher's segment scores are not finite; choose another teacher, or train it again")
        )
    return scores.astype(np.float16)
