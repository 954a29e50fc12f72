"""Calibrate a model's tags and choose its thresholds: ``sedkit-train calibrate MODEL --manifest MANIFEST``.

Both use the validation split. The gain is measured on the test split.

- Tags: Platt scaling of clip scores (``training.release.platt_scaling``), then one threshold for all calibrated scores.
  Calibration holds for recordings as long as the clips. ``tag_segments`` stores that length, and sedkit slides a window
  of it over longer recordings.
- Timelines: thresholds of segment scores, chosen on soundscapes. These are mixed from validation clips, so their strong
  labels are known (``training.data.augment.soundscapes``).

The results are written into the metadata of the model's file. An int8 version is calibrated on its own scores, and both
files are replaced once both are done. Weights do not change.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Contract, metadata_of
from sedkit.errors import SedkitError
from sedkit.inference.installed import sibling
from sedkit.inference.model import Model
from sedkit.inference.pipeline import analyse
from sedkit.judging.psds_and_f1 import f1_scores
from sedkit.model_file import ModelFile
from sedkit.timeline.calibration import Calibration
from sedkit.timeline.views import TagsView
from training.data.augment.soundscapes import Recipe, Samples, Sources
from training.data.clips import Subset, median_segments
from training.data.lineage import most_specific
from training.data.store.codecs import encoder
from training.data.store.source import Audio, open_audio
from training.evaluate.metrics import reliability
from training.evaluate.metrics.event_decoding import Events, best_thresholds, in_events, tile_targets
from training.release import platt_scaling
from training.release.pairs import DIGEST, check_pair, with_metadata
from training.runs.config import git_revision
from training.runs.reports import best_threshold
from training.runtime.files import replace_together
from training.runtime.progress import decoding

Scores = NDArray[np.float32]


class CalibrateError(SedkitError):
    """A model cannot be calibrated."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--manifest", required=True, help="Manifest of the model's clips, with a validation split.")
@click.option("--vocabulary", type=click.Path(path_type=Path), help="Class list [default: beside the manifest].")
@click.option("--clips", type=click.IntRange(1), default=5000, help="Use at most this many clips of a split.")
@click.option("--soundscapes", type=click.IntRange(1), default=300, help="Number of 10 s soundscapes to mix.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed for drawing clips and soundscapes.")
@click.option(
    "--unknown",
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of recordings with none of the classes that scores are calibrated for: the clips without a class get "
    "this share of the weight  [default: their share of the split]",
)
def main(
    model: Path,
    manifest: str,
    vocabulary: Path | None,
    clips: int,
    soundscapes: int,
    seed: int,
    unknown: float | None,
) -> None:
    """Calibrate the tag scores of a MODEL, and choose thresholds for its tags and timelines.

    The results go into the metadata of MODEL and, if it exists, of its int8 version MODEL-int8.onnx. Weights do not
    change.

    \b
    Examples:
      sedkit-train calibrate runs/20260101-120000/model.onnx --manifest manifest.csv
      sedkit-train calibrate model.onnx --manifest manifest.csv --unknown 0.5
    """
    try:
        with decoding() as progress:
            audio = open_audio(manifest, vocabulary, progress=progress)
        result = calibrate(model, audio, clips, soundscapes, seed, unknown)
    except SedkitError as error:
        raise click.ClickException(str(error)) from None
    click.echo(", ".join(map(str, result.files)))
    for name, value in result.about.get("test", {}).items():
        if name not in ("clips", "reliability"):
            click.echo(f"test {name.replace('_', ' ')}: {value[0]:.3f} before, {value[1]:.3f} after")


class Calibrated(NamedTuple):
    """The rewritten files, and the entry ``calibrated_on`` in their lineage."""

    files: tuple[Path, ...]
    about: dict[str, Any]


def calibrate(
    path: Path, audio: Audio, clips: int, soundscapes: int, seed: int, unknown: float | None = None
) -> Calibrated:
    """Calibrate the model at ``path`` and its int8 version, in place.

    Parameters
    ----------
    clips : at most this many clips per split.
    soundscapes : number of soundscapes per split.
    unknown : share of the recordings that hold none of the classes; None: that of the split.

    Raises
    ------
    CalibrateError
        If the classes of model and clips differ, or there are no clips to calibrate on. No file changes then.
    """
    about = _contract(path)
    if "quantisation" in about.lineage:
        raise CalibrateError(f"{path}: an int8 model: calibrate the fp32 one, which updates this file, too")
    if about.labels != audio.manifest.vocabulary.labels:
        raise CalibrateError(
            f"{path}: its {len(about.labels)} classes differ from the manifest's: give the model's own manifest"
        )
    int8, files = sibling(path, "int8"), {path: about}
    if int8.exists():
        check_pair(int8, path)
        files[int8] = _contract(int8)
    held_out = {split: draw_clips(audio, split, clips, seed) for split in ("validation", "test")}
    if not len(held_out["validation"]):
        raise CalibrateError("the manifest has no clips in the split 'validation': calibration needs some")
    span = median_segments(Subset(audio, held_out["validation"]))
    changed = {
        file: calibrated(file, described, audio, held_out, span, soundscapes, seed, unknown)
        for file, described in files.items()
    }
    contents = {path: with_metadata(path, changed[path])}
    if int8 in changed:
        lineage, fp32 = changed[int8].lineage, contents[path]
        of = {DIGEST: ModelFile(path).digest, "of_sha256": hashlib.sha256(fp32).hexdigest()}
        changed[int8] = replace(changed[int8], lineage={**lineage, "quantisation": {**lineage["quantisation"], **of}})
        contents[int8] = with_metadata(int8, changed[int8])
    replace_together(contents)
    return Calibrated(tuple(contents), changed[path].lineage["calibrated_on"])


def calibrated(
    path: Path,
    about: Contract,
    audio: Audio,
    held_out: Mapping[str, NDArray[np.int64]],
    span: int,
    soundscapes: int,
    seed: int,
    unknown: float | None,
) -> Contract:
    """The contract of the model at ``path`` with calibration and thresholds from its own scores.

    Parameters
    ----------
    about : its contract so far.
    held_out : rows of the clips, by split.
    span : length of the sliding window of tags, in segments.
    soundscapes : number of soundscapes per split.
    unknown : share of the recordings that hold none of the classes; None: that of the split.
    """
    model = Model(path, threads=1)
    tags = {split: score_clips(model, audio, rows, span) for split, rows in held_out.items() if len(rows)}
    timelines = {
        split: score_soundscapes(model, audio, rows, soundscapes, seed) for split, rows in held_out.items() if len(rows)
    }
    tags["validation"] = with_unknown(tags["validation"], unknown)
    fitted = fit(tags["validation"], timelines["validation"])
    record: dict[str, Any] = {
        "clips": len(held_out["validation"]),
        "soundscapes": soundscapes,
        "seed": seed,
        "unknown": unknown,
        "git_revision": git_revision(),
        "deviations": fitted.deviations,
    }
    if "test" in tags:
        record["test"] = measure_gain(fitted, tags, timelines)
    slope, offset = fitted.calibration.slope.tolist(), fitted.calibration.offset.tolist()
    return replace(
        about,
        lineage={**about.lineage, "calibrated_on": record},
        calibration={"kind": "platt", "slope": slope, "offset": offset},
        thresholds=tuple(fitted.thresholds.tolist()),
        timeline_thresholds=tuple(fitted.timeline_thresholds.tolist()),
        tag_segments=span,
    )


class ScoredClips(NamedTuple):
    """Raw scores and targets, [clips, classes] each, or [recordings, segments, classes]; unknown targets are NaN.

    ``weight``: weight of each clip or segment in the fit, one number or [clips, 1]; below 1 for segments, which are not
    independent.
    """

    scores: NDArray[np.float64]
    targets: NDArray[np.float32]
    weight: platt_scaling.Weight


def with_unknown(tags: ScoredClips, share: float | None) -> ScoredClips:
    """``tags`` weighted so that clips without a class have ``share`` of the weight; None: as they are.

    Raises
    ------
    CalibrateError
        If no clip is without a class, or all are.
    """
    if share is None:
        return tags
    none = ~(tags.targets > 0).any(1, keepdims=True)
    if none.all() or not none.any():
        raise CalibrateError("--unknown needs validation clips with a class and clips without one (label -)")
    return tags._replace(weight=np.where(none, share / none.mean(), (1 - share) / (1 - none.mean())))


class Fitted(NamedTuple):
    """Calibration and thresholds, [classes] each.

    ``deviations``: standard deviations of the classes' priors, for tags and for timelines.
    """

    calibration: Calibration
    thresholds: NDArray[np.float64]
    timeline_thresholds: NDArray[np.float64]
    deviations: list[float]


def fit(tags: ScoredClips, timelines: ScoredClips) -> Fitted:
    """Fit the calibration of tags, and choose the thresholds of tags and timelines.

    Tags have one threshold on the calibrated scores. For timelines, segment scores are calibrated on soundscapes to
    learn how classes differ. This calibration is not stored, because class frequencies in soundscapes are artificial.
    A candidate is one calibrated threshold, mapped back to raw scores per class. The best candidate has the highest F1
    of decoded events (``training.evaluate.metrics.event_decoding``).
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


def measure_gain(
    fitted: Fitted, tags: Mapping[str, ScoredClips], timelines: Mapping[str, ScoredClips]
) -> dict[str, Any]:
    """Metrics on the test split, every one as ``[before, after]``.

    Before: raw scores, and the threshold for all classes with the highest micro-averaged F1 on validation clips.
    """
    raw, truth, _ = tags["test"]
    segments, present, _ = timelines["test"]
    one = best_threshold(tags["validation"].targets, tags["validation"].scores.astype(np.float32))
    uniform = [np.full(raw.shape[1], threshold) for threshold in platt_scaling.GRID]
    one_segment = best_thresholds(uniform, timelines["validation"].scores, timelines["validation"].targets)
    calibrated = fitted.calibration(raw)
    metrics: dict[str, Sequence[float]] = {
        "calibration_error": [reliability.calibration_error(scores, truth) for scores in (raw, calibrated)],
        "calibration_error_of_highest": [
            reliability.highest_calibration_error(scores, truth) for scores in (raw, calibrated)
        ],
    }
    predicted = {
        "tags": ([raw >= one, calibrated >= fitted.thresholds], truth),
        "timelines": (
            [in_events(segments, thresholds) for thresholds in (one_segment, fitted.timeline_thresholds)],
            present,
        ),
    }
    for name, (before_and_after, targets) in predicted.items():
        micro, macro = zip(*(f1_scores(each, targets) for each in before_and_after), strict=True)
        metrics |= {f"micro_f1_of_{name}": micro, f"macro_f1_of_{name}": macro}
    return {
        "clips": len(raw),
        **{name: [round(value, 4) for value in values] for name, values in metrics.items()},
        "reliability": [[round(value, 4) for value in row] for row in reliability.reliability(calibrated, truth)],
    }


def draw_clips(audio: Audio, split: str, clips: int, seed: int) -> NDArray[np.int64]:
    """Rows of at most ``clips`` random clips of a split, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(audio.manifest.indices(split))[:clips])


def score_clips(model: Model, audio: Audio, rows: NDArray[np.int64], span: int) -> ScoredClips:
    """Uncalibrated clip scores. ``span``: length of the sliding window, in segments."""
    labels, columns = model.contract.labels, range(len(model.contract.labels))
    view = partial(ClipScores, labels, columns, model.weights(columns), span, None, 0.0)
    scores = run_model(model, view, (audio[row] for row in rows), len(rows), "clips")
    return ScoredClips(np.stack(scores), audio.manifest.targets(rows), 1.0)


def score_soundscapes(model: Model, audio: Audio, rows: NDArray[np.int64], count: int, seed: int) -> ScoredClips:
    """Segment scores of ``count`` soundscapes, mixed from the clips in ``rows`` of a single sound.

    The segments together weigh at most as much as there are source clips, because a clip occurs in many segments.

    Raises
    ------
    CalibrateError
        If no clip has a single sound (``training.data.lineage``) and is not silent.
    """
    clips = audio.manifest.take(rows)
    specific = most_specific(clips)
    single, recipe = rows[specific >= 0], Recipe()
    labels = audio.manifest.labels.take(single)
    sources = Sources(audio, single, specific[specific >= 0], labels=labels, unchecked=labels.unchecked)
    if not any(sources.sounding(row) for row in single.tolist()):
        raise CalibrateError("soundscapes need validation and test clips of a single sound, and there are none")
    mixed = (soundscape(sources, recipe, np.random.default_rng((seed, number))) for number in range(count))
    sounds, events, unchecked = zip(*mixed, strict=True)
    segments = run_model(model, partial(SegmentScores, len(model.contract.labels)), sounds, count, "soundscapes")
    targets = [
        tile_targets(present, len(scored), recipe.seconds, len(model.contract.labels), maybe)
        for present, scored, maybe in zip(events, segments, unchecked, strict=True)
    ]
    scores = np.stack(segments).astype(np.float64)
    return ScoredClips(scores, np.stack(targets), min(1.0, len(single) / (count * scores.shape[1])))


def soundscape(sources: Sources, recipe: Recipe, random: np.random.Generator) -> tuple[Samples, Events, Events]:
    """A random soundscape with at least one event, its events, and when which unchecked classes may sound."""
    plan = sources.plan(recipe, random)
    while not plan.sounds:
        plan = sources.plan(recipe, random)
    return sources.render(plan, recipe, random), sources.labels(plan, recipe), sources.unchecked(plan, recipe)


class ClipScores(TagsView):
    """A view of sedkit's pipeline that returns the uncalibrated clip scores of a recording, [classes]."""

    def finish(self, file: str, duration: float) -> NDArray[np.float64]:  # type: ignore[override]
        return self.means()


class SegmentScores:
    """A view of sedkit's pipeline that returns the segment scores of a recording, [K, classes]."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.parts: list[Scores] = []

    def add(self, samples: Scores, kept: slice, scores: Scores) -> None:
        self.parts.append(scores[:, : self.classes])

    def finish(self, file: str, duration: float) -> Scores:
        return np.concatenate(self.parts)


def run_model(model: Model, view: Callable[[], Any], sounds: Iterable[Samples], count: int, label: str) -> list[Scores]:
    """The view's result for each of ``count`` sounds (int16, 16 kHz), read and scored as sedkit does."""
    flac = encoder("flac", 0)
    pipeline = analyse(model, view, (io.BytesIO(flac(samples)) for samples in sounds))
    with click.progressbar(pipeline, count, label, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        results: list[Any] = [result for _, result in bar]
    for result in results:
        if isinstance(result, SedkitError):
            raise result
    return results


def _contract(path: Path) -> Contract:
    try:
        return Contract.from_metadata(metadata_of(path))
    except SedkitError as error:
        raise CalibrateError(f"{path}: {error}") from None
