"""External teachers that are asked of what the student hears, as files in a run: ``teachers/NAME.pt``.

Two kinds: a listener (training.supervision.yamnet_teacher), and a network of whatever width, the last of an earlier run or that of a
model file::

    network   its state, float16
    kind      as in settings: WELS-Net, or what was fine-tuned; files of before there was another do without
    width     of its filters, or these
    about     its classes, what the teacher is and how good it is on each split
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from sedkit.contract import Label
from training.networks.onnx_import import read_onnx
from training.networks.pretrained import build_network
from training.networks.wels import describe_network
from training.runs.config import read_config
from training.runs.reports import read_generation
from training.runtime.checkpoint import load, save
from training.runtime.files import replacing
from training.supervision import yamnet_teacher as listeners
from training.supervision.online import Asked, Generation
from training.supervision.predictions import TeacherError

MODEL = ".onnx"  # how the name of a model file ends


def bring(teacher: Path, to: Path, data: str, labels: Sequence[Label]) -> dict[str, Any]:
    """Copy a listener's file, or make one of a finished run or a model; returns what there is to say of it.

    Raises
    ------
    TeacherError
        If it cannot be read, is not finished, or is about other classes, or a listener about another manifest.
    """
    if teacher.is_dir():
        return _of_run(teacher, to, data, labels)
    if teacher.suffix.lower() == MODEL:
        return _of_model(teacher, to, data, labels)
    about = listeners.load(teacher, data, labels).about
    with replacing(to) as temporary:
        shutil.copyfile(teacher, temporary)
    return about


def read(path: Path, data: str, labels: Sequence[Label], clips: int) -> Asked:
    """The teacher in a file that :func:`bring` left, for a manifest of so many ``clips``.

    Raises
    ------
    CheckpointError, TeacherError
        If it cannot be read.
    """
    state = load(path)
    if "network" not in state:
        listener = listeners.load(path, data, labels)
        return Asked(listener.listener, listener.parts)
    pooling = state.get("pooling", "mean")
    network = build_network(state.get("kind", "wels"), len(labels), state["width"], pooling=pooling)
    network.load_state_dict(state["network"])
    return Asked(Generation(network), np.zeros(clips, np.int64))


def last_network(run: Path) -> tuple[dict[str, Any], int, dict[str, Tensor]]:
    """``config.json`` of a finished run, the number of its last generation and that one's weights.

    Raises
    ------
    CheckpointError, TeacherError
        If they cannot be read, or the run is not finished.
    """
    config = read_config(run)
    last = len(config["supervision"]) - 1
    generation = run / f"generation-{last}"
    if not (generation / "report.json").exists():
        raise TeacherError(f"{run}: is no finished run; go on with python -m training.secost --resume {run}")
    return config, last, load(generation / "network.pt")["network"]


def _of_run(run: Path, to: Path, data: str, labels: Sequence[Label]) -> dict[str, Any]:
    config, last, network = last_network(run)
    if config["labels"] != [asdict(label) for label in labels]:
        raise TeacherError(f"{run}: learnt other classes; a teacher must know those of the manifest")
    report, settings = read_generation(run / f"generation-{last}"), config["settings"]
    same = config["manifest_sha256"] == data  # else its figures are of other clips
    about = {
        "teacher": f"generation {last} of an earlier cascade, {describe_network(settings)}",
        "model": config["model"]["name"],
        "metrics": {split: _figures(report[split]) for split in ("validation", "test") if same and split in report},
    }
    kind = {"kind": settings["network"], "width": settings["width"], "pooling": settings["pooling"]}
    _keep(run, network, kind, about, to)
    return about


def _of_model(path: Path, to: Path, data: str, labels: Sequence[Label]) -> dict[str, Any]:
    found = read_onnx(path)
    if found.contract.labels != tuple(labels):
        raise TeacherError(f"{path}: knows other classes; a teacher must know those of the manifest")
    kind = {"kind": "wels", "width": found.width, "pooling": found.pooling}
    lineage, words = found.contract.lineage, describe_network({"network": "wels", **kind})
    metrics = lineage.get("metrics", {}) if lineage.get("dataset_sha256") == data else {}
    about = {
        "teacher": f"a model file, {words}",
        "model": found.contract.name,
        "metrics": {split: _figures(metrics[split]) for split in ("validation", "test") if split in metrics},
        "manifest_sha256": lineage.get("dataset_sha256"),
    }
    _keep(path, found.weights, kind, about, to)
    return about


def _keep(teacher: Path, network: dict[str, Tensor], kind: dict[str, Any], about: dict[str, Any], to: Path) -> None:
    halves = {name: value.half() if value.is_floating_point() else value for name, value in network.items()}
    if not all(value.isfinite().all() for value in halves.values()):
        raise TeacherError(f"{teacher}: its network has weights that float16 cannot hold; it cannot be asked")
    save({"network": halves, **kind, "about": about}, to)


def _figures(split: dict[str, Any]) -> dict[str, float]:
    return {key: round(split[key], 4) for key in ("mAP", "accuracy") if split.get(key) is not None}
