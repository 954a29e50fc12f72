"""Clip scores of whole recordings, in float32: for validation, for reports and as teacher scores of training clips."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from sedkit.errors import SedkitError
from sedkit.geometry import SAMPLE_RATE, padded_samples
from training.data.audio import FULL_SCALE
from training.networks.wels import Network
from training.runtime import distributed
from training.runtime.prefetch import prefetch

CLIP = 10 * SAMPLE_RATE  # samples of a nominal clip; longer ones get smaller batches


class ScoreError(SedkitError):
    """There is nothing to score, or the scores are not finite."""


def predict(
    network: Network, waveforms: Sequence[NDArray[np.int16]], batch_size: int, workers: int = 1, tf32: bool = False
) -> NDArray[np.float32]:
    """Clip probabilities [clips, classes] of whole recordings. Each rank scores its share; every rank gets all scores.

    The parameters are those of :func:`predict_share`.

    Raises
    ------
    ScoreError
        If there are no clips, or a score is not finite.
    """
    rank, ranks = distributed.rank(), distributed.world_size()
    scores = distributed.sum_over_ranks(predict_share(network, waveforms, batch_size, workers, tf32, rank, ranks))
    if not np.isfinite(scores).all():
        raise distributed.reported_once(
            ScoreError(
                "the network's scores are not finite; start a new run with a lower --learning-rate or with --set clip=1"
            )
        )
    return scores


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
    """Clip probabilities [clips, classes] of this rank's share of the recordings, in eval mode; 0 for the others.

    Parameters
    ----------
    waveforms : int16 [samples] each, 16 kHz.
    batch_size : clips of up to 10 s in a batch. Batches of longer clips are smaller, to bound memory. A batch holds
        clips of one padded length only, so batching does not change a clip's score.
    workers : threads that read the clips.
    tf32 : let CUDA use TF32 in convolutions: 10 bits of mantissa, as many as float16 has.

    Raises
    ------
    ScoreError
        If there are no clips.
    """
    if not len(waveforms):
        raise ScoreError("there are no clips to score")
    network.eval()
    device = next(network.parameters()).device
    scores = np.zeros((len(waveforms), network.wels.classes), np.float32)
    pending: deque[tuple[list[int], torch.Tensor]] = deque()
    with _convolutions_in_tf32(tf32):
        for clips, batch in batches(waveforms, range(rank, len(waveforms), ranks), batch_size, workers):
            waveform = torch.from_numpy(batch).to(device).float() / FULL_SCALE
            pending.append((clips, network(waveform).clip))
            if len(pending) > 1:  # CUDA computes while the next batch is assembled
                done, probabilities = pending.popleft()
                scores[done] = probabilities.cpu().numpy()
        for done, probabilities in pending:
            scores[done] = probabilities.cpu().numpy()
    return scores


def batches(
    waveforms: Sequence[NDArray[np.int16]], clips: Sequence[int], batch_size: int, workers: int
) -> Iterator[tuple[list[int], NDArray[np.int16]]]:
    """Yield (clip indices, waveforms [batch, samples]), each batch of one padded length. Each clip is read once."""
    waiting: dict[int, list[tuple[int, NDArray[np.int16]]]] = {}
    for clip, waveform in zip(clips, prefetch(waveforms.__getitem__, clips, workers), strict=True):
        length = padded_samples(len(waveform))
        waiting.setdefault(length, []).append((clip, waveform))
        if len(waiting[length]) == max(1, batch_size * CLIP // max(CLIP, length)):
            yield _batch(waiting.pop(length), length)
    for length, rest in waiting.items():
        yield _batch(rest, length)


def _batch(clips: list[tuple[int, NDArray[np.int16]]], length: int) -> tuple[list[int], NDArray[np.int16]]:
    batch = np.zeros((len(clips), length), np.int16)
    for row, (_, waveform) in zip(batch, clips, strict=True):
        row[: len(waveform)] = waveform
    return [clip for clip, _ in clips], batch


@contextmanager
def _convolutions_in_tf32(tf32: bool) -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
