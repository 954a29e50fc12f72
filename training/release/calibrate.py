"""Calibrate a model's tags and choose its thresholds: ``sedkit-train calibrate MODEL --manifest MANIFEST``.

On the validation split, which the weights were not fitted to (what they gain is measured on the test split):

- tags: Platt scaling of clip scores (training.release.platt_scaling), then the thresholds of calibrated scores; these hold for
  recordings as long as the clips, and so tags of longer ones are those of so long a part;
- timelines: the thresholds of segment scores, on soundscapes mixed from clips of the split, of which is known what is
  heard when (training.data.augment.soundscapes).

What is found goes into the metadata of the model's file, and of its int8 form beside it; nothing else in them changes.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from sedkit.contract import Contract, metadata_of
from sedkit.errors import SedkitError
from sedkit.inference.installed import sibling
from sedkit.inference.model import Model
from sedkit.inference.pipeline import analyse
from sedkit.timeline.calibration import Calibration
from sedkit.timeline.views import TagsView
from training.data.augment.soundscapes import Recipe, Samples, Sources
from training.data.clips import Some, usual_segments
from training.data.store.codecs import encoder
from training.data.store.source import Audio, open_audio
from training.evaluate.metrics import reliability
from training.evaluate.metrics.event_decoding import Events, best_thresholds, in_events, tile_targets
from training.evaluate.metrics.psds_and_f1 import f1_scores
from training.release import platt_scaling
from training.runs.config import git_revision
from training.runs.reports import best_threshold
from training.runtime.files import replacing, sha256
from training.runtime.progress import decoding

Scores = NDArray[np.float32]


class CalibrateError(SedkitError):
    """A model cannot be calibrated."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--manifest", required=True, help="The clips that the model was trained on, and others held out.")
@click.option("--vocabulary", type=click.Path(path_type=Path), help="Classes [default: beside the manifest].")
@click.option("--clips", type=click.IntRange(1), default=5000, help="At most so many clips of the validation split.")
@click.option("--soundscapes", type=click.IntRange(1), default=300, help="Recordings to mix of them, of 10 s each.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Draws clips and soundscapes.")
def main(model: Path, manifest: str, vocabulary: Path | None, clips: int, soundscapes: int, seed: int) -> None:
    """Write into a MODEL what its scores mean: calibrated tags, and thresholds for tags and for timelines.

    MODEL and its int8 form, MODEL-int8.onnx where there is one, are rewritten; weights stay as they are.

    \b
    Examples:
      sedkit-train calibrate runs/20260101-120000/model.onnx --manifest manifest.csv
    """
    try:
        with decoding() as progress:
            audio = open_audio(manifest, vocabulary, progress=progress)
        done = calibrate(model, audio, clips, soundscapes, seed)
    except SedkitError as error:
        raise click.ClickException(str(error)) from None
    click.echo(", ".join(map(str, done.files)))
    for name, value in done.about.get("test", {}).items():
        if name not in ("clips", "reliability"):
            click.echo(f"test {name.replace('_', ' ')}: {value[0]:.3f} before, {value[1]:.3f} after")


class Calibrated(NamedTuple):
    """The files that were rewritten, and what they say of it (``calibrated_on`` in their lineage)."""

    files: tuple[Path, ...]
    about: dict[str, Any]


def calibrate(path: Path, audio: Audio, clips: int, soundscapes: int, seed: int) -> Calibrated:
    """Calibrate the model at ``path`` and its int8 form.

    Raises
    ------
    CalibrateError
        If model and clips do not belong together, or there is nothing to calibrate on. No file has changed.
    """
    about = _contract(path)
    if "quantisation" in about.lineage:
        raise CalibrateError(f"{path}: the int8 form of a model; calibrate the fp32 one, and this one follows")
    if about.labels != audio.manifest.vocabulary.labels:
        raise CalibrateError(f"{path}: its {len(about.labels)} classes are not the manifest's")
    int8 = sibling(path, "int8")
    if int8.exists() and _contract(int8).lineage["quantisation"]["of_sha256"] != sha256(path):
        raise CalibrateError(
            f"{int8}: made of another model; remove it, or make it anew with training.release.quantize"
        )
    model = Model(path, threads=1)
    held_out = {split: drawn(audio, split, clips, seed) for split in ("validation", "test")}
    if not len(held_out["validation"]):
        raise CalibrateError("the manifest has no clips of the split 'validation'")
    span = usual_segments(Some(audio, held_out["validation"]))
    tags = {split: clips_heard(model, audio, rows, span) for split, rows in held_out.items() if len(rows)}
    timelines = {
        split: soundscapes_heard(model, audio, rows, soundscapes, seed) for split, rows in held_out.items() if len(rows)
    }
    found = fit(tags["validation"], timelines["validation"])
    done = {
        "clips": len(held_out["validation"]),
        "soundscapes": soundscapes,
        "seed": seed,
        "git_revision": git_revision(),
        "deviations": found.deviations,
    }
    if "test" in tags:
        done["test"] = measured(found, tags, timelines)
    changes = {
        "calibration": {
            "kind": "platt",
            "slope": found.calibration.slope.tolist(),
            "offset": found.calibration.offset.tolist(),
        },
        "thresholds": tuple(found.thresholds.tolist()),
        "timeline_thresholds": tuple(found.timeline_thresholds.tolist()),
        "tag_segments": span,
    }
    rewrite(path, replace(about, lineage={**about.lineage, "calibrated_on": done}, **changes))
    if not int8.exists():
        return Calibrated((path,), done)
    about = _contract(int8)
    quantisation = {**about.lineage["quantisation"], "of_sha256": sha256(path)}
    lineage = {**about.lineage, "quantisation": quantisation, "calibrated_on": done}
    rewrite(int8, replace(about, lineage=lineage, **changes))
    return Calibrated((path, int8), done)


class Heard(NamedTuple):
    """What a model scored, and what was there: [clips, classes] each, or [recordings, segments, classes].

    ``weight``: of each clip or segment, for segments are not independent.
    """

    scores: NDArray[np.float64]
    targets: NDArray[np.float32]
    weight: float


class Fitted(NamedTuple):
    """Calibration and thresholds, [classes] each; ``deviations``: of classes, of tags and timelines."""

    calibration: Calibration
    thresholds: NDArray[np.float64]
    timeline_thresholds: NDArray[np.float64]
    deviations: list[float]


def fit(tags: Heard, timelines: Heard) -> Fitted:
    """Calibration of clip scores, and thresholds: one for all calibrated scores, and what one is in segment scores.

    Segment scores are calibrated on soundscapes to know how classes differ, and for that alone: how often a class is
    heard in a soundscape says nothing of other recordings. Their threshold is the one whose events hold the right
    tiles (training.evaluate.metrics.event_decoding).
    """
    classes = tags.scores.shape[1]
    tag = platt_scaling.fit(*tags)
    segment = platt_scaling.fit(
        timelines.scores.reshape(-1, classes), timelines.targets.reshape(-1, classes), timelines.weight
    )
    candidates = [platt_scaling.raw_thresholds(segment.calibration, threshold) for threshold in platt_scaling.GRID]
    return Fitted(
        tag.calibration,
        np.full(classes, platt_scaling.best_threshold(tag.calibration(tags.scores))),
        best_thresholds(candidates, timelines.scores, timelines.targets),
        [tag.deviation, segment.deviation],
    )


def measured(found: Fitted, tags: Mapping[str, Heard], timelines: Mapping[str, Heard]) -> dict[str, Any]:
    """What was gained on the test split: every figure is ``[before, after]``.

    Before: raw scores, and the one threshold for all classes with the highest micro-averaged F1 on validation clips.
    """
    raw, truth, _ = tags["test"]
    segments, present, _ = timelines["test"]
    one = best_threshold(tags["validation"].targets, tags["validation"].scores.astype(np.float32))
    uniform = [np.full(raw.shape[1], threshold) for threshold in platt_scaling.GRID]
    one_segment = best_thresholds(uniform, timelines["validation"].scores, timelines["validation"].targets)
    made = found.calibration(raw)
    figures = {
        "calibration_error": [reliability.calibration_error(scores, truth) for scores in (raw, made)],
        "calibration_error_of_highest": [
            reliability.highest_calibration_error(scores, truth) for scores in (raw, made)
        ],
    }
    called = {
        "tags": ([raw >= one, made >= found.thresholds], truth),
        "timelines": ([in_events(segments, chosen) for chosen in (one_segment, found.timeline_thresholds)], present),
    }
    for name, (pair, targets) in called.items():
        micro, macro = zip(*(f1_scores(each, targets) for each in pair), strict=True)
        figures |= {f"micro_f1_of_{name}": micro, f"macro_f1_of_{name}": macro}
    return {
        "clips": len(raw),
        **{name: [round(value, 4) for value in values] for name, values in figures.items()},
        "reliability": [[round(value, 4) for value in row] for row in reliability.reliability(made, truth)],
    }


def drawn(audio: Audio, split: str, clips: int, seed: int) -> NDArray[np.int64]:
    """At most so many clips of a split."""
    return np.sort(np.random.default_rng(seed).permutation(audio.manifest.indices(split))[:clips])


def clips_heard(model: Model, audio: Audio, rows: NDArray[np.int64], span: int) -> Heard:
    """Clip scores, not calibrated; ``span``: segments of which they are means."""
    labels, columns = model.contract.labels, range(len(model.contract.labels))
    view = partial(ClipScores, labels, columns, model.weights(columns), span, None, 0.0)
    made = analysed(model, view, (audio[row] for row in rows), len(rows), "clips")
    return Heard(np.stack(made), audio.manifest.targets(rows), 1.0)


def soundscapes_heard(model: Model, audio: Audio, rows: NDArray[np.int64], count: int, seed: int) -> Heard:
    """Segment scores of ``count`` soundscapes, mixed from those of ``rows`` that have one label.

    Together they weigh as much as there are clips: each is heard in many segments.

    Raises
    ------
    CalibrateError
        If there is no such clip.
    """
    single = rows[audio.manifest.labels.take(rows).lengths == 1]
    sources, recipe = Sources(audio, single, audio.manifest.labels.take(single).classes), Recipe()
    if not any(sources.sounding(row) for row in single.tolist()):
        raise CalibrateError("no clip with a single label, and a sound, to mix soundscapes of")
    mixed = (soundscape(sources, recipe, np.random.default_rng((seed, number))) for number in range(count))
    sounds, events = zip(*mixed, strict=True)
    made = analysed(model, partial(SegmentScores, len(model.contract.labels)), sounds, count, "soundscapes")
    targets = [
        tile_targets(*pair, recipe.seconds, len(model.contract.labels))
        for pair in zip(events, map(len, made), strict=True)
    ]
    scores = np.stack(made).astype(np.float64)
    return Heard(scores, np.stack(targets), min(1.0, len(single) / (count * scores.shape[1])))


def soundscape(sources: Sources, recipe: Recipe, random: np.random.Generator) -> tuple[Samples, Events]:
    """One with at least one sound, and what is heard when."""
    plan = sources.plan(recipe, random)
    while not plan.sounds:
        plan = sources.plan(recipe, random)
    return sources.render(plan, recipe, random), sources.labels(plan, recipe)


class ClipScores(TagsView):
    """A view that gives the scores of a recording's classes, [classes], not calibrated."""

    def finish(self, file: str, duration: float) -> NDArray[np.float64]:  # type: ignore[override]
        return self.means()


class SegmentScores:
    """A view that gives a recording's segment scores, [K, classes]."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.parts: list[Scores] = []

    def add_samples(self, samples: Scores, kept: slice) -> None:
        """The scores are enough."""

    def add_scores(self, scores: Scores) -> None:
        self.parts.append(scores[:, : self.classes])

    def finish(self, file: str, duration: float) -> Scores:
        return np.concatenate(self.parts)


def analysed(model: Model, view: Callable[[], Any], sounds: Iterable[Samples], count: int, label: str) -> list[Scores]:
    """What a view gives of each of ``count`` sounds (int16, 16 kHz), read and run as sedkit does."""
    flac = encoder("flac", 0)
    made = analyse(model, view, (io.BytesIO(flac(samples)) for samples in sounds))
    with click.progressbar(made, count, label, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        found = [result for _, result in bar]
    for result in found:
        if isinstance(result, SedkitError):
            raise result
    return found


def rewrite(path: Path, about: Contract) -> None:
    """Replace the metadata of a model's file."""
    try:
        model = onnx.load(path)
    except DecodeError:
        raise CalibrateError(f"{path}: not an ONNX file that can be read; export or copy it again") from None
    onnx.helper.set_model_props(model, about.to_metadata())
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def _contract(path: Path) -> Contract:
    try:
        return Contract.from_metadata(metadata_of(path))
    except SedkitError as error:
        raise CalibrateError(f"{path}: {error}") from None
