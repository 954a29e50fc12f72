"""A timeline with known scores, for the tests of pictures and pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from sedkit.contract import Label
from sedkit.geometry import SAMPLE_RATE, segment_count
from sedkit.results import Event, Overview, Timeline
from sedkit.timeline.overview import BANDS, SETTINGS
from sedkit.timeline.settings import PostProcessing
from tests.conftest import make_sound

LABELS = (
    Label("Speech", "/m/09x0r"),
    Label("Dog", "/m/0bt9lr"),
    Label("Siren", "/m/03kmc9"),
    Label('Our "kettle" <i>'),
)
DURATION = 10.0
RUNS = {  # score of a class from one segment to another
    "Speech": [(2, 8, 0.9), (15, 21, 0.55)],
    "Dog": [(10, 14, 0.7)],
    'Our "kettle" <i>': [(22, 28, 0.35)],
}


def make_timeline(file: str | Path, overview: bool = True) -> Timeline:
    """Ten seconds: Speech twice and Dog once above 0.5, a custom class at 0.35; Siren never."""
    segments = segment_count(round(DURATION * SAMPLE_RATE))
    scores = np.zeros((len(LABELS), segments))
    names = [label.name for label in LABELS]
    for name, runs in RUNS.items():
        for first, stop, score in runs:
            scores[names.index(name), first:stop] = score
    events = [
        Event(tile(first), tile(stop), name, LABELS[names.index(name)].mid, score)
        for name, runs in RUNS.items()
        for first, stop, score in runs
        if score >= 0.5
    ]
    kept = (0, 1, 3)
    rng = np.random.default_rng(0)
    levels = rng.integers(80, 200, (BANDS, 500)).astype(np.uint8)
    tracks = np.rint(scores[list(kept)] * 255).astype(np.uint8)
    settings = PostProcessing(leave=0.05, threshold=0.5).columns([LABELS[i] for i in kept], [0.5] * len(kept))
    own = {name: getattr(settings, name) for name in SETTINGS}
    drawn = Overview(levels, 0.02, kept, tracks, **own)
    return Timeline(
        str(file), DURATION, "native", (), tuple(sorted(events, key=lambda event: event.onset)), None, LABELS,
        overview=drawn if overview else None,
    )  # fmt: skip


def tile(segment: int) -> float:
    """Start of the tile of a segment in seconds."""
    return round(0.32 * segment + 0.32, 2) if segment else 0.0


def write_sound(path: Path, seconds: float = DURATION) -> Path:
    soundfile.write(path, make_sound(seconds), SAMPLE_RATE)
    return path
