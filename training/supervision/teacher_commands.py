"""Commands that make external teachers: scores of other models for every clip of a manifest (Eq. 6).

    sedkit-train teachers yamnet --model yamnet.tflite --manifest manifest.csv --output yamnet.npz
    sedkit-train teachers sedkit --model model.onnx --manifest manifest.csv --output earlier.npz
    sedkit-train secost --teacher yamnet=yamnet.npz --stage labels=0.3,0=0.3,yamnet=0.4
    sedkit-train teachers yamnet-online --model yamnet.tflite --manifest manifest.csv --output yamnet.pt

Each writes a score file (training.supervision.predictions) and prints the teacher's metrics on each split; the last
writes an online teacher (training.supervision.yamnet_teacher).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.errors import SedkitError
from sedkit.metrics import summary
from training.data.audio import FULL_SCALE
from training.data.manifest.naming import clip_names
from training.data.manifest.problems import OnError
from training.data.manifest.splits import assign_parts
from training.data.store.source import Audio, open_audio
from training.networks.yamnet import read_yamnet
from training.runtime.command_line import refuse_to_replace
from training.runtime.device import torch_device
from training.runtime.progress import decoding
from training.supervision import yamnet_teacher
from training.supervision.predictions import Predictions, TeacherError, write_predictions
from training.supervision.regression import cross_fitted
from training.supervision.unchecked import SCORE, mark_unchecked

PARTS = 5  # of the training clips, by group; each is predicted by a regression fitted on the others
STRENGTHS = (3.0, 10.0, 30.0, 100.0)  # candidates for the strength of the regularisation
MODEL = click.option("--model", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
Command = Callable[..., None]
Write = Callable[[Path, Predictions, str, Sequence[Label]], None]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Score every clip of a manifest with another model, as a teacher for the cascade."""


def strength_option(candidates: Sequence[float]) -> Callable[[Command], Command]:
    """The option ``--strength``, by default with these candidates."""
    return click.option(
        "--strength",
        "strengths",
        type=click.FloatRange(0, min_open=True),
        multiple=True,
        default=candidates,
        help="Candidates for the strength of the regularisation. With one, the fit is several times as fast.",
    )


def command(name: str, *own: Callable[[Command], Command], suffix: str = ".npz") -> Callable[[Command], click.Command]:
    """Decorator: a command with the options that all teachers share, after its ``own``; it writes a ``suffix`` file."""
    options: tuple[Callable[[Command], Command], ...] = (
        click.option(
            "--output", "-o", required=True, type=click.Path(path_type=Path), help=f"File to write, {suffix}."
        ),
        click.option("--vocabulary", type=click.Path(path_type=Path), help="Classes  [default: beside the manifest]"),
        click.option("--on-error", type=click.Choice(["stop", "skip"]), default="stop", help="Unusable clips."),
        click.option("--manifest", required=True, help="The training manifest, or a packed set."),
        *reversed(own),
    )

    def decorate(function: Command) -> click.Command:
        decorated: Command = function
        for add in options:
            decorated = add(decorated)
        return main.command(name)(decorated)

    return decorate


@command("yamnet", MODEL, strength_option(STRENGTHS))
def yamnet(model: Path, strengths: tuple[float, ...], **shared: Any) -> None:
    """YAMNet (TFLite), its embeddings mapped to the manifest's classes by logistic regression.

    Training clips are predicted by a regression that was fitted on clips of other groups, since a teacher that has seen
    a clip's label would only repeat it. Clips of the other splits are predicted by a regression fitted on the whole
    training split.

    \b
    Example:
      sedkit-train teachers yamnet --model yamnet.tflite --manifest manifest.csv --output yamnet.npz
    """

    def score(audio: Audio) -> NDArray[np.float64]:
        from training.networks.yamnet_tflite import YamnetTflite

        network = YamnetTflite(model)
        features = []
        with click.progressbar(range(len(audio.manifest)), label="YAMNet", file=sys.stderr) as rows:
            for row in rows:
                features.append(network(audio[row].astype(np.float32) / np.float32(FULL_SCALE)).features())
        return cross_fitted_scores(np.stack(features), audio, strengths)

    write_teacher(score, "YAMNet's features, logistic regression fitted on other groups", model, **shared)


@main.command("unchecked")
@MODEL
@click.option("--manifest", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="Manifest to write, .csv.")
@click.option("--score", type=click.FloatRange(0, 1), default=SCORE, help="Lowest score of a detection.")
def unchecked(model: Path, manifest: Path, output: Path, score: float) -> None:
    """Mark classes as unknown that YAMNet (TFLite) detects in a clip without a label for them.

    Such a class counts neither as present nor as absent (?NAME in the manifest). YAMNet's scores are kept beside the
    output, in NAME.yamnet.npz.

    \b
    Example:
      sedkit-train teachers unchecked --model yamnet.tflite --manifest wide.csv --output checked.csv
    """
    from training.networks.yamnet_tflite import class_names, clip_scores

    refuse_to_replace(output, manifest)
    with decoding() as progress:
        audio = open_audio(manifest, None, "stop", progress)
    clips = audio.manifest
    with click.progressbar(length=len(clips), label="YAMNet", file=sys.stderr) as bar:
        scored = clip_scores(
            model,
            clip_names(clips),
            lambda clip: audio[clip].astype(np.float32) / np.float32(FULL_SCALE),
            output.with_suffix(".yamnet.npz"),
            bar.update,
        )
    marked = mark_unchecked(clips, scored.scores, class_names(model), score)
    marked.save(output)
    pairs = np.isnan(marked.targets()).sum() - np.isnan(clips.targets()).sum()
    click.echo(f"{output}: {pairs} classes marked as unknown in {len(clips)} clips", err=True)


@command("yamnet-online", MODEL, DEVICE, strength_option(yamnet_teacher.STRENGTHS), suffix=".pt")
def yamnet_online(model: Path, device: str, strengths: tuple[float, ...], **shared: Any) -> None:
    """YAMNet (TFLite) as an online teacher, which scores the student's augmented input.

    Its logistic regressions are cross-fitted as those of the command yamnet, on random crops as well as on whole clips.
    The metrics are those of whole clips. MODEL may also be an earlier online teacher, whose YAMNet is used.

    \b
    Example:
      sedkit-train teachers yamnet-online --model yamnet.tflite --manifest manifest.csv --output yamnet.pt
    """
    fitted: yamnet_teacher.Fitted

    def score(audio: Audio) -> NDArray[np.float64]:
        nonlocal fitted
        fitted, scores = yamnet_teacher.fit(read_yamnet(model).to(torch_device(device)), audio, strengths)
        return scores.astype(np.float64)

    def write(path: Path, predictions: Predictions, data: str, labels: Sequence[Label]) -> None:
        yamnet_teacher.save(path, replace(fitted, about=predictions.about), data, labels)

    teacher = "YAMNet with cross-fitted logistic regressions (online)"
    write_teacher(score, teacher, model, write=write, **shared)


@command("sedkit", MODEL)
def sedkit_model(model: Path, **shared: Any) -> None:
    """A sedkit model (ONNX) that knows all classes of the manifest.

    \b
    Example:
      sedkit-train teachers sedkit --model runs/first/model.onnx --manifest manifest.csv --output first.npz
    """

    def score(audio: Audio) -> NDArray[np.float64]:
        from sedkit.inference.model import Model
        from sedkit.timeline.views import TagsView

        teacher = Model(model, "cpu")
        labels = audio.manifest.vocabulary.labels
        columns = columns_of(teacher.contract.labels, labels).tolist()
        scores = np.zeros((len(audio.manifest), len(columns)))
        with click.progressbar(range(len(scores)), label=teacher.contract.name, file=sys.stderr) as rows:
            for row in rows:
                view = TagsView(labels, columns, teacher.weights(columns), teacher.contract.tag_segments, None, 0.0)
                for segments in teacher.segments([audio[row].astype(np.float32) / np.float32(FULL_SCALE)]):
                    view.add_scores(segments)
                scores[row] = view.means()
        return scores

    write_teacher(score, "sedkit model", model, **shared)


def write_teacher(
    score: Callable[[Audio], NDArray[np.floating]],
    teacher: str,
    model: Path,
    manifest: str,
    on_error: OnError,
    vocabulary: Path | None,
    output: Path,
    write: Write = write_predictions,
) -> None:
    """Write a teacher's scores for a manifest's clips, and print its metrics on each split."""
    try:
        with decoding() as progress:
            audio = open_audio(manifest, vocabulary, on_error, progress)
        scores = score(audio)
        labels = audio.manifest.vocabulary.labels
        metrics = {split: split_metrics(scores, audio, split) for split in ("train", "validation", "test")}
        about = {"teacher": teacher, "model": model.name, "metrics": metrics}
        write(output, Predictions(scores.astype(np.float16), about), audio.manifest.sha256(), labels)
    except SedkitError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{output}  ({len(scores)} clips, {len(labels)} classes)")
    for split, values in metrics.items():
        if values:
            click.echo(f"{split}: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()))


def split_metrics(scores: NDArray[np.floating], audio: Audio, split: str) -> dict[str, float]:
    """mAP and accuracy on a split, where they are defined."""
    rows = audio.manifest.labelled(split)
    if not len(rows):
        return {}
    metrics = summary(audio.manifest.targets(rows), scores[rows], audio.manifest.vocabulary.labels).to_dict()
    return {key: round(metrics[key], 4) for key in ("mAP", "accuracy") if metrics[key] is not None}


def columns_of(known: Sequence[Label], wanted: Sequence[Label]) -> NDArray[np.intp]:
    """The columns of the ``wanted`` classes among the ``known`` ones, by MID or else by name.

    Raises
    ------
    TeacherError
        If one is unknown.
    """
    places = {label.mid or label.name: place for place, label in enumerate(known)}
    missing = [label.name for label in wanted if (label.mid or label.name) not in places]
    if missing:
        raise TeacherError(f"the model does not know {len(missing)} of the classes ({', '.join(missing[:5])})")
    return np.array([places[label.mid or label.name] for label in wanted])


def cross_fitted_scores(
    features: NDArray[np.float64], audio: Audio, strengths: Sequence[float] = STRENGTHS
) -> NDArray[np.float64]:
    """Probabilities [clips, classes] from features [clips, n], by cross-fitted logistic regressions."""
    manifest = audio.manifest
    part, train = assign_parts(manifest, PARTS), manifest.labelled("train")
    fitted = cross_fitted(features[train], manifest.targets(train), part[train], strengths)
    scores = fitted[-1](features)
    for held_out, one in enumerate(fitted[:-1]):
        scores[part == held_out] = one(features[part == held_out])
    return scores
