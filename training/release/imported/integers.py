"""The int8 form of an imported YAMNet: convolutions of integers in place of the same integers in float32.

YAMNet's file computes with 8-bit weights and activations, and the imported model with the same whole numbers in float32
(training.release.imported.yamnet). Here each convolution is written with QuantizeLinear and DequantizeLinear, which
ONNX Runtime computes with integers: a quantizer with step 1 from 0 to 255 is the ReLU, the rounding and the limit of a
layer. Nothing is calibrated, and scores stay equal. Weights are unsigned, around 128: with signed ones, processors
without VNNI saturate sums of products. The front end and the last layer stay float32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sedkit.contract import Contract, metadata_of
from sedkit.errors import SedkitError
from sedkit.inference.onnx_runtime import onnxruntime
from sedkit.model_file import ModelFile, with_digest
from training.data.store.source import Audio
from training.release.pairs import DIGEST
from training.release.scoring import as_input
from training.runs.config import git_revision
from training.runtime.files import replacing

LAYER = ("Conv", "Relu", "Mul", "Round", "Min")  # the nodes of a layer, from its input to its output
MIDDLE = 128  # the integer that means 0 in unsigned weights
COMPARED = 50  # clips, at most, on which both forms are compared
ONE, ZERO, FIRST = "int8.one", "int8.zero", "int8.first"  # constants: a step, the zero of activations and of the input

Values = Mapping[str, NDArray[Any]]


class IntegersError(SedkitError):
    """An imported model has no integers to compute with."""


def quantize_imported(path: Path, model: onnx.ModelProto, audio: Audio, output: Path, seed: int) -> dict[str, float]:
    """Write the int8 form of the imported YAMNet at ``path``, whose graph is ``model``, to ``output``.

    Returns
    -------
    ``clips``, ``largest_difference`` and ``mean_difference`` of the segment scores on clips of the manifest.

    Raises
    ------
    IntegersError
        If it is another imported network.
    OutputError
        If the file cannot be written.
    """
    about = Contract.from_metadata(metadata_of(path))
    integers = integer_graph(model)
    if integers is None:
        title = about.lineage["imported"].get("network", "an imported network")
        raise IntegersError(f"{path}: {title} has float32 weights; of imported networks, only YAMNet has an int8 form")
    rows = np.random.default_rng(seed).permutation(len(audio.manifest))[:COMPARED]
    loss = differences(path.read_bytes(), integers.SerializeToString(), [audio[row] for row in rows])
    quantisation = {
        "precision": "int8",
        "of_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        DIGEST: ModelFile(path).digest,
        "git_revision": git_revision(),
        "loss": {"compared": loss},
    }
    about = replace(about, name=f"{about.name}-int8", lineage={**about.lineage, "quantisation": quantisation})
    helper.set_model_props(integers, about.to_metadata())
    onnx.checker.check_model(integers, full_check=True)
    with replacing(output) as temporary:
        temporary.write_bytes(with_digest(integers.SerializeToString(deterministic=True)))
    return loss


def differences(exact: bytes, integers: bytes, clips: Sequence[NDArray[np.int16]]) -> dict[str, float]:
    """How much the segment scores of two models differ on ``clips``."""
    sessions = [onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]) for model in (exact, integers)]
    found = []
    for clip in clips:
        one, other = (session.run(["segments"], as_input(clip))[0] for session in sessions)
        found.append(np.abs(one - other).ravel())
    every = np.concatenate(found)
    return {"clips": len(clips), "largest_difference": float(every.max()), "mean_difference": float(every.mean())}


def integer_graph(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The graph, with float32 weights, of an imported YAMNet with integer convolutions; None for another graph."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    layers = list(_layers(graph, values))
    if not layers or len(layers) != sum(node.op_type == "Conv" for node in graph.node):
        return None
    least = _least(graph, values, layers[0][0].input[0])
    constants = [_constant(ONE, np.float32(1)), _constant(ZERO, np.uint8(0)), _constant(FIRST, np.uint8(-least))]
    nodes: dict[str, list[onnx.NodeProto]] = {node.name: [] for layer in layers for node in layer}
    for number, layer in enumerate(layers):
        nodes[layer[0].name], operands = _integer_layer(layer, values, f"int8.{number}", ZERO if number else FIRST)
        constants += operands
    old = list(graph.node)
    del graph.node[:]
    graph.node.extend(new for node in old for new in nodes.get(node.name, [node]))
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in [*graph.initializer, *constants] if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return result


def _integer_layer(
    layer: Sequence[onnx.NodeProto], values: Values, name: str, zero: str
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The nodes and constants of a layer with integers.

    Parameters
    ----------
    zero : constant, the integer that means 0 in the layer's input.
    """
    weight, bias = (values[operand] for operand in layer[0].input[1:])
    steps = next(values[operand] for operand in layer[LAYER.index("Mul")].input if operand in values).ravel()
    constants = [
        _constant(f"{name}.weight", (weight + MIDDLE).astype(np.uint8)),
        _constant(f"{name}.middle", np.full(len(steps), MIDDLE, np.uint8)),
        _constant(f"{name}.bias", bias.astype(np.int32)),
        _constant(f"{name}.none", np.zeros(len(steps), np.int32)),
        _constant(f"{name}.steps", steps.astype(np.float32)),
    ]
    operands = [f"{name}.input", f"{name}.filters", f"{name}.offsets"]
    convolution = onnx.NodeProto()
    convolution.CopyFrom(layer[0])
    del convolution.input[:], convolution.output[:]
    convolution.input.extend(operands)
    convolution.output.append(f"{name}.sums")
    nodes = [
        _node("QuantizeLinear", [layer[0].input[0], ONE, zero], f"{name}.uint8"),
        _node("DequantizeLinear", [f"{name}.uint8", ONE, zero], operands[0]),
        _node("DequantizeLinear", [f"{name}.weight", f"{name}.steps", f"{name}.middle"], operands[1], axis=0),
        _node("DequantizeLinear", [f"{name}.bias", f"{name}.steps", f"{name}.none"], operands[2], axis=0),
        convolution,
        _node("QuantizeLinear", [f"{name}.sums", ONE, ZERO], f"{name}.rounded"),
        _node("DequantizeLinear", [f"{name}.rounded", ONE, ZERO], layer[-1].output[0]),
    ]
    return nodes, constants


def _layers(graph: onnx.GraphProto, values: Values) -> Iterator[list[onnx.NodeProto]]:
    """The nodes of each layer of whole numbers, in order."""
    after = {name: node for node in graph.node for name in node.input}
    for node in graph.node:
        if node.op_type != "Conv" or not all(name in values for name in node.input[1:]):
            continue
        layer = [node]
        while len(layer) < len(LAYER) and (follower := after.get(layer[-1].output[0])):
            layer.append(follower)
        weight, bias = (values[name] for name in node.input[1:])
        whole = np.array_equal(weight, np.rint(weight)) and np.array_equal(bias, np.rint(bias))
        if tuple(each.op_type for each in layer) == LAYER and whole and np.abs(weight).max() < MIDDLE:
            yield layer


def _least(graph: onnx.GraphProto, values: Values, name: str) -> int:
    """The lower limit of the tensor ``name``: that of the Clip before it."""
    before = {output: node for node in graph.node for output in node.output}
    node = before[name]
    while node.op_type != "Clip":
        node = before[node.input[0]]
    return int(values[node.input[1]])


def _constant(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), [output], name=output, **attributes)
