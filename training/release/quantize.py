"""fp32 model -> int8 model: ``sedkit-train quantize MODEL.onnx --manifest MANIFEST``.

The convolutions of WELS-Net up to layer L3 become integer convolutions in QuantizeLinear / DequantizeLinear form:
8-bit activations with one scale per tensor, 7-bit weights with one scale per filter. ``int8_layers`` computes them from
calibration clips, which are drawn from the training split. The front end, the last layer with its sigmoid, and the
silence gate stay float32: they take a few percent of the time, and one step of an 8-bit logit would change a score by
up to 0.03.

The first convolution has one input channel, which is slow in ONNX Runtime's integer kernels. It is rewritten to 16
channels: the log-mel at frames t - 1, t and t + 1, four copies each, the rounding remainders of these three, and one
channel of padding with zero weights. With patches, there are 12 channels, of two frames.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sedkit.contract import Contract, metadata_of
from sedkit.errors import SedkitError
from sedkit.geometry import SAMPLE_RATE
from sedkit.inference.installed import sibling
from sedkit.inference.onnx_runtime import onnxruntime
from sedkit.metrics import summary
from sedkit.model_file import ModelFile, with_digest
from training.data.audio import crop, without_padding
from training.data.store.source import Audio, open_audio
from training.networks.float16 import with_float32_weights
from training.release.imported.integers import quantize_imported
from training.release.int8_layers import COPIES, FINENESS, Grid, Layer, QuantizedLayer, parts, quantize_layers
from training.release.pairs import DIGEST
from training.release.scoring import as_input, rounded
from training.runs.config import git_revision
from training.runtime.command_line import refuse_to_replace
from training.runtime.files import replacing
from training.runtime.progress import decoding

SECONDS = 5.12  # length of the calibration crops
END = np.iinfo(np.int64).max  # of a slice: the last frame


class QuantizeError(SedkitError):
    """A model cannot be quantized."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--manifest", required=True, help="Manifest of the model's training and test clips.")
@click.option("--vocabulary", type=click.Path(path_type=Path), help="Class list [default: beside the manifest].")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Output file [default: MODEL-int8.onnx, where sedkit looks].",
)
@click.option("--clips", type=click.IntRange(1), default=1024, help="Number of training clips for calibration.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed for drawing these clips.")
def main(model: Path, manifest: str, vocabulary: Path | None, output: Path | None, clips: int, seed: int) -> None:
    """Make the int8 version of an fp32 MODEL, and measure its loss of accuracy on held-out clips.

    An imported YAMNet needs no calibration: its scores are compared on clips of the manifest, with any classes.

    \b
    Examples:
      sedkit-train quantize runs/20260101-120000/model.onnx --manifest manifest.csv
      sedkit-train quantize mine.onnx --manifest manifest.csv --clips 2000
    """
    if output:
        refuse_to_replace(output, model)
    try:
        output = output or sibling(model, "int8")
        with decoding() as progress:
            audio = open_audio(manifest, vocabulary, progress=progress)
        loss = quantize(model, audio, output, clips, seed)
    except SedkitError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{output}  ({output.stat().st_size / model.stat().st_size:.2f} of the fp32 size)")
    if "calibrated_on" in read_contract(output).lineage:
        click.echo(f"it has the calibration of {model}; for its own, continue with sedkit-train calibrate")
    for split, lost in loss.items():
        click.echo(f"{split}: " + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in lost.items()))


def quantize(path: Path, audio: Audio, output: Path, clips: int, seed: int) -> dict[str, dict[str, float]]:
    """Write the int8 version of the model at ``path`` to ``output``.

    Returns
    -------
    The loss of accuracy on each held-out split, as :func:`measure_loss` has it; for an imported YAMNet, how much its
    scores differ (training.release.imported.integers).

    Raises
    ------
    SedkitError
        If the model is neither an fp32 WELS-Net nor an imported YAMNet, or its classes differ from the manifest's.
    """
    content = path.read_bytes()
    about = read_contract(path)
    try:
        model = with_float32_weights(onnx.load_from_string(content))
    except DecodeError:
        raise QuantizeError(f"{path}: not a readable ONNX file: export or copy it again") from None
    labels = audio.manifest.vocabulary.labels
    if "quantisation" in about.lineage:
        raise QuantizeError(f"{path}: already quantized: give the fp32 model")
    if "imported" in about.lineage:
        return {"clips of the manifest": quantize_imported(path, model, audio, output, seed)}
    if about.labels != labels:
        raise QuantizeError(
            f"{path}: its {len(about.labels)} classes differ from the manifest's {len(labels)}: give the model's own "
            "manifest"
        )
    layers, convolutions = read_layers(model, path)
    rows = np.random.default_rng(seed).permutation(audio.manifest.indices("train"))[:clips]
    if not len(rows):
        raise QuantizeError("the manifest has no clips in the split 'train': calibration needs some")
    with click.progressbar(length=len(layers), label="layers", file=sys.stderr) as bar:
        trimmed = [without_padding(audio[row]) for row in rows]
        logmel = calibration_inputs(model, convolutions[0].input[0], trimmed, seed)
        quantized, output_grid = quantize_layers(layers, logmel, lambda done, total: bar.update(min(done, 1)))
    integers = quantized_graph(model, convolutions, quantized, output_grid)
    metrics, loss = measure_loss(content, integers.SerializeToString(), audio)
    quantisation = {
        "precision": "int8",
        "of_sha256": hashlib.sha256(content).hexdigest(),
        DIGEST: ModelFile(path).digest,
        "clips": len(rows),
        "seed": seed,
        "git_revision": git_revision(),
        "loss": loss,
    }
    lineage = {**about.lineage, "quantisation": quantisation, "metrics": metrics}
    about = replace(about, name=f"{about.name}-int8", lineage=lineage)
    helper.set_model_props(integers, about.to_metadata())
    onnx.checker.check_model(integers, full_check=True)
    with replacing(output) as temporary:
        temporary.write_bytes(with_digest(integers.SerializeToString(deterministic=True)))
    return loss


def read_contract(path: Path) -> Contract:
    """The contract in a model's metadata.

    Raises
    ------
    QuantizeError
        If the file is not a sedkit model.
    """
    try:
        return Contract.from_metadata(metadata_of(path))
    except SedkitError as error:
        raise QuantizeError(f"{path}: {error}") from None


def read_layers(model: onnx.ModelProto, path: Path) -> tuple[list[Layer], list[onnx.NodeProto]]:
    """The chain of convolutions with ReLU in a graph.

    Returns
    -------
    The layers, and their Conv nodes plus the Conv node of L4, which follows them.

    Raises
    ------
    QuantizeError
        If the graph is not that of a WELS-Net.
    """
    weights = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
    after: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            after.setdefault(name, []).append(node)

    def consumer(node: onnx.NodeProto, kind: str) -> onnx.NodeProto | None:
        return next((other for other in after.get(node.output[0], []) if other.op_type == kind), None)

    layers: list[Layer] = []
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"][:1]
    while convolutions and (relu := consumer(convolutions[-1], "Relu")):
        node = convolutions[-1]
        pool = consumer(relu, "MaxPool")
        sides = attributes(pool)["kernel_shape"] if pool else [1, 1]
        paddings = set(attributes(node).get("pads", [0]))
        steps = set(attributes(node).get("strides", [1]))
        strides = attributes(pool)["strides"] if pool else sides
        following = consumer(pool or relu, "Conv")
        operands = [weights[name] for name in node.input[1:] if name in weights]
        if len(operands) < 2 or len(paddings) > 1 or len(steps) > 1 or len({*sides, *strides}) > 1 or following is None:
            break
        layers.append(Layer(operands[0], operands[1], paddings.pop(), sides[0], steps.pop()))
        convolutions.append(following)
    last = after[convolutions[-1].input[0]] if layers else []  # L4, and the attention weights beside it
    if not layers or len(layers) + count_convolutions(last) != count_convolutions(model.graph.node):
        raise QuantizeError(f"{path}: not the graph of a WELS-Net: give the model.onnx of a run")
    return layers, convolutions


def count_convolutions(nodes: Iterable[onnx.NodeProto]) -> int:
    """Number of Conv nodes."""
    return sum(node.op_type == "Conv" for node in nodes)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes of a node by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def calibration_inputs(
    model: onnx.ModelProto, name: str, clips: Iterable[NDArray[np.int16]], seed: int
) -> torch.Tensor:
    """The tensor ``name`` of the graph for a random crop of each clip, [clips, 1, frames, 64]."""
    front = onnx.ModelProto()
    front.CopyFrom(model)
    del front.graph.output[:]
    front.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(front.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(seed)
    crops = (crop(clip, round(SECONDS * SAMPLE_RATE), random.random()) for clip in clips)
    return torch.cat([torch.from_numpy(session.run([name], as_input(cut))[0]) for cut in crops])


def quantized_graph(
    model: onnx.ModelProto,
    convolutions: Sequence[onnx.NodeProto],
    quantized: Sequence[QuantizedLayer],
    output_grid: Grid,
) -> onnx.ModelProto:
    """The graph with integer convolutions in place of all float32 ones but the last (L4)."""
    integers = onnx.ModelProto()
    integers.CopyFrom(model)
    graph = Builder(integers.graph)
    source, target = convolutions[0].input[0], convolutions[-1].input[0]
    x = stacked_frames(graph, source, quantized[0])
    for number, (node, layer) in enumerate(zip(convolutions, quantized, strict=False)):
        steps = layer.steps
        options = {"pads": attributes(node).get("pads", [0] * 4)}
        if number == 0:
            whole, rest = parts(steps)
            steps = torch.cat([part.transpose(1, 2) for part in (*whole, rest)], 1)  # frames become channels
            steps = torch.nn.functional.pad(steps, (0, 0, 0, 0, 0, -steps.shape[1] % 4))
            options = {"pads": [0, layer.layer.padding] * 2, "strides": [1, layer.layer.stride]}
        name = f"int8.{number}"
        scale = layer.scales.numpy() * np.float32(layer.grid.scale)
        weight = graph.constant_weights(f"{name}.weight", steps.numpy().astype(np.int8), layer.scales.numpy())
        bias = graph.constant_weights(f"{name}.bias", np.round(layer.bias.numpy() / scale).astype(np.int32), scale)
        x = graph.add("Conv", [graph.dequantize(x, layer.grid), weight, bias], f"{name}.conv", **options)
        grid = quantized[number + 1].grid if number + 1 < len(quantized) else output_grid
        x = graph.quantize(x, grid)  # the grid starts at 0, so this is the ReLU, too
        if (side := layer.layer.pool) > 1:
            x = graph.add("MaxPool", [x], f"{name}.pool", kernel_shape=[side] * 2, strides=[side] * 2)
    graph.dequantize(x, output_grid, target)
    graph.insert(convolutions[0], target)
    return integers


def stacked_frames(graph: Builder, x: str, first: QuantizedLayer) -> str:
    """The first convolution's input channels of uint8, described in the module docstring."""
    grid, layer = first.grid, first.layer
    height = layer.weight.shape[2]
    rough = graph.quantize(x, grid)
    lost = graph.add("Sub", [x, graph.dequantize(rough, grid)], "int8.lost")
    enlarged = graph.add("Mul", [lost, graph.constant("int8.fineness", np.float32(FINENESS))], "int8.enlarged")
    rest = graph.quantize(enlarged, grid)
    frames = []
    for name, part in (("rough", rough), ("rest", rest)):
        if layer.padding:
            ends = graph.constant("int8.ends", np.array([0, 0, layer.padding, 0] * 2))
            part = graph.add("Pad", [part, ends, graph.zero(grid)], f"int8.{name}.padded")
        for begin in range(height):
            last = begin + 1 == height
            bounds = {"begin": begin, "end": END if last else begin + 1 - height, "axis": 2, "step": layer.stride}
            where = [graph.constant(f"int8.{key}.{at}", np.array([at])) for key, at in bounds.items()]
            frames.append(graph.add("Slice", [part, *where], f"int8.{name}.{begin}"))
    channels = frames[:height] * COPIES + frames[height:]
    return graph.add("Concat", channels + frames[:1] * (-len(channels) % 4), "int8.input", axis=1)


class Builder:
    """New nodes and constants for a graph. Methods return the name of the tensor that they add."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def zero(self, grid: Grid) -> str:
        return self.constant(f"int8.zero.{grid.zero}", np.uint8(grid.zero))

    def quantize(self, x: str, grid: Grid) -> str:
        scale = self.constant(f"{x}.scale", np.float32(grid.scale))
        return self.add("QuantizeLinear", [x, scale, self.zero(grid)], f"{x}.uint8")

    def dequantize(self, x: str, grid: Grid, name: str | None = None) -> str:
        scale = self.constant(f"{x}.scale", np.float32(grid.scale))
        return self.add("DequantizeLinear", [x, scale, self.zero(grid)], name or f"{x}.float")

    def constant_weights(self, name: str, values: NDArray[Any], scale: NDArray[np.float32]) -> str:
        """Integer constants with a scale per entry of the first axis, dequantized."""
        zero = self.constant(f"{name}.zero", np.zeros(len(scale), values.dtype))
        operands = [self.constant(f"{name}.steps", values), self.constant(f"{name}.scale", scale), zero]
        return self.add("DequantizeLinear", operands, name, axis=0)

    def insert(self, first: onnx.NodeProto, target: str) -> None:
        """Insert the new nodes before ``first``.

        The old node that computed ``target`` is removed, and then every node and constant that no output needs.
        """
        old = list(self.graph.node)
        position = [node.name for node in old].index(first.name)
        del self.graph.node[:]
        rest = [node for node in old[position:] if target not in node.output]
        self.graph.node.extend([*old[:position], *self.nodes, *rest])
        self.graph.initializer.extend(self.constants.values())
        needed = {output.name for output in self.graph.output}
        for node in reversed(list(self.graph.node)):
            if needed & set(node.output):
                needed |= set(node.input)
            else:
                self.graph.node.remove(node)
        for tensor in [tensor for tensor in self.graph.initializer if tensor.name not in needed]:
            self.graph.initializer.remove(tensor)


def measure_loss(exact: bytes, integers: bytes, audio: Audio) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """Metrics of the int8 model on the held-out splits, and its losses against the fp32 model.

    Losses are fp32 minus int8. ``largest_difference`` and ``mean_difference`` are those between all segment scores.
    """
    sessions = [onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]) for model in (exact, integers)]
    metrics: dict[str, Any] = {}
    loss: dict[str, dict[str, float]] = {}
    for split in ("validation", "test"):
        rows = audio.manifest.indices(split)
        if not len(rows):
            continue
        clip_scores: list[list[NDArray[np.float32]]] = [[], []]
        largest = total = count = 0.0
        for row in rows:
            outputs = [session.run(["segments", "clip"], as_input(audio[row])) for session in sessions]
            difference = np.abs(outputs[0][0] - outputs[1][0])
            largest = max(largest, float(difference.max()))
            total, count = total + float(difference.sum()), count + difference.size
            for scores, (_, clip) in zip(clip_scores, outputs, strict=True):
                scores.append(clip[0])
        targets, labels = audio.manifest.targets(rows), audio.manifest.vocabulary.labels
        before, after = (summary(targets, np.stack(scores), labels).to_dict() for scores in clip_scores)
        metrics[split] = rounded(after)
        lost = {key: round(before[key] - after[key], 5) for key in metrics[split]}
        loss[split] = {
            "clips": len(rows),
            **lost,
            "largest_difference": round(largest, 4),
            "mean_difference": round(total / count, 6),
        }
    return metrics, loss
