"""Sections of a model card on scores: what they mean, and what 8-bit integers, noise and silence do to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sedkit.contract import Contract, metadata_of
from sedkit.errors import SedkitError
from sedkit.tagger import Tagger
from training.evaluate.robustness import conditions_table, false_alarms, false_alarms_table
from training.evaluate.unknown import open_set_lines
from training.release.pairs import check_pair
from training.runs.run import Run
from training.runtime.files import readable, sha256


def calibration_section(about: Contract, diagram: str, data: str) -> list[str]:
    """Meaning of the scores, and reliability of the tags.

    Parameters
    ----------
    diagram : file name of the reliability diagram.
    data : SHA-256 of the manifest that the model was trained on.
    """
    lines = ["## What the scores mean", ""]
    calibrated_on = about.lineage.get("calibrated_on", {})
    if about.calibration["kind"] == "none":
        lines += ["Scores are not calibrated: use them to rank classes and recordings, not as probabilities."]
    else:
        other = "" if calibration_data(about, data) == data else " of another data set"
        lines += [
            f"Tag scores are calibrated on {calibrated_on['clips']} validation clips{other}: in recordings like these, "
            "about 7 in 10 tags with a score of 0.7 are right. A class counts as present if its score reaches its "
            "threshold. The thresholds of timelines were chosen on "
            f"{calibrated_on['soundscapes']} soundscapes mixed from the same clips. Scores in timelines are for "
            "ranking only."
        ]
        if calibrated_on.get("unknown") is not None:
            lines[-1] += (
                f" Clips without any of the classes had {calibrated_on['unknown']:.0%} of the weight: scores and "
                "thresholds hold for collections in which about so many recordings are of other sounds."
            )
    lines += [
        "",
        f"A tag's score is the mean over segments that are not silent{attention_clause(about)}. For longer recordings, "
        f"the score is the maximum over a sliding window of {about.tag_segments} segments. Sounds outside the classes "
        "also get scores.",
        "",
    ]
    return [*lines, *(calibration_tables(calibrated_on["test"], diagram) if "test" in calibrated_on else [])]


def attention_clause(about: Contract) -> str:
    """How segments are weighted, if not equally."""
    return ", weighted by learned attention" if about.lineage.get("pooling") == "attention" else ""


def calibration_tables(test: dict[str, Any], diagram: str) -> list[str]:
    """Gain of calibration and of thresholds per class on the test split, and the reliability of the tags."""
    rows = {
        "calibration error of tags above 0.05": "calibration_error",
        "calibration error of each clip's highest tag": "calibration_error_of_highest",
        "tags, micro-averaged F1": "micro_f1_of_tags",
        "tags, macro-averaged F1": "macro_f1_of_tags",
        "timelines, micro-averaged F1": "micro_f1_of_timelines",
        "timelines, macro-averaged F1": "macro_f1_of_timelines",
        "clips without any of the classes that have an event": "unknown_sounds_with_events",
    }
    lines = ["| on the test split | raw scores, one threshold | as shipped |", "|---|---|---|"]
    lines += [f"| {name} | {test[key][0]:.3f} | {test[key][1]:.3f} |" for name, key in rows.items() if key in test]
    lines += [
        "",
        f"Reliability of the tags of the {test['clips']} test clips:",
        "",
        f"![reliability diagram]({diagram})",
        "",
        "| score | tags | mean score | share right |",
        "|---|---|---|---|",
    ]
    for low, high, tags, score, right in test["reliability"]:
        lines.append(f"| {low:.1f} to {high:.1f} | {tags:.0f} | {score:.3f} | {right:.3f} |")
    return [*lines, ""]


def calibration_data(about: Contract, data: str) -> str:
    """SHA-256 of the manifest that the model was calibrated on; ``data``, that of its training, if it does not say."""
    return str(about.lineage.get("calibrated_on", {}).get("manifest_sha256", data))


def _require_test_clips(path: Path, report: dict[str, Any], allowed: set[str], remedy: str) -> None:
    """Raise :class:`SedkitError` if what ``path`` holds was not measured on the test clips of an allowed data set."""
    if report["split"] != "test":
        raise SedkitError(
            f"{path}: measured on the split {report['split']!r}, and a card needs 'test': measure that split, or "
            "remove the file"
        )
    if report.get("manifest_sha256") not in allowed:
        raise SedkitError(f"{path}: measured on other data than the run's, or before files said on which: {remedy}")


def unknown_section(run: Run, model: Path, about: Contract) -> list[str]:
    """The trade between false tags of unknown sounds and finds, if ``sedkit-train evaluate unknown`` has measured it.

    The clips are of the data set of the run, or of the one that the model was calibrated on.

    Raises
    ------
    SedkitError
        If the file cannot be read, or another model, split or data set was measured.
    """
    path, remedy = run.directory / "unknown.json", "repeat sedkit-train evaluate unknown, or remove the file"
    if not path.exists():
        return []
    with readable(path, remedy):
        reports = [one for one in json.loads(path.read_text("utf-8")) if one["model_sha256"] == sha256(model)]
        if not reports:
            raise SedkitError(f"{path}: measured on another model: {remedy}")
        _require_test_clips(path, reports[0], {run.data, calibration_data(about, run.data)}, remedy)
        table = open_set_lines(reports[0])
    kinds = (
        "No clip of its kind was used for training or calibration."
        if calibration_data(about, run.data) == run.data
        else "The model was calibrated on another data set, which may have other clips of its kind."
    )
    return [
        "## Sounds that it does not know",
        "",
        f"A clip is unknown if it holds none of the classes, nor their parents among them. {kinds} A tag or an event "
        "is false if its class is known to be absent.",
        "",
        *table,
        "",
    ]


def false_alarm_section(model: Path) -> list[str]:
    """Output for silence and noise."""
    return [
        "## False alarms",
        "",
        "Output for silence, noise, hum and clicks:",
        "",
        *false_alarms_table(false_alarms(Tagger(model, "cpu"))),
        "",
    ]


def robustness_section(run: Run, model: Path) -> list[str]:
    """Metrics under noise and codecs, if ``sedkit-train evaluate robustness`` has measured them.

    Raises
    ------
    SedkitError
        If the file cannot be read, or another model, split or data set was measured.
    """
    path, remedy = run.directory / "robustness.json", "repeat sedkit-train evaluate robustness, or remove the file"
    if not path.exists():
        return []
    with readable(path, remedy):
        report = json.loads(path.read_text("utf-8"))
        if report["model_sha256"] != sha256(model):
            raise SedkitError(f"{path}: measured on another model: {remedy}")
        _require_test_clips(path, report, {run.data}, remedy)
        clips, seed, table = report["conditions"][0]["clips"], report["seed"], conditions_table(report["conditions"])
    return [
        "## Noise, codecs and levels",
        "",
        f"Tags of {clips} test clips (seed {seed}), each degraded and written as an audio file that sedkit reads:",
        "",
        *table,
        "",
    ]


def int8_section(model: Path, int8: Path) -> list[str]:
    """Losses of the int8 version.

    Raises
    ------
    SedkitError
        If it is the int8 version of another model.
    """
    about = check_pair(int8, model)
    calibrations = [Contract.from_metadata(metadata_of(file)).calibration for file in (model, int8)]
    whose = "its own" if calibrations[0] != calibrations[1] else "those of the model"
    lines = [
        "## 8-bit integers",
        "",
        f"On a CPU, `sedkit` runs the int8 version of the model, whose ranges are those of {about['clips']} training "
        f"clips. Its calibration and thresholds are {whose}. Losses are float32 minus int8, so negative losses are "
        "gains. Differences are those between all segment scores.",
        "",
        "| split | clips | mAP lost | accuracy lost | largest difference | mean difference |",
        "|---|---|---|---|---|---|",
    ]
    keys = ("mAP", "accuracy", "largest_difference", "mean_difference")
    for split, loss in about["loss"].items():
        lines.append(f"| {split} | {loss['clips']} | " + " | ".join(_four(loss.get(key)) for key in keys) + " |")
    return [*lines, ""]


def _four(value: float | None) -> str:
    """A figure with four decimals; a dash where it is undefined."""
    return "-" if value is None else f"{value:.4f}"
