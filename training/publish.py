"""Put a finished run's model into ``models/`` with its card: ``python -m training.publish RUN``.

Writes ``NAME.onnx``, ``NAME-int8.onnx`` where training.quantize has made one, ``README.md`` (the model card),
``reliability.svg`` where training.calibrate has calibrated it, and ``attribution.csv`` (every clip that the weights
were fitted to or chosen on); of a model that is not the default, ``NAME.md``, ``NAME-reliability.svg`` and
``NAME-attribution.csv``. Every number comes from the run directory, what it holds of ``training.evaluate robustness``
included, or is computed here from it.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import click

from sedkit.contract import Contract, metadata_of
from sedkit.errors import SedkitError
from sedkit.installed import DEFAULT, sibling
from training import card
from training.files import replacing
from training.generations import trained_network
from training.options import torch_device
from training.reliability import Bin
from training.reliability import diagram as drawn
from training.reports import read_generation
from training.run import Run


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
        about, test = Contract.from_metadata(metadata_of(model)), card.heard(opened, network)
        int8 = sibling(model, "int8")
        prefix, page = ("", "README.md") if about.name == DEFAULT else (f"{about.name}-", f"{about.name}.md")
        clips, diagram = f"{prefix}attribution.csv", f"{prefix}reliability.svg"
        lines = [
            *card.opening(opened, about, model, network, clips),
            *card.data_section(opened),
            *card.results_section(opened, rows),
            *(card.int8_section(model, int8) if int8.exists() else []),
            *card.class_section(rows[-1]),
            *card.confusion_section(opened, test),
            *card.calibration_section(about, diagram),
            *card.nothing_section(model),
            *card.robustness_section(run, model),
            *card.rebuild_section(run, about),
        ]
        sibling(output / f"{about.name}.onnx", "int8").unlink(missing_ok=True)  # of an earlier model
        for source in (model, int8) if int8.exists() else (model,):
            with replacing(output / source.name.replace("model", about.name)) as temporary:
                shutil.copyfile(source, temporary)
        attribution(opened, output / clips)
        draw_reliability(about, output / diagram)
        with replacing(output / page) as temporary:
            temporary.write_text("\n".join(lines) + "\n", "utf-8")
        if readme:
            insert(readme, card.summary_section(opened, rows, test))
    except SedkitError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{output / about.name}.onnx, {output / page}, {output / clips}")


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


if __name__ == "__main__":
    main()
