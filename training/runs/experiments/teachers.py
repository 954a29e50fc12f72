"""External teachers: what models that are no part of the cascade say of every clip of a manifest (Eq. 6).

    sedkit-train teachers yamnet --model yamnet.tflite --manifest manifest.csv --output yamnet.npz
    sedkit-train teachers sedkit --model model.onnx --manifest manifest.csv --output earlier.npz
    sedkit-train teachers crossfitted --run runs/crossfitted --manifest manifest.csv --output t0.npz
    python -m training.secost --teacher yamnet=yamnet.npz --stage labels=0.3,0=0.3,yamnet=0.4
    sedkit-train teachers listener --model yamnet.tflite --manifest manifest.csv --output yamnet.pt

Each writes a file of predictions (training.supervision.predictions) and prints how good they are on each split; the last one
writes a teacher that can be asked of any sound (training.supervision.yamnet_teacher).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.errors import SedkitError
from sedkit.metrics import summary
from training.data.clips import FULL_SCALE
from training.data.manifest.problems import OnError
from training.data.manifest.splits import parts
from training.data.store.source import Audio, open_audio
from training.networks.yamnet import read_yamnet
from training.runs.experiments.crossfit import crossfit
from training.runs.experiments.crossval import understood
from training.runs.experiments.sweep import resumable
from training.runs.options import seconds, torch_device
from training.runtime.deadline import Deadline
from training.runtime.progress import decoding
from training.supervision import yamnet_teacher as listeners
from training.supervision.predictions import Predictions, TeacherError, write_predictions
from training.supervision.regression import without_each_part

FOLDS = 5  # groups of training clips; each is predicted by what was fitted on the others
STRENGTHS = (3.0, 10.0, 30.0, 100.0)  # of the mapping's regularisation, to choose from
MODEL = click.option("--model", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
Command = Callable[..., None]
Write = Callable[[Path, Predictions, str, Sequence[Label]], None]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Ask a model what it hears in every clip of a manifest, as a teacher for the cascade."""


def command(
    name: str, *own: Callable[[Command], Command], suffix: str = ".npz", **attributes: Any
) -> Callable[[Command], click.Command]:
    """Decorator: a command with the options that all teachers share, after its ``own``; it writes a ``suffix`` file."""
    output = f"File to write, {suffix}."
    options = (
        click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help=output),
        click.option("--vocabulary", type=click.Path(path_type=Path), help="Classes [default: beside the manifest]."),
        click.option("--on-error", type=click.Choice(["stop", "skip"]), default="stop", help="Unusable clips."),
        click.option("--manifest", required=True, help="The clips that are to be trained on; or a packed set."),
        *reversed(own),
    )
    return lambda function: main.command(name, **attributes)(reduce(lambda made, add: add(made), options, function))


@command("yamnet", MODEL)
def yamnet(model: Path, **asked: Any) -> None:
    """YAMNet (TFLite), its last features mapped to the manifest's classes by logistic regression.

    The mapping that predicts a training clip was fitted on clips of other groups: a teacher that has seen the label
    only repeats it. The other splits are predicted by one that was fitted on the whole training split.

    \b
    Example:
      sedkit-train teachers yamnet --model yamnet.tflite --manifest manifest.csv --output yamnet.npz
    """

    def ask(audio: Audio) -> NDArray[np.float64]:
        from training.networks.yamnet_tflite import YamnetTflite

        peer = YamnetTflite(model)
        features = []
        with click.progressbar(range(len(audio.manifest)), label="YAMNet", file=sys.stderr) as rows:
            for row in rows:
                features.append(peer(audio[row] / np.float32(FULL_SCALE)).features())
        return mapped(np.stack(features), audio)

    answer(ask, "YAMNet's features, logistic regression fitted on other groups", model, **asked)


@command("listener", MODEL, DEVICE, suffix=".pt")
def listener(model: Path, device: str, **asked: Any) -> None:
    """YAMNet (TFLite) as a network that can be asked, while a student learns, of whatever the student hears.

    It tells the manifest's classes as the command yamnet does, by logistic regressions that never saw the clip; but
    they are fitted on crops of the clips as well. The metrics are those of whole clips. MODEL may be an earlier
    listener, too, from which YAMNet is taken.

    \b
    Example:
      sedkit-train teachers listener --model yamnet.tflite --manifest manifest.csv --output yamnet.pt
    """
    made: listeners.Fitted

    def ask(audio: Audio) -> NDArray[np.float64]:
        nonlocal made
        made, said = listeners.fit(read_yamnet(model).to(torch_device(device)), audio)
        return said.astype(np.float64)

    def write(path: Path, said: Predictions, data: str, labels: Sequence[Label]) -> None:
        listeners.save(path, replace(made, about=said.about), data, labels)

    answer(ask, "YAMNet, logistic regressions fitted on other groups, of any sound", model, write=write, **asked)


@command("sedkit", MODEL)
def earlier(model: Path, **asked: Any) -> None:
    """A sedkit model (ONNX); classes that it does not know are refused.

    \b
    Example:
      sedkit-train teachers sedkit --model runs/first/model.onnx --manifest manifest.csv --output first.npz
    """

    def ask(audio: Audio) -> NDArray[np.float64]:
        from sedkit.inference.model import Model
        from sedkit.timeline.views import TagsView

        teacher = Model(model, "cpu")
        labels = audio.manifest.vocabulary.labels
        columns = positions(teacher.contract.labels, labels).tolist()
        said = np.zeros((len(audio.manifest), len(columns)))
        with click.progressbar(range(len(said)), label=teacher.contract.name, file=sys.stderr) as rows:
            for row in rows:
                view = TagsView(labels, columns, teacher.weights(columns), teacher.contract.tag_segments, None, 0.0)
                for segments in teacher.segments([audio[row] / np.float32(FULL_SCALE)]):
                    view.add(segments)
                said[row] = view.means()
        return said

    answer(ask, "sedkit model", model, **asked)


@command(
    "crossfitted",
    click.argument("options", metavar="[TRAINING OPTIONS]", nargs=-1, type=click.UNPROCESSED),
    click.option(
        "--run", "directory", required=True, type=click.Path(file_okay=False, path_type=Path), help="Of the runs."
    ),
    click.option("--folds", type=click.IntRange(2), default=FOLDS, help="Parts of the training split, a run each."),
    click.option("--launch", default="python", help='Starts a run: "torchrun --nproc-per-node 8".'),
    click.option("--stop-after", help="End in good time before this, resumable: 540s, 9m, 2h."),
    context_settings={"ignore_unknown_options": True},
)
def crossfitted(
    options: tuple[str, ...],
    directory: Path,
    folds: int,
    launch: str,
    stop_after: str | None,
    **asked: Any,
) -> None:
    """Networks trained here, each asked of the training clips that it never heard.

    The training split is cut into parts, by group and with about as many clips of every class in each; a run a part
    learns from the others, with the same validation split. All clips but these, unlabelled ones among them, get the
    mean of what the networks say. The same command given again goes on where it was.

    All other options are those of training.secost, whose --help lists them; {fold} in them stands for the number of
    the part. Without --stages, --stage, --alpha and --preset, Teacher-0 alone is trained, else a cascade, whose last
    student is asked.

    \b
    Examples:
      sedkit-train teachers crossfitted --manifest manifest.csv --run runs/crossfitted --output t0.npz
      sedkit-train teachers crossfitted --manifest manifest.csv --run runs/crossfitted --output t0.npz \\
          --folds 3 --epochs 30 --width 0.25
      sedkit-train evaluate crossval runs/crossfitted
    """
    deadline = Deadline(seconds(stop_after) if stop_after else math.inf)
    given = understood(options)
    with resumable():
        answer(
            lambda audio: crossfit(audio, folds, directory, given, launch, deadline),
            f"{folds} networks, each asked of training clips that it never heard",
            directory,
            **asked,
        )


def answer(
    ask: Callable[[Audio], NDArray[np.floating]],
    teacher: str,
    model: Path,
    manifest: str,
    on_error: OnError,
    vocabulary: Path | None,
    output: Path,
    write: Write = write_predictions,
) -> None:
    """Write what a teacher says of a manifest's clips, and print how good it is."""
    try:
        with decoding() as progress:
            audio = open_audio(manifest, vocabulary, on_error, progress)
        said = ask(audio)
        labels = audio.manifest.vocabulary.labels
        metrics = {split: quality(said, audio, split) for split in ("train", "validation", "test")}
        about = {"teacher": teacher, "model": model.name, "metrics": metrics}
        write(output, Predictions(said.astype(np.float16), about), audio.manifest.sha256(), labels)
    except SedkitError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{output}  ({len(said)} clips, {len(labels)} classes)")
    for split, figures in metrics.items():
        if figures:
            click.echo(f"{split}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))


def quality(said: NDArray[np.float64], audio: Audio, split: str) -> dict[str, float]:
    """mAP and accuracy on a split, so far as it has them."""
    rows = audio.manifest.labelled(split)
    if not len(rows):
        return {}
    found = summary(audio.manifest.targets(rows), said[rows], audio.manifest.vocabulary.labels).to_dict()
    return {key: round(found[key], 4) for key in ("mAP", "accuracy") if found[key] is not None}


def positions(known: Sequence[Label], wanted: Sequence[Label]) -> NDArray[np.intp]:
    """Where the wanted classes stand among those a model knows, by MID or else by name.

    Raises
    ------
    TeacherError
        If it does not know one.
    """
    places = {label.mid or label.name: place for place, label in enumerate(known)}
    missing = [label.name for label in wanted if (label.mid or label.name) not in places]
    if missing:
        raise TeacherError(f"the model does not know {len(missing)} of the classes ({', '.join(missing[:5])})")
    return np.array([places[label.mid or label.name] for label in wanted])


def mapped(features: NDArray[np.float64], audio: Audio) -> NDArray[np.float64]:
    """Probabilities [clips, classes] from features [clips, n]: one logistic regression a class, cross-fitted."""
    manifest = audio.manifest
    part, train = parts(manifest, FOLDS), manifest.labelled("train")
    fitted = without_each_part(features[train], manifest.targets(train), part[train], STRENGTHS)
    said = fitted[-1](features)
    for held, one in enumerate(fitted[:-1]):
        said[part == held] = one(features[part == held])
    return said
