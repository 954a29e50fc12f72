"""Warm starts: initial weights other than random ones (``--fine-tune wels=RUN``, ``wels=MODEL`` or ``KIND=FILE``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sedkit.contract import Label
from training.data.audio import crop
from training.data.manifest.vocabulary import Vocabulary
from training.loop.settings import Kind
from training.networks.onnx_import import read_onnx, refit_batch_norm
from training.networks.pretrained import BACKBONES
from training.networks.stem import with_stem
from training.networks.wels import Network, Pooling, Stem, Width, describe_network, exempt_classes, resolve_filters
from training.networks.widening import can_widen, widen
from training.runs.config import RunError, read_config
from training.runs.reports import read_epochs
from training.runs.teacher_files import exported_network
from training.runtime.checkpoint import CheckpointError, load
from training.runtime.files import sha256
from training.supervision.predictions import TeacherError

FILE = "begun.pt"  # in the run directory
CROPS = 128  # training crops, at most, from which a model file's network gets its batch statistics
CLASS_LAYERS = ("wels.L4.", "wels.weights.")  # layers with one filter per class

KEPT = (  # keys of the other run's config.json that are copied
    "command",
    "git_revision",
    "manifest_sha256",
    "settings",
    "supervision",
    "teachers",
    "begun_with",
)


class WarmStart(NamedTuple):
    """Initial weights and the network that they belong to.

    Attributes
    ----------
    about : for a run or a model file: its name, its network in words, ``KEPT`` of its ``config.json``, and how many of
        the classes it knows.
    labels : classes of the last layer; None: the weights have no class-specific layer.
    folded : whether batch normalisation is folded into the convolutions, as in a model file.
    """

    kind: Kind
    weights: dict[str, torch.Tensor]
    width: Width = 1.0
    pooling: Pooling = "mean"
    about: dict[str, Any] | None = None
    labels: list[Label] | None = None
    folded: bool = False
    stem: Stem = "full"

    def for_classes(self, labels: Sequence[Label]) -> WarmStart:
        """The same weights for a network with the classes ``labels``.

        Known classes, matched by MID or else by name regardless of case, keep the filters of the last layers. New
        classes get zeros: they start with low scores for every input, and weight all segments equally.
        """
        if self.labels is None:
            return self
        places = Vocabulary(self.labels).match(labels)
        about = {**(self.about or {}), "known": len(places) - places.count(None)}
        rows = torch.tensor([-1 if place is None else place for place in places])
        changed = {}
        for name, value in self.weights.items():
            if name == "exempt":
                changed[name] = exempt_classes(labels)
            elif name.startswith(CLASS_LAYERS):
                new = torch.full_like(value[:1], -math.log(len(labels)) if name == "wels.L4.bias" else 0.0)
                changed[name] = torch.cat([value, new])[rows]  # row -1 is the new one
        return self._replace(weights=self.weights | changed, about=about, labels=list(labels))

    def check_width(self, width: Width) -> None:
        """Raise RunError if a network of this width would have fewer filters in a layer."""
        old = resolve_filters(self.width)
        if not can_widen(old, resolve_filters(width)):
            raise RunError(
                f"--width: the warm start has {','.join(map(str, old))} filters; give at least as many, or leave it out"
            )

    def widened(self, width: Width, seed: int) -> WarmStart:
        """The same for a network with more filters, which computes the same scores (training.networks.widening)."""
        if width == self.width:
            return self
        filters = resolve_filters(width)
        return self._replace(weights=widen(self.weights, filters, np.random.default_rng(seed)), width=width)

    def with_statistics(self, waveforms: Sequence[NDArray[np.int16]], samples: int, seed: int) -> WarmStart:
        """The same with batch statistics, if they are folded, measured on random crops of ``samples`` samples."""
        if not self.folded:
            return self
        random = np.random.default_rng(seed)
        chosen = random.permutation(len(waveforms))[:CROPS]
        network = self._network()
        refit_batch_norm(network, (crop(waveforms[i], samples, random.random()) for i in chosen))
        return self._replace(weights=network.state_dict(), folded=False)

    def with_stem(self, stem: Stem, waveforms: Sequence[NDArray[np.int16]], samples: int, seed: int) -> WarmStart:
        """The same for a network with this stem, fitted to the one there is (training.networks.stem)."""
        if stem == self.stem:
            return self
        return self._replace(weights=with_stem(self._network(), stem, waveforms, samples, seed), stem=stem)

    def _network(self) -> Network:
        network = Network(len(self.labels or []), self.width, pooling=self.pooling, stem=self.stem)
        network.load_state_dict(self.weights)
        return network


def from_backbone(kind: Kind, file: Path) -> WarmStart:
    """A pretrained backbone (training.networks.pretrained).

    Raises
    ------
    SedkitError
        If the file does not hold a network of that kind.
    """
    return WarmStart(kind, BACKBONES[kind].read(file))


def from_run(run: Path) -> WarmStart:
    """The exported network of a finished run of WELS-Nets.

    Raises
    ------
    TeacherError
        If the run is not finished, or its networks are pretrained backbones.
    """
    config, number, weights = exported_network(run)
    settings = config["settings"]
    if settings["network"] != "wels":
        raise TeacherError(f"{run}: its networks are not WELS-Nets; use them as teachers (--teacher NAME={run})")
    epochs = len(read_epochs(run / f"generation-{number}"))
    ended = f", ended after {epochs} of {settings['epochs']} epochs" if epochs < settings["epochs"] else ""
    network = f"generation {number}, {describe_network(settings)}{ended}"
    about = {"run": run.name, "network": network, **{key: config.get(key) for key in KEPT}}
    labels = [Label(**label) for label in config["labels"]]
    return WarmStart("wels", weights, settings["width"], settings["pooling"], about, labels, stem=settings["stem"])


def from_model(path: Path) -> WarmStart:
    """The network of a model file.

    Raises
    ------
    OnnxImportError
        If it cannot be read, is not a WELS-Net, or is an int8 model.
    """
    model = read_onnx(path)
    lineage = {"manifest_sha256": model.contract.lineage.get("dataset_sha256"), **model.contract.lineage}
    kind = {"network": "wels", "width": model.width, "pooling": model.pooling, "stem": model.stem}
    words = describe_network(kind)
    about = {
        "run": model.contract.name,
        "network": f"model {model.contract.name}, {words}",
        "model_sha256": sha256(path),
        **{key: lineage[key] for key in KEPT if key in lineage},
    }
    labels = list(model.contract.labels)
    return WarmStart("wels", model.weights, model.width, model.pooling, about, labels, folded=True, stem=model.stem)


def read_warm_start(run: Path) -> dict[str, torch.Tensor]:
    """The initial weights in a run directory; none if the run started from random weights.

    Raises
    ------
    RunError
        If they are needed and cannot be read.
    """
    if not read_config(run).get("begun_sha256"):
        return {}
    try:
        return load(run / FILE)
    except CheckpointError:
        raise RunError(f"{run / FILE}: the warm start cannot be read; begin a new run") from None
