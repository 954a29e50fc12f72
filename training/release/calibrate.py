"""Calibrate a model's tags and choose its thresholds: ``sedkit-train calibrate MODEL --manifest MANIFEST``.

Both use the validation split. The gain is measured on the test split.

- Tags: Platt scaling of clip scores (``training.release.platt_scaling``), then one threshold for all calibrated scores.
  Calibration holds for recordings as long as the clips. ``tag_segments`` stores that length, and sedkit slides a window
  of it over longer recordings.
- Timelines: thresholds of segment scores (``training.release.timeline_thresholds``).

The results are written into the metadata of the model's file. An int8 version is calibrated on its own scores, and both
files are replaced once both are done. Weights do not change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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
from sedkit.judging.psds_and_f1 import f1_scores
from sedkit.model_file import ModelFile
from sedkit.timeline.calibration import Calibration
from sedkit.timeline.views import TagsView
from training.data.clips import Subset, median_segments
from training.data.store.source import Audio, open_audio
from training.evaluate.metrics import reliability
from training.release import platt_scaling, timeline_thresholds
from training.release.pairs import DIGEST, check_pair, with_metadata
from training.release.scoring import columns_of, run_model
from training.release.timeline_thresholds import ScoredTimelines
from training.runs.config import git_revision
from training.runs.reports import best_threshold
from training.runtime.files import replace_together
from training.runtime.progress import decoding

CLIPS = 5000  # of a split, at most, by default


class CalibrateError(SedkitError):
    """A model cannot be calibrated."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--manifest", required=True, help="Manifest with a validation split that the model was not trained on.")
@click.option("--vocabulary", type=click.Path(path_type=Path), help="Class list [default: beside the manifest].")
@click.option("--clips", type=click.IntRange(1), default=CLIPS, help="Use at most this many clips of a split.")
@click.option("--soundscapes", type=click.IntRange(1), default=300, help="Number of 10 s soundscapes to mix.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed for drawing clips and soundscapes.")
@click.option(
    "--unknown",
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of recordings without any of the classes in the collection that scores and thresholds are chosen for; "
    "the clips without a class get this share of the weight  [default: their share of the split]",
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
    change. The manifest must have the model's classes; clips of other classes count as sounds that it does not know.

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
        If the manifest lacks a class of the model, or there are no clips to calibrate on. No file changes then.
    """
    about = _contract(path)
    if "quantisation" in about.lineage:
        raise CalibrateError(f"{path}: an int8 model: calibrate the fp32 one, which updates this file, too")
    try:
        columns_of(audio.manifest, about.labels)
    except SedkitError as error:
        raise CalibrateError(f"{path}: {error}") from None
    int8, files = sibling(path, "int8"), {path: about}
    if int8.exists():
        check_pair(int8, path)
        files[int8] = _contract(int8)
    held_out = {split: draw_clips(audio, split, clips, seed) for split in ("validation", "test")}
    if not len(held_out["validation"]):
        raise CalibrateError("the manifest has no clips in the split 'validation': calibration needs some")
    span = median_segments(Subset(audio, held_out["validation"]))
    options = {"at_most": clips, "soundscapes": soundscapes, "seed": seed, "unknown": unknown}
    changed = {file: calibrated(file, described, audio, held_out, span, options) for file, described in files.items()}
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
    options: Mapping[str, Any],
) -> Contract:
    """The contract of the model at ``path`` with calibration and thresholds from its own scores.

    Parameters
    ----------
    about : its contract so far.
    held_out : rows of the clips, by split.
    span : length of the sliding window of tags, in segments.
    options : ``at_most``, the largest number of clips per split; ``soundscapes``, their number per split; ``seed``;
        ``unknown``, the share of the recordings that hold none of the classes, None for that of the split.
    """
    soundscapes, seed = options["soundscapes"], options["seed"]
    model = Model(path, threads=1)
    tags = {split: score_clips(model, audio, rows, span) for split, rows in held_out.items() if len(rows)}
    timelines = {
        split: timeline_thresholds.score_timelines(model, audio, rows, soundscapes, seed)
        for split, rows in held_out.items()
        if len(rows)
    }
    tags["validation"] = with_unknown(tags["validation"], options["unknown"])
    share = timelines["validation"].share if options["unknown"] is None else options["unknown"]
    fitted = fit(tags["validation"], timelines["validation"], share)
    record: dict[str, Any] = {
        "clips": len(held_out["validation"]),
        **options,
        "manifest_sha256": audio.manifest.sha256(),
        "git_revision": git_revision(),
        "deviations": fitted.deviations,
    }
    if "test" in tags:
        record["test"] = measure_gain(fitted, tags, timelines, share)
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
    """Raw scores and targets, [clips, classes] each; unknown targets are NaN.

    ``weight``: weight of each clip in the fit, one number or [clips, 1].
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


def fit(tags: ScoredClips, timelines: ScoredTimelines, share: float) -> Fitted:
    """Fit the calibration of tags, and choose the thresholds of tags and timelines.

    Tags have one threshold on the calibrated scores. ``share``: of the recordings with none of the classes.
    """
    tag = platt_scaling.fit(*tags)
    chosen = timeline_thresholds.choose(timelines, share)
    return Fitted(
        tag.calibration,
        np.full(tags.scores.shape[1], platt_scaling.best_threshold(tag.calibration(tags.scores))),
        chosen.thresholds,
        [tag.deviation, chosen.deviation],
    )


def measure_gain(
    fitted: Fitted, tags: Mapping[str, ScoredClips], timelines: Mapping[str, ScoredTimelines], share: float
) -> dict[str, Any]:
    """Metrics on the test split, every one as ``[before, after]``.

    Before: raw scores, and the threshold for all classes with the highest micro-averaged F1 on validation clips.
    """
    raw, truth, _ = tags["test"]
    one = best_threshold(tags["validation"].targets, tags["validation"].scores.astype(np.float32))
    uniform = [np.full(raw.shape[1], threshold) for threshold in platt_scaling.GRID]
    one_segment = timeline_thresholds.best_of(uniform, timelines["validation"], share)
    calibrated = fitted.calibration(raw)
    metrics: dict[str, Sequence[float]] = {
        "calibration_error": [reliability.calibration_error(scores, truth) for scores in (raw, calibrated)],
        "calibration_error_of_highest": [
            reliability.highest_calibration_error(scores, truth) for scores in (raw, calibrated)
        ],
    }
    both = one_segment, fitted.timeline_thresholds
    scores_of = {
        "tags": [f1_scores(found, truth) for found in (raw >= one, calibrated >= fitted.thresholds)],
        "timelines": [timeline_thresholds.event_f1(thresholds, timelines["test"]) for thresholds in both],
    }
    for name, before_and_after in scores_of.items():
        micro, macro = zip(*before_and_after, strict=True)
        metrics |= {f"micro_f1_of_{name}": micro, f"macro_f1_of_{name}": macro}
    if unknown := timelines["test"].unknown:
        metrics["unknown_sounds_with_events"] = [
            timeline_thresholds.with_false_events(thresholds, unknown) for thresholds in both
        ]
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
    return ScoredClips(np.stack(scores), audio.manifest.targets(rows)[:, columns_of(audio.manifest, labels)], 1.0)


class ClipScores(TagsView):
    """A view of sedkit's pipeline that returns the uncalibrated clip scores of a recording, [classes]."""

    def finish(self, file: str, duration: float) -> NDArray[np.float64]:  # type: ignore[override]
        return self.means()


def _contract(path: Path) -> Contract:
    try:
        return Contract.from_metadata(metadata_of(path))
    except SedkitError as error:
        raise CalibrateError(f"{path}: {error}") from None
