"""One ONNX graph on one device, over recordings of any length in bounded memory."""

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
from sedkit.geometry import REACH, SEGMENT_HOP, SPAN_FRAMES, STEP_FRAMES, segment_count
from sedkit.inference.installed import installed_text
from sedkit.inference.session import Device, one_line, open_session, usable_cpus

Scores: TypeAlias = NDArray[np.float32]

# In segments, that is, in hops of 0.32 s:
BLOCK = 58  # new in a piece, which with its context is 64 hops, 20 s: the widest network then takes 400 MB
SPAN = SPAN_FRAMES // STEP_FRAMES  # nominal span of one segment
CONTEXT = -(-REACH // STEP_FRAMES)  # what a segment sees before its span, and after it
AHEAD = SPAN - 1 + CONTEXT  # what a segment sees after its first hop


class Model:
    """A sedkit model, loaded.

    Parameters
    ----------
    path : an ONNX file that keeps the contract (sedkit.contract).
    device : ``"cpu"``; ``"cuda"`` or ``"tensorrt"``, an error where that does not work; ``"auto"``, CUDA
        where there is an NVIDIA GPU and CUDA works, else the CPU.
    threads : CPU threads of one run; None takes every CPU that this process may use.

    Attributes
    ----------
    path : of the file.
    contract : its metadata.
    weighted : whether it says what each segment counts for in a clip score.
    device : ``"cpu"``, ``"cuda"`` or ``"tensorrt"``, what it runs on.
    threads : CPU threads of one run.
    notice : one line for the user, or None. It says that ``auto`` found a GPU which it cannot use, and
        why; on a machine without a GPU there is nothing to say.

    Raises
    ------
    ModelError
        If the file is missing or not a readable ONNX file.
    ContractError
        If it is not a sedkit model; names the field.
    DeviceError
        If `device` is ``"cuda"`` or ``"tensorrt"`` and that does not work; says what is missing.
    """

    def __init__(self, path: str | os.PathLike[str], device: Device = "auto", threads: int | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ModelError(f"{self.path}: no such model file; {installed_text()}")
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise ArgumentError(f"threads is a whole number from 1 on, not {threads!r}")
        self.threads = threads or usable_cpus()
        self._session, self.device, self.notice = open_session(self.path, device, self.threads)
        self.contract = self._read_contract()

    def _read_contract(self) -> Contract:
        session = self._session
        try:
            read = Contract.from_metadata(session.get_modelmeta().custom_metadata_map)
            inputs = {tensor.name: tensor.shape for tensor in session.get_inputs()}
            outputs = {tensor.name: tensor.shape for tensor in session.get_outputs()}
            contract.check_tensors(inputs, outputs, len(read.labels))
            self.weighted = contract.WEIGHTS in outputs
        except ContractError as error:
            raise ContractError(error.field, error.problem, str(self.path)) from None
        return read

    def weights(self, columns: Sequence[int]) -> list[int] | None:
        """Where the weights of the classes of `columns` stand in the scores; None if segments count alike."""
        return [len(self.contract.labels) + column for column in columns] if self.weighted else None

    def segments(self, blocks: Iterable[Scores], prompt: bool = False) -> Iterator[Scores]:
        """Segment scores of one recording, as they come.

        The recording is run in pieces (:func:`pieces`); the scores equal those of one pass over the whole.

        Parameters
        ----------
        blocks : the recording, 16 kHz mono, float32 [samples] each, cut anywhere.
        prompt : see :func:`pieces`.

        Yields
        ------
        Scores in [0, 1], [k, classes], beside them the weights of a weighted model, [k, 2 classes] together; K in all,
        ``sedkit.geometry.segment_count`` of the samples.
        """
        for _, _, scores in self.scored(blocks, prompt):
            yield scores

    def scored(self, blocks: Iterable[Scores], prompt: bool = False) -> Iterator[tuple[Scores, slice, Scores]]:
        """The pieces (:func:`pieces`) of one recording, each with the scores of its segments, as :meth:`segments`."""
        for samples, kept in pieces(blocks, prompt):
            yield samples, kept, self.batch(samples[None])[0, kept]

    def batch(self, waveforms: Scores) -> Scores:
        """Segment scores of several recordings of one length, each the same as alone. Several threads may call it.

        Parameters
        ----------
        waveforms : 16 kHz mono, float32 [n, samples]; memory grows with both, so long recordings are for
            :meth:`segments`.

        Returns
        -------
        Scores in [0, 1], [n, K, classes], beside them the weights of a weighted model, [n, K, 2 classes] together.
        """
        names = ["segments", contract.WEIGHTS] if self.weighted else ["segments"]
        try:
            scores, *weights = self._session.run(names, {contract.INPUT: waveforms})
        except Exception as error:  # ONNX Runtime's errors have no base class of their own
            raise ModelError(f"{self.path}: ONNX Runtime cannot run it on {self.device}: {one_line(error)}") from error
        recordings, samples = waveforms.shape
        expected = (recordings, segment_count(samples), len(self.contract.labels))
        if scores.shape != expected:
            problem = f"{samples} samples give scores of shape {scores.shape[1:]}, not {expected[1:]}"
            raise ContractError("segments", problem, str(self.path))
        if not (scores.min() >= 0 and scores.max() <= 1):
            raise ContractError("segments", "scores that are not in [0, 1]", str(self.path))
        for part in weights:
            if part.shape != expected or not (part.min() >= 0 and part.max() < np.inf):
                raise ContractError(contract.WEIGHTS, "they are not numbers from 0 on, one a score", str(self.path))
        result: Scores = np.concatenate([scores, *weights], axis=2) if weights else scores
        return result


def pieces(blocks: Iterable[Scores], prompt: bool = False) -> Iterator[tuple[Scores, slice]]:
    """Cut a recording into pieces that can be run one by one, each with the context that its segments see.

    Parameters
    ----------
    blocks : the recording, 16 kHz mono, float32 [samples] each, cut anywhere.
    prompt : whether a piece goes out after every block that completes a segment, for whoever listens to a source
        that is still playing: a segment is complete 1.6 s after it begins. Otherwise pieces are as long as memory
        allows, and the same wherever the recording was cut into blocks.

    Yields
    ------
    Samples of a piece, which are overwritten when the next one is asked for; and which of its segments are not
    context. The last piece is the one whose slice is open (``stop`` is None).
    """
    held = np.empty((CONTEXT + BLOCK + AHEAD) * SEGMENT_HOP, np.float32)
    filled = 0  # samples held
    context = 0  # hops held of what is before the segment that comes next
    for block in blocks:
        while len(block):
            taken = min(len(block), len(held) - filled)
            held[filled : filled + taken] = block[:taken]
            filled, block = filled + taken, block[taken:]
            ready = filled // SEGMENT_HOP - context - AHEAD
            if filled == len(held) or (prompt and ready > 0 and not len(block)):
                yield held[: (context + ready + AHEAD) * SEGMENT_HOP], slice(context, context + ready)
                done, context = context + ready, min(context + ready, CONTEXT)
                rest = held[(done - context) * SEGMENT_HOP : filled]
                held[: len(rest)], filled = rest, len(rest)
    if filled:
        yield held[:filled], slice(context, None)
