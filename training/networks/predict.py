"""Scores of whole recordings, in float32: for validation, reports, and as a teacher's word on the training clips."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from sedkit.errors import SedkitError
from sedkit.geometry import SAMPLE_RATE, padded_samples
from training.data.clips import FULL_SCALE
from training.networks.wels import Network
from training.runtime import distributed
from training.runtime.prefetch import ahead

LONG = 10 * SAMPLE_RATE  # samples of a clip


class ScoreError(SedkitError):
    """A network cannot score, or its scores are no numbers."""


def predict(
    network: Network, waveforms: Sequence[NDArray[np.int16]], batch_size: int, workers: int = 1, tf32: bool = False
) -> NDArray[np.float32]:
    """Clip probabilities [clips, classes] of whole recordings, on every rank; each rank computes its share.

    The rest as in :func:`scores`.

    Raises
    ------
    ScoreError
        If there is no clip, or a score is not finite.
    """
    rank, ranks = distributed.rank(), distributed.ranks()
    made = distributed.summed(predict_share(network, waveforms, batch_size, workers, tf32, rank, ranks))
    if not np.isfinite(made).all():
        raise distributed.everywhere(
            ScoreError(
                "the network's scores are not finite; begin a new run with a lower --learning-rate, or with --clip 1"
            )
        )
    return made


@torch.no_grad()
def predict_share(
    network: Network,
    waveforms: Sequence[NDArray[np.int16]],
    batch_size: int,
    workers: int = 1,
    tf32: bool = False,
    rank: int = 0,
    ranks: int = 1,
) -> NDArray[np.float32]:
    """Clip probabilities [clips, classes] of whole recordings, in eval mode; 0 for those of other ranks.

    Parameters
    ----------
    batch_size : clips of up to 10 s at once; of longer ones fewer, so that they need no more memory.
        Clips of the same padded length share a batch: the scores are those of each clip alone.
    workers : threads that read the clips.
    tf32 : let CUDA round factors of convolutions to 10 bits, which is as much as float16 holds.
    """
    if not len(waveforms):
        raise ScoreError("there are no clips to score")
    network.eval()
    device = next(network.parameters()).device
    made = np.zeros((len(waveforms), network.wels.classes), np.float32)
    behind: deque[tuple[list[int], torch.Tensor]] = deque()
    with _rounding(tf32):
        for chosen, batch in batches(waveforms, range(rank, len(waveforms), ranks), batch_size, workers):
            waveform = torch.from_numpy(batch).to(device).float() / FULL_SCALE
            behind.append((chosen, network(waveform).clip))
            if len(behind) > 1:  # CUDA computes while the next batch is put together
                done, probabilities = behind.popleft()
                made[done] = probabilities.cpu().numpy()
        for done, probabilities in behind:
            made[done] = probabilities.cpu().numpy()
    return made


def batches(
    waveforms: Sequence[NDArray[np.int16]], clips: Sequence[int], batch_size: int, workers: int
) -> Iterator[tuple[list[int], NDArray[np.int16]]]:
    """Batches of ``clips`` of one padded length each, with the numbers of their clips; each clip is read once."""
    held: dict[int, list[tuple[int, NDArray[np.int16]]]] = {}
    for clip, waveform in zip(clips, ahead(waveforms.__getitem__, clips, workers), strict=True):
        length = padded_samples(len(waveform))
        held.setdefault(length, []).append((clip, waveform))
        if len(held[length]) == max(1, batch_size * LONG // max(LONG, length)):
            yield _batch(held.pop(length), length)
    for length, rest in held.items():
        yield _batch(rest, length)


def _batch(clips: list[tuple[int, NDArray[np.int16]]], length: int) -> tuple[list[int], NDArray[np.int16]]:
    batch = np.zeros((len(clips), length), np.int16)
    for row, (_, waveform) in zip(batch, clips, strict=True):
        row[: len(waveform)] = waveform
    return [clip for clip, _ in clips], batch


@contextmanager
def _rounding(tf32: bool) -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
