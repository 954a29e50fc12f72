"""What the networks of a run begin with, where that is not from scratch: ``--fine-tune KIND=FILE``, ``wels=RUN``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sedkit.contract import Label
from training.asked import last_network
from training.fine_tuned import ORIGINS
from training.predictions import TeacherError
from training.settings import Kind
from training.wels import Pooling, Width, in_words

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
    about : of a run that is gone on from: its name, its last network in words, and ``KEPT`` of its ``config.json``.
    labels : classes that they are about; None: of any.
    """

    kind: Kind
    weights: dict[str, torch.Tensor]
    width: Width = 1.0
    pooling: Pooling = "mean"
    about: dict[str, Any] | None = None
    labels: list[dict[str, Any]] | None = None

    def check(self, labels: Sequence[Label]) -> None:
        """Raise TeacherError unless they are about these classes."""
        if self.labels not in (None, [asdict(label) for label in labels]):
            raise TeacherError(f"{self.about['run']}: learnt other classes; go on with a manifest of the same")


def of_file(kind: Kind, file: Path) -> Beginning:
    """What another network has learnt elsewhere (training.fine_tuned).

    Raises
    ------
    SedkitError
        If the file is not of that kind.
    """
    return Beginning(kind, ORIGINS[kind].read(file))


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
    network = f"generation {number}, {in_words(settings)}{ended}"
    about = {"run": run.name, "network": network, **{key: config.get(key) for key in KEPT}}
    return Beginning("wels", weights, settings["width"], settings["pooling"], about, config["labels"])
