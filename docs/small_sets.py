"""The sets and the tables of training/results/small-sets.md.

python docs/small_sets.py sets DATA         # writes esc10-table.csv, house-table.csv and more-table.csv
python docs/small_sets.py figures RUNS      # RUNS/SET/PRESET-RUN-seedN, of sedkit-train experiments
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sedkit.metrics import summary
from training.networks.predict import predict
from training.runs.generations import trained_network
from training.runs.run import Run

CLIPS = 40  # of each class
MORE = (
    "Flute",
    "Acoustic guitar",
    "Cello",
    "French horn",
    "Banjo",
    "Snare drum",
    "Cymbal",
    "Walk, footsteps",
    "Baby cry, infant cry",
    "Computer keyboard|Typing",
)
Row = tuple[str, str, str]  # path, label, group


def sets(data: Path) -> None:
    """Write the table of each set, for ``sedkit-train data csv``."""
    esc50, more = (read(data / name) for name in ("esc50/esc50.csv", "more/clips.csv"))
    write("esc10", esc50_rows(clip for clip in esc50 if clip["esc10"] == "True"))
    write("house", esc50_rows(clip for clip in esc50 if 30 <= int(clip["target"]) < 40))
    write("more", more_rows(more))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def esc50_rows(clips: Iterable[dict[str, str]]) -> Iterator[Row]:
    return ((f"esc50/audio/{clip['filename']}", clip["category"], clip["src_file"]) for clip in clips)


def more_rows(clips: list[dict[str, str]]) -> Iterator[Row]:
    """``CLIPS`` of each class, evenly spaced in the table, whose neighbours are from one source."""
    for name in MORE:
        own = [clip for clip in clips if clip["labels"] == name]
        for clip in own[:: len(own) // CLIPS][:CLIPS]:
            yield f"more/audio/{clip['filename']}", name.partition("|")[0], clip["group"]


def write(name: str, rows: Iterable[Row]) -> None:
    with Path(f"{name}-table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "labels", "group"), *rows])


def figures(runs: Path) -> None:
    """Print, for each set, test mAP: mean and standard deviation over seeds, and changes computed per seed."""
    for folder in sorted(path for path in runs.iterdir() if path.is_dir()):
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for path in sorted(folder.glob("*-seed*")):
            name, _, seed = path.name.rpartition("-seed")
            if not (path / "report.json").exists():
                continue
            run = Run.open(path)
            for generation, report in enumerate(run.reports()):
                found[f"{name}, {'student ' + str(generation) if generation else 'Teacher-0'}"][seed] = report["test"][
                    "mAP"
                ]
            if not run.settings.gate:
                found[f"{name}, scored without silence"][seed] = without_silence(run)
        first = found.get("students-scratch, Teacher-0", {})
        print(f"\n{folder.name}\n\n| network | seeds | test mAP | change from Teacher-0 |\n|---|---|---|---|")
        for name, by_seed in found.items():
            changes = [value - first[seed] for seed, value in by_seed.items() if seed in first]
            print(f"| {name} | {', '.join(sorted(by_seed))} | {spread(by_seed.values())} | {spread(changes, '+.3f')} |")


def spread(values: Iterable[float], shape: str = ".3f") -> str:
    """Mean and standard deviation."""
    numbers = list(values)
    if not numbers:
        return "-"
    deviation = f" ± {np.std(numbers, ddof=1):.3f}" if len(numbers) > 1 else ""
    return f"{np.mean(numbers):{shape}}{deviation}"


def without_silence(run: Run) -> float:
    """Test mAP of Teacher-0, trained with Table 1's mean, when silent segments are left out of its scores."""
    settings = replace(run.settings, gate=True)
    network = trained_network(run.generation(0), settings, len(run.labels), torch.device("cpu"))
    clips = run.clips("test")
    scores = predict(network, clips.waveforms, settings.batch_size)
    return float(summary(clips.multi_hot(), scores, clips.classes).to_dict()["mAP"])


if __name__ == "__main__":
    {"sets": sets, "figures": figures}[sys.argv[1]](Path(sys.argv[2]))
