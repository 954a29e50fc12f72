"""How the cost grows with recordings, length, classes, rows of a manifest and workers; writes tables of docs/scale.md.

    python -m benchmarks.growth                 about an hour on two CPUs
    python -m benchmarks.growth --only Length   only this table; the others stay as they are
    python -m benchmarks.growth --share 0.001   only check that everything runs; prints the tables

Times are of single runs of whole commands, and depend on the machine. What counts is the cost per unit, which must not
grow, and the memory.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks import machine
from benchmarks.audio import Recordings, data_folder
from benchmarks.networks import CLASSES, set_statistics
from benchmarks.processes import SEDKIT_CODE, peak_memory, run
from benchmarks.report import write
from benchmarks.scale import markdown
from sedkit.contract import Contract, Label
from sedkit.inference.installed import find_model

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
FILES = (1_000, 10_000, 100_000)  # recordings of one second
LENGTHS = {"10 s": 10, "10 min": 600, "1 h": 3600, "24 h": 86_400}
CLASS_COUNTS = (10, 52, 155, CLASSES)
WIDTH = (16, 40, 80, 200, 1024, 512)  # of the small model
ROWS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
SMALL = ("--model", "small", "--precision", "int8")
PORT = 6399  # of Ray
WORKERS = (1, 2, 4)
WORKER_FILES = 4_000  # recordings of one second
FOLDER = 1_000  # recordings in one folder
COPIES = 8  # different recordings, of which the others are hard links

LOAD = "import sys; from training.data.manifest.table import Manifest; print(len(Manifest.load(sys.argv[1])))"

Table = Iterator[tuple[str, ...]]


def measured(arguments: Sequence[str | Path], code: str = SEDKIT_CODE) -> tuple[float, float]:
    """Seconds and peak memory in MB of ``sedkit ARGUMENTS``, or of other code."""
    started = time.perf_counter()
    peak = peak_memory(arguments, code=code)
    return time.perf_counter() - started, peak


def sizes(counts: Sequence[int], share: float) -> list[int]:
    return [max(COPIES, round(share * count)) for count in counts]


def many_files(folder: Path, count: int, recordings: Recordings) -> Path:
    """A folder with ``count`` WAV files of one second, a thousand in each folder below it."""
    originals = [recordings.write_wav(folder.with_name(f"{number}.wav"), 1) for number in range(COPIES)]
    for number in range(count):
        below = folder / f"{number // FOLDER:04}"
        if number % FOLDER == 0:
            below.mkdir(parents=True)
        os.link(originals[number % COPIES], below / f"{number:06}.wav")
    return folder


def by_recordings(scratch: Path, recordings: Recordings, share: float) -> Table:
    yield "recordings of 1 s", "seconds", "ms per recording", "peak memory, MB"
    for count in sizes(FILES, share):
        folder = many_files(scratch / f"files-{count}", count, recordings)
        output = scratch / f"{count}.csv"
        seconds, peak = measured(["tag", folder, "-r", *SMALL, "-o", output])
        yield f"{count:,}", f"{seconds:,.1f}", f"{1e3 * seconds / count:.2f}", f"{peak:.0f}"


def by_length(scratch: Path, recordings: Recordings, share: float) -> Table:
    yield "length of the recording", "command", "seconds", "ms per minute of audio", "peak memory, MB"
    for name, length in LENGTHS.items():
        if share < 1 and length > 600:
            continue
        wav = recordings.write_wav(scratch / "long.wav", length)
        for command in ("tag", "timeline"):
            seconds, peak = measured([command, wav, *SMALL, "-o", scratch / f"{command}.csv"])
            yield name, command, f"{seconds:,.2f}", f"{1e3 * seconds / length * 60:.1f}", f"{peak:.0f}"


def by_classes(scratch: Path, recordings: Recordings, share: float) -> Table:
    """Random networks with the small model's filters; 10 minutes of audio, fp32."""
    yield "classes", "tag: seconds", "peak memory, MB", "timeline: seconds", "peak memory, MB"
    wav = recordings.write_wav(scratch / "classes.wav", max(10, 600 * share))
    for count in CLASS_COUNTS:
        model = scratch / f"{count}.onnx"
        export_random(model, count, recordings)
        options = ("--model", model, "-o", scratch / "classes.csv")
        figures = [measured([command, wav, *options]) for command in ("tag", "timeline")]
        yield f"{count}", *(text for seconds, peak in figures for text in (f"{seconds:.2f}", f"{peak:.0f}"))


def export_random(path: Path, classes: int, recordings: Recordings) -> None:
    """Write a network with the small model's filters and random weights; its thresholds are 0.9."""
    import numpy as np
    import torch

    from training.networks.wels import Network
    from training.release.export import export

    labels = tuple(Label(f"class {index}") for index in range(classes))
    description = Contract("random", labels, (0.9,) * classes, {"kind": "none"}, {"seed": 0}, "CC0-1.0")
    torch.manual_seed(0)
    network = Network(classes, list(WIDTH))
    set_statistics(network, torch.from_numpy(np.stack(list(recordings.many(4, 10)))))
    export(network, description, path, list(recordings.many(2, 10)))


def by_rows(scratch: Path, recordings: Recordings, share: float) -> Table:
    yield "rows of the manifest", "loading it: seconds", "µs per row", "peak memory, MB"
    for count in sizes(ROWS, share):
        manifest = write_manifest(scratch / "manifest.csv", count)
        seconds, peak = measured([manifest], LOAD)
        yield f"{count:,}", f"{seconds:,.2f}", f"{1e6 * seconds / count:.1f}", f"{peak:,.0f}"


def write_manifest(path: Path, count: int) -> Path:
    """A manifest of clips that are not there, with two labels each; every clip has its own group."""
    from training.data.manifest.vocabulary import Vocabulary

    Vocabulary(Label(f"class {number}") for number in range(CLASSES)).save(path.with_suffix(".labels.csv"))
    with path.open("w", encoding="utf-8") as file:
        file.write("path,start,duration,labels,split,group,license,attribution\n")
        for number in range(count):
            labels = f"class {number % CLASSES};class {(number * 7 + 1) % CLASSES}"
            split = "test" if number % 10 == 0 else "train"
            file.write(f"clips/{number // FOLDER:05}/{number:08}.flac,,10,{labels},{split},{number},CC0,\n")
    return path


def by_workers(scratch: Path, recordings: Recordings, share: float) -> Table:
    """The same recordings on Ray, on one machine, and without it."""
    count = sizes([WORKER_FILES], share)[0]
    folder = many_files(scratch / "shared-out", count, recordings)
    yield "engine", "seconds", "after the start", "ms per recording"
    model = ("--model", find_model("small", "int8"))
    seconds, _ = measured(["tag", folder, "-r", *model, "-o", scratch / "local.csv"])
    yield f"{count:,} recordings of 1 s, without Ray", f"{seconds:.1f}", "", f"{1e3 * seconds / count:.2f}"
    for workers in WORKERS:
        with ray(workers) as address:
            options = (*model, "--engine", "ray", "--address", address, "--device", "cpu")
            one = folder / "0000" / "000000.wav"
            few, _ = measured(["tag", one, *options, "-o", scratch / f"one-{workers}"])
            seconds, _ = measured(["tag", folder, "-r", *options, "-o", scratch / f"all-{workers}"])
        each = 1e3 * (seconds - few) / count
        yield f"Ray, {workers} worker{'s' * (workers > 1)}", f"{seconds:.1f}", f"{seconds - few:.1f}", f"{each:.2f}"


@contextmanager
def ray(cpus: int) -> Iterator[str]:
    """A cluster of one machine with so many CPUs, and so many workers; yields its address."""
    program = Path(sys.executable).with_name("ray")
    options = ("--num-cpus", f"{cpus}", "--port", f"{PORT}", "--include-dashboard", "false", "--disable-usage-stats")
    run([program, "start", "--head", *options])
    try:
        yield f"127.0.0.1:{PORT}"
    finally:
        run([program, "stop"])


TABLES: dict[str, Callable[[Path, Recordings, float], Table]] = {
    "Recordings": by_recordings,
    "Length": by_length,
    "Classes": by_classes,
    "Rows of a manifest": by_rows,
    "Workers": by_workers,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", type=click.Choice(list(TABLES)), multiple=True, help="This table; may be repeated.")
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="Share of the sizes to measure.")
def main(only: Sequence[str], share: float) -> None:
    """Measure how the cost grows, and write the tables into docs/scale.md; with --share, print them."""
    recordings = Recordings(data_folder())
    when = f"{datetime.now(UTC):%Y-%m-%d}, revision {machine.describe()['commit']['revision'][:10]}."
    for title in only or TABLES:
        with tempfile.TemporaryDirectory() as scratch:
            lines = [*markdown(TABLES[title](Path(scratch), recordings, share)), "", when]
        text = "\n".join(lines) + "\n"
        click.echo(f"\n{title}\n{text}", err=share == 1)
        if share == 1:
            marks = (f"<!-- {title} -->\n", f"<!-- /{title} -->\n")
            write(PAGE, text, marks)


if __name__ == "__main__":
    main()
