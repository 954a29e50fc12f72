"""``sedkit-train evaluate known``: models with different classes, compared on the classes that all of them know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.errors import SedkitError
from sedkit.metrics import summary
from sedkit.tagger import Tagger
from training.data.lineage import most_specific
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.store.source import open_audio
from training.evaluate.unknown import score_clips, targets_for
from training.runtime.files import write_json
from training.runtime.progress import decoding


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
    every = set.intersection(*(set(tagger.labels) for tagger in taggers))
    labels = [manifest.vocabulary.labels[column] for column in sorted(set(own[own >= 0].tolist()))]
    labels = [label for label in labels if label in every]
    place = {manifest.vocabulary.find(label.mid or label.name): number for number, label in enumerate(labels)}
    truth = np.array([place.get(column, -1) for column in own.tolist()], np.int64)
    if not labels:
        raise SedkitError(f"no clip of the split {split!r} is of a class that all models know: choose another --split")
    return Shared(labels, rows[truth >= 0], truth[truth >= 0])


def clips_of(manifest: Manifest, common: Shared) -> Manifest:
    """The shared clips, each with the one shared class that it is of."""
    vocabulary = Vocabulary(common.labels)
    rows = zip(manifest.take(common.rows).rows(), common.truth.tolist(), strict=True)
    return Manifest.from_rows([row._replace(labels=vocabulary.key(of)) for row, of in rows], vocabulary, Path())


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

    mAP is over the clips of which one of these classes is the most specific label; accuracy is the share of them for
    which this class scores highest.

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
    rows = []
    for model, tagger in zip(models, taggers, strict=True):
        columns = [tagger.labels.index(label) for label in common.labels]
        scores = score_clips(tagger, audio, common.rows)[:, columns]
        accuracy = float((scores.argmax(1) == common.truth).mean())
        mean = summary(targets, scores, common.labels).to_dict()["mAP"]
        rows.append({"model": model.stem, "mAP": mean, "accuracy": accuracy})
    found = {"split": split, "clips": len(common.rows), "classes": [label.name for label in common.labels]}
    if save:
        clips_of(audio.manifest, common).save(save)
    if json_file:
        write_json(json_file, {**found, "models": rows})
    lines = [
        f"{len(common.rows)} clips, {len(common.labels)} classes",
        "",
        "| model | mAP | accuracy |",
        "|---|---|---|",
    ]
    click.echo("\n".join(lines + [f"| {row['model']} | {row['mAP']:.3f} | {row['accuracy']:.3f} |" for row in rows]))
