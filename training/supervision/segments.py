"""What teachers say of each clip by itself, segment by segment: for a student that hears several over each other.

A weak label does not say when a sound is heard; where clips are laid over each other at places that are known
(training.data.augment.soundscapes), a teacher that heard each of them alone does. Eq. 2 and Eq. 6 then hold for every segment::

    generation-1/alone-KEY.f16    [segments of all clips, classes] float16, clip after clip; mapped into memory

KEY depends on the teacher's weights. While the file grows it is named ``.partial``; it goes when the student is
trained.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sedkit.geometry import SEGMENT_HOP, SEGMENT_SPAN, segment_count
from training.data.augment.soundscapes import Placed
from training.data.clips import FULL_SCALE, Clips
from training.networks.predict import batches
from training.networks.wels import Network
from training.runtime import distributed
from training.runtime.checkpoint import digest_of
from training.runtime.prefetch import ahead
from training.supervision.score_file import Step, append, whole_rows

MARGIN = SEGMENT_SPAN // SEGMENT_HOP - 1  # segments before a clip, and after it, that hold a part of it
CHUNK = 256  # clips heard between two writes


class Alone:
    """``segments`` [all, classes] of clips that were heard alone: those of clip i begin at ``firsts[i]``.

    The first of them ends with the first hop of the clip.
    """

    def __init__(self, segments: NDArray[np.float16], firsts: NDArray[np.int64]) -> None:
        self.segments, self.firsts = segments, firsts

    def at(self, clip: int, place: Placed, speed: float, segments: int) -> NDArray[np.float16]:
        """Of each segment of a recording in which a clip is heard at a place, and which is played at a speed, what was
        said of the segment of the clip that is nearest: [segments, classes]."""
        first, end = self.firsts[clip : clip + 2]
        centres = (SEGMENT_HOP * np.arange(segments) + SEGMENT_SPAN / 2) * speed - place.onset + place.start
        nearest = np.rint((centres - SEGMENT_SPAN / 2) / SEGMENT_HOP).astype(np.int64) + MARGIN
        said: NDArray[np.float16] = self.segments[first + nearest.clip(0, end - first - 1)]
        return said


def presence(place: Placed, speed: float, segments: int) -> NDArray[np.float64]:
    """How surely each segment of a recording holds what is heard at a place: [segments] in [0, 1].

    1 where it is heard in half of the segment, or half of it is, where it is the shorter one; 0 where nothing of it is.
    """
    starts = SEGMENT_HOP * np.arange(segments) * speed
    length = place.stop - place.start
    shared = np.minimum(starts + SEGMENT_SPAN * speed, place.onset + length) - np.maximum(starts, place.onset)
    return (2 * shared / max(1, min(SEGMENT_SPAN * speed, length))).clip(0, 1)


class Margins(Sequence[NDArray[np.int16]]):
    """``waveforms``, each with as much silence around it as a segment can have."""

    def __init__(self, waveforms: Sequence[NDArray[np.int16]]) -> None:
        self.waveforms = waveforms

    def __len__(self) -> int:
        return len(self.waveforms)

    def __getitem__(self, clip: int) -> NDArray[np.int16]:
        return np.pad(self.waveforms[clip], MARGIN * SEGMENT_HOP)


def heard_alone(
    network: Network,
    clips: Clips,
    directory: Path,
    batch_size: int,
    workers: int = 1,
    step: Step = lambda done, seconds: None,
) -> Alone:
    """What ``network`` says of each clip alone, computed unless it lies in ``directory``, the student's.

    Every rank calls this; the first one listens.

    Parameters
    ----------
    batch_size : clips of up to 10 s at once.
    workers : threads that read them.
    step : called before every so many clips.

    Raises
    ------
    OutputError
        If there is no room for the file. What is done is kept.
    """
    counts = ahead(lambda clip: _segments(clips.waveforms[clip]), range(len(clips)), workers)
    firsts = np.cumsum([0, *counts])
    shape = int(firsts[-1]), len(clips.classes)
    path, took = directory / f"alone-{digest_of(network.state_dict())[:16]}.f16", 0.0
    growing = path.with_suffix(".f16.partial")
    while distributed.on_first(partial(whole_rows, path, shape[1])) != shape[0]:
        there = distributed.on_first(partial(whole_rows, growing, shape[1]))
        if there == shape[0]:
            distributed.on_first(partial(growing.replace, path))
            continue
        first = int(np.searchsorted(firsts, there, "right")) - 1
        step(first, took)
        started = time.monotonic()
        done = int(firsts[first])
        chosen = range(first, min(first + CHUNK, len(clips)))
        hear = partial(_append_segments, growing, done, network, clips.waveforms, chosen, batch_size, workers)
        distributed.on_first(hear)
        took = time.monotonic() - started
    return Alone(np.memmap(path, np.float16, "r", shape=shape), firsts)


def forget(directory: Path) -> None:
    """Remove what teachers said of clips alone, when the student in ``directory`` is trained."""
    for path in directory.glob("alone-*.f16*"):
        path.unlink()


def _segments(waveform: NDArray[np.int16]) -> int:
    return segment_count(len(waveform) + 2 * MARGIN * SEGMENT_HOP)


@torch.no_grad()
def _append_segments(
    path: Path,
    row: int,
    network: Network,
    waveforms: Sequence[NDArray[np.int16]],
    chosen: Sequence[int],
    batch_size: int,
    workers: int,
) -> None:
    network.eval()
    device = next(network.parameters()).device
    found = {}
    for clips, batch in batches(Margins(waveforms), chosen, batch_size, workers):
        scores = network(torch.from_numpy(batch).to(device).float() / FULL_SCALE).segments
        found |= dict(zip(clips, scores.half().cpu().numpy(), strict=True))
    append(path, row, np.concatenate([found[clip] for clip in chosen]))
