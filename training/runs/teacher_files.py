"""The teachers of a run: earlier generations, and external ones, which lie in ``teachers/`` of the run directory.

An external teacher is one of two files::

    teachers/NAME.npz   its scores for every clip (training.supervision.predictions)
    teachers/NAME.pt    a network that scores the student's augmented input or isolated clips: an online YAMNet teacher
                        (training.supervision.yamnet_teacher), or the network that another run exports or a model file
                        holds:
        network   its state, float16
        kind      as in the settings: WELS-Net or a pretrained backbone; older files lack it
        width     factor on its filters, or the filters
    gate      whether it leaves silent segments out of clip scores; older files lack it, and do
        about     its classes, what it is, and its metrics on each split
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sedkit.contract import Label
from training.networks.onnx_import import read_onnx
from training.networks.pretrained import build_network
from training.networks.wels import describe_network
from training.runs.chosen import chosen_generation
from training.runs.config import RunError, read_config
from training.runs.generations import trained_network
from training.runs.reports import read_generation
from training.runs.run import Run
from training.runtime.checkpoint import load, save
from training.runtime.files import replacing
from training.supervision import yamnet_teacher
from training.supervision.equations import LABELS, Supervision
from training.supervision.online import ClipScorer, OnlineTeacher
from training.supervision.predictions import TeacherError, read_predictions, write_predictions
from training.supervision.targets import Teachers, TeachersHear

MODEL = ".onnx"  # suffix of a model file


def teacher_file(run: Path, name: str, suffix: str) -> Path:
    """Path of an external teacher in a run directory; ``suffix`` is ``.npz`` (scores) or ``.pt`` (network)."""
    return run / "teachers" / f"{name}{suffix}"


def copy_teacher(
    source: Path, run: Path, name: str, hear: TeachersHear, data: str, labels: Sequence[Label]
) -> dict[str, Any]:
    """Copy an external teacher into the run directory; returns what it says about itself.

    Parameters
    ----------
    source : a score file, an online teacher, a finished run or a model file.
    hear : what teachers take as input (``--teachers-hear``).
    data : SHA-256 of the manifest.

    Raises
    ------
    RunError
        If such a teacher cannot take that input.
    TeacherError
        If it cannot be read, its run is not finished, or it belongs to other classes or another manifest.
    """
    for suffix in (".npz", ".pt"):  # of a run that failed to start
        teacher_file(run, name, suffix).unlink(missing_ok=True)
    is_network = source.is_dir() or source.suffix.lower() == MODEL
    if hear == "sounds" and not is_network:
        raise RunError(f"{source}: not a run or a model file; --teachers-hear sounds needs one of these")
    if is_network or source.suffix == ".pt":
        if hear == "clip":
            raise RunError(f"{source}: scores the student's augmented input; add --teachers-hear view")
        return _copy_network(source, teacher_file(run, name, ".pt"), data, labels)
    predictions = read_predictions(source, data, labels)
    write_predictions(teacher_file(run, name, ".npz"), predictions, data, labels)
    return predictions.about


def read_teachers(run: Run, supervision: Supervision, device: torch.device) -> Teachers:
    """The teachers of one generation.

    Raises
    ------
    CheckpointError, TeacherError
        If one cannot be read.
    """
    train = run.manifest.indices("train")
    teachers = Teachers({}, {}, {})
    for key in supervision:
        if isinstance(key, int):
            network = trained_network(run.generation(key), run.settings, len(run.labels), device)
            teachers.generations[key] = network, run.generation(key) / "network.pt"
        elif key != LABELS and (path := teacher_file(run.directory, key, ".pt")).exists():
            online = _read_network(path, run.data, run.labels, len(run.manifest))
            teachers.online[key] = online._replace(teacher=online.teacher.to(device), parts=online.parts[train])
        elif key != LABELS:
            predictions = read_predictions(teacher_file(run.directory, key, ".npz"), run.data, run.labels)
            teachers.scores[key] = predictions.probabilities[train]
    return teachers


def exported_network(run: Path) -> tuple[dict[str, Any], int, dict[str, Tensor]]:
    """``config.json`` of a finished run, the number of the generation that it exports, and that generation's weights.

    Raises
    ------
    CheckpointError, TeacherError
        If they cannot be read, or the run is not finished.
    """
    config = read_config(run)
    generations = [run / f"generation-{number}" for number in range(len(config["supervision"]))]
    if not (generations[-1] / "report.json").exists():
        raise TeacherError(f"{run}: the run is not finished; continue it with sedkit-train secost --resume {run}")
    chosen = chosen_generation(run, [read_generation(generation) for generation in generations])
    return config, chosen, load(generations[chosen] / "network.pt")["network"]


def _read_network(path: Path, data: str, labels: Sequence[Label], clips: int) -> OnlineTeacher:
    """The online teacher in a file that :func:`copy_teacher` wrote, for a manifest of ``clips`` clips."""
    state = load(path)
    if "network" not in state:
        fitted = yamnet_teacher.load(path, data, labels)
        return OnlineTeacher(fitted.teacher, fitted.parts)
    pooling = state.get("pooling", "mean")
    kind, gate = state.get("kind", "wels"), state.get("gate", True)
    network = build_network(kind, len(labels), state["width"], pooling=pooling, gate=gate)
    network.load_state_dict(state["network"])
    return OnlineTeacher(ClipScorer(network), np.zeros(clips, np.int64))


def _copy_network(source: Path, to: Path, data: str, labels: Sequence[Label]) -> dict[str, Any]:
    if source.is_dir():
        return _copy_run(source, to, data, labels)
    if source.suffix.lower() == MODEL:
        return _copy_model(source, to, data, labels)
    about = yamnet_teacher.load(source, data, labels).about
    with replacing(to) as temporary:
        shutil.copyfile(source, temporary)
    return about


def _copy_run(run: Path, to: Path, data: str, labels: Sequence[Label]) -> dict[str, Any]:
    config, number, network = exported_network(run)
    if config["labels"] != [asdict(label) for label in labels]:
        raise TeacherError(f"{run}: was trained on other classes; a teacher must know those of the manifest")
    report, settings = read_generation(run / f"generation-{number}"), config["settings"]
    same = config["manifest_sha256"] == data  # otherwise its metrics are on other clips
    about = {
        "teacher": f"generation {number} of an earlier cascade, {describe_network(settings)}",
        "model": config["model"]["name"],
        "metrics": {split: _metrics(report[split]) for split in ("validation", "test") if same and split in report},
    }
    kind = {"kind": settings["network"]} | {name: settings[name] for name in ("width", "pooling", "gate")}
    _write_network(run, network, kind, about, to)
    return about


def _copy_model(path: Path, to: Path, data: str, labels: Sequence[Label]) -> dict[str, Any]:
    model = read_onnx(path)
    if model.contract.labels != tuple(labels):
        raise TeacherError(f"{path}: knows other classes; a teacher must know those of the manifest")
    kind = {"kind": "wels", "width": model.width, "pooling": model.pooling, "gate": model.gate}
    lineage, words = model.contract.lineage, describe_network({"network": "wels", **kind})
    metrics = lineage.get("metrics", {}) if lineage.get("dataset_sha256") == data else {}
    about = {
        "teacher": f"a model file, {words}",
        "model": model.contract.name,
        "metrics": {split: _metrics(metrics[split]) for split in ("validation", "test") if split in metrics},
        "manifest_sha256": lineage.get("dataset_sha256"),
    }
    _write_network(path, model.weights, kind, about, to)
    return about


def _write_network(
    source: Path, network: dict[str, Tensor], kind: dict[str, Any], about: dict[str, Any], to: Path
) -> None:
    halves = {name: value.half() if value.is_floating_point() else value for name, value in network.items()}
    if not all(value.isfinite().all() for value in halves.values()):
        raise TeacherError(f"{source}: its network has weights beyond the range of float16 and cannot be a teacher")
    save({"network": halves, **kind, "about": about}, to)


def _metrics(split: dict[str, Any]) -> dict[str, float]:
    return {key: round(split[key], 4) for key in ("mAP", "accuracy") if split.get(key) is not None}
