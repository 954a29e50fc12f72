"""One ONNX graph on one device, over recordings of any length in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit import contract
from sedkit.contract import Contract
from sedkit.errors import ContractError, ModelError
from sedkit.geometry import REACH, SEGMENT_HOP, SPAN_FRAMES, STEP_FRAMES, segment_count
from sedkit.installed import installed_text
from sedkit.session import Device, one_line, open_session

Scores: TypeAlias = NDArray[np.float32]

# In segments, that is, in hops of 0.32 s:
BLOCK = 96  # computed at once: about 31 s of sound
SPAN = SPAN_FRAMES // STEP_FRAMES  # nominal span of one segment
CONTEXT = -(-REACH // STEP_FRAMES)  # what a segment sees before its span, and after it


class Model:
    """A sedkit model, loaded.

    Parameters
    ----------
    path : an ONNX file that keeps the contract (sedkit.contract).
    device : ``"cpu"``; ``"cuda"``, an error where CUDA does not work; ``"auto"``, CUDA where there is
        an NVIDIA GPU and CUDA works, else the CPU.

    Attributes
    ----------
    path : of the file.
    contract : its metadata.
    device : ``"cpu"`` or ``"cuda"``, what it runs on.
    notice : one line for the user, or None. It says that ``auto`` found a GPU which it cannot use, and
        why; on a machine without a GPU there is nothing to say.

    Raises
    ------
    ModelError
        If the file is missing or not a readable ONNX file.
    ContractError
        If it is not a sedkit model; names the field.
    DeviceError
        If `device` is ``"cuda"`` and CUDA does not work; says what is missing.
    """

    def __init__(self, path: str | os.PathLike[str], device: Device = "auto") -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ModelError(f"{self.path}: no such model file; {installed_text()}")
        self._session, self.device, self.notice = open_session(self.path, device)
        self.contract = self._read_contract()

    def _read_contract(self) -> Contract:
        session = self._session
        try:
            read = Contract.from_metadata(session.get_modelmeta().custom_metadata_map)
            inputs = {tensor.name: tensor.shape for tensor in session.get_inputs()}
            outputs = {tensor.name: tensor.shape for tensor in session.get_outputs()}
            contract.check_tensors(inputs, outputs, len(read.labels))
        except ContractError as error:
            raise ContractError(error.field, error.problem, str(self.path)) from None
        return read

    def segments(self, blocks: Iterable[Scores]) -> Iterator[Scores]:
        """Segment scores of one recording, as they come.

        The recording is run in pieces, each with the context that its first and last segment see, so
        that the scores equal those of one pass over the whole.

        Parameters
        ----------
        blocks : the recording, 16 kHz mono, float32 [samples] each, cut anywhere.

        Yields
        ------
        Scores in [0, 1], [k, classes]; K in all, ``sedkit.geometry.segment_count`` of the samples.
        """
        held = np.zeros(0, np.float32)  # from hop max(0, first - CONTEXT) on
        first = 0  # the segment that comes next
        for block in blocks:
            held = np.concatenate([held, block])
            while True:
                context = min(first, CONTEXT)
                hops = context + BLOCK - 1 + SPAN + CONTEXT
                if len(held) < hops * SEGMENT_HOP:
                    break
                yield self._run(held[: hops * SEGMENT_HOP])[context : context + BLOCK]
                first += BLOCK
                held = held[(context + BLOCK - CONTEXT) * SEGMENT_HOP :]
        if len(held):
            yield self._run(held)[min(first, CONTEXT) :]

    def _run(self, samples: Scores) -> Scores:
        """Segment scores [K, classes] of samples [samples]; the graph pads them to whole hops."""
        try:
            (batch,) = self._session.run(["segments"], {contract.INPUT: samples[None]})
        except Exception as error:  # ONNX Runtime's errors have no base class of their own
            raise ModelError(f"{self.path}: ONNX Runtime cannot run it on {self.device}: {one_line(error)}") from error
        scores: Scores = batch[0]
        expected = (segment_count(len(samples)), len(self.contract.labels))
        if scores.shape != expected:
            problem = f"{len(samples)} samples give scores of shape {scores.shape}, not {expected}"
            raise ContractError("segments", problem, str(self.path))
        if not (scores.min() >= 0 and scores.max() <= 1):
            raise ContractError("segments", "scores that are not in [0, 1]", str(self.path))
        return scores
