"""ONNX export: network -> file that fulfils sedkit's contract.

Weights are stored as float16 (``training.networks.float16``). The file is written only if it passes these checks:

- ``onnx.checker`` accepts it and its metadata reads back as a contract;
- ONNX Runtime and torch agree within 1e-4 with the rounded weights, on up to 32 real clips and at several lengths and
  batch sizes;
- rounding the weights to float16 changes no score by more than 0.02.

The same weights and contract give the same bytes.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from sedkit import contract
from sedkit.contract import Contract
from sedkit.errors import SedkitError
from sedkit.geometry import SAMPLE_RATE
from sedkit.model_file import with_digest
from training.networks.float16 import fold_for_export, with_float16_weights
from training.networks.wels import Network
from training.runtime.files import replacing

OPSET = 18  # ONNX Runtime >= 1.14
TOLERANCE = 1e-4  # largest difference between the scores of torch and of ONNX Runtime
ROUNDING = 0.02  # largest change of a score by rounding the weights to float16
LENGTHS = (0.2, 0.96, 2.5, 5.0, 10.0)  # seconds, for the parity check
BATCHES = (1, 3)  # batch sizes, for the parity check


class ExportError(SedkitError):
    """A network cannot be exported, or its ONNX graph gives other scores."""


def export(
    network: Network,
    description: Contract,
    path: Path,
    clips: Sequence[NDArray[np.float32]],
    measured: Callable[[bytes], Contract] | None = None,
) -> float:
    """Write ``network`` to ``path`` as a sedkit model.

    Parameters
    ----------
    description : metadata of the file.
    clips : real recordings, [samples] float32 each, 16 kHz, in [-1, 1], for the parity check.
    measured : gets the content of the file and returns the metadata to write in place of ``description``, with figures
        of that file.

    Returns
    -------
    The largest difference between torch and ONNX Runtime with the rounded weights, at most 1e-4.

    Raises
    ------
    ExportError
        If the difference is larger, a weight is too large for float16, or rounding changes a score by more than 0.02.
        Nothing is written.
    """
    try:
        rounded = fold_for_export(network)
    except SedkitError as error:
        raise ExportError(f"{path}: not written: {error}") from None
    model = with_float16_weights(to_onnx(rounded, description))
    onnx.checker.check_model(model, full_check=True)
    serialized = with_digest(model.SerializeToString(deterministic=True))
    difference, change = parity([rounded, network.cpu().eval()], serialized, clips)
    if not difference <= TOLERANCE:
        raise ExportError(f"{path}: not written: ONNX Runtime and torch differ by {difference:.2g} (> {TOLERANCE:g})")
    if not change <= ROUNDING:
        raise ExportError(
            f"{path}: not written: rounding the weights to float16 changes a score by {change:.2g} (> {ROUNDING:g}): "
            "train again at a lower --learning-rate, or with another --seed"
        )
    if measured:
        onnx.helper.set_model_props(model, measured(serialized).to_metadata())
        serialized = with_digest(model.SerializeToString(deterministic=True))
    with replacing(path) as temporary:
        temporary.write_bytes(serialized)
    return difference


def to_onnx(network: Network, description: Contract) -> onnx.ModelProto:
    """The ONNX graph with front end, and with the contract's tensor names, dynamic axes and metadata."""
    model = graph_of(network, [*contract.OUTPUTS, contract.WEIGHTS], 10 * SAMPLE_RATE)
    if network.wels.weights is None and not network.exempt.any():  # the weights are 1, or 0 in silence
        del model.graph.output[-1]
    onnx.helper.set_model_props(model, description.to_metadata())
    return model


def graph_of(network: nn.Module, outputs: Sequence[str], samples: int) -> onnx.ModelProto:
    """The ONNX graph of a network from waveforms [batch, samples], with dynamic axes; traced with so many samples."""
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about torch's internals
        program = torch.onnx.export(
            network,
            (torch.zeros(2, samples),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[contract.INPUT],
            output_names=list(outputs),
            dynamic_shapes={contract.INPUT: axes},
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _strip_source_locations(model)
    for output in model.graph.output:
        if output.name != "clip":
            output.type.tensor_type.shape.dim[1].dim_param = "K"
    return model


def _strip_source_locations(model: onnx.ModelProto) -> None:
    """Drop the exporter's stack traces, which hold local paths."""
    graph = model.graph
    model.doc_string = graph.doc_string = ""
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    del graph.value_info[:]


def parity(networks: Sequence[Network], serialized: bytes, clips: Sequence[NDArray[np.float32]]) -> list[float]:
    """Largest difference of any output between ONNX Runtime and each network; NaN if one of them gives NaN.

    Every clip is scored, up to 10 s of it, and batches of the first three at several lengths. Outputs with values above
    1, such as embeddings, are compared relative to their largest value.

    Raises
    ------
    ExportError
        If there is no clip, or the shapes differ.
    """
    from sedkit.inference.onnx_runtime import onnxruntime

    if not clips:
        raise ExportError("the parity check needs at least one real clip")
    session = onnxruntime.InferenceSession(serialized, providers=["CPUExecutionProvider"])
    description = Contract.from_metadata(session.get_modelmeta().custom_metadata_map)
    contract.check_tensors(
        {value.name: value.shape for value in session.get_inputs()},
        {value.name: value.shape for value in session.get_outputs()},
        len(description.labels),
    )
    names = [value.name for value in session.get_outputs()]
    differences: list[list[float]] = [[] for _ in networks]
    for batch in _parity_batches(clips):
        outputs = session.run(names, {contract.INPUT: batch})
        for network, found in zip(networks, differences, strict=True):
            with torch.no_grad():
                expected = network(torch.from_numpy(batch))
            for name, output in zip(names, outputs, strict=True):
                reference = getattr(expected, name).numpy()
                if output.shape != reference.shape:
                    raise ExportError(f"{name}: shape {output.shape} in ONNX Runtime, {reference.shape} in torch")
                found.append(float(np.abs(output - reference).max() / max(1.0, np.abs(reference).max())))
    return [float(np.max(found)) for found in differences]


def _parity_batches(clips: Sequence[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Waveforms [batch, samples] for the parity check."""
    for clip in clips:
        if len(clip):
            yield clip[None, : round(LENGTHS[-1] * SAMPLE_RATE)]
    for seconds in LENGTHS:
        cut = [np.resize(clip, round(seconds * SAMPLE_RATE)) for clip in clips]
        for size in BATCHES:
            yield np.stack([cut[i % len(cut)] for i in range(size)])
