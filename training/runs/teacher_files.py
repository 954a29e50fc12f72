"""The teachers of a run: earlier generations, and external ones, which lie in ``teachers/`` of the run directory.

An external teacher is one of two files::

    teachers/NAME.npz   its scores for every clip (training.supervision.predictions)
    teachers/NAME.pt    a network that scores the student's augmented input or isolated clips: an online YAMNet teacher
                        (training.supervision.yamnet_teacher), or the network that another run exports or a model file
                        holds:
        network   its state, float16
        kind      as in the settings: WELS-Net or a pretrained backbone; older files lack it
        width     factor on its filters, or the filters
        pooling, stem  as in the settings; older files lack them, and have the defaults
        gate      whether it leaves silent segments out of clip scores; older files lack it, and do
        partial   for a model that knows only some of the classes: the fields of Partial; otherwise None or absent
        about     its classes, what it is, and its metrics on each split
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sedkit.contract import Label
from sedkit.ontology import load as load_ontology
from training.data.lineage import most_specific
from training.data.manifest.table import Manifest
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
from training.supervision.online import SILENT, ClipScorer, OnlineTeacher
from training.supervision.predictions import TeacherError, read_predictions, write_predictions
from training.supervision.targets import Teachers, TeachersHear

MODEL = ".onnx"  # suffix of a model file


class Partial(NamedTuple):
    """What a model that knows only some classes of the manifest teaches.

    It teaches its classes that have no subclass in the manifest: what it calls "Engine" may not include what the
    manifest calls so. It teaches them in clips whose most specific label is one of its classes: of other sounds it
    knows nothing, and yet gives scores.

    Attributes
    ----------
    classes : number of the model's classes.
    familiar : positions in the manifest's classes of those that the model knows.
    columns : those of ``familiar`` that it teaches.
    outputs : positions of the same classes among the model's.
    """

    classes: int
    familiar: list[int]
    columns: list[int]
    outputs: list[int]


def teacher_file(run: Path, name: str, suffix: str) -> Path:
    """Path of an external teacher in a run directory; ``suffix`` is ``.npz`` (scores) or ``.pt`` (network)."""
    return run / "teachers" / f"{name}{suffix}"


def copy_teacher(
    source: Path, run: Path, name: str, hear: TeachersHear, data: str, labels: Sequence[Label], clips: int
) -> dict[str, Any]:
    """Copy an external teacher into the run directory; returns what it says about itself.

    Parameters
    ----------
    source : a score file, an online teacher, a finished run or a model file.
    hear : what teachers take as input (``--teachers-hear``).
    data, labels, clips : SHA-256 of the manifest, its classes, and its number of clips.

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
    if hear == "sounds" and not is_network and source.suffix == ".pt":
        raise RunError(
            f"{source}: has no segments; with --teachers-hear sounds, give scores of sedkit-train teachers yamnet"
        )
    if is_network or source.suffix == ".pt":
        if hear == "clip":
            raise RunError(f"{source}: scores the student's augmented input; add --teachers-hear view")
        return _copy_network(source, teacher_file(run, name, ".pt"), data, labels)
    predictions = read_predictions(source, data, labels, clips)
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
            online = _read_network(path, run.data, run.manifest)
            teachers.online[key] = online._replace(teacher=online.teacher.to(device), parts=online.parts[train])
        elif key != LABELS:
            predictions = read_predictions(
                teacher_file(run.directory, key, ".npz"), run.data, run.labels, len(run.manifest)
            )
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


def _read_network(path: Path, data: str, manifest: Manifest) -> OnlineTeacher:
    """The online teacher in a file that :func:`copy_teacher` wrote."""
    state, labels = load(path), manifest.vocabulary.labels
    if "network" not in state:
        fitted = yamnet_teacher.load(path, data, labels)
        return OnlineTeacher(fitted.teacher, fitted.parts)
    pooling = state.get("pooling", "mean")
    kind, gate = state.get("kind", "wels"), state.get("gate", True)
    partial = Partial(**state["partial"]) if state.get("partial") else None
    classes, stem = partial.classes if partial else len(labels), state.get("stem", "full")
    network = build_network(kind, classes, state["width"], pooling=pooling, gate=gate, stem=stem)
    network.load_state_dict(state["network"])
    if partial is None:
        return OnlineTeacher(ClipScorer(network), np.zeros(len(manifest), np.int64))
    parts = np.where(np.isin(most_specific(manifest), partial.familiar), 0, SILENT)
    return OnlineTeacher(ClipScorer(network, partial.outputs), parts, np.array(partial.columns))


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
        "manifest_sha256": config["manifest_sha256"],
    }
    kind = {"kind": settings["network"]} | {name: settings[name] for name in ("width", "pooling", "stem", "gate")}
    _write_network(run, network, kind, about, to)
    return about


def _copy_model(path: Path, to: Path, data: str, labels: Sequence[Label]) -> dict[str, Any]:
    model = read_onnx(path)
    partial = None if model.contract.labels == tuple(labels) else _partial(path, model.contract.labels, labels)
    kind = {"kind": "wels", "width": model.width, "pooling": model.pooling, "stem": model.stem, "gate": model.gate}
    lineage, words = model.contract.lineage, describe_network({"network": "wels", **kind})
    metrics = lineage.get("metrics", {}) if lineage.get("dataset_sha256") == data else {}
    about = {
        "teacher": f"a model file, {words}",
        "model": model.contract.name,
        "taught": None if partial is None else len(partial.columns),
        "metrics": {split: _metrics(metrics[split]) for split in ("validation", "test") if split in metrics},
        "manifest_sha256": lineage.get("dataset_sha256"),
    }
    _write_network(path, model.weights, kind | {"partial": partial and partial._asdict()}, about, to)
    return about


def _partial(path: Path, known: Sequence[Label], labels: Sequence[Label]) -> Partial:
    """What the model in the file at ``path`` with the classes ``known`` teaches of ``labels``."""
    ontology = load_ontology()
    mids = {label.mid for label in labels}
    outputs = {label.mid or label.name: number for number, label in enumerate(known)}
    places = [number for number, label in enumerate(labels) if (label.mid or label.name) in outputs]
    columns = [place for place in places if len(ontology.below(labels[place].mid or "") & mids) <= 1]  # itself
    if not columns:
        raise TeacherError(f"{path}: knows none of the manifest's classes without subclasses: nothing to teach")
    taught = [outputs[labels[place].mid or labels[place].name] for place in columns]
    return Partial(len(known), places, columns, taught)


def _write_network(
    source: Path, network: dict[str, Tensor], kind: dict[str, Any], about: dict[str, Any], to: Path
) -> None:
    halves = {name: value.half() if value.is_floating_point() else value for name, value in network.items()}
    if not all(value.isfinite().all() for value in halves.values()):
        raise TeacherError(f"{source}: its network has weights beyond the range of float16 and cannot be a teacher")
    save({"network": halves, **kind, "about": about}, to)


def _metrics(split: dict[str, Any]) -> dict[str, float]:
    return {key: round(split[key], 4) for key in ("mAP", "accuracy") if split.get(key) is not None}
