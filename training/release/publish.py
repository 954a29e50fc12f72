"""Put a finished run's model into ``models/`` with its card: ``sedkit-train publish RUN``.

Writes ``NAME.onnx``, ``NAME-int8.onnx`` where training.release.quantize has made one, ``README.md`` (the model card),
``reliability.svg`` where training.release.calibrate has calibrated it, and ``attribution.csv`` (every clip that the weights
were fitted to or chosen on); of a model that is not the default, ``NAME.md``, ``NAME-reliability.svg`` and
``NAME-attribution.csv``. Every number comes from the run directory, what it holds of ``training.evaluate robustness``
and ``timelines`` included, from a cross-validation, or is computed here from them.
"""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import click
import torch

from sedkit.contract import Contract, metadata_of
from sedkit.errors import SedkitError
from sedkit.inference.installed import DEFAULT, sibling
from training.evaluate.metrics.reliability import Bin
from training.evaluate.metrics.reliability import diagram as drawn
from training.networks.yamnet_tflite import parse_peer
from training.release.calibrate import rewrite
from training.release.card import crossval_sections, sections
from training.release.card.crossval_sections import CrossValidated, crossvalidated
from training.release.card.lineage import earlier_runs
from training.release.card.timelines_section import read_timelines, timelines_section, timelines_table
from training.runs.config import fine_tuned, read_config
from training.runs.generations import trained_network
from training.runs.options import torch_device
from training.runs.reports import read_generation
from training.runs.run import Run
from training.runtime.files import replacing, sha256

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("run", type=FOLDER)
@click.option("--output", type=click.Path(path_type=Path), default="models", help="Folder of the models.")
@click.option("--readme", type=click.Path(exists=True, path_type=Path), help="File to put the results into as well.")
@click.option("--crossval", metavar="CV", type=FOLDER, help="Cross-validation of the recipe, to lead the card.")
@click.option("--peer", metavar="yamnet=FILE", callback=parse_peer, help="YAMNet (TFLite), beside it.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
def main(run: Path, output: Path, readme: Path | None, crossval: Path | None, peer: Path | None, device: str) -> None:
    """Copy the model of a finished RUN and write its card.

    With --crossval (training.runs.experiments.crossval), the card leads with what networks of the same recipe do on clips that they
    never heard, and the model's metadata has the means; the run's own test split is what the file itself is measured
    on. YAMNet is beside it with --peer, or if CV/yamnet.npz holds all its scores.
    """
    if peer and not crossval:
        raise click.UsageError("--peer is compared with a cross-validation; name that with --crossval")
    try:
        files = publish(run, output, readme, crossval, peer, torch_device(device))
    except SedkitError as error:
        raise click.ClickException(str(error)) from None
    click.echo(", ".join(map(str, files)))


def publish(
    run: Path, output: Path, readme: Path | None, crossval: Path | None, peer: Path | None, device: torch.device
) -> tuple[Path, ...]:
    """What the command does; returns the model, its card and its attribution.

    Raises
    ------
    SedkitError
        If the run is not finished, what was measured is of another model, or the cross-validation cannot be used; no
        file has changed then.
    """
    opened, model = publishable(run), run / "model.onnx"
    about = Contract.from_metadata(metadata_of(model))
    prefix, name = ("", "README.md") if about.name == DEFAULT else (f"{about.name}-", f"{about.name}.md")
    clips, diagram = f"{prefix}attribution.csv", f"{prefix}reliability.svg"
    found = crossvalidated(crossval, opened, device, peer) if crossval else None
    page, summary = composed(opened, model, found, device, clips, diagram)
    place = output / f"{about.name}.onnx"
    put(model, place, crossval_sections.metrics(found) if found else None)
    attribution(opened, output / clips)
    draw_reliability(about, output / diagram)
    with replacing(output / name) as temporary:
        temporary.write_text("\n".join(page) + "\n", "utf-8")
    if readme:
        insert(readme, summary)
    return place, output / name, output / clips


def publishable(run: Path) -> Run:
    """The run, if a card can be made of it.

    Raises
    ------
    SedkitError
        If it is not finished, not of a WELS-Net, or nothing can be said of its clips.
    """
    if fine_tuned(run):
        raise SedkitError(f"{run}: fine-tuned networks are not exported; train a WELS-Net with --teacher NAME={run}")
    if not (run / "model.onnx").exists():
        raise SedkitError(f"{run}: the run is not finished; go on with python -m training.secost --resume {run}")
    opened = Run.open(run)
    for earlier in earlier_runs(read_config(run)):
        if earlier["manifest_sha256"] != opened.data:
            raise SedkitError(
                f"{run}: goes on from {earlier['run']}, which learnt from another manifest: card and attribution would "
                "say nothing of those clips"
            )
    if not len(opened.manifest.indices("test")):
        raise SedkitError(f"{run}: no clips of the split 'test', and a card needs its figures")
    return opened


def composed(
    run: Run, model: Path, found: CrossValidated | None, device: torch.device, clips: str, diagram: str
) -> tuple[list[str], list[str]]:
    """The card, and the results in short, in lines.

    Parameters
    ----------
    found : the cross-validation that is to lead the card.
    clips, diagram : names of the files beside it, of the clips' authors and of the reliability.

    Raises
    ------
    SedkitError
        If what was measured is of another model.
    """
    about, count = Contract.from_metadata(metadata_of(model)), len(run.supervision)
    heard_when = read_timelines(run, model, about.name)
    network = trained_network(run, count - 1, device)
    rows = [read_generation(run.generation(number)) for number in range(count)]
    test, int8 = sections.heard(run, network), sibling(model, "int8")
    of_itself = [
        *(sections.int8_section(model, int8) if int8.exists() else []),
        *([] if found else [*sections.class_section(rows[-1]), *sections.confusion_section(run, test)]),
        *sections.calibration_section(about, diagram),
        *(timelines_section(heard_when) if heard_when else []),
        *sections.nothing_section(model),
        *sections.robustness_section(run.directory, model),
    ]
    beside = ["", *timelines_table(heard_when)] if heard_when else []
    if not found:
        page = [
            *sections.opening(run, about, model, network, clips, sections.SAME),
            *sections.data_section(run),
            *sections.results_section(run, rows),
            *of_itself,
            *sections.rebuild_section(run.directory, about, heard_when),
        ]
        return page, [*sections.summary_section(run, rows, test), *beside]
    commands, options = crossval_sections.commands(found), crossval_sections.options(found)
    page = [
        *sections.opening(run, about, model, network, clips, sections.OWN),
        *crossval_sections.lead_section(found, run),
        *crossval_sections.class_sections(found),
        *sections.data_section(run),
        *sections.own_section(run, rows, test),
        *of_itself,
        *sections.rebuild_section(run.directory, about, heard_when, commands, options),
    ]
    return page, [*crossval_sections.summary_section(found, run, rows), *beside]


def put(model: Path, place: Path, crossval: dict[str, float] | None) -> None:
    """Copy a model and its int8 form, where it has one, to ``place`` and beside it.

    ``crossval``: figures of a cross-validation, which become ``metrics.crossval`` in the lineage of both copies.
    """
    int8, beside = sibling(model, "int8"), sibling(place, "int8")
    beside.unlink(missing_ok=True)  # of an earlier model
    copy(model, place, crossval)
    if int8.exists():
        copy(int8, beside, crossval, of=place)


def copy(source: Path, place: Path, crossval: dict[str, float] | None, of: Path | None = None) -> None:
    """Copy a model, with figures of a cross-validation in its lineage; ``of``: the model whose int8 form it then is."""
    with replacing(place) as temporary:
        shutil.copyfile(source, temporary)
        if crossval is None:
            return
        about = Contract.from_metadata(metadata_of(source))
        lineage = {**about.lineage, "metrics": {**about.lineage.get("metrics", {}), "crossval": crossval}}
        if of:
            lineage["quantisation"] = {**lineage["quantisation"], "of_sha256": sha256(of)}
        rewrite(temporary, replace(about, lineage=lineage))


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


def draw_reliability(about: Contract, path: Path) -> None:
    """The diagram that the card shows of a calibrated model; of another, none is left."""
    measured = about.lineage.get("calibrated_on", {}).get("test")
    if not measured:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary:
        temporary.write_text(drawn([Bin(*row) for row in measured["reliability"]]), "utf-8")
