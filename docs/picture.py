"""Draw the picture in the README: ``python docs/picture.py DATA``, where DATA contains ESC-50 as ``esc50/``.

It is a ``sedkit timeline`` of joined clips whose licences exclude them from training the shipped model. The classes are
among those that the model recognises well. The first clip of each class is used, not the best.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import sys
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console

from sedkit import Tagger
from sedkit.formats.terminal import Lanes

FREE = ("CC0", "CC-BY")
SOUNDS = ("rooster", "church_bells", "cat", "clapping", "toilet_flush")


def main(data: Path) -> None:
    with (data / "esc50" / "esc50.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["license"] not in FREE]
    parts = []
    for sound in SOUNDS:
        row = next(row for row in rows if row["category"] == sound)  # the first, not the best
        samples, rate = soundfile.read(data / "esc50" / "audio" / row["filename"], dtype="float32")
        parts.append(samples)
        print(f"{sound}: {row['filename']} ({row['license']}, {row['author']})")
    timeline = Tagger(device="cpu").timeline(np.concatenate(parts), rate)
    console = Console(record=True, width=110, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Lanes(dataclasses.replace(timeline, file="recording.wav")))
    svg = console.export_svg(title="sedkit timeline recording.wav", unique_id="timeline")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # so that viewers load no fonts from the network
    (Path(__file__).parent / "timeline.svg").write_text(svg, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
