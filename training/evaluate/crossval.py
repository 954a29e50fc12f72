"""``sedkit-train evaluate crossval``: the tables of a cross-validation, from the scores that its runs kept."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from sedkit.metrics import summary
from training.data.manifest.origin import sources
from training.evaluate.measures.bootstrap import accuracy, drawn, mean_ap
from training.evaluate.tables import systems
from training.evaluate.tables.crossval import document
from training.evaluate.tables.systems import Fold, Scored, System, scored
from training.networks.tflite import peer_model
from training.runs.config import read_config
from training.runs.options import torch_device
from training.runtime.files import replacing

FILE = click.Path(dir_okay=False, path_type=Path)
METRICS = {"accuracy": accuracy, "mAP": mean_ap}


@click.command()
@click.argument("directory", metavar="CV", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--peer", metavar="yamnet=FILE", callback=peer_model, help="YAMNet (TFLite), on the same clips.")
@click.option(
    "--beside",
    multiple=True,
    metavar="CV",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The last networks of another cross-validation over the same folds as well; may come again.",
)
@click.option(
    "--together", is_flag=True, help="And the mean of the last network, those --beside it and YAMNet's regression."
)
@click.option("--json", "as_json", is_flag=True, help="JSON in place of Markdown.")
@click.option("--confusion", type=FILE, help="Write the last student's confusion matrix here, as CSV.")
@click.option("--group", default="", metavar="PREFIX", help="Test on clips of groups that begin so, such as esc50:")
@click.option("--replicates", type=click.IntRange(100), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def command(
    directory: Path,
    peer: Path | None,
    beside: tuple[Path, ...],
    together: bool,
    as_json: bool,
    confusion: Path | None,
    group: str,
    replicates: int,
    device: str,
) -> None:
    """Tables of the cross-validation CV (training.runs.experiments.crossval): every clip is scored by networks that never heard it.

    Folds that are not finished are left out. The scores of the peer are kept in CV/yamnet.npz; once that holds all
    clips, YAMNet's regression is in the tables without --peer. The networks' scores are those that their reports left;
    only where there are none, checkpoints and audio are needed.

    \b
    Examples:
      sedkit-train evaluate crossval runs/cv
      sedkit-train evaluate crossval runs/cv --peer yamnet=yamnet.tflite --confusion confusion.csv
      sedkit-train evaluate crossval runs/cv --group esc50: --json > cv.json
      sedkit-train evaluate crossval runs/cv --beside runs/tuned --together
    """
    found = report(directory, torch_device(device), peer, group, replicates, beside, together)
    for fold in found["missing"]:
        click.echo(f"left out: fold {fold}, which is not finished", err=True)
    if confusion:
        write_confusion(confusion, found["confusion"])
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else document(found), nl=as_json)


def report(
    directory: Path,
    device: torch.device,
    peer: Path | None = None,
    group: str = "",
    replicates: int = 1000,
    beside: Sequence[Path] = (),
    together: bool = False,
) -> dict[str, Any]:
    """All that there is to say of a cross-validation, for JSON.

    Parameters
    ----------
    peer : YAMNet's TFLite file.
    group : what the groups of the clips to test on begin with; empty: all clips.
    replicates : of the bootstrap.
    beside : other cross-validations over the same folds, whose last networks are told of as well.
    together : add the mean of the last network, those and YAMNet's regression.

    Raises
    ------
    SedkitError
        If no fold is finished, or its data or the peer cannot be used.
    """
    found = scored(directory, device, peer)
    for other in beside:
        found = systems.beside(found, other, device)
    if together:
        found = systems.together(found)
    return summarised(found.among(group) if group else found, replicates)


def summarised(found: Scored, replicates: int = 1000, generation: int = -1) -> dict[str, Any]:
    """What ``report`` gives, of systems that have scored. ``generation``: whose confusions are counted."""
    all_of_them = [*found.networks, *found.peers]
    return {
        **about(found.folds, found.missing),
        "replicates": replicates,
        **measured(found.folds, all_of_them, replicates),
        "by_source": by_source(found.folds, all_of_them),
        "confusion": confused(found.folds, found.networks[generation]),
    }


def about(folds: list[Fold], missing: list[str]) -> dict[str, Any]:
    """What was trained on what, from the runs' ``config.json``."""
    configs = [read_config(fold.directory) for fold in folds]
    same = ("date", "git_revision", "device", "seed", "settings", "supervision", "command")
    return {
        "name": configs[0]["model"]["name"],
        **{key: configs[0][key] for key in same},
        "begun_with": configs[0].get("begun_with"),
        "folds": [fold.name for fold in folds],
        "missing": missing,
        "clips": {
            **{split: [config["clips"][split] for config in configs] for split in ("train", "validation")},
            "test": [len(fold.rows) for fold in folds],
        },
        "sources": len({group for fold in folds for group in fold.groups}),
    }


def measured(folds: list[Fold], systems: list[System], replicates: int) -> dict[str, Any]:
    """Accuracy and mAP of every system, gains over the first of them, Teacher-0, and AP of every class."""
    weights = np.split(
        drawn([group for fold in folds for group in fold.groups], replicates),
        np.cumsum([len(fold.groups) for fold in folds])[:-1],
        axis=1,
    )
    labels = folds[0].labels
    rows: list[dict[str, Any]] = []
    ap: dict[str, list[float]] = {}
    first: dict[str, tuple[Any, Any]] = {}
    for system in systems:
        pairs = [(fold.targets, scores) for fold, scores in zip(folds, system.scores, strict=True)]
        found = [summary(*pair, labels) for pair in pairs]
        ap[system.name] = [_mean([each.ap[place] for each in found]) for place in range(len(labels))]
        row: dict[str, Any] = {"system": system.name, "gain": {}}
        for metric, of in METRICS.items():
            by_fold = np.array([each.accuracy if metric == "accuracy" else each.mean_ap for each in found])
            drawn_again = np.mean([of(*pair, held) for pair, held in zip(pairs, weights, strict=True)], axis=0)
            row[metric] = estimate(by_fold, drawn_again)
            if system is systems[0]:
                first[metric] = by_fold, drawn_again
            else:
                row["gain"][metric] = estimate(by_fold - first[metric][0], drawn_again - first[metric][1])
        rows.append(row)
    clips = sum(fold.targets.sum(0) for fold in folds)
    classes = [
        {
            "label": label.name,
            "mid": label.mid,
            "clips": int(clips[place]),
            "AP": {name: number(values[place]) for name, values in ap.items()},
        }
        for place, label in enumerate(labels)
    ]
    return {"systems": rows, "classes": classes}


def estimate(by_fold: NDArray[np.float64], replicates: NDArray[np.float64]) -> dict[str, Any]:
    """A figure: in every fold, mean and standard deviation over folds, and an interval.

    The interval is as wide as the middle 95 % of the replicates, and moved to where their mean is the figure: AP of
    replicates is too high, because clips that were drawn twice rank beside themselves.
    """
    mean, defined = float(by_fold.mean()), replicates[~np.isnan(replicates)]
    bounds = np.quantile(defined, (0.025, 0.975)) - defined.mean() + mean if len(defined) else []
    return {
        "folds": [number(value) for value in by_fold],
        "mean": number(mean),
        "deviation": number(float(by_fold.std(ddof=1))) if len(by_fold) > 1 else None,
        "interval": [number(bound) for bound in bounds] or None,
    }


def by_source(folds: list[Fold], systems: list[System]) -> list[dict[str, Any]]:
    """Accuracy of every system on the clips of each source (``training.data.manifest.origin``) with one label, of all folds."""
    single = np.concatenate([fold.targets.sum(1) == 1 for fold in folds])
    source = np.concatenate([np.array(sources(fold.manifest))[fold.rows] for fold in folds])[single]
    truth = np.concatenate([fold.targets.argmax(1) for fold in folds])[single]
    right = {system.name: np.concatenate(system.scores).argmax(1)[single] == truth for system in systems}
    return [
        {
            "source": name,
            "clips": int((source == name).sum()),
            "accuracy": {system: float(found[source == name].mean()) for system, found in right.items()},
        }
        for name in np.unique(source).tolist()
    ]


def confused(folds: list[Fold], system: System) -> dict[str, Any]:
    """Confusion matrix over the clips with one label: a row a true class, a column a highest score."""
    labels = folds[0].labels
    counts = np.zeros((len(labels), len(labels)), int)
    for fold, scores in zip(folds, system.scores, strict=True):
        single = fold.targets.sum(1) == 1
        np.add.at(counts, (fold.targets[single].argmax(1), scores[single].argmax(1)), 1)
    return {"system": system.name, "labels": [label.name for label in labels], "counts": counts.tolist()}


def write_confusion(path: Path, confusion: dict[str, Any]) -> None:
    """The matrix as CSV: a row a true class, a column what it was taken for."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["", *confusion["labels"]])
        writer.writerows([label, *row] for label, row in zip(confusion["labels"], confusion["counts"], strict=True))


def number(value: float) -> float | None:
    """For JSON: None where it is undefined."""
    return float(value) if math.isfinite(value) else None


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
