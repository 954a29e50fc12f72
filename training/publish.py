"""Put a finished run's model into ``models/`` with its card: ``python -m training.publish RUN``.

Writes ``NAME.onnx``, ``NAME-int8.onnx`` where training.quantize has made one, ``README.md`` (the model card) and
``attribution.csv`` (every clip that the weights were fitted to or chosen on). Every number comes from the run directory
or is computed here from it.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shlex
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Contract, metadata_of
from sedkit.errors import SedkitError
from sedkit.installed import sibling
from sedkit.tagger import Tagger
from training.evaluate.robustness import conditions_table, nothing_table, of_nothing
from training.files import replacing
from training.generations import trained_network
from training.options import torch_device
from training.reliability import Bin, diagram
from training.reports import read_generation
from training.run import Run, read_config
from training.scores import predict
from training.wels import Network


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), default="models", help="Folder of the models.")
@click.option("--readme", type=click.Path(exists=True, path_type=Path), help="File to put the results into as well.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
def main(run: Path, output: Path, readme: Path | None, device: str) -> None:
    """Copy the model of a finished RUN and write its card."""
    try:
        model = run / "model.onnx"
        if not model.exists():
            raise SedkitError(f"{run}: the run is not finished; go on with python -m training.secost --resume {run}")
        opened = Run.open(run)
        if not len(opened.manifest.indices("test")):
            raise SedkitError(f"{run}: no clips of the split 'test', and a card needs its figures")
        generations = len(opened.supervision)
        network = trained_network(opened, generations - 1, torch_device(device))
        rows = [read_generation(opened.generation(number)) for number in range(generations)]
        about, test = Contract.from_metadata(metadata_of(model)), heard(opened, network)
        int8 = sibling(model, "int8")
        card = "\n".join(
            [
                *opening(about, model, network),
                *data_section(opened),
                *results_section(opened, rows),
                *(int8_section(model, int8) if int8.exists() else []),
                *class_section(rows[-1]),
                *confusion_section(opened, test),
                *calibration_section(about),
                *nothing_section(model),
                *robustness_section(run, model),
                *rebuild_section(run, about),
            ]
        )
        sibling(output / f"{about.name}.onnx", "int8").unlink(missing_ok=True)  # of an earlier model
        for source in (model, int8) if int8.exists() else (model,):
            with replacing(output / source.name.replace("model", about.name)) as temporary:
                shutil.copyfile(source, temporary)
        attribution(opened, output / "attribution.csv")
        draw_reliability(about, output / "reliability.svg")
        with replacing(output / "README.md") as temporary:
            temporary.write_text(card + "\n", "utf-8")
        if readme:
            insert(readme, summary_section(opened, rows, test))
    except SedkitError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{output / about.name}.onnx, {output / 'README.md'}, {output / 'attribution.csv'}")


def insert(readme: Path, lines: list[str]) -> None:
    """Put lines between the two marks of a Markdown file.

    Raises
    ------
    SedkitError
        If the marks are not there.
    """
    before, begin, rest = readme.read_text("utf-8").partition("<!-- results -->\n")
    _, end, after = rest.partition("<!-- /results -->")
    if not (begin and end):
        raise SedkitError(
            f"{readme}: no place for results; it needs <!-- results --> and <!-- /results -->, a line each"
        )
    with replacing(readme) as temporary:
        temporary.write_text(before + begin + "\n".join(lines) + "\n" + end + after, "utf-8")


def summary_section(run: Run, rows: list[dict[str, Any]], test: Heard) -> list[str]:
    """The results in short: the network, its data, and the last student on the test split."""
    clips = read_config(run.directory)["clips"]
    last = rows[-1]["test"]
    return [
        f"WELS-Net at {run.settings.width:g} of its width, {len(run.labels)} classes, trained on {clips['train']} "
        f"clips with {clips['validation']} more to choose the epoch; the last of {len(rows) - 1} students. "
        f"On {clips['test']} clips that it never saw: accuracy {last['accuracy']:.3f}, mAP {last['mAP']:.3f} "
        f"(Teacher-0: {rows[0]['test']['accuracy']:.3f}, {rows[0]['test']['mAP']:.3f}). One seed, one fold.",
        "",
        *source_accuracy(test),
    ]


def attribution(run: Run, path: Path) -> None:
    """Who made the clips of the training and the validation split, and under which licence."""
    manifest = run.manifest
    names = manifest.names()
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("clip", "license", "attribution"))
        for row, split in enumerate(manifest.splits):
            if split in ("train", "validation"):
                writer.writerow((names[row], manifest.licenses[row], manifest.attributions[row]))


def opening(about: Contract, model: Path, network: Network) -> list[str]:
    parameters = sum(parameter.numel() for parameter in network.wels.parameters())
    width = about.lineage["width"]
    size = model.stat().st_size / 1e6
    return [
        f"# {about.name}",
        "",
        f"WELS-Net (Kumar & Ithapu, SeCoST, Table 1) at {width:g} of its filters: {parameters:,} parameters, "
        f"{size:.1f} MB, {len(about.labels)} classes. "
        + ("This is a reduced width, as a CPU can train it." if width < 1 else "This is the full width."),
        f"The last student of a cascade of {about.lineage['stages']} stages after Teacher-0.",
        f"Licence of the weights: {about.license}. `attribution.csv` names the author of every clip used.",
        "",
        "This card is written by `python -m training.publish`; no number in it is typed by hand.",
        "",
    ]


def sources(run: Run) -> list[str]:
    """Where each clip is from: its folder directly below the labelled clips' common one, or that one itself."""
    labelled = np.flatnonzero(run.manifest.labels.lengths)
    manifest, found = run.manifest.take(labelled), ["(none of the classes)"] * len(run.manifest)
    for row, name in zip(labelled.tolist(), manifest.names(), strict=True):
        found[row] = name.partition("/")[0] if "/" in name else Path(manifest.root()).name
    return found


def data_section(run: Run) -> list[str]:
    manifest = run.manifest
    counts = Counter(zip(sources(run), manifest.licenses, manifest.splits, strict=True))
    lines = ["## Data", "", "| source | licence | train | validation | test |", "|---|---|---|---|---|"]
    for name, license in sorted({key[:2] for key in counts}):
        cells = [str(counts[name, license, split]) for split in ("train", "validation", "test")]
        lines.append("| " + " | ".join([name, license, *cells]) + " |")
    return [
        *lines,
        "",
        "The network is fitted to the training split, its epoch and its thresholds are chosen on the validation "
        "split, and the test split is used for nothing but the figures below. Clips of one recording, speaker or "
        "track never lie in two splits. Training clips lose the digital silence that pads them; test clips are "
        "scored whole.",
        "",
    ]


def results_section(run: Run, rows: list[dict[str, Any]]) -> list[str]:
    table = (run.directory / "report.md").read_text("utf-8").strip()
    first, last = rows[0]["test"], rows[-1]["test"]
    accuracy = ""
    if last["accuracy"] is not None:  # there are clips with one label
        accuracy = f", the accuracy from {first['accuracy']:.3f} to {last['accuracy']:.3f}"
    return [
        "## Results of every generation",
        "",
        table,
        "",
        f"{last['clips']} test clips, one seed ({run.seed}). From Teacher-0 to the last student the test mAP changes "
        f"from {first['mAP']:.3f} to {last['mAP']:.3f} ({last['mAP'] / first['mAP'] - 1:+.1%} relative){accuracy}.",
        "",
    ]


def int8_section(model: Path, int8: Path) -> list[str]:
    """What the model in 8-bit integers was measured to lose.

    Raises
    ------
    SedkitError
        If it was made of another model.
    """
    about = Contract.from_metadata(metadata_of(int8)).lineage["quantisation"]
    if about["of_sha256"] != hashlib.sha256(model.read_bytes()).hexdigest():
        raise SedkitError(f"{int8}: made of another model; python -m training.quantize makes it anew, or remove it")
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
    return [
        "## Classes",
        "",
        f"Best at {'; '.join(names[:6])}. Worst at {'; '.join(names[:-7:-1])}.",
        "",
        *lines,
        "",
    ]


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
    source = np.array(sources(run))[run.manifest.indices("test")]
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


def calibration_section(about: Contract) -> list[str]:
    """How often tags are right, and what the thresholds find, as training.calibrate measured it."""
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
        "A clip's score is the mean over its segments, so a short event in a long clip scores low in `sedkit tag`; "
        "`sedkit timeline` finds it. Sounds that are none of the classes still get scores.",
        "",
    ]
    return [*lines, *(calibration_tables(done["test"]) if "test" in done else [])]


def calibration_tables(test: dict[str, Any]) -> list[str]:
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
        "![how often tags are right](reliability.svg)",
        "",
        "| score | tags | mean score | right |",
        "|---|---|---|---|",
    ]
    for low, high, tags, score, right in test["reliability"]:
        lines.append(f"| {low:.1f} to {high:.1f} | {tags:.0f} | {score:.3f} | {right:.3f} |")
    return [*lines, ""]


def draw_reliability(about: Contract, path: Path) -> None:
    """The diagram that the card shows of a calibrated model; of another, none is left."""
    measured = about.lineage.get("calibrated_on", {}).get("test")
    if not measured:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary:
        temporary.write_text(diagram([Bin(*row) for row in measured["reliability"]]), "utf-8")


def nothing_section(model: Path) -> list[str]:
    """What is heard in silence and in noise."""
    return [
        "## What it hears where there is nothing",
        "",
        *nothing_table(of_nothing(Tagger(model, "cpu"))),
        "",
    ]


def robustness_section(run: Path, model: Path) -> list[str]:
    """What noise and codecs cost, where ``python -m training.evaluate robustness`` has measured it for this model.

    Raises
    ------
    SedkitError
        If it was another model.
    """
    path = run / "robustness.json"
    if not path.exists():
        return []
    report = json.loads(path.read_text("utf-8"))
    if report["model_sha256"] != hashlib.sha256(model.read_bytes()).hexdigest():
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


def rebuild_section(run: Path, about: Contract) -> list[str]:
    config = read_config(run)
    place, manifest = given(config, "--run", "RUN"), given(config, "--manifest", "MANIFEST")
    steps = [("calibrate", "calibrated_on" in about.lineage), ("quantize", (run / "model-int8.onnx").exists())]
    return [
        "## Rebuild it",
        "",
        "```",
        config["command"],
        *(f"python -m training.{step} {place}/model.onnx --manifest {manifest}" for step, done in steps if done),
        f"python -m training.publish {place}",
        "```",
        "",
        f"Source revision {config['git_revision']}, torch {config['versions']['torch']}, "
        f"manifest SHA-256 `{config['manifest_sha256']}`. docs/training.md says how the manifest is made.",
    ]


def given(config: dict[str, Any], option: str, otherwise: str) -> str:
    """What the command of a run was given for an option."""
    words = shlex.split(config["command"])
    return shlex.quote(words[words.index(option) + 1]) if option in words else otherwise


if __name__ == "__main__":
    main()
