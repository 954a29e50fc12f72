"""``sedkit-train evaluate unknown``: how often a model names what it does not know (open set), against what it finds.

A clip is *unknown* to a model if it is known to contain none of the model's classes; it is *known* if it contains one.
A tag or an event is false if its class is known to be absent. Classes of the manifest and the model are matched by MID,
or by name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.errors import SedkitError
from sedkit.inference.pipeline import analyse
from sedkit.judging.analysis import events_of
from sedkit.judging.models import JudgedModel
from sedkit.metrics import summary
from sedkit.tagger import Tagger
from training.data.audio import FULL_SCALE
from training.data.manifest.table import Manifest
from training.data.store.source import Audio, open_audio
from training.evaluate.robustness import tag_scores, wav_file
from training.runtime.files import sha256, write_json
from training.runtime.progress import decoding

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def score_clips(tagger: Tagger, audio: Audio, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Calibrated tag scores [clips, classes of the model] of the clips at ``rows``."""
    files = (wav_file(audio[row] / FULL_SCALE) for row in rows)
    with click.progressbar(tag_scores(tagger, files), len(rows), tagger.contract.name, file=sys.stderr) as bar:
        return np.stack(list(bar))


def tags_and_events(
    tagger: Tagger, audio: Audio, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Calibrated tag scores of the clips at ``rows``, and the classes with an event at the model's thresholds.

    Returns
    -------
    Both [clips, classes of the model].
    """
    judged = JudgedModel(tagger, tagger.labels)
    settings = judged.settings(tagger.post_processing())
    files = (wav_file(audio[row] / FULL_SCALE) for row in rows)
    scores, present = np.zeros((len(rows), len(tagger.labels))), np.zeros((len(rows), len(tagger.labels)), bool)
    results = analyse(tagger.model, judged.make_view, files)
    with click.progressbar(results, len(rows), tagger.contract.name, file=sys.stderr) as bar:
        for clip, (_, analysed) in enumerate(bar):
            if isinstance(analysed, SedkitError):
                raise analysed
            scores[clip] = analysed.tags
            present[clip, [column for *_, column in events_of(analysed, settings)]] = True
    return scores, present


def targets_for(manifest: Manifest, rows: NDArray[np.int64], labels: Sequence[Label]) -> NDArray[np.float32]:
    """Targets [clips, labels] of the clips at ``rows``; classes that the manifest lacks are unknown (NaN).

    In a clip of no class at all, every class is absent.

    Raises
    ------
    SedkitError
        If the manifest has none of the classes.
    """
    places = manifest.vocabulary.match(labels)
    if all(place is None for place in places):
        raise SedkitError(
            "the manifest has none of the model's classes, by MID or by name: write their MIDs into its labels file"
        )
    targets = np.full((len(rows), len(labels)), np.nan, np.float32)
    known = [number for number, place in enumerate(places) if place is not None]
    targets[:, known] = manifest.targets(rows)[:, [place for place in places if place is not None]]
    return targets


def open_set(targets: NDArray[np.float32], scores: NDArray[np.float64]) -> dict[str, Any]:
    """The trade between false tags and finds, at each of ``THRESHOLDS``.

    Parameters
    ----------
    targets, scores : [clips, classes]; NaN targets do not count.

    Returns
    -------
    ``unknown``, ``known``: numbers of clips; ``curve``: per threshold ``{"threshold", **shares}``, as :func:`shares`.
    """
    known = (targets == 1).any(1)
    unknown = ~known & (targets == 0).any(1)
    curve = [{"threshold": threshold, **shares(targets, scores >= threshold)} for threshold in THRESHOLDS]
    return {"unknown": int(unknown.sum()), "known": int(known.sum()), "curve": curve}


def shares(targets: NDArray[np.float32], reported: NDArray[np.bool_]) -> dict[str, float | None]:
    """``unknown_tagged``, ``found`` and ``false_on_known``; None where there are no such clips.

    They are the shares of the unknown clips with a false tag, of the known clips with a right one, and of the known
    clips with a false one.

    Parameters
    ----------
    targets, reported : [clips, classes]; NaN targets do not count. ``reported``: the tags, or the classes of events.
    """
    absent, present = targets == 0, targets == 1
    known = present.any(1)
    unknown = ~known & absent.any(1)
    false, right = (reported & absent).any(1), (reported & present).any(1)
    return {
        "unknown_tagged": _mean(false[unknown]),
        "found": _mean(right[known]),
        "false_on_known": _mean(false[known]),
    }


def _mean(values: NDArray[np.bool_]) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def report(tagger: Tagger, audio: Audio, split: str) -> dict[str, Any]:
    """The JSON report for one model: :func:`open_set`, mAP, and the most frequent false tags of unknown clips.

    Raises
    ------
    SedkitError
        If the split is empty.
    """
    rows = audio.manifest.labelled(split)
    if not len(rows):
        raise SedkitError(f"the manifest has no clips in the split {split!r}: choose another --split")
    targets = targets_for(audio.manifest, rows, tagger.labels)
    scores, with_event = tags_and_events(tagger, audio, rows)
    unknown = ~(targets == 1).any(1) & (targets == 0).any(1)
    false = ((scores >= 0.5) & (targets == 0))[unknown].sum(0)
    worst = [(tagger.labels[number].name, int(false[number])) for number in np.argsort(-false)[:8] if false[number]]
    return {
        "model": tagger.contract.name,
        "model_sha256": sha256(tagger.model.path),
        "manifest_sha256": audio.manifest.sha256(),
        "split": split,
        "mAP": summary(targets, scores, tagger.labels).to_dict()["mAP"],
        **open_set(targets, scores),
        "events": shares(targets, with_event),
        "most_false_at_0.5": worst,
    }


def open_set_lines(one: dict[str, Any]) -> list[str]:
    """The curve of a report, its events and its most frequent false tags, as lines of Markdown."""
    lines = [
        f"| score | {one['unknown']} unknown clips with a false tag | {one['known']} known clips with a right tag "
        "| known clips with a false tag |",
        "|---|---|---|---|",
    ]
    for row in one["curve"]:
        lines.append(_row(row["threshold"], row))
    if "events" in one:  # not in reports of earlier versions
        lines.append(_row("events, at the model's thresholds", one["events"]))
    worst = ", ".join(f"{name} {count}" for name, count in one["most_false_at_0.5"])
    return [*lines, "", f"The most frequent false tags of unknown clips at 0.5: {worst or 'none'}."]


def _row(name: object, measured: dict[str, Any]) -> str:
    cells = (measured[key] for key in ("unknown_tagged", "found", "false_on_known"))
    return f"| {name} | " + " | ".join("-" if cell is None else f"{cell:.3f}" for cell in cells) + " |"


def report_lines(one: dict[str, Any]) -> list[str]:
    """A report as lines of Markdown."""
    found = f"mAP {one['mAP']:.3f}" if one["mAP"] is not None else "no class has a clip"
    return [f"## {one['model']}: the {one['split']} split", "", found, "", *open_set_lines(one)]


@click.command("unknown")
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--manifest", required=True, help="Manifest with clips of no class (label -), among others.")
@click.option("--vocabulary", type=click.Path(path_type=Path), help="Class list.  [default: beside the manifest]")
@click.option("--split", default="test", show_default=True, help="Split to test on.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write this JSON file.")
def command(
    models: tuple[Path, ...], manifest: str, vocabulary: Path | None, split: str, json_file: Path | None
) -> None:
    """Measure how often MODELS name sounds that they do not know, in tags and in timelines.

    `sedkit-train publish RUN` puts the results on the model's card if they are in RUN/unknown.json.

    \b
    Examples:
      sedkit-train evaluate unknown runs/mine/model.onnx --manifest checked.csv --split validation
      sedkit-train evaluate unknown models/wels-secost.onnx models/wels-secost-large.onnx --manifest checked.csv
    """
    with decoding() as progress:
        audio = open_audio(manifest, vocabulary, progress=progress)
    reports = [report(Tagger(model, threads=1), audio, split) for model in models]
    if json_file:
        write_json(json_file, reports)
    click.echo("\n".join(line for one in reports for line in [*report_lines(one), ""]))
