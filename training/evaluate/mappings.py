"""Layer P: from the scores of segments to those of a recording, by other rules than the mean (Section 2 of the paper).

The segment scores are those of a model that was trained towards its mean; what another rule would make of a network
that was trained towards it, this does not tell. Timelines do not depend on P.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from sedkit.errors import SedkitError
from sedkit.inference.model import Model
from sedkit.metrics import summary
from training.data.clips import FULL_SCALE
from training.data.store.source import open_audio
from training.evaluate.tables.markdown import table, three
from training.runs.experiments.teachers import positions
from training.runtime.progress import decoding

Segments = NDArray[np.float32]  # [K, classes]


def linear_softmax(segments: Segments) -> NDArray[np.float32]:
    """Each segment weighted with its own score."""
    return np.square(segments).sum(0) / np.maximum(segments.sum(0), 1e-9)


def exponential_softmax(segments: Segments) -> NDArray[np.float32]:
    weights = np.exp(segments)
    return (segments * weights).sum(0) / weights.sum(0)


def upper_half(segments: Segments) -> NDArray[np.float32]:
    """The mean of the higher half of the scores."""
    return np.sort(segments, axis=0)[len(segments) // 2 :].mean(0)


MAPPINGS: dict[str, Callable[[Segments], NDArray[np.float32]]] = {
    "mean": lambda segments: segments.mean(0),
    "maximum": lambda segments: segments.max(0),
    "root of the mean square": lambda segments: np.sqrt(np.square(segments).mean(0)),
    "mean of the higher half": upper_half,
    "linear softmax": linear_softmax,
    "exponential softmax": exponential_softmax,
}


def heard(segments: Segments) -> Segments:
    """The segments that are not silent; of silence alone, one."""
    sounding = segments[segments.any(1)]
    return sounding if len(sounding) else segments[:1]


@click.command("mappings")
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--manifest", required=True, help="The clips that the model is tested on.")
@click.option("--vocabulary", type=click.Path(path_type=Path), help="Classes.  [default: beside the manifest]")
def command(model: Path, manifest: str, vocabulary: Path | None) -> None:
    """A MODEL's tags, were a recording's score another than the mean of its segments.

    Silent segments are left out of all of them.

    \b
    Examples:
      sedkit-train evaluate mappings runs/first/model.onnx --manifest manifest.csv
    """
    opened = Model(model, "cpu", threads=1)
    if opened.weighted:
        raise SedkitError(f"{model}: was trained towards weights of its own; the other mappings are for plain scores")
    with decoding() as progress:
        audio = open_audio(manifest, vocabulary, progress=progress)
    labels = audio.manifest.vocabulary.labels
    columns = positions(opened.contract.labels, labels)
    rows = []
    for split in ("validation", "test"):
        clips = audio.manifest.indices(split)
        segments = [
            heard(np.concatenate(list(opened.segments([audio[clip] / np.float32(FULL_SCALE)])))[:, columns])
            for clip in clips
        ]
        for name, mapping in MAPPINGS.items() if len(clips) else ():
            said = np.stack([mapping(scores) for scores in segments])
            found = summary(audio.manifest.targets(clips), said, labels).to_dict()
            rows.append([split, str(len(clips)), name, three(found["mAP"]), three(found["accuracy"])])
    if not rows:
        raise SedkitError(f"{manifest}: no clips of the splits 'validation' and 'test'")
    click.echo(table(["split", "clips", "a recording's score", "mAP", "accuracy"], rows), nl=False)
