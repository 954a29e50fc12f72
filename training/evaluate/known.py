"""``sedkit-train evaluate known``: models with different classes, compared on the classes that all of them know.

Classes of the manifest and the models are matched by MID, or by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.errors import SedkitError
from sedkit.metrics import summary
from sedkit.ontology import load as load_ontology
from sedkit.tagger import Tagger
from training.data.lineage import most_specific
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.store.source import open_audio
from training.evaluate.unknown import score_clips, targets_for
from training.runtime.files import write_json
from training.runtime.progress import decoding

DIFFERENCE = 0.1  # between the APs of a class, from which on they are printed


class Shared(NamedTuple):
    """The classes that all models know, the clips of which one of them is the most specific class, and which one."""

    labels: list[Label]
    rows: NDArray[np.int64]
    truth: NDArray[np.int64]


def shared(manifest: Manifest, taggers: Sequence[Tagger], split: str, prefix: str) -> Shared:
    """The classes and clips to compare models on.

    Parameters
    ----------
    prefix : of the names of the clips.

    Raises
    ------
    SedkitError
        If there are none.
    """
    names = manifest.names()
    rows = np.array([row for row in manifest.labelled(split) if names[row].startswith(prefix)], np.int64)
    own = most_specific(manifest.take(rows))
    every = set.intersection(*(set(manifest.vocabulary.match(tagger.labels)) for tagger in taggers))
    classes = [column for column in np.unique(own[own >= 0]).tolist() if column in every]
    place = {column: number for number, column in enumerate(classes)}
    truth = np.array([place.get(column, -1) for column in own.tolist()], np.int64)
    if not classes:
        raise SedkitError(f"no clip of the split {split!r} is of a class that all models know: choose another --split")
    labels = [manifest.vocabulary.labels[column] for column in classes]
    return Shared(labels, rows[truth >= 0], truth[truth >= 0])


def clips_of(manifest: Manifest, common: Shared) -> Manifest:
    """The shared clips, each with the one shared class that it is of."""
    vocabulary = Vocabulary(common.labels)
    rows = zip(manifest.take(common.rows).rows(), common.truth.tolist(), strict=True)
    return Manifest.from_rows([row._replace(labels=vocabulary.key(of)) for row, of in rows], vocabulary, Path())


def measure(scores: NDArray[np.float64], targets: NDArray[np.float32], common: Shared) -> dict[str, Any]:
    """The figures of a model.

    Parameters
    ----------
    scores, targets : [clips, classes] of the shared clips and classes.

    Returns
    -------
    ``mAP``; ``mAP_by_clips``, in which classes count by their clips; ``accuracy``; ``accuracy_or_above``, for which a
    highest class that contains the right one is right, too; ``AP`` of each class.
    """
    found = summary(targets, scores, common.labels)
    ontology, first = load_ontology(), scores.argmax(1)
    above = [[other.mid in ontology.above(label.mid or "") for other in common.labels] for label in common.labels]
    defined = ~np.isnan(found.ap)
    return {
        "mAP": found.mean_ap,
        "mAP_by_clips": float(np.average(found.ap[defined], weights=found.positives[defined])),
        "accuracy": float((first == common.truth).mean()),
        "accuracy_or_above": float(((first == common.truth) | np.array(above)[common.truth, first]).mean()),
        "AP": found.ap.tolist(),
        "clips": found.positives.tolist(),
    }


def classes_apart(names: Sequence[str], found: Sequence[dict[str, Any]]) -> list[tuple[str, int, list[float]]]:
    """The classes whose APs differ between models by at least ``DIFFERENCE``, the most different first.

    Returns
    -------
    For each: its name, its clips, and its AP for each model.
    """
    rows = zip(names, found[0]["clips"], zip(*(one["AP"] for one in found), strict=True), strict=True)
    apart = [(name, clips, list(aps)) for name, clips, aps in rows if max(aps) - min(aps) >= DIFFERENCE]
    return sorted(apart, key=lambda row: min(row[2]) - max(row[2]))


def report_lines(common: Shared, found: list[dict[str, Any]]) -> list[str]:
    """The figures of all models, and the classes in which they differ, as Markdown."""
    lines = [f"{len(common.rows)} clips, {len(common.labels)} classes", ""]
    lines += ["| model | mAP | by clips | accuracy | or a class above |", "|---|---|---|---|---|"]
    for row in found:
        keys = ("mAP", "mAP_by_clips", "accuracy", "accuracy_or_above")
        lines.append(f"| {row['model']} | {' | '.join(f'{row[key]:.3f}' for key in keys)} |")
    if apart := classes_apart([label.name for label in common.labels], found):
        lines += ["", f"| AP | clips | {' | '.join(row['model'] for row in found)} |", "|---" * (len(found) + 2) + "|"]
    lines += [f"| {name} | {clips} | {' | '.join(f'{ap:.3f}' for ap in aps)} |" for name, clips, aps in apart]
    return lines


@click.command("known")
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--manifest", required=True, help="Manifest with clips of the classes.")
@click.option("--split", default="test", show_default=True, help="Split to test on.")
@click.option("--clips", "prefix", default="", metavar="PREFIX", help="Only clips whose names begin so: esc50.")
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write these clips and classes as a manifest.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write this JSON file.")
def command(
    models: tuple[Path, ...], manifest: str, split: str, prefix: str, save: Path | None, json_file: Path | None
) -> None:
    """Compare MODELS on the classes that all of them know.

    mAP is over the clips of which one of these classes is the most specific label; "by clips", classes count by their
    clips, since a class of one clip decides as much of the mAP as one of fifteen. Accuracy is the share of the clips
    for which this class scores highest, or one above it in AudioSet's ontology. A second table has the classes in
    which the models differ.

    \b
    Examples:
      sedkit-train evaluate known models/*.onnx --manifest checked.csv --clips esc50
      sedkit-train evaluate known models/*.onnx --manifest checked.csv --save shared.csv
      sedkit-train data soundscapes shared.csv --split test --count 200 --output mixtures  # for evaluate timelines
    """
    with decoding() as progress:
        audio = open_audio(manifest, None, progress=progress)
    taggers = [Tagger(model, threads=1) for model in models]
    common = shared(audio.manifest, taggers, split, prefix)
    targets = targets_for(audio.manifest, common.rows, common.labels)
    rows: list[dict[str, Any]] = []
    for model, tagger in zip(models, taggers, strict=True):
        columns = [place for place in Vocabulary(tagger.labels).match(common.labels) if place is not None]
        rows.append(
            {"model": model.stem, **measure(score_clips(tagger, audio, common.rows)[:, columns], targets, common)}
        )
    found = {"split": split, "clips": len(common.rows), "classes": [label.name for label in common.labels]}
    if save:
        clips_of(audio.manifest, common).save(save)
    if json_file:
        write_json(json_file, {**found, "models": rows})
    click.echo("\n".join(report_lines(common, rows)))
