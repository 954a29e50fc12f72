"""Publish a finished run's model with its card: ``sedkit-train publish RUN``.

Files written to ``models/``::

    NAME.onnx         the model
    NAME-int8.onnx    its int8 version, if ``sedkit-train quantize`` made one
    README.md         the model card; NAME.md if the model is not sedkit's default
    reliability.svg   its reliability diagram, if the model is calibrated; likewise NAME-reliability.svg
    attribution.csv   licence and author of every training and validation clip; likewise NAME-attribution.csv

All numbers on the card come from the run directory, including ``robustness.json`` and ``timelines.json``, and from a
cross-validation if one is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click
import torch

from sedkit.contract import Contract, metadata_of
from sedkit.errors import SedkitError
from sedkit.formats.delimited import row_writer
from sedkit.inference.installed import DEFAULT, sibling
from training.data.manifest.delimited import read_table
from training.evaluate.metrics.reliability import Bin
from training.evaluate.metrics.reliability import diagram as reliability_diagram
from training.networks.yamnet_tflite import parse_peer
from training.release.card import crossval_sections, scores_sections, sections
from training.release.card.crossval_sections import CrossValidation, read_crossval
from training.release.card.lineage import earlier_runs
from training.release.card.timelines_section import read_timelines, timelines_section, timelines_table
from training.release.pairs import with_metadata
from training.release.scoring import score_file
from training.runs.chosen import chosen_generation
from training.runs.config import is_backbone, read_config
from training.runs.generations import trained_network
from training.runs.reports import generation_report
from training.runs.run import Run
from training.runtime.device import torch_device
from training.runtime.files import replacing_together, sha256

ATTRIBUTION = ("clip", "license", "attribution")  # columns
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("run", type=FOLDER)
@click.option("--output", type=click.Path(path_type=Path), default="models", help="Folder for the model.")
@click.option(
    "--readme", type=click.Path(exists=True, path_type=Path), help="Also put the results into this Markdown file."
)
@click.option("--crossval", metavar="CV", type=FOLDER, help="Lead the card with this cross-validation of the recipe.")
@click.option("--peer", metavar="yamnet=FILE", callback=parse_peer, help="Compare with YAMNet (TFLite file).")
@click.option(
    "--earlier",
    metavar="ATTRIBUTION.csv",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Attribution of a model that the run was fine-tuned from, if that used another manifest.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
def main(
    run: Path,
    output: Path,
    readme: Path | None,
    crossval: Path | None,
    peer: Path | None,
    earlier: tuple[Path, ...],
    device: str,
) -> None:
    """Copy the model of a finished RUN and write its card.

    With --crossval, a directory of `sedkit-train crossval`, the card leads with the results of that cross-validation,
    and the model's metadata gets their means. The file itself is measured on the run's own test split. The comparison
    includes YAMNet with --peer, or if CV/yamnet.npz holds its scores.

    --readme puts a summary between the lines <!-- results --> and <!-- /results --> of a file.

    \b
    Examples:
      sedkit-train publish runs/20260101-120000
      sedkit-train publish runs/final --crossval runs/cv --readme README.md
    """
    if peer and not crossval:
        raise click.UsageError("--peer needs a cross-validation to compare with: add --crossval")
    try:
        files = publish(run, output, readme, crossval, peer, torch_device(device), earlier)
    except SedkitError as error:
        raise click.ClickException(str(error)) from None
    click.echo(", ".join(map(str, files)))


def publish(
    run: Path,
    output: Path,
    readme: Path | None,
    crossval: Path | None,
    peer: Path | None,
    device: torch.device,
    earlier: Sequence[Path] = (),
) -> tuple[Path, ...]:
    """Publish a run. Returns the paths of the model, its card and its attribution.

    ``earlier``: attributions of models that the run was fine-tuned from, if they used another manifest.

    Raises
    ------
    SedkitError
        If the run is unfinished, its measurements are of another model, the cross-validation cannot be used, or a file
        cannot be written. No file changes then.
    """
    opened, model = open_publishable(run, bool(earlier)), run / "model.onnx"
    clips = attribution_rows(opened, earlier)
    about = Contract.from_metadata(metadata_of(model))
    prefix, name = ("", "README.md") if about.name == DEFAULT else (f"{about.name}-", f"{about.name}.md")
    attribution, diagram = f"{prefix}attribution.csv", f"{prefix}reliability.svg"
    cross_validation = read_crossval(crossval, opened, device, peer) if crossval else None
    card, summary = compose_card(opened, model, cross_validation, device, attribution, diagram)
    published, reliability = output / f"{about.name}.onnx", draw_reliability(about)
    with replacing_together() as temporary_for:
        if readme:
            insert_results(readme, summary, temporary_for(readme))
        metrics = crossval_sections.metrics(cross_validation) if cross_validation else None
        has_int8 = publish_model(model, published, metrics, temporary_for)
        write_attribution(clips, temporary_for(output / attribution))
        if reliability:
            temporary_for(output / diagram).write_text(reliability, "utf-8")
        temporary_for(output / name).write_text("\n".join(card) + "\n", "utf-8")
    if not has_int8:
        sibling(published, "int8").unlink(missing_ok=True)  # of an earlier model
    if not reliability:
        (output / diagram).unlink(missing_ok=True)
    return published, output / name, output / attribution


def open_publishable(run: Path, attributed: bool = False) -> Run:
    """Open a run that a card can be written for.

    ``attributed``: the attributions of models that it was fine-tuned from are given.

    Raises
    ------
    SedkitError
        If it is unfinished, not of a WELS-Net, or lacks test clips, or an earlier run used another manifest.
    """
    if is_backbone(run):
        raise SedkitError(f"{run}: fine-tuned networks are not exported; train a WELS-Net with --teacher NAME={run}")
    if not (run / "model.onnx").exists():
        raise SedkitError(f"{run}: the run is not finished: continue with sedkit-train secost --resume {run}")
    opened = Run.open(run)
    for earlier in earlier_runs(read_config(run)):
        if earlier["manifest_sha256"] != opened.data and not attributed:
            raise SedkitError(
                f"{run}: fine-tuned from {earlier['run']}, which used another manifest: the attribution would lack its "
                "clips; name the attribution of that model with --earlier"
            )
    if not len(opened.manifest.indices("test")):
        raise SedkitError(f"{run}: no clips in the split 'test': a card needs test results")
    return opened


def compose_card(
    run: Run,
    model: Path,
    crossval: CrossValidation | None,
    device: torch.device,
    attribution: str,
    diagram: str,
) -> tuple[list[str], list[str]]:
    """Lines of the card, and lines of the results in short for a README.

    Parameters
    ----------
    crossval : the cross-validation that leads the card.
    attribution, diagram : file names of the attribution and of the reliability diagram beside the card.

    Raises
    ------
    SedkitError
        If a measurement is of another model.
    """
    about, rows = Contract.from_metadata(metadata_of(model)), run.reports()
    rows = rows[: chosen_generation(run.directory, rows) + 1]
    timelines = read_timelines(run, model, about.name)
    network = trained_network(run.generation(len(rows) - 1), run.settings, len(run.labels), device)
    clips, int8 = run.clips("test"), sibling(model, "int8")
    scores = score_file(model, clips.waveforms)
    rows[-1] = rows[-1] | generation_report(run.labels, {"test": (clips.multi_hot(), scores)})
    test = sections.single_label_predictions(run, scores)
    conditions = [
        *scores_sections.unknown_section(run, model, about),
        *scores_sections.false_alarm_section(model),
        *scores_sections.robustness_section(run, model),
        *(scores_sections.int8_section(model, int8) if int8.exists() else []),
    ]
    timelines_summary = ["", *timelines_table(timelines)] if timelines else []
    if not crossval:
        card = [
            *sections.opening(about, model, network, sections.results_sentence(rows), attribution),
            *sections.results_section(run, rows),
            *(timelines_section(timelines) if timelines else []),
            *sections.confusion_section(run, test),
            *sections.class_section(rows[-1], run.manifest),
            *scores_sections.calibration_section(about, diagram, run.data),
            *conditions,
            *sections.data_section(run, sections.SAME_CLIPS),
            *sections.rebuild_section(run.directory, about, timelines),
        ]
        return card, [*sections.summary_section(run, rows, test), *timelines_summary]
    commands, options = crossval_sections.commands(crossval), crossval_sections.options(crossval)
    card = [
        *sections.opening(about, model, network, crossval_sections.results_sentence(crossval), attribution),
        *crossval_sections.lead_section(crossval, run),
        *crossval_sections.class_sections(crossval),
        *sections.own_section(run, rows, test),
        *(timelines_section(timelines) if timelines else []),
        *scores_sections.calibration_section(about, diagram, run.data),
        *conditions,
        *sections.data_section(run, sections.OWN_CLIPS),
        *sections.rebuild_section(run.directory, about, timelines, commands, options),
    ]
    return card, [*crossval_sections.summary_section(crossval, run, rows), *timelines_summary]


def publish_model(
    model: Path, published: Path, crossval: dict[str, float] | None, temporary_for: Callable[[Path], Path]
) -> bool:
    """Copy a model, and its int8 version, to ``published`` and beside it; returns whether it has an int8 version.

    Parameters
    ----------
    crossval : metrics of a cross-validation, written as ``metrics.crossval`` into the lineage of both copies.
    temporary_for : the file to write in place of a path, of :func:`training.runtime.files.replacing_together`.
    """
    int8, copy = sibling(model, "int8"), temporary_for(published)
    copy_model(model, copy, crossval)
    if int8.exists():
        copy_model(int8, temporary_for(sibling(published, "int8")), crossval, fp32=copy)
    return int8.exists()


def copy_model(source: Path, target: Path, crossval: dict[str, float] | None, fp32: Path | None = None) -> None:
    """Copy a model and add metrics of a cross-validation to its lineage.

    ``fp32``: the published model whose int8 version ``source`` is; its new hash goes into the lineage.
    """
    if crossval is None:
        target.write_bytes(source.read_bytes())
        return
    about = Contract.from_metadata(metadata_of(source))
    lineage = {**about.lineage, "metrics": {**about.lineage.get("metrics", {}), "crossval": crossval}}
    if fp32:
        lineage["quantisation"] = {**lineage["quantisation"], "of_sha256": sha256(fp32)}
    target.write_bytes(with_metadata(source, replace(about, lineage=lineage)))


def insert_results(readme: Path, lines: list[str], target: Path) -> None:
    """Write a Markdown file with other lines between ``<!-- results -->`` and ``<!-- /results -->`` to ``target``.

    Raises
    ------
    SedkitError
        If the file cannot be read, or lacks these lines.
    """
    before, after = results_place(readme)
    target.write_text(before + "\n".join(lines) + "\n" + after, "utf-8")


def results_place(readme: Path) -> tuple[str, str]:
    """The text before and after the results in a Markdown file, with the lines that enclose them.

    Raises
    ------
    SedkitError
        If the file cannot be read, or lacks these lines.
    """
    try:
        before, begin, rest = readme.read_text("utf-8").partition("<!-- results -->\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SedkitError(f"{readme}: cannot be read ({error}): name a Markdown file") from None
    _, end, after = rest.partition("<!-- /results -->")
    if not (begin and end):
        raise SedkitError(f"{readme}: no place for results: add the lines <!-- results --> and <!-- /results -->")
    return before + begin, end + after


def attribution_rows(run: Run, earlier: Sequence[Path] = ()) -> dict[str, tuple[str, str]]:
    """Licence and author of every training and validation clip, by its name, and those of ``earlier`` attributions.

    Raises
    ------
    SedkitError
        If an earlier attribution lacks a column.
    """
    manifest = run.manifest
    rows = dict[str, tuple[str, str]]()
    for path in earlier:
        for line in read_table(path, ATTRIBUTION):
            rows[line["clip"]] = line["license"], line["attribution"]
    names = manifest.names()
    for row, split in enumerate(manifest.splits):
        if split in ("train", "validation"):
            rows[names[row]] = manifest.licenses[row], manifest.attributions[row]
    return rows


def write_attribution(rows: Mapping[str, tuple[str, str]], path: Path) -> None:
    """Write :func:`attribution_rows` as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = row_writer(file)
        writer.writerow(ATTRIBUTION)
        writer.writerows((clip, *about) for clip, about in rows.items())


def draw_reliability(about: Contract) -> str:
    """The reliability diagram of a calibrated model as SVG; empty if the model is not calibrated."""
    measured = about.lineage.get("calibrated_on", {}).get("test")
    return reliability_diagram([Bin(*row) for row in measured["reliability"]]) if measured else ""
