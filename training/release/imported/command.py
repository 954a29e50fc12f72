"""``sedkit-train import``: write a network that others published as a sedkit model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from sedkit.contract import Label
from sedkit.geometry import Geometry
from training.release.imported.checkpoint import ImportModelError
from training.release.imported.segmenting import Segmenting
from training.runtime.command_line import Commands

FAMILIES = {  # what an error calls it, and the licence of the published weights
    "yamnet": ("YAMNet", "Apache-2.0"),
    "panns": ("PANNs Cnn14", "CC-BY-4.0"),
    "panns-dl": ("PANNs Cnn14_DecisionLevelMax", "CC-BY-4.0"),
    "efficientat": ("EfficientAT MobileNet", "MIT"),
}
LONGEST = 10.0  # seconds of a window: AudioSet's clips
MOST_OVERLAP = 5  # windows that contain any moment


@click.group("import", cls=Commands)
def main() -> None:
    """Write a network that others trained as a sedkit model, with all of AudioSet's classes that it knows.

    The front end is part of the model, and all commands of sedkit take it as --model FILE. Its scores equal those of
    the original. Its thresholds are unknown: sedkit uses 0.5 for every class. The licence of the weights stays theirs.
    docs/import.md says where the files come from.

    \b
    Examples:
      sedkit-train import yamnet yamnet.tflite -o yamnet.onnx
      sedkit-train import panns Cnn14_mAP=0.431.pth -o cnn14.onnx
      sedkit tag clip.wav --model yamnet.onnx
    """


FILE = click.argument("file", type=click.Path(path_type=Path))
OUTPUT = click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="ONNX file to write [default: FILE's name with .onnx]."
)
NAME = click.option("--name", help="Name of the model [default: that of the output file].")
WINDOW = click.option(
    "--window", type=float, default=2.0, show_default=True, help="Seconds of a segment, scored on its own; 0.5 to 10."
)
HOP = click.option(
    "--hop", type=float, default=1.0, show_default=True, help="Seconds between segments, a fifth to half of --window."
)


@main.command()
@FILE
@OUTPUT
@NAME
def yamnet(file: Path, output: Path | None, name: str | None) -> None:
    """YAMNet's TFLite FILE (521 classes, 16 kHz; needs ai-edge-litert).

    A segment is 0.96 s, one every 0.48 s. The network computes with the 8-bit integers of the file.

    \b
    Example:
      sedkit-train import yamnet yamnet.tflite -o yamnet.onnx
    """
    from training.release.imported.yamnet import read_yamnet

    network, labels = read_yamnet(_checked(file))
    _write("yamnet", file, network, output, name, labels)


@main.command()
@FILE
@OUTPUT
@NAME
@WINDOW
@HOP
def panns(file: Path, output: Path | None, name: str | None, window: float, hop: float) -> None:
    """PANNs' Cnn14 in a checkpoint FILE (527 classes, 32 kHz).

    The network scores clips. A segment is a window of --window seconds, scored on its own, one every --hop seconds.

    \b
    Examples:
      sedkit-train import panns Cnn14_mAP=0.431.pth -o cnn14.onnx
      sedkit-train import panns Cnn14_mAP=0.431.pth -o cnn14-10s.onnx --window 10 --hop 5
    """
    from training.release.imported.panns import RATE, read_panns

    _write("panns", file, read_panns(_checked(file), False, _windows(window, hop, RATE)), output, name)


@main.command("panns-dl")
@FILE
@OUTPUT
@NAME
def panns_dl(file: Path, output: Path | None, name: str | None) -> None:
    """PANNs' Cnn14_DecisionLevelMax in a checkpoint FILE (527 classes, 32 kHz).

    The network scores every 0.32 s. A segment spans the three steps of 0.32 s that the network combines.

    \b
    Example:
      sedkit-train import panns-dl Cnn14_DecisionLevelMax_mAP=0.385.pth -o cnn14-dl.onnx
    """
    from training.release.imported.panns import read_panns

    _write("panns-dl", file, read_panns(_checked(file), True), output, name)


@main.command()
@FILE
@OUTPUT
@NAME
@WINDOW
@HOP
def efficientat(file: Path, output: Path | None, name: str | None, window: float, hop: float) -> None:
    """An EfficientAT MobileNet in a checkpoint FILE (527 classes, 32 kHz), such as mn10_as.

    The network scores clips. A segment is a window of --window seconds, scored on its own, one every --hop seconds.

    \b
    Example:
      sedkit-train import efficientat mn10_as_mAP_471.pt -o mn10.onnx
    """
    from training.release.imported.efficientat import RATE, read_efficientat

    _write("efficientat", file, read_efficientat(_checked(file), _windows(window, hop, RATE)), output, name)


def _checked(file: Path) -> Path:
    if not file.is_file():
        raise ImportModelError(f"{file}: {'a folder' if file.is_dir() else 'no such file'}; check the path")
    return file


def _windows(window: float, hop: float, rate: int) -> Geometry:
    """Windows of whole frames of 20 ms.

    Raises
    ------
    ImportModelError
        If an option is out of range.
    """
    if not 0.5 <= window <= LONGEST:
        raise ImportModelError(f"--window must be from 0.5 to {LONGEST:g} seconds, not {window:g}")
    shortest, longest = window / MOST_OVERLAP, window / 2
    if not shortest <= hop <= longest:
        raise ImportModelError(f"--hop must be from {shortest:g} to {longest:g} seconds for this --window, not {hop:g}")
    span, step = (round(seconds * 50) * rate // 50 for seconds in (window, hop))
    return Geometry(rate, step, span, span)


def _write(
    family: str,
    file: Path,
    network: Segmenting,
    output: Path | None,
    name: str | None,
    labels: tuple[Label, ...] | None = None,
) -> None:
    """Write the model, with AudioSet's 527 classes unless it has others, and say what is known of it."""
    from training.release.imported.classes import audioset_labels
    from training.release.imported.writing import describe, write
    from training.runtime.files import sha256

    title, licence = FAMILIES[family]
    path = output or file.with_name(f"{file.stem}.onnx")
    if path.suffix.lower() != ".onnx":
        raise ImportModelError(f"{path}: sedkit knows a model by the ending .onnx; choose such a name")
    source: Mapping[str, Any] = {"family": family, "network": title, "file": file.name, "sha256": sha256(file)}
    description = describe(name or path.stem, labels or audioset_labels(), network.geometry, licence, source)
    write(network, description, path)
    geometry = network.geometry
    span = geometry.segment_span / geometry.sample_rate
    click.echo(
        f"{path}  {path.stat().st_size / 1e6:.1f} MB, {len(description.labels)} classes, {geometry.sample_rate} Hz, "
        f"segments of {span:g} s every {geometry.step:g} s"
    )
    click.echo(f"licence of the weights: {licence}")
    click.echo("thresholds: unknown, 0.5 for every class; sedkit tune finds them on labelled recordings")
