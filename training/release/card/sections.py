"""Sections of a model card, as lines of Markdown. All numbers come from the run directory and the model's metadata."""

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
from sedkit.inference.installed import DEFAULT
from training.data.lineage import most_specific
from training.data.manifest.summary import class_sources, sources
from training.data.manifest.table import Manifest
from training.networks.wels import Network, Stem, Width, multiply_adds
from training.release.calibrate import CLIPS
from training.release.card import timelines_section
from training.release.card.lineage import commands, epoch_was_chosen, origin, supervision_lines
from training.release.card.scores_sections import calibration_data
from training.runs.chosen import exports
from training.runs.config import read_config
from training.runs.reports import read_epochs
from training.runs.run import Run

SAME_CLIPS = "the same test clips"  # what a card calls the run's test clips,
OWN_CLIPS = "the file's own test clips"  # and beside a cross-validation
OTHER = "OTHER-MANIFEST"  # that a model was calibrated on, if it is not the one of its training


def summary_section(run: Run, rows: list[dict[str, Any]], test: Predictions) -> list[str]:
    """The results in short, for a README: the network, its data, and the last student on the test split.

    The card also says what the network learned from.

    ``rows``: reports of all generations.
    """
    first = f" (Teacher-0: {figures(rows[0]['test'])})" if len(rows) > 1 else ""
    return [
        f"{network_sentences(run, rows)} {results_sentence(rows).removesuffix('.')}{first}. "
        f"One seed, one test split with clips of {tested_classes(rows)} of the classes.",
        "",
        *source_accuracy(test),
    ]


def network_sentences(run: Run, rows: list[dict[str, Any]]) -> str:
    """What the network is, and how many clips it was trained on."""
    clips = read_config(run.directory)["clips"]
    purpose = "choose the epoch and to calibrate it" if epoch_was_chosen(run) else "calibrate it"
    width = width_in_words(run.settings.width, run.settings.stem)
    return (
        f"WELS-Net for {len(run.labels)} classes, at {width}. It was trained on {clips['train']} clips; "
        f"{clips['validation']} more were used to {purpose}. It is {origin(run, rows)}."
    )


def tested_classes(rows: list[dict[str, Any]]) -> int:
    """Number of classes with clips in the test split."""
    return sum(entry["positives"] > 0 for entry in rows[-1]["test"]["classes"])


def width_in_words(width: Width, stem: Stem) -> str:
    """A network's width in words, and that its first convolution is not that of Table 1."""
    patches = ", with a first convolution of 2 x 2 and a stride of 2" if stem == "patches" else ""
    if isinstance(width, int | float):
        return ("full width" if width == 1 else f"{width:g} of its filters") + patches
    return f"{', '.join(map(str, width[:-1]))} and {width[-1]} filters in B1 to L2{patches}"


def opening(about: Contract, model: Path, network: Network, results: str, attribution: str) -> list[str]:
    """What the model is, what it is for, how good it is, and its licence.

    Parameters
    ----------
    results : a sentence with the most important results.
    attribution : name of the file that lists the authors of the clips.
    """
    parameters = sum(parameter.numel() for parameter in network.wels.parameters())
    operations, full_width = about.lineage["multiply_adds"], multiply_adds(len(about.labels), 1.0)
    width = width_in_words(about.lineage["width"], about.lineage.get("stem", "full"))
    share = f" ({operations / full_width:.1%} of full width)" if operations < full_width else ""
    return [
        f"# {about.name}",
        "",
        f"A sound event detection model for `sedkit`: it tags recordings with {len(about.labels)} classes of sound and "
        f"finds when they occur. {results}",
        "",
        f"- **Network:** WELS-Net (Kumar & Ithapu, SeCoST, Table 1) at {width}: "
        f"{parameters:,} parameters, {model.stat().st_size / 1e6:.1f} MB, {operations / 1e6:.0f} million multiply-adds "
        f"for 10 s of sound{share}.",
        "- **Use it for** tagging and searching recordings that contain its classes. It also scores sounds outside its "
        "classes, and its clips come from the few sources listed under Data: test it on your own recordings before you "
        "rely on it.",
        f"- **Licence of the weights:** {about.license}. `{attribution}` lists the author of every training and "
        "validation clip.",
        "",
        "`sedkit-train publish` writes this card; no number in it is typed by hand.",
        "",
    ]


def results_sentence(rows: list[dict[str, Any]]) -> str:
    """The last student's results on the test split."""
    return f"On {rows[-1]['test']['clips']} held-out clips: {figures(rows[-1]['test'])}."


def figures(measured: dict[str, Any]) -> str:
    """mAP of a split, and accuracy if some clips have a single label; with their number if others do not."""
    words = [f"mAP {measured['mAP']:.3f}"]
    if measured["accuracy"] is not None:
        single = measured["single_label_clips"]
        on = f" on the {single} clips with a single label" if single < measured["clips"] else ""
        words.append(f"accuracy {measured['accuracy']:.3f}{on}")
    return ", ".join(words)


def data_section(run: Run, tested: str) -> list[str]:
    """The clips by source and licence, what each split was used for, and the network's targets.

    ``tested``: what to call the run's test clips.
    """
    manifest = run.manifest
    counts = Counter(zip(sources(manifest), manifest.licenses, manifest.splits, strict=True))
    lines = ["## Data and training", "", "| source | licence | train | validation | test |", "|---|---|---|---|---|"]
    for name, license in sorted({key[:2] for key in counts}):
        cells = [str(counts[name, license, split]) for split in ("train", "validation", "test")]
        lines.append("| " + " | ".join([name, license, *cells]) + " |")
    choices = [
        *(["the generation"] if exports(run.directory) == "best" and len(run.supervision) > 1 else []),
        *(["the epoch"] if epoch_was_chosen(run) else []),
        *(["the interpolation between initial and trained weights"] if run.settings.between < 1 else []),
        "the thresholds",
    ]
    return [
        *lines,
        "",
        f"The weights are fitted on the training split. The validation split chooses {enumeration(choices)}, and "
        "calibrates the scores: figures on it are optimistic. The test split is used only for the results on this "
        "card. All clips of one recording, speaker or track are in the same split. Training clips are used without the "
        "digital silence that pads them, test clips in full length.",
        "",
        *supervision_lines(run, tested),
    ]


def enumeration(items: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def results_section(run: Run, rows: list[dict[str, Any]]) -> list[str]:
    """Metrics of every generation on the test split."""
    tested = tested_classes(rows)
    note = [
        f"The test split has clips of {tested} of the {len(run.labels)} classes. Means leave out the other classes.",
        "",
    ]
    return ["## Results", "", *generations(run, rows), *(note if tested < len(run.labels) else [])]


def own_section(run: Run, rows: list[dict[str, Any]], test: Predictions) -> list[str]:
    """Results of the published file on its own test split, for a card that leads with a cross-validation."""
    licenses = Counter(run.manifest.select("test").licenses).most_common()
    counts = ", ".join(f"{count} under {license or 'an unknown licence'}" for license, count in licenses)
    last = rows[-1]["test"]
    return [
        "## The network in the file",
        "",
        f"Here and below, the test split is that of the published network: {last['clips']} held-out clips ({counts}) "
        f"of {tested_classes(rows)} of its {len(run.labels)} classes. Means leave out the other classes. The "
        "cross-validation above tested other networks on other clips; do not compare its results with these.",
        "",
        *generations(run, rows),
        *source_accuracy(test),
        "",
    ]


def generations(run: Run, rows: list[dict[str, Any]]) -> list[str]:
    """The run's table of generations, and sentences on the published one."""
    table = (run.directory / "report.md").read_text("utf-8").strip()
    first, last = rows[0]["test"], rows[-1]["test"]
    accuracy = ""
    if last["accuracy"] is not None:  # there are clips with one label
        accuracy = f", and accuracy from {first['accuracy']:.3f} to {last['accuracy']:.3f}"
    change = ""
    if len(rows) > 1:
        change = (
            f" From Teacher-0 to student {len(rows) - 1}, test mAP changes from {first['mAP']:.3f} to "
            f"{last['mAP']:.3f} ({last['mAP'] / first['mAP'] - 1:+.1%} relative){accuracy}."
        )
    return [
        table,
        "",
        f"{last['clips']} test clips, one seed ({run.seed}). The table has the networks as trained; all "
        f"other figures are of the file, whose weights are rounded. The file holds {origin(run, rows)}.{change}"
        f"{ended_early(run, rows)}",
        "",
    ]


def ended_early(run: Run, rows: list[dict[str, Any]]) -> str:
    """A sentence for each network whose training was ended before its last epoch."""
    sentences = ""
    for row in rows:
        number = row["generation"]
        epochs = len(read_epochs(run.generation(number)))
        if epochs < run.settings.epochs:
            name = f"student {number}" if number else "Teacher-0"
            sentences += f" The training of {name} was ended after {epochs} of its {run.settings.epochs} epochs."
    return sentences


def class_section(row: dict[str, Any], manifest: Manifest) -> list[str]:
    """AP and AUC of every class on the test split, best first, and the number of sources that it was learned from."""
    learned_from = class_sources(manifest)
    numbered = zip(row["test"]["classes"], learned_from, strict=True)
    classes = sorted(numbered, key=lambda pair: -(pair[0]["AP"] or 0))
    lines = ["| class | MID | test clips | AP | AUC | sources | authors |", "|---|---|---|---|---|---|---|"]
    for entry, (groups, authors) in classes:
        ap, auc = (f"{entry[key]:.3f}" if entry[key] is not None else "-" for key in ("AP", "AUC"))
        tested = f"{entry['label']} | {entry['mid'] or '-'} | {entry['positives']} | {ap} | {auc}"
        lines.append(f"| {tested} | {groups} | {authors} |")
    names = [entry["label"] for entry, _ in classes if entry["AP"] is not None]
    return [
        "## Classes",
        "",
        best_and_worst(names),
        "",
        "Sources are the recordings, instruments or speakers that the class was learned from, in the training and "
        "validation splits. **A class with one author was learned from one soundfont, game or person**, and may be "
        "known in that form only.",
        "",
        *lines,
        "",
    ]


def best_and_worst(names: list[str]) -> str:
    """The classes with the highest and the lowest AP. ``names`` are sorted, best first."""
    return f"Highest AP: {'; '.join(names[:6])}. Lowest AP: {'; '.join(names[:-7:-1])}."


class Predictions(NamedTuple):
    """Predictions for the test clips of a single sound, [clips] each.

    ``truth``: index of the most specific label. ``guess``: index of the highest score. ``source``: data set of each.
    """

    truth: NDArray[np.int64]
    guess: NDArray[np.int64]
    source: NDArray[np.str_]


def single_label_predictions(run: Run, scores: NDArray[np.float32]) -> Predictions:
    """Predictions from the ``scores`` [test clips, classes], for clips of a single sound (training.data.lineage).

    Candidates are the classes of which some clip is an example: a parent such as "Animal" is not taken for a mistake.
    Neither are the other labels of a clip, nor classes that nobody checked.
    """
    rows = run.manifest.indices("test")
    truth, source = most_specific(run.manifest.take(rows)), np.array(sources(run.manifest))[rows]
    single = truth >= 0
    if not single.any():
        return Predictions(truth[single], truth[single], source[single])
    targets, truth = run.clips("test").multi_hot()[single], truth[single]
    others = np.isnan(targets) | (targets > 0)
    others[np.arange(len(truth)), truth] = False
    candidates = np.unique(truth)
    guess = candidates[np.where(others, -1.0, scores[single])[:, candidates].argmax(1)]
    return Predictions(truth, guess, source[single])


def source_accuracy(test: Predictions) -> list[str]:
    """Accuracy on the test clips of each source, as a table; nothing without clips of one sound."""
    if not len(test.truth):
        return []
    lines = ["Accuracy on the test clips of one sound; its parent classes do not count as mistakes:", ""]
    lines += ["| source | test clips | accuracy |", "|---|---|---|"]
    for name in sorted(set(test.source)):
        chosen = test.source == name
        lines.append(f"| {name} | {chosen.sum()} | {(test.truth == test.guess)[chosen].mean():.3f} |")
    return lines


def confusion_section(run: Run, test: Predictions) -> list[str]:
    """The most frequent confusions on the test split, and accuracy by source; nothing without clips of one sound."""
    if not len(test.truth):
        return []
    names = [label.name for label in run.labels]
    wrong = Counter((names[t], names[g]) for t, g in zip(test.truth, test.guess, strict=True) if t != g)
    lines = ["## What it gets wrong", "", "The most frequent confusions on the test split:", ""]
    lines += [f"- {true} taken for {other}: {count}" for (true, other), count in wrong.most_common(8)]
    return [*lines, "", *source_accuracy(test), ""]


def rebuild_section(
    run: Path, about: Contract, timelines: dict[str, Any] | None = None, before: Sequence[str] = (), crossval: str = ""
) -> list[str]:
    """The commands that rebuild the model and this card.

    Parameters
    ----------
    timelines : results of :func:`training.release.card.timelines_section.read_timelines`.
    before : commands to run first, such as those of a cross-validation.
    crossval : options of ``sedkit-train publish``.
    """
    config = read_config(run)
    directory = option_value(config, "--run", option_value(config, "--directory", "RUN"))
    manifest = option_value(config, "--manifest", "MANIFEST")
    model = f"{directory}/model.onnx --manifest {manifest}"
    classes = classes_option(config, "--vocabulary")
    calibrated_on, note = model, ""
    if (data := calibration_data(about, config["manifest_sha256"])) != config["manifest_sha256"]:
        calibrated_on = f"{directory}/model.onnx --manifest {OTHER}"
        note = f"; that of {OTHER}: `{data}`"
    steps = []
    if about.name != option_value(config, "--name", DEFAULT):
        steps.append(f"secost --resume {directory} --name {about.name}")
    if (run / "model-int8.onnx").exists():
        done = Contract.from_metadata(metadata_of(run / "model-int8.onnx")).lineage["quantisation"]
        steps.append(f"quantize {model}{classes} --clips {done['clips']}{seed_option(done)}")
    if "calibrated_on" in about.lineage:
        done = about.lineage["calibrated_on"]
        limit = f" --clips {done['at_most']}" if done.get("at_most", CLIPS) != CLIPS else ""
        share = f" --unknown {done['unknown']:g}" if done.get("unknown") is not None else ""
        steps.append(
            f"calibrate {calibrated_on}{classes}{limit} --soundscapes {done['soundscapes']}{share}{seed_option(done)}"
        )
    if (run / "robustness.json").exists():
        report = json.loads((run / "robustness.json").read_text("utf-8"))
        clips = report["conditions"][0]["clips"]
        command = f"evaluate robustness {model}{classes} --clips {clips}{seed_option(report)}"
        steps.append(f"{command} --json {directory}/robustness.json")
    if (run / "unknown.json").exists():
        steps.append(f"evaluate unknown {calibrated_on} --json {directory}/unknown.json")
    if timelines:
        steps += timelines_section.commands(timelines, directory, manifest + classes_option(config, "--labels"))
    return [
        "## Rebuild it",
        "",
        "```",
        *before,
        *commands(config),
        *(f"sedkit-train {step}" for step in (*steps, f"publish {directory}{crossval}")),
        "```",
        "",
        f"Source revision {config['git_revision']}, torch {config['versions']['torch']}, "
        f"manifest SHA-256 `{config['manifest_sha256']}`{note}. docs/training.md and the presets "
        "in training/runs/presets describe how to make the manifest.",
    ]


def option_value(config: dict[str, Any], option: str, default: str) -> str:
    """The value of an option in the command of a run, quoted for a shell; ``default`` if it was not given."""
    words = shlex.split(config["command"])
    values = [word.removeprefix(f"{option}=") for word in words if word.startswith(f"{option}=")]
    values += words[words.index(option) + 1 :][:1] if option in words else []
    return shlex.quote(values[0]) if values else default


def classes_option(config: dict[str, Any], option: str) -> str:
    """``option`` with the classes of a run; empty if they lie beside its manifest."""
    if not config.get("vocabulary"):
        return ""
    words = [word.removeprefix("--set=") for word in shlex.split(config["command"])]
    given = [word.removeprefix("vocabulary=") for word in words if word.startswith("vocabulary=")]
    return f" {option} {shlex.quote(given[-1]) if given else 'CLASSES'}"


def seed_option(done: dict[str, Any]) -> str:
    """The option that repeats a command with its seed; empty for the default, 0."""
    return f" --seed {done['seed']}" if done.get("seed") else ""
