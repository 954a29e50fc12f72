"""The networks that are timed, as sedkit models, fp32 and int8: WELS-Net of full width, and the small model.

No trained network of full width is at hand, and speed does not need one. Weights are drawn with a fixed seed, and
batch normalisation and the front end take their statistics from real sound, so that activations have the ranges and
the zeros of a network at work. Scores then spread around 0.5, where a sigmoid is steepest.

What is made is kept in ``$XDG_CACHE_HOME/sedkit/benchmarks`` (``~/.cache/...``) under a name that changes with the code
that makes it, and made anew where it is missing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.audio import Recordings
from benchmarks.harness import Setup, packages
from sedkit.contract import Contract, Label
from sedkit.inference.installed import find_model, sibling
from sedkit.inference.model import Model

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

    from training.networks.wels import Network

CLASSES = 527
SEED = 0
STATISTICS = (8, 10.0)  # clips, and seconds each, that batch normalisation is set on
BATCH = 4
FITTING = (512, 5.12)  # clips, and seconds each, that the integers are fitted to
THRESHOLD = 0.9
SOURCES = (
    "benchmarks/networks.py",
    *(f"training/{name}.py" for name in ("wels", "logmel", "export", "float16", "quantize", "rounding")),
)


@dataclass(frozen=True)
class Models:
    """Files of one network as sedkit models."""

    name: str
    fp32: Path
    int8: Path


def full_width(setup: Setup) -> Models:
    """WELS-Net with all of Table 1's filters and AudioSet's 527 classes, made if need be.

    In a quick run, the small model takes its place.
    """
    if setup.quick:
        return small_model(setup)
    stem = cache_folder() / f"wels-full-{_key(setup.recordings)}"
    models = Models("full width", stem.with_suffix(".fp32.onnx"), stem.with_suffix(".int8.onnx"))
    if not models.fp32.exists():
        _export(models.fp32, setup.recordings)
    if not models.int8.exists():
        _quantise(models.fp32, models.int8, setup.recordings)
    return models


def small_model(setup: Setup) -> Models:
    """The small model that comes with sedkit; quantised here if it comes without an int8 form."""
    fp32 = find_model("small", precision="fp32")
    int8 = sibling(fp32, "int8")
    if not int8.exists():
        int8 = cache_folder() / f"{fp32.stem}-{_key(setup.recordings, fp32)}.int8.onnx"
    if not int8.exists():
        _quantise(fp32, int8, setup.recordings)
    return Models("small model", fp32, int8)


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sedkit" / "benchmarks"


def _key(recordings: Recordings, *sources: Path) -> str:
    """Changes with whatever a file depends on: code, other files, versions, and whether the sound is real."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256(str(recordings.real).encode())
    for source in (*map(root.joinpath, SOURCES), *sources):
        digest.update(source.read_bytes())
    with packages():
        for package in ("torch", "onnx"):
            digest.update(version(package).encode())
    return digest.hexdigest()[:12]


def _export(path: Path, recordings: Recordings) -> None:
    with packages():
        import torch

        from training.networks.wels import Network
        from training.release.export import export

    labels = tuple(Label(f"class {index}") for index in range(CLASSES))
    thresholds = (THRESHOLD,) * CLASSES
    description = Contract("benchmark", labels, thresholds, {"kind": "none"}, {"seed": SEED}, "CC0-1.0")
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        network = Network(CLASSES)
    set_statistics(network, torch.from_numpy(np.stack(list(recordings.many(*STATISTICS)))))
    export(network, description, path, list(recordings.many(2, 10)))


def _quantise(source: Path, target: Path, recordings: Recordings) -> None:
    with packages():
        from training.release.quantize import quantize
    target.parent.mkdir(parents=True, exist_ok=True)
    quantize(source, FittingClips(recordings, Model(source, "cpu").contract.labels), target, FITTING[0], SEED)


class FittingClips:
    """What quantisation needs of a data set: training clips and classes. Nothing is held out."""

    def __init__(self, recordings: Recordings, labels: tuple[Label, ...]) -> None:
        self.clips = [np.rint(clip * 32767).astype(np.int16) for clip in recordings.many(*FITTING)]
        self.manifest = self.vocabulary = self
        self.labels = labels

    def indices(self, split: str) -> NDArray[np.intp]:
        return np.arange(len(self.clips) if split == "train" else 0)

    def __getitem__(self, row: int) -> NDArray[np.int16]:
        return self.clips[row]


def set_statistics(network: Network, sound: Tensor) -> None:
    """Mean and spread of the log-mel bands, then of every batch normalisation, from waveforms [clips, samples]."""
    import torch

    with torch.no_grad():
        decibels = network.frontend.decibels(sound)
        network.frontend.mean.copy_(decibels.mean((0, 1)))
        network.frontend.std.copy_(decibels.std((0, 1)))
    settle(network, sound.split(BATCH))


def settle(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """Give batch normalisations the statistics of what flows through them, and leave the network in eval mode."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the plain mean over the batches that follow
            module.reset_running_stats()
    network.train()
    with torch.no_grad():
        for batch in batches:
            network(batch)
    network.eval()


@dataclass(frozen=True)
class Cut:
    """A sedkit graph in two: waveform → log-mel [batch, 1, frames, 64], and log-mel → probabilities.

    ``logmel`` is the name of the tensor between them.
    """

    front: Path
    body: Path
    logmel: str


def cut(models: Models, path: Path, scratch: Path) -> Cut:
    """Cut one file of a network at its log-mel, which the first convolution of the fp32 file takes.

    What int8 does to the log-mel first goes with the body, which ends at the sigmoid.
    """
    with packages():
        import onnx
        from onnx.utils import Extractor
    fp32, model = onnx.load(models.fp32), onnx.load(path)
    logmel = next(node.input[0] for node in fp32.graph.node if node.op_type == "Conv")
    scores = next(node.output[0] for node in model.graph.node if node.op_type == "Sigmoid")
    del model.graph.value_info[:]
    shapes: dict[str, Sequence[str | int]] = {
        logmel: ("batch", 1, "frames", 64),
        scores: ("batch", "classes", "K", 1),
    }
    for name, shape in shapes.items():
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        model.graph.value_info.append(value)
    parts = Cut(scratch / f"{path.stem}.front.onnx", scratch / f"{path.stem}.body.onnx", logmel)
    extractor = Extractor(model)
    onnx.save(extractor.extract_model(["waveform"], [logmel]), parts.front)
    onnx.save(extractor.extract_model([logmel], [scores]), parts.body)
    return parts


def multiply_adds(model: onnx.ModelProto, shape: Sequence[int]) -> int:
    """Multiply-adds of a graph's convolutions and matrix products with weights, for one input of a shape.

    Counted from the shapes of layers and weights: every weight counts once for every output position of its
    channel, at padded borders too. Graphs in float32 arithmetic only.
    """
    import onnx

    from training.networks.float16 import with_float32_weights

    model = with_float32_weights(model)
    for dimension, size in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dimension.dim_value = size
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    values = [*model.graph.value_info, *model.graph.output]
    sizes = {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in values}
    weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in weights:
            weight, output = weights[node.input[1]], sizes[node.output[0]]
            filters = output[1] if node.op_type == "Conv" else output[-1]
            total += int(np.prod(weight)) * int(np.prod(output)) // filters
    return total
