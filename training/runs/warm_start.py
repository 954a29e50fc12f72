"""What networks begin with, if not from scratch: ``--fine-tune wels=RUN``, ``wels=MODEL`` or ``KIND=FILE``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sedkit.contract import Label
from training.data.augment.augmentation import crop
from training.data.manifest.vocabulary import Vocabulary
from training.loop.settings import Kind
from training.networks.onnx_import import read_onnx, refit_batch_norm
from training.networks.pretrained import BACKBONES
from training.networks.wels import Network, Pooling, Width, describe_network
from training.runs.teacher_files import last_network
from training.runtime.files import sha256
from training.supervision.predictions import TeacherError

CROPS = 128  # training crops, at most, whose statistics the network of a model file goes on with
BY_CLASS = ("wels.L4.", "wels.weights.")  # layers with a filter a class

KEPT = (  # of the run that is gone on from
    "command",
    "git_revision",
    "manifest_sha256",
    "settings",
    "supervision",
    "teachers",
    "begun_with",
)


class Beginning(NamedTuple):
    """Weights, and the network that they are of.

    Attributes
    ----------
    about : of a run or model that is gone on from: its name, its network in words, ``KEPT`` of its ``config.json``, and
        how many of the classes it knows.
    labels : classes that they are about; None: of any.
    published : are they a model file's, without statistics of batch normalisation?
    """

    kind: Kind
    weights: dict[str, torch.Tensor]
    width: Width = 1.0
    pooling: Pooling = "mean"
    about: dict[str, Any] | None = None
    labels: list[Label] | None = None
    published: bool = False

    def of_classes(self, labels: Sequence[Label]) -> Beginning:
        """The same for a network of these classes.

        Of those that it knows, by MID or else by name, if need be in another case, the filters of the last layers come
        along. A new one has zeros there: it begins with low scores, whatever is heard, and its segments weigh alike.
        """
        if self.labels is None:
            return self
        theirs = Vocabulary(self.labels)
        in_any_case = {label.name.casefold(): place for place, label in enumerate(self.labels)}

        def place_of(label: Label) -> int | None:
            for text in (label.mid, label.name):
                if text and (place := theirs.find(text)) is not None:
                    return place
            return in_any_case.get(label.name.casefold())

        places = [place_of(label) for label in labels]
        about = {**(self.about or {}), "known": len(places) - places.count(None)}
        rows = torch.tensor([-1 if place is None else place for place in places])
        changed = {}
        for name, value in self.weights.items():
            if name.startswith(BY_CLASS):
                new = torch.full_like(value[:1], -math.log(len(labels)) if name == "wels.L4.bias" else 0.0)
                changed[name] = torch.cat([value, new])[rows]  # -1 is the last
        return self._replace(weights=self.weights | changed, about=about, labels=list(labels))

    def standardised(self, waveforms: Sequence[NDArray[np.int16]], samples: int, seed: int) -> Beginning:
        """The same with statistics to go on with, of crops [samples] of some of these training clips."""
        if not self.published:
            return self
        random = np.random.default_rng(seed)
        chosen = random.permutation(len(waveforms))[:CROPS]
        network = Network(len(self.labels or []), self.width, pooling=self.pooling)
        network.load_state_dict(self.weights)
        refit_batch_norm(network, (crop(waveforms[i], samples, random.random()) for i in chosen))
        return self._replace(weights=network.state_dict(), published=False)


def of_file(kind: Kind, file: Path) -> Beginning:
    """What another network has learnt elsewhere (training.networks.pretrained).

    Raises
    ------
    SedkitError
        If the file is not of that kind.
    """
    return Beginning(kind, BACKBONES[kind].read(file))


def of_run(run: Path) -> Beginning:
    """The last network of a finished run, a WELS-Net.

    Raises
    ------
    TeacherError
        If the run is not finished, or its networks are others.
    """
    config, number, weights = last_network(run)
    settings = config["settings"]
    if settings["network"] != "wels":
        raise TeacherError(f"{run}: its networks are no WELS-Nets; teach with them (--teacher NAME={run})")
    epochs = len((run / f"generation-{number}" / "metrics.jsonl").read_text("utf-8").splitlines())
    ended = f", ended after {epochs} of {settings['epochs']} epochs" if epochs < settings["epochs"] else ""
    network = f"generation {number}, {describe_network(settings)}{ended}"
    about = {"run": run.name, "network": network, **{key: config.get(key) for key in KEPT}}
    labels = [Label(**label) for label in config["labels"]]
    return Beginning("wels", weights, settings["width"], settings["pooling"], about, labels)


def of_model(path: Path) -> Beginning:
    """The network in a model file; what is known of it is what the file says.

    Raises
    ------
    TeacherError
        If it cannot be read, is no WELS-Net, or is in 8-bit integers.
    """
    found = read_onnx(path)
    lineage = {"manifest_sha256": found.contract.lineage.get("dataset_sha256"), **found.contract.lineage}
    words = describe_network({"network": "wels", "width": found.width, "pooling": found.pooling})
    about = {
        "run": found.contract.name,
        "network": f"model {found.contract.name}, {words}",
        "model_sha256": sha256(path),
        **{key: lineage[key] for key in KEPT if key in lineage},
    }
    return Beginning("wels", found.weights, found.width, found.pooling, about, list(found.contract.labels), published=True)
