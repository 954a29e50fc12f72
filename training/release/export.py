"""Checkpoint -> ONNX file that keeps sedkit's contract.

The file is written only if ``onnx.checker`` passes, the contract reads back, and ONNX Runtime gives
torch's scores on real clips at several lengths and batch sizes. The same weights and contract give
the same bytes.

Weights are rounded to float16 for the file (training.networks.float16), whatever the width: ONNX Runtime must give the
scores that torch gives with the rounded weights, and those of the network itself within a wider bound.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from sedkit import contract
from sedkit.contract import Contract
from sedkit.errors import SedkitError
from sedkit.geometry import SAMPLE_RATE
from training.networks.float16 import fold_for_export, with_float16_weights
from training.networks.wels import Network
from training.runtime.files import replacing

OPSET = 18  # ONNX Runtime >= 1.14
TOLERANCE = 1e-4  # largest difference between torch's probabilities and ONNX Runtime's
ROUNDING = 0.1  # largest difference that rounding the weights to float16 may make to any of them
LENGTHS = (0.2, 0.96, 2.5, 5.0, 10.0)  # seconds, for the parity check
BATCHES = (1, 3)


class ExportError(SedkitError):
    """A network cannot be exported, or its graph does not compute what the network does."""


def export(network: Network, description: Contract, path: Path, clips: Sequence[NDArray[np.float32]]) -> float:
    """Write ``network`` to ``path`` as a sedkit model.

    Parameters
    ----------
    clips : real recordings, 16 kHz in [-1, 1], on which the graph is compared with torch.

    Returns
    -------
    The largest difference found between torch and ONNX Runtime with the weights of the file, at most 1e-4.

    Raises
    ------
    ExportError
        If the graph's scores differ from torch's by more than that, or float16 cannot hold the weights: one is too
        large, or rounding them changes a score by more than 0.1. Nothing is written.
    """
    try:
        rounded = fold_for_export(network)
    except SedkitError as error:
        raise ExportError(f"{path}: not written: {error}") from None
    model = with_float16_weights(to_onnx(rounded, description))
    onnx.checker.check_model(model, full_check=True)
    serialized = model.SerializeToString(deterministic=True)
    difference = parity(rounded, serialized, clips)
    if not difference <= TOLERANCE:
        raise ExportError(f"{path}: not written: ONNX Runtime and torch differ by {difference:.2g} (> {TOLERANCE:g})")
    change = parity(network.cpu().eval(), serialized, clips)
    if not change <= ROUNDING:
        raise ExportError(
            f"{path}: not written: rounding the weights to float16 changes a score by {change:.2g} (> {ROUNDING:g}): "
            "train anew at a lower --learning-rate, or with another --seed"
        )
    with replacing(path) as temporary:
        temporary.write_bytes(serialized)
    return difference


def to_onnx(network: Network, description: Contract) -> onnx.ModelProto:
    """The graph, front end included, with the contract's names, dynamic axes and metadata."""
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about torch's internals
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 10 * SAMPLE_RATE),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[contract.INPUT],
            output_names=[*contract.OUTPUTS, contract.WEIGHTS],
            dynamic_shapes={contract.INPUT: axes},
            verbose=False,
        )
    model = program.model_proto
    _forget_origins(model)
    if network.wels.weights is None:  # then the weights are 1, or 0 in silence
        del model.graph.output[-1]
    for output in model.graph.output:
        if output.name != "clip":
            output.type.tensor_type.shape.dim[1].dim_param = "K"
    onnx.helper.set_model_props(model, description.to_metadata())
    return model


def _forget_origins(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes of the source code: stack traces hold local paths."""
    graph = model.graph
    model.doc_string = graph.doc_string = ""
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    del graph.value_info[:]


def parity(network: Network, serialized: bytes, clips: Sequence[NDArray[np.float32]]) -> float:
    """Largest difference of any output between torch and ONNX Runtime; NaN if either gives that.

    Embeddings and weights have no bound: their difference counts relative to their largest value where that is above 1.

    Raises
    ------
    ExportError
        If there is no clip, or ONNX Runtime gives other shapes.
    """
    import onnxruntime

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
    differences = []
    for seconds in LENGTHS:
        cut = [np.resize(clip, round(seconds * SAMPLE_RATE)) for clip in clips]
        for size in BATCHES:
            batch = np.stack([cut[i % len(cut)] for i in range(size)])
            with torch.no_grad():
                expected = network(torch.from_numpy(batch))
            for name, found in zip(names, session.run(names, {contract.INPUT: batch}), strict=True):
                wanted = getattr(expected, name).numpy()
                if found.shape != wanted.shape:
                    raise ExportError(f"{name} {found.shape}, in torch {wanted.shape}")
                differences.append(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max()))
    return float(np.max(differences))
