"""The tables that compare the shipped models, in README.md and in pages of training/results/.

python docs/comparison.py      # from the JSON files in the folders of these pages, which have the commands
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from training.evaluate.known import classes_apart

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "training" / "results"
MODELS = ("wels-secost", "wels-secost-large", "wels-secost-small")
KNOWN = ("mAP", "mAP_by_clips", "accuracy", "accuracy_or_above")
TIMELINES = ("mAP", "segment_f1", "event_f1", "best_event_f1", "PSDS1", "PSDS2")
Row = Sequence[str]


def readme(
    more: dict[str, Any], esc50: dict[str, Any], mixtures: dict[str, Any], unknown: list[dict[str, Any]]
) -> list[Row]:
    """The highest tags of clips, the events of mixtures, and what is named in clips of unknown sounds."""
    rows = [["test clips", "default", "large", "small"]]
    for clips, name in (
        (more, f"other everyday sounds, {more['clips']}"),
        (esc50, f"38 sounds that all three know, {esc50['clips']}"),
    ):
        shares = [by_name(clips["models"], "model")[model] for model in MODELS]
        rows.append([f"{name}: highest tag right", *(f"{share['right'][0]:.0%}" for share in shares)])
        rows.append(["... wrong, with a score of 0.5 or more", *(f"{share['wrong'][2]:.0%}" for share in shares)])
    systems = by_system(mixtures)
    events = [f"{systems[model]['event_f1']:.2f}" for model in MODELS]
    rows.append([f"mixtures of these, {mixtures['recordings']}: F1 of events", *events])
    silent = [by_name(unknown, "model")[model] for model in MODELS]
    tags = [by_name(one["curve"], "threshold")[0.5]["unknown_tagged"] for one in silent]
    clips = ", ".join(str(one["unknown"]) for one in silent)
    rows.append(
        [f"sounds that it does not know ({clips} clips): a false tag of 0.5 or more", *(f"{x:.0%}" for x in tags)]
    )
    return [*rows, ["... a false event", *(f"{one['events']['unknown_tagged']:.0%}" for one in silent)]]


def highest_tags(sets: dict[str, dict[str, Any]]) -> list[Row]:
    """How often the highest tag is right or wrong, by its score."""
    levels = ("", "0.3 or more", "0.5 or more")
    rows = [["clips", "model", *(f"{kind} {level}".strip() for kind in ("right", "wrong") for level in levels)]]
    for name, found in sets.items():
        for one in found["models"]:
            rows.append(
                [f"{name}, {found['clips']}", one["model"], *(three(share) for share in one["right"] + one["wrong"])]
            )
    return rows


def shared_classes(known: dict[str, Any], mixtures: dict[str, Any]) -> list[Row]:
    """Models on the clips of the classes that all of them know, and on mixtures of these clips."""
    names = [key.replace("_", " ") for key in TIMELINES[1:]]
    rows = [["model", "mAP", "by clips", "accuracy", "or a class above", "tags of mixtures, mAP", *names]]
    systems = by_system(mixtures)
    for one in known["models"]:
        figures = [one[key] for key in KNOWN] + [systems[one["model"]][key] for key in TIMELINES]
        rows.append([one["model"], *map(three, figures)])
    return rows


def differing_classes(known: dict[str, Any]) -> list[Row]:
    """APs of the classes in which the models differ most."""
    models = known["models"]
    rows = classes_apart(known["classes"], models)
    return [["AP", "clips", *(one["model"] for one in models)]] + [
        [n, str(clips), *map(three, aps)] for n, clips, aps in rows
    ]


def unknown_sounds(reports: dict[str, list[dict[str, Any]]]) -> list[Row]:
    """Tags of 0.5 or more and events at the models' thresholds, of unknown and of known clips, by calibration."""
    rows = [
        [
            "calibration",
            "model",
            "clips",
            "tags: false of unknown",
            "right",
            "false",
            "events: false of unknown",
            "right",
            "false",
        ]
    ]
    keys = ("unknown_tagged", "found", "false_on_known")
    for calibration, found in reports.items():
        for one in found:
            half = by_name(one["curve"], "threshold")[0.5]
            clips = f"{one['unknown']} + {one['known']}"
            figures = [three(of[key]) for of in (half, one["events"]) for key in keys]
            rows.append([calibration, one["model"], clips, *figures])
    return rows


def by_system(mixtures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of timelines, by model; a system is a model's file."""
    return {Path(row["system"]).stem: row for row in mixtures["systems"]}


def by_name(rows: Iterable[dict[str, Any]], key: str) -> dict[str, dict[str, Any]]:
    return {row[key]: row for row in rows}


def three(value: float) -> str:
    return f"{value:.3f}"


def replaced(text: str, name: str, rows: list[Row]) -> str:
    """A page with the table between its lines ``<!-- NAME -->`` and ``<!-- /NAME -->`` replaced."""
    before, begin, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    assert end, f"no place for {name}"
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return before + begin + "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:], ""]) + end + after


def read(name: str) -> Any:
    """The results of one command."""
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def pages() -> dict[Path, str]:
    """The pages with their tables."""
    more, esc50, known, mixtures = (read(f"default-model/{name}") for name in ("more", "esc50", "known", "mixtures"))
    shipped = read("default-model/unknown") + read("default-model/unknown-others")
    then = {
        when: read(f"unknown-thresholds/{when}") + read(f"unknown-thresholds/others-{when}")
        for when in ("before", "after")
    }
    tables: dict[Path, dict[str, list[Row]]] = {
        ROOT / "README.md": {"comparison": readme(more, esc50, mixtures, shipped)},
        RESULTS / "default-model.md": {
            "highest tags": highest_tags({"more": more, "ESC-50": esc50}),
            "shared classes": shared_classes(known, mixtures),
            "classes apart": differing_classes(known),
            "unknown sounds": unknown_sounds({"shipped": shipped}),
        },
        RESULTS / "unknown-thresholds.md": {"unknown sounds": unknown_sounds(then)},
    }
    written = {}
    for path, of_page in tables.items():
        written[path] = path.read_text("utf-8")
        for name, rows in of_page.items():
            written[path] = replaced(written[path], name, rows)
    return written


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, "utf-8")
