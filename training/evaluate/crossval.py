"""``sedkit-train evaluate crossval``: tables of a cross-validation, from the test scores that its runs stored."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from sedkit.formats.delimited import row_writer
from sedkit.judging.bootstrap import accuracy, mean_ap, resampling_weights
from sedkit.metrics import summary
from training.data.manifest.summary import sources
from training.evaluate.tables import crossval_scores
from training.evaluate.tables.crossval import document
from training.evaluate.tables.crossval_scores import CrossvalScores, Fold, System, read_crossval_scores
from training.networks.yamnet_tflite import parse_peer
from training.runs.config import read_config
from training.runtime.device import torch_device
from training.runtime.files import replacing

FILE = click.Path(dir_okay=False, path_type=Path)
METRICS = {"accuracy": accuracy, "mAP": mean_ap}


@click.command()
@click.argument("directory", metavar="CV", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--peer", metavar="yamnet=FILE", callback=parse_peer, help="Compare with YAMNet (TFLite file).")
@click.option(
    "--beside",
    multiple=True,
    metavar="CV",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Compare with the last networks of another cross-validation over the same folds. Repeatable.",
)
@click.option(
    "--together",
    is_flag=True,
    help="Add an ensemble: mean scores of the last network, those --beside it and YAMNet's regression.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of Markdown.")
@click.option("--confusion", type=FILE, help="Write the last student's confusion matrix to this CSV file.")
@click.option("--group", default="", metavar="PREFIX", help="Only test clips whose group starts with PREFIX.")
@click.option("--replicates", type=click.IntRange(100), default=1000, show_default=True, help="Bootstrap replicates.")
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
    """Tables of the cross-validation CV: accuracy and mAP on held-out clips, with 95 % intervals.

    CV is a directory of `sedkit-train crossval`. Unfinished folds are left out. The runs store their test scores;
    checkpoints and audio are needed only where those are missing. YAMNet's scores are cached in CV/yamnet.npz. Once the
    cache is complete, the tables include YAMNet's regression even without --peer.

    \b
    Examples:
      sedkit-train evaluate crossval runs/cv
      sedkit-train evaluate crossval runs/cv --peer yamnet=yamnet.tflite --confusion confusion.csv
      sedkit-train evaluate crossval runs/cv --group esc50: --json > cv.json
      sedkit-train evaluate crossval runs/cv --beside runs/tuned --together
    """
    result = report(directory, torch_device(device), peer, group, replicates, beside, together)
    for fold in result["missing"]:
        click.echo(f"left out: fold {fold}, which is not finished", err=True)
    if confusion:
        write_confusion(confusion, result["confusion"])
    click.echo(json.dumps(result, indent=2, ensure_ascii=False) if as_json else document(result), nl=as_json)


def report(
    directory: Path,
    device: torch.device,
    peer: Path | None = None,
    group: str = "",
    replicates: int = 1000,
    beside: Sequence[Path] = (),
    together: bool = False,
) -> dict[str, Any]:
    """Report of a cross-validation, ready for JSON.

    Parameters
    ----------
    peer : YAMNet's TFLite file.
    group : prefix of the groups to test on; empty for all clips.
    replicates : number of bootstrap replicates.
    beside : other cross-validations over the same folds, whose last networks are added to the comparison.
    together : add an ensemble of the last network, ``beside`` and YAMNet's regression.

    Raises
    ------
    SedkitError
        If no fold is finished, or its data or the peer cannot be read.
    """
    results = read_crossval_scores(directory, device, peer)
    for other in beside:
        results = crossval_scores.with_other_crossval(results, other, device)
    if together:
        results = crossval_scores.with_ensemble(results)
    return summarise(results.among(group) if group else results, replicates)


def summarise(results: CrossvalScores, replicates: int = 1000, generation: int = -1) -> dict[str, Any]:
    """The dictionary that :func:`report` returns. ``generation``: the network whose confusion matrix is included."""
    systems = [*results.networks, *results.peers]
    return {
        **about(results.folds, results.missing),
        "replicates": replicates,
        **measure(results.folds, systems, replicates),
        "by_source": by_source(results.folds, systems),
        "confusion": confusion_matrix(results.folds, results.networks[generation]),
    }


def about(folds: list[Fold], missing: list[str]) -> dict[str, Any]:
    """Data and settings of the cross-validation, from the runs' ``config.json``."""
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


def measure(folds: list[Fold], systems: list[System], replicates: int) -> dict[str, Any]:
    """Accuracy and mAP of every system, their gains over the first system (Teacher-0), and AP of every class."""
    weights = np.split(
        resampling_weights([group for fold in folds for group in fold.groups], replicates),
        np.cumsum([len(fold.groups) for fold in folds])[:-1],
        axis=1,
    )
    labels = folds[0].labels
    rows: list[dict[str, Any]] = []
    ap: dict[str, list[float]] = {}
    first: dict[str, tuple[Any, Any]] = {}
    for system in systems:
        pairs = [(fold.targets, scores) for fold, scores in zip(folds, system.scores, strict=True)]
        summaries = [summary(*pair, labels) for pair in pairs]
        ap[system.name] = [_mean([fold.ap[column] for fold in summaries]) for column in range(len(labels))]
        row: dict[str, Any] = {"system": system.name, "gain": {}}
        for metric, function in METRICS.items():
            by_fold = np.array([fold.accuracy if metric == "accuracy" else fold.mean_ap for fold in summaries])
            resampled = np.mean(
                [function(*pair, of_fold) for pair, of_fold in zip(pairs, weights, strict=True)], axis=0
            )
            row[metric] = estimate(by_fold, resampled)
            if system is systems[0]:
                first[metric] = by_fold, resampled
            else:
                row["gain"][metric] = estimate(by_fold - first[metric][0], resampled - first[metric][1])
        rows.append(row)
    clips = sum(np.nansum(fold.targets, 0) for fold in folds)
    classes = [
        {
            "label": label.name,
            "mid": label.mid,
            "clips": int(clips[column]),
            "AP": {name: number(values[column]) for name, values in ap.items()},
        }
        for column, label in enumerate(labels)
    ]
    return {"systems": rows, "classes": classes}


def estimate(by_fold: NDArray[np.float64], replicates: NDArray[np.float64]) -> dict[str, Any]:
    """A metric with its value in every fold, mean and standard deviation over folds, and a 95 % interval.

    The interval is the central 95 % of the bootstrap replicates, shifted so that their mean equals ``mean``. The shift
    removes a bias: a clip drawn twice ranks next to itself, so AP of a replicate is too high.

    Parameters
    ----------
    by_fold : [folds].
    replicates : [replicates].
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
    """Accuracy of every system by data set, on the single-label clips of all folds."""
    single = np.concatenate([fold.targets.sum(1) == 1 for fold in folds])
    source = np.concatenate([np.array(sources(fold.manifest))[fold.rows] for fold in folds])[single]
    truth = np.concatenate([fold.targets.argmax(1) for fold in folds])[single]
    right = {system.name: np.concatenate(system.scores).argmax(1)[single] == truth for system in systems}
    return [
        {
            "source": name,
            "clips": int((source == name).sum()),
            "accuracy": {system: float(hits[source == name].mean()) for system, hits in right.items()},
        }
        for name in np.unique(source).tolist()
    ]


def confusion_matrix(folds: list[Fold], system: System) -> dict[str, Any]:
    """Confusion matrix of the clips with one label: rows are true classes, columns the class with the highest score."""
    labels = folds[0].labels
    counts = np.zeros((len(labels), len(labels)), int)
    for fold, scores in zip(folds, system.scores, strict=True):
        single = fold.targets.sum(1) == 1
        np.add.at(counts, (fold.targets[single].argmax(1), scores[single].argmax(1)), 1)
    return {"system": system.name, "labels": [label.name for label in labels], "counts": counts.tolist()}


def write_confusion(path: Path, confusion: dict[str, Any]) -> None:
    """Write a confusion matrix as CSV: rows are true classes, columns predicted ones."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = row_writer(file)
        writer.writerow(["", *confusion["labels"]])
        writer.writerows([label, *row] for label, row in zip(confusion["labels"], confusion["counts"], strict=True))


def number(value: float) -> float | None:
    """A value for JSON: None if it is NaN or infinite."""
    return float(value) if math.isfinite(value) else None


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
