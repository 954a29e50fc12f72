"""``sedkit-train own``: own classes from a few recordings of each, added to those that the small model knows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from sedkit.contract import Contract
from sedkit.errors import AudioError, OutputError
from sedkit.model_file import metadata_of
from training.data.audio import length
from training.release.own.background import read_background, small_model
from training.release.own.clips import Clip, read_clips, read_others
from training.release.own.crossfit import ENOUGH, Result, Sounds, learn
from training.release.own.embeddings import embedding_model, stored_embeddings
from training.release.own.model_file import OwnClasses, known_rows, with_own_classes
from training.runs.config import git_revision
from training.runtime.files import replacing, write_json
from training.runtime.lock import Lock

PATH = click.Path(path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("recordings", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="Model to write: NAME.onnx.")
@click.option("--background", type=PATH, help="Folder with recordings of other sounds, such as those of the place.")
@click.option("--only", is_flag=True, help="Replace the model's classes by the new ones; default: add them.")
@click.option("--run", type=PATH, help="Folder for what an interrupted run has done  [default: runs/NAME].")
def main(recordings: Path, output: Path, background: Path | None, only: bool, run: Path | None) -> None:
    """Teach the small model the classes of RECORDINGS, a folder with one folder per class.

    The model keeps the classes that it knows, and their scores. Clips in a folder named - or _noise are none of the
    classes. Other sounds, noise and tones come with the package. Ten recordings of a class work well; it takes
    seconds on a CPU. The figures at the end are of clips held out in turn.

    \b
    Examples:
      sedkit-train own recordings/ --output birds.onnx      # recordings/Grouse/01.wav, recordings/Jay/01.wav ...
      sedkit-train own recordings/ --output birds.onnx --background forest/
      sedkit-train own recordings/ --output birds.onnx --only
      sedkit tag clip.wav --model birds.onnx
    """
    _check_output(output)
    run = run or Path("runs") / output.stem
    path, digest = small_model()
    about = Contract.from_metadata(metadata_of(path))
    clips = read_clips(recordings, about.labels)
    if background:
        clips += read_others(background)
    try:
        with Lock(run):
            sounds = _embedded(clips, path, digest, run)
            classes = tuple(dict.fromkeys(clip.label for clip in clips if clip.label))
            result = learn(sounds, classes, known_rows(path, about.labels, classes))
            figures = _figures(result)
            write_json(run / "report.json", dict(zip((label.name for label in classes), figures, strict=True)))
    except KeyboardInterrupt:
        click.echo("interrupted; the same command continues where it stopped", err=True)
        raise SystemExit(130) from None
    thresholds = np.full(len(classes), result.threshold)
    own = OwnClasses(classes, result.rows, result.calibration, thresholds, result.timeline_thresholds)
    lineage = {"own_classes": {label.name: row for label, row in zip(classes, figures, strict=True)}} | {
        "own_classes_of": {"model": about.name, "digest": digest, "git_revision": git_revision()}
    }
    content = with_own_classes(path, about, own, output.stem, lineage, only)
    with replacing(output) as temporary:
        temporary.write_bytes(content)
    for line in _report(output, about, own, result, only, sum(clip.label is not None for clip in clips)):
        click.echo(line)


def _embedded(clips: list[Clip], path: Path, digest: str, run: Path) -> Sounds:
    """The clips with their embeddings; those of an interrupted run are taken from its folder."""
    model, segments = embedding_model(path), []
    with click.progressbar(clips, label="listening", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        for clip in bar:
            segments.append(stored_embeddings(model, clip.path, run / "embeddings", digest))
            if clip.label and not len(segments[-1]):
                raise AudioError(f"{clip.path}: silent: repair it, or take it out of the folder")
    seconds = np.array([length(clip.path) for clip in clips])
    return Sounds(clips, segments, seconds, read_background())


def _figures(result: Result) -> list[dict[str, Any]]:
    """The figures of each class."""
    columns = ("clips", "found", "confused", "false_alarms")
    return [
        {name: int(getattr(result, name)[place]) for name in columns}
        | {"background_hours": round(float(result.background_hours[place]), 3), "threshold": result.threshold}
        for place in range(len(result.clips))
    ]


def _report(output: Path, about: Contract, own: OwnClasses, result: Result, only: bool, clips: int) -> list[str]:
    """Lines on what was written and how good it is on held-out clips. ``clips``: how many of them have a class."""
    total = len(own.labels) if only else len({*about.labels, *own.labels})
    known = sum(label in about.labels for label in own.labels)
    again = f", {known} of which the model knew" if known else ""
    lines = [
        f"{output}: {total} classes, {len(own.labels)} of them yours{again}",
        "",
        f"{'class':24} {'clips':>5} {'found':>6} {'false, in your clips':>21} {'false an hour of other sounds':>30}",
    ]
    for place, label in enumerate(own.labels):
        hourly = result.false_alarms[place] / max(result.background_hours[place], 1e-9)
        counts = f"{result.clips[place]:5} {result.found[place]:6} {result.confused[place]:21} {hourly:30.2f}"
        lines.append(f"{label.name:24} {counts}")
    lines += ["", f"at the threshold {result.threshold:.2f}; every clip was held out once"]
    if result.calibration is None:
        lines.append(f"not calibrated: {clips} clips are fewer than {ENOUGH}, and these figures mean little")
    return lines


def _check_output(output: Path) -> None:
    """Raise OutputError before the work if the model cannot be written there."""
    if output.suffix.lower() != ".onnx":
        raise OutputError(f"{output}: a model file ends in .onnx: name it NAME.onnx")
    if output.is_dir():
        raise OutputError(f"{output}: is a folder: choose another name")
    with replacing(output.with_name(f".{output.name}.check")) as temporary:
        temporary.touch()
    output.with_name(f".{output.name}.check").unlink()
