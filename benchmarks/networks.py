"""The networks that are timed, as sedkit models in fp32 and int8: WELS-Net at full width, and the small model.

The network at full width is random with a fixed seed, since speed does not depend on training. Batch normalisation and
the front end take their statistics from real audio, so activations have realistic ranges and zeros. Scores then
spread around 0.5, where the sigmoid is steepest.

Files are kept in ``$XDG_CACHE_HOME/sedkit/benchmarks`` (default ``~/.cache/...``) under a name that contains a hash of
the code that makes them, and are rebuilt if missing.
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
STATISTICS = (8, 10.0)  # clips and seconds each, for the statistics of batch normalisation
BATCH = 4
FITTING = (512, 5.12)  # clips and seconds each, to calibrate int8 on
THRESHOLD = 0.9
SOURCES = (  # the code that the full-width files depend on
    "benchmarks/networks.py",
    "training/networks/wels.py",
    "training/networks/logmel.py",
    "training/networks/float16.py",
    "training/release/export.py",
    "training/release/quantize.py",
    "training/release/int8_layers.py",
)


@dataclass(frozen=True)
class Models:
    """The two model files of a network."""

    name: str
    fp32: Path
    int8: Path


def full_width(setup: Setup) -> Models:
    """WELS-Net with all of Table 1's filters and 527 classes, built if it is not in the cache folder.

    A quick run uses the small model instead.
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
    """The small model that comes with sedkit."""
    return _installed(setup, "small", "small model")


def default_model(setup: Setup) -> Models:
    """The default model of sedkit; in quick runs, the small one."""
    return small_model(setup) if setup.quick else _installed(setup, None, "default model")


def _installed(setup: Setup, model: str | None, name: str) -> Models:
    """An installed model; quantised here if it has no int8 file."""
    fp32 = find_model(model, precision="fp32")
    int8 = sibling(fp32, "int8")
    if not int8.exists():
        int8 = cache_folder() / f"{fp32.stem}-{_key(setup.recordings, fp32)}.int8.onnx"
    if not int8.exists():
        _quantise(fp32, int8, setup.recordings)
    return Models(name, fp32, int8)


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sedkit" / "benchmarks"


def _key(recordings: Recordings, *sources: Path) -> str:
    """Hash of everything that a file depends on: code, other files, versions, and whether the audio is real."""
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
    """The part of a data set that quantisation reads: training clips and classes. Nothing is held out."""

    def __init__(self, recordings: Recordings, labels: tuple[Label, ...]) -> None:
        self.clips = [np.rint(clip * 32767).astype(np.int16) for clip in recordings.many(*FITTING)]
        self.manifest = self.vocabulary = self
        self.labels = labels

    def indices(self, split: str) -> NDArray[np.intp]:
        return np.arange(len(self.clips) if split == "train" else 0)

    def __getitem__(self, row: int) -> NDArray[np.int16]:
        return self.clips[row]


def set_statistics(network: Network, sound: Tensor) -> None:
    """Set the statistics of the front end, then of all batch norms, from waveforms [clips, samples]."""
    import torch

    with torch.no_grad():
        decibels = network.frontend.decibels(sound)
        network.frontend.mean.copy_(decibels.mean((0, 1)))
        network.frontend.std.copy_(decibels.std((0, 1)))
    fit_statistics(network, sound.split(BATCH))


def fit_statistics(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """Set the statistics of all batch norms from these batches and leave the network in eval mode."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # average over all following batches
            module.reset_running_stats()
    network.train()
    with torch.no_grad():
        for batch in batches:
            network(batch)
    network.eval()


@dataclass(frozen=True)
class Cut:
    """A sedkit graph in two parts: waveform -> log-mel [batch, 1, frames, 64], and log-mel -> probabilities.

    ``logmel`` is the name of the tensor between them.
    """

    front: Path
    body: Path
    logmel: str


def cut(models: Models, path: Path, scratch: Path) -> Cut:
    """Cut a model file at its log-mel, which is the input of the first convolution in the fp32 file.

    The int8 file quantises the log-mel first; this is part of the body. The body ends at the sigmoid:
    [batch, K, classes], or [batch, classes, K, 1] in older files.
    """
    with packages():
        import onnx
        from onnx.utils import Extractor
    fp32, model = onnx.load(models.fp32), onnx.load(path)
    logmel = next(node.input[0] for node in fp32.graph.node if node.op_type == "Conv")
    scores = next(node.output[0] for node in model.graph.node if node.op_type == "Sigmoid")
    del model.graph.value_info[:]
    shapes: dict[str, Sequence[str | int] | None] = {
        logmel: ("batch", 1, "frames", 64),
        scores: None,
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
    """Multiply-adds of a graph's convolutions and matrix products with weights, for one input of ``shape``.

    Every weight counts once for every output position of its channel, padded borders included. Only graphs with
    float32 arithmetic are supported.
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
