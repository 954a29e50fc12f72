"""One ONNX graph on one device: segment scores of recordings of any length, in bounded memory.

A long recording is cut into pieces (:func:`pieces`) that overlap by the receptive field of a segment. The scores equal
those of one pass over the whole recording.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit import contract
from sedkit.contract import Contract
from sedkit.errors import ArgumentError, ContractError, ModelError
from sedkit.geometry import WELS_NET, Geometry
from sedkit.inference.cpus import usable_cpus
from sedkit.inference.installed import installed_text
from sedkit.inference.session import Device, one_line, open_session
from sedkit.model_file import ModelFile

Scores: TypeAlias = NDArray[np.float32]

MOST_THREADS = 1024


class Model:
    """A loaded sedkit model.

    Parameters
    ----------
    path : an ONNX file that satisfies :mod:`sedkit.contract`.
    device : ``"cpu"``, ``"cuda"``, ``"tensorrt"``, or ``"auto"``: CUDA if there is an NVIDIA GPU and CUDA works,
        otherwise the CPU.
    threads : CPU threads per run; None takes all CPUs that this process may use.

    Attributes
    ----------
    path : path of the file.
    contract : its metadata.
    embedding_size : numbers in the embedding of a segment.
    weighted : whether the graph outputs weights of segments for clip scores.
    device : the device in use: ``"cpu"``, ``"cuda"`` or ``"tensorrt"``.
    threads : CPU threads per run.
    notice : one line that says why ``"auto"`` does not use the GPU that it found, or why the cache of optimised graphs
        is not used; None otherwise.

    Raises
    ------
    ModelError
        If the file is missing or not a valid ONNX file.
    ContractError
        If the file is not a sedkit model, or was changed after its export; names the invalid field.
    DeviceError
        If `device` is ``"cuda"`` or ``"tensorrt"`` and does not work; says what is missing.
    """

    def __init__(self, path: str | os.PathLike[str], device: Device = "auto", threads: int | None = None) -> None:
        self.path = Path(path)
        if not os.path.exists(self.path):
            raise ModelError(f"{self.path}: no such model file; {installed_text()}")
        possible = isinstance(threads, int | np.integer) and not isinstance(threads, bool)
        if threads is not None and not (possible and 1 <= threads <= MOST_THREADS):
            raise ArgumentError(f"threads must be an integer from 1 to {MOST_THREADS}, not {threads!r}")
        self.threads = int(threads or usable_cpus())
        file = ModelFile(self.path)
        try:
            self.contract = Contract.from_metadata(file.metadata)
            self._session, self.device, self.notice = open_session(file, device, self.threads)
            inputs = {tensor.name: tensor.shape for tensor in self._session.get_inputs()}
            outputs = {tensor.name: tensor.shape for tensor in self._session.get_outputs()}
            contract.check_tensors(inputs, outputs, len(self.contract.labels))
            self.embedding_size = contract.embedding_size(outputs)
        except ContractError as error:
            raise ContractError(error.field, error.problem, str(self.path)) from None
        self.weighted = contract.WEIGHTS in outputs

    @property
    def geometry(self) -> Geometry:
        """Sample rate of the input, and position and length of the segments."""
        return self.contract.geometry

    def weights(self, columns: Sequence[int]) -> list[int] | None:
        """Columns of the weights of some classes in the scores; None if the model has no weights."""
        return [len(self.contract.labels) + column for column in columns] if self.weighted else None

    def segments(self, blocks: Iterable[Scores], low_latency: bool = False) -> Iterator[Scores]:
        """Compute the segment scores of one recording.

        Parameters
        ----------
        blocks : the recording, mono at the model's sample rate, blocks of float32 [samples] of any length.
        low_latency : see :func:`pieces`.

        Yields
        ------
        Scores in [0, 1], [k, classes]; for a weighted model [k, 2 * classes], scores then weights. In total there are
        ``geometry.segment_count`` segments.
        """
        for _, _, scores in self.scored_pieces(blocks, low_latency):
            yield scores

    def scored_pieces(
        self, blocks: Iterable[Scores], low_latency: bool = False
    ) -> Iterator[tuple[Scores, slice, Scores]]:
        """Yield the pieces of one recording as :func:`pieces`, each with its scores as :meth:`segments`."""
        for samples, kept in pieces(blocks, low_latency, self.geometry):
            yield samples, kept, self.batch(samples[None])[0, kept]

    def batch(self, waveforms: Scores) -> Scores:
        """Compute the segment scores of several recordings of the same length in one run. Thread-safe.

        Parameters
        ----------
        waveforms : float32 [n, samples], mono at the model's sample rate. Memory grows with both axes; use
            :meth:`segments` for long recordings.

        Returns
        -------
        Scores in [0, 1], [n, K, classes]; for a weighted model [n, K, 2 * classes], scores then weights.

        Raises
        ------
        ModelError
            If ONNX Runtime fails.
        ContractError
            If the graph's outputs violate the contract.
        """
        names = ["segments", contract.WEIGHTS] if self.weighted else ["segments"]
        scores, *weights = self._run(names, waveforms)
        recordings, samples = waveforms.shape
        expected = (recordings, self.geometry.segment_count(samples), len(self.contract.labels))
        if scores.shape != expected:
            problem = f"shape is {scores.shape[1:]} for {samples} samples; it must be {expected[1:]}"
            raise ContractError("segments", problem, str(self.path))
        if not (scores.min() >= 0 and scores.max() <= 1):
            raise ContractError("segments", "scores must be in [0, 1]", str(self.path))
        for part in weights:
            if part.shape != expected or not (part.min() >= 0 and part.max() < np.inf):
                raise ContractError(contract.WEIGHTS, "there must be one finite number >= 0 per score", str(self.path))
        result: Scores = np.concatenate([scores, *weights], axis=2) if weights else scores
        return result

    def embeddings(self, waveforms: Scores) -> Scores:
        """Compute the embedding of each segment (WELS-Net's layer L3), as :meth:`batch` computes scores.

        Returns
        -------
        Float32 [n, K, embedding_size]; zeros for silent segments, whose scores are 0.
        """
        scores, embeddings = self._run(["segments", "embedding"], waveforms)
        expected = (len(waveforms), self.geometry.segment_count(waveforms.shape[1]), self.embedding_size)
        if embeddings.shape != expected:
            raise ContractError("embedding", f"shape is {embeddings.shape}; it must be {expected}", str(self.path))
        return np.asarray(embeddings * scores.any(axis=2, keepdims=True))

    def _run(self, outputs: list[str], waveforms: Scores) -> list[Scores]:
        try:
            return list(self._session.run(outputs, {contract.INPUT: waveforms}))
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise ModelError(f"{self.path}: ONNX Runtime cannot run it on {self.device}: {one_line(error)}") from error


def pieces(
    blocks: Iterable[Scores], low_latency: bool = False, geometry: Geometry = WELS_NET
) -> Iterator[tuple[Scores, slice]]:
    """Cut a recording into overlapping pieces that can be run one by one.

    A piece includes the context (receptive field) of its first and last segment.

    Parameters
    ----------
    blocks : the recording, mono at the model's sample rate, blocks of float32 [samples] of any length.
    low_latency : yield a piece as soon as a block completes a segment, for WELS-Net 1.6 s after the segment begins.
        Otherwise, all pieces but the last have the same length, and do not depend on how the recording was cut into
        blocks.
    geometry : of the model.

    Yields
    ------
    samples
        [samples] of the piece; overwritten when the next piece is requested.
    kept : slice
        The segments of the piece that are not context. ``stop`` is None for the last piece.
    """
    hop, lookahead = geometry.segment_hop, geometry.lookahead
    buffer = np.empty((geometry.context + geometry.piece + lookahead) * hop, np.float32)
    filled = 0  # samples in the buffer
    context = 0  # hops in the buffer before the next segment
    for block in blocks:
        while len(block):
            taken = min(len(block), len(buffer) - filled)
            buffer[filled : filled + taken] = block[:taken]
            filled, block = filled + taken, block[taken:]
            ready = filled // hop - context - lookahead
            if filled == len(buffer) or (low_latency and ready > 0 and not len(block)):
                yield buffer[: (context + ready + lookahead) * hop], slice(context, context + ready)
                done, context = context + ready, min(context + ready, geometry.context)
                rest = buffer[(done - context) * hop : filled]
                buffer[: len(rest)], filled = rest, len(rest)
    if filled:
        yield buffer[:filled], slice(context, None)
