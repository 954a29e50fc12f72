"""The card of a published model, section by section: lines of Markdown. No number in it is typed by hand."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Contract, metadata_of
from sedkit.errors import SedkitError
from sedkit.inference.installed import DEFAULT
from sedkit.tagger import Tagger
from training.data.manifest.summary import sources
from training.evaluate.robustness import conditions_table, nothing_table, of_nothing
from training.networks.predict import predict
from training.networks.wels import Network, Width, multiply_adds
from training.release.card import timelines_section
from training.release.card.lineage import chosen, commands, external_teachers, place
from training.runs.config import read_config
from training.runs.run import Run
from training.runtime.files import sha256

SAME, OWN = "the same test clips", "the file's own test clips"  # what a card without, or with, a cross-validation says


def summary_section(run: Run, rows: list[dict[str, Any]], test: Heard) -> list[str]:
    """The results in short: the network, its data, and the last student on the test split."""
    clips, last = read_config(run.directory)["clips"], rows[-1]["test"]
    beside = f" (Teacher-0: {rows[0]['test']['accuracy']:.3f}, {rows[0]['test']['mAP']:.3f})" if len(rows) > 1 else ""
    return [
        f"{learnt(run, rows)} "
        f"On {clips['test']} clips that it never saw: accuracy {last['accuracy']:.3f}, mAP {last['mAP']:.3f}{beside}. "
        f"One seed, one test split, with clips of {classes_tested(rows)} of the classes.",
        "",
        *external_teachers(run, SAME),
        *source_accuracy(test),
    ]


def learnt(run: Run, rows: list[dict[str, Any]]) -> str:
    """A sentence: the network, and on how many clips it was trained."""
    clips = read_config(run.directory)["clips"]
    return (
        f"WELS-Net at {of_width(run.settings.width)}, {len(run.labels)} classes, trained on {clips['train']} "
        f"clips with {clips['validation']} more to {'choose the epoch' if chosen(run) else 'calibrate it'}; "
        f"{place(run, rows)}."
    )


def classes_tested(rows: list[dict[str, Any]]) -> int:
    """How many classes have clips in the test split."""
    return sum(entry["positives"] > 0 for entry in rows[-1]["test"]["classes"])


def of_width(width: Width) -> str:
    """A network's width in words."""
    if isinstance(width, int | float):
        return "full width" if width == 1 else f"{width:g} of its filters"
    return f"{', '.join(map(str, width[:-1]))} and {width[-1]} filters in B1 to L2"


def opening(run: Run, about: Contract, model: Path, network: Network, attribution: str, tested: str) -> list[str]:
    """What the network is.

    ``attribution``: name of the file that names the authors of the clips. ``tested``: as ``external_teachers`` has it.
    """
    parameters = sum(parameter.numel() for parameter in network.wels.parameters())
    width = about.lineage["width"]
    operations, whole = about.lineage["multiply_adds"], multiply_adds(len(about.labels), 1.0)
    size = model.stat().st_size / 1e6
    return [
        f"# {about.name}",
        "",
        f"WELS-Net (Kumar & Ithapu, SeCoST, Table 1) at {of_width(width)}: {parameters:,} parameters, {size:.1f} MB, "
        f"{len(about.labels)} classes, {operations / 1e6:.0f} million multiply-adds for 10 s of sound"
        + (f", {operations / whole:.1%} of those at full width." if operations < whole else "."),
        "",
        *external_teachers(run, tested),
        f"Licence of the weights: {about.license}. `{attribution}` names the author of every clip used.",
        "",
        "This card is written by `sedkit-train publish`; no number in it is typed by hand.",
        "",
    ]


def data_section(run: Run) -> list[str]:
    manifest = run.manifest
    counts = Counter(zip(sources(manifest), manifest.licenses, manifest.splits, strict=True))
    held_out = [
        *(["its epoch"] if chosen(run) else []),
        *(["how far it went on"] if run.settings.between < 1 else []),
        "its thresholds",
    ]
    lines = ["## Data", "", "| source | licence | train | validation | test |", "|---|---|---|---|---|"]
    for name, license in sorted({key[:2] for key in counts}):
        cells = [str(counts[name, license, split]) for split in ("train", "validation", "test")]
        lines.append("| " + " | ".join([name, license, *cells]) + " |")
    return [
        *lines,
        "",
        f"The network is fitted to the training split, {' and '.join(held_out)} are chosen on the validation split, "
        "and the test split is used for nothing but the figures below. Clips of one recording, speaker or track never "
        "lie in two splits. "
        "Training clips lose the digital silence that pads them; test clips are scored whole.",
        "",
    ]


def results_section(run: Run, rows: list[dict[str, Any]]) -> list[str]:
    tested = classes_tested(rows)
    some = [f"The test split has clips of {tested} of the {len(run.labels)} classes; the others are in no mean.", ""]
    return ["## Results of every generation", "", *generations(run, rows), *(some if tested < len(run.labels) else [])]


def own_section(run: Run, rows: list[dict[str, Any]], test: Heard) -> list[str]:
    """The same beside a cross-validation: what the network in the file does on the few clips left to test it on."""
    licenses = Counter(run.manifest.select("test").licenses).most_common()
    under = ", ".join(f"{count} under {license or 'no licence that is known'}" for license, count in licenses)
    last = rows[-1]["test"]
    classes = classes_tested(rows)
    return [
        "## The network in the file",
        "",
        f"What this card says of a test split, here and below, is of the file itself, on the {last['clips']} clips of "
        f"its own test split, which the network in it never heard ({under}): {classes} of its {len(run.labels)} "
        "classes, and the others are in no mean. The cross-validation above tested other networks, on a set of clips "
        "of its own: figures of the two are not to be compared.",
        "",
        *generations(run, rows),
        *source_accuracy(test),
        "",
    ]


def generations(run: Run, rows: list[dict[str, Any]]) -> list[str]:
    """The run's table of its generations, and a sentence on the last."""
    table = (run.directory / "report.md").read_text("utf-8").strip()
    first, last = rows[0]["test"], rows[-1]["test"]
    accuracy = ""
    if last["accuracy"] is not None:  # there are clips with one label
        accuracy = f", the accuracy from {first['accuracy']:.3f} to {last['accuracy']:.3f}"
    change = ""
    if len(rows) > 1:
        change = (
            f" From Teacher-0 to the last student the test mAP changes from {first['mAP']:.3f} to {last['mAP']:.3f} "
            f"({last['mAP'] / first['mAP'] - 1:+.1%} relative){accuracy}."
        )
    return [
        table,
        "",
        f"{last['clips']} test clips, one seed ({run.seed}). What ships is {place(run, rows)}.{change}"
        f"{ended_early(run, rows)}",
        "",
    ]


def ended_early(run: Run, rows: list[dict[str, Any]]) -> str:
    """A sentence on each network whose training was ended before its last epoch."""
    said = ""
    for row in rows:
        number = row["generation"]
        epochs = len((run.generation(number) / "metrics.jsonl").read_text("utf-8").splitlines())
        if epochs < run.settings.epochs:
            name = f"student {number}" if number else "Teacher-0"
            said += f" The training of {name} was ended after {epochs} of its {run.settings.epochs} epochs."
    return said


def int8_section(model: Path, int8: Path) -> list[str]:
    """What the model in 8-bit integers was measured to lose.

    Raises
    ------
    SedkitError
        If it was made of another model.
    """
    about = Contract.from_metadata(metadata_of(int8)).lineage["quantisation"]
    if about["of_sha256"] != sha256(model):
        raise SedkitError(f"{int8}: made of another model; sedkit-train quantize makes it anew, or remove it")
    lines = [
        "## In 8-bit integers",
        "",
        f"The form that `sedkit` takes on a CPU, fitted to {about['clips']} training clips. What it loses (a negative "
        "loss is a gain), and how far its segment scores lie from those in float32:",
        "",
        "| split | clips | mAP lost | accuracy lost | largest difference | mean difference |",
        "|---|---|---|---|---|---|",
    ]
    keys = ("mAP", "accuracy", "largest_difference", "mean_difference")
    for split, loss in about["loss"].items():
        lines.append(f"| {split} | {loss['clips']} | " + " | ".join(f"{loss[key]:.4f}" for key in keys) + " |")
    return [*lines, ""]


def class_section(row: dict[str, Any]) -> list[str]:
    classes = sorted(row["test"]["classes"], key=lambda entry: -(entry["AP"] or 0))
    lines = ["| class | MID | test clips | AP | AUC |", "|---|---|---|---|---|"]
    for entry in classes:
        ap, auc = (f"{entry[key]:.3f}" if entry[key] is not None else "-" for key in ("AP", "AUC"))
        lines.append(f"| {entry['label']} | {entry['mid'] or '-'} | {entry['positives']} | {ap} | {auc} |")
    names = [entry["label"] for entry in classes if entry["AP"] is not None]
    return ["## Classes", "", best_and_worst(names), "", *lines, ""]


def best_and_worst(names: list[str]) -> str:
    """A sentence on classes, of which the best come first."""
    return f"Best at {'; '.join(names[:6])}. Worst at {'; '.join(names[:-7:-1])}."


class Heard(NamedTuple):
    """Test clips with exactly one label: which class it is, which scored highest, and where the clip is from."""

    truth: NDArray[np.int64]
    guess: NDArray[np.int64]
    source: NDArray[np.str_]


def heard(run: Run, network: Network) -> Heard:
    clips = run.clips("test")
    labels = clips.multi_hot()
    single = labels.sum(1) == 1
    guess = predict(network, clips.waveforms, run.settings.batch_size).argmax(1)
    source = np.array(sources(run.manifest))[run.manifest.indices("test")]
    return Heard(labels.argmax(1)[single], guess[single], source[single])


def source_accuracy(test: Heard) -> list[str]:
    """A table: the share of the test clips of each source whose highest score is right."""
    lines = ["| source | test clips | accuracy |", "|---|---|---|"]
    for name in sorted(set(test.source)):
        chosen = test.source == name
        lines.append(f"| {name} | {chosen.sum()} | {(test.truth == test.guess)[chosen].mean():.3f} |")
    return lines


def confusion_section(run: Run, test: Heard) -> list[str]:
    """Confusions on the test split, and accuracy by source."""
    names = [label.name for label in run.labels]
    wrong = Counter((names[t], names[g]) for t, g in zip(test.truth, test.guess, strict=True) if t != g)
    lines = ["## What it gets wrong", "", "Commonest confusions on the test split:", ""]
    lines += [f"- {true} heard as {other}: {count}" for (true, other), count in wrong.most_common(8)]
    return [*lines, "", *source_accuracy(test), ""]


def calibration_section(about: Contract, diagram: str) -> list[str]:
    """How often tags are right (``diagram`` shows it) and what the thresholds find, as training.release.calibrate measured."""
    lines = ["## What scores mean", ""]
    done = about.lineage.get("calibrated_on", {})
    if about.calibration["kind"] == "none":
        lines += ["Scores are not calibrated: 0.7 does not mean right 7 times in 10. They rank classes and recordings."]
    else:
        lines += [
            f"Tags are calibrated on {done['clips']} clips of the validation split: of those with a score of 0.7, 7 in "
            "10 should be right, in recordings like these. A class counts as present from its threshold on; those "
            f"of timelines were chosen on {done['soundscapes']} soundscapes mixed from the same clips."
        ]
    lines += [
        "",
        f"A clip's score is the mean over its segments that are not silent{by_weights(about)}; of a longer recording, "
        f"`sedkit tag` takes the highest mean of {about.tag_segments} that follow each other. Sounds that are none of "
        "the classes still get scores.",
        "",
    ]
    return [*lines, *(calibration_tables(done["test"], diagram) if "test" in done else [])]


def by_weights(about: Contract) -> str:
    """What there is to say of layer P, where it is not the plain mean."""
    return ", by weights that it learnt" if about.lineage.get("pooling") == "attention" else ""


def calibration_tables(test: dict[str, Any], diagram: str) -> list[str]:
    """What calibration and thresholds of their own for every class changed on the test split."""
    rows = {
        "calibration error of tags above 0.05": "calibration_error",
        "calibration error of each clip's highest tag": "calibration_error_of_highest",
        "tags, F1 over all classes together": "micro_f1_of_tags",
        "tags, mean F1 of the classes": "macro_f1_of_tags",
        "timelines, F1 over all classes together": "micro_f1_of_timelines",
        "timelines, mean F1 of the classes": "macro_f1_of_timelines",
    }
    lines = ["| on the test split | raw scores, one threshold | as it is |", "|---|---|---|"]
    lines += [f"| {name} | {test[key][0]:.3f} | {test[key][1]:.3f} |" for name, key in rows.items()]
    lines += [
        "",
        f"The tags of the {test['clips']} test clips by their scores, and how many of them are right:",
        "",
        f"![how often tags are right]({diagram})",
        "",
        "| score | tags | mean score | right |",
        "|---|---|---|---|",
    ]
    for low, high, tags, score, right in test["reliability"]:
        lines.append(f"| {low:.1f} to {high:.1f} | {tags:.0f} | {score:.3f} | {right:.3f} |")
    return [*lines, ""]


def nothing_section(model: Path) -> list[str]:
    """What is heard in silence and in noise."""
    return [
        "## What it hears where there is nothing",
        "",
        *nothing_table(of_nothing(Tagger(model, "cpu"))),
        "",
    ]


def robustness_section(run: Path, model: Path) -> list[str]:
    """What noise and codecs cost, where ``sedkit-train evaluate robustness`` has measured it for this model.

    Raises
    ------
    SedkitError
        If it was another model.
    """
    path = run / "robustness.json"
    if not path.exists():
        return []
    report = json.loads(path.read_text("utf-8"))
    if report["model_sha256"] != sha256(model):
        raise SedkitError(f"{path}: of another model; measure anew with training.evaluate robustness, or remove it")
    clips = report["conditions"][0]["clips"]
    return [
        "## Through noise and codecs",
        "",
        f"Tags of {clips} test clips, drawn with seed {report['seed']}, each made into a file that sedkit reads:",
        "",
        *conditions_table(report["conditions"]),
        "",
    ]


def rebuild_section(
    run: Path, about: Contract, timelines: dict[str, Any] | None = None, beside: Sequence[str] = (), crossval: str = ""
) -> list[str]:
    """The commands.

    ``timelines``: as training.release.card.timelines_section reads them. ``beside``: commands of what else the card tells of.
    ``crossval``: options of publishing.
    """
    config = read_config(run)
    place, manifest = given(config, "--run", "RUN"), given(config, "--manifest", "MANIFEST")
    model = f"{place}/model.onnx --manifest {manifest}"
    steps = []
    if about.name != given(config, "--name", DEFAULT):
        steps.append(f"secost --resume {place} --name {about.name}")
    if "calibrated_on" in about.lineage:
        steps.append(f"calibrate {model}")
    if (run / "model-int8.onnx").exists():
        steps.append(f"quantize {model}")
    if (run / "robustness.json").exists():
        report = json.loads((run / "robustness.json").read_text("utf-8"))
        clips = report["conditions"][0]["clips"]
        steps.append(f"evaluate robustness {model} --clips {clips} --json {place}/robustness.json")
    if timelines:
        steps += timelines_section.commands(timelines, place, manifest)
    return [
        "## Rebuild it",
        "",
        "```",
        *beside,
        *commands(config),
        *(f"sedkit-train {step}" for step in (*steps, f"publish {place}{crossval}")),
        "```",
        "",
        f"Source revision {config['git_revision']}, torch {config['versions']['torch']}, "
        f"manifest SHA-256 `{config['manifest_sha256']}`. docs/training.md says how the manifest is made.",
    ]


def given(config: dict[str, Any], option: str, otherwise: str) -> str:
    """What the command of a run was given for an option."""
    words = shlex.split(config["command"])
    return shlex.quote(words[words.index(option) + 1]) if option in words else otherwise
