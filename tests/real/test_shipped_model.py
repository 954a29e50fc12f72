"""The shipped models on held-out recordings: the first tag is right, and events are where the sounds are."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sedkit.inference.installed import DEFAULT, INT8, installed_models, sibling
from sedkit.tagger import Tagger
from training.data.readers.esc50 import esc50_labels

FOLD = "5"  # of speech and music; the models were trained on all folds of these


MODELS = [  # float32 is what a CPU runs only if it is asked to
    pytest.param(path, id=path.stem, marks=[] if path.stem.endswith(INT8) else [pytest.mark.slow])
    for path in installed_models()
]


@pytest.fixture(scope="module", params=MODELS)
def shipped(request: pytest.FixtureRequest) -> Tagger:
    return Tagger(request.param, "cpu")


def accuracy_on_card(model: Path) -> float:
    """Accuracy on the test clips of ESC-50 that the model card states."""
    name = sibling(model, "fp32").stem
    card = model.with_name("README.md" if name == DEFAULT else f"{name}.md").read_text("utf-8")
    table = card.partition("| source | test clips | accuracy |\n")[2]
    row = re.search(r"^\| esc50 \| \d+ \| ([\d.]+) \|$", table, re.MULTILINE)
    assert row
    return float(row[1])


def has_parents(tagger: Tagger) -> bool:
    """Whether some classes of a model are parents of others: every bark is a dog and an animal, too."""
    return any(label.name == "Animal" for label in tagger.labels)


@pytest.fixture(scope="module")
def held_out(data: Path, shipped: Tagger) -> list[dict[str, str]]:
    """ESC-50 clips of recordings that were used neither to train the model nor to select it."""
    name = sibling(shipped.model.path, "fp32").stem
    table = shipped.model.path.with_name("attribution.csv" if name == DEFAULT else f"{name}-attribution.csv")
    with table.open(encoding="utf-8") as file:
        used = {Path(row["clip"]).name for row in csv.DictReader(file)}
    with (data / "esc50" / "esc50.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    recordings = {row["src_file"] for row in rows if row["filename"] in used}
    return [row for row in rows if row["src_file"] not in recordings]


def audio(data: Path, row: dict[str, str]) -> Path:
    return data / "esc50" / "audio" / row["filename"]


def test_accuracy_on_held_out_clips_matches_the_card(
    shipped: Tagger, data: Path, held_out: list[dict[str, str]]
) -> None:
    mids = {category: label.mid for category, label in esc50_labels().items()}
    names = [label.name for label in shipped.labels if label.mid in mids.values()]  # without parents
    sample = held_out[:: max(1, len(held_out) // 100)]
    right = [shipped.tag(audio(data, row), classes=names).tags[0].mid == mids[row["category"]] for row in sample]
    assert len(right) >= 100
    allowed = 0.08  # two standard errors of 100 clips
    if has_parents(shipped):
        allowed += 0.08  # a card does not count classes that nobody checked in a clip as mistakes
    assert np.mean(right) > accuracy_on_card(shipped.model.path) - allowed


def test_quiet_noise_has_no_tags_or_events(shipped: Tagger) -> None:
    noise = np.random.default_rng(0).standard_normal(10 * 16_000).astype(np.float32)
    for level in (-60, -50, -40):  # dBFS
        quiet = np.float32(10 ** (level / 20)) * noise
        assert all(tag.score < 0.1 for tag in shipped.tag(quiet, 16_000).tags)
        assert not shipped.timeline(quiet, 16_000).events


def test_event_between_silences_has_the_right_times(
    shipped: Tagger, data: Path, held_out: list[dict[str, str]]
) -> None:
    row = next(row for row in held_out if row["category"] == "rooster")
    sound, rate = soundfile.read(audio(data, row), dtype="float32")
    quiet = np.zeros(6 * rate, np.float32)
    timeline = shipped.timeline(np.concatenate([quiet, sound, quiet]), rate, threshold=0.3)
    crowing = [event for event in timeline.events if event.label == "Crowing, cock-a-doodle-doo"]
    assert crowing
    assert all(event.onset > 5 and event.offset < 12.5 for event in crowing)


def test_demo_recording_gives_its_labels_as_events(shipped: Tagger, tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "examples" / "demo.py"
    lines = subprocess.check_output([sys.executable, script, tmp_path / "demo.wav"], text=True).splitlines()
    events = shipped.timeline(tmp_path / "demo.wav").events
    if has_parents(shipped):
        events = tuple(event for event in events if event.label != "Water")  # of which rain is a part
    expected = [line.split("\t") for line in lines]
    assert [event.label for event in events] == [label for *_, label in expected]
    for event, (onset, offset, _) in zip(events, expected, strict=True):
        assert event.onset == pytest.approx(float(onset), abs=0.15)
        assert event.offset == pytest.approx(float(offset), abs=0.6)  # decaying sounds end before their label


def test_speech_and_music_are_the_first_tag(shipped: Tagger, data: Path) -> None:
    for name, label in (("speech", "Speech"), ("music", "Music")):
        with (data / name / f"{name}.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["fold"] == FOLD][:10]
        first = [shipped.tag(data / name / "audio" / row["filename"], parents=True).tags[0].label for row in rows]
        assert first.count(label) >= 8


def test_shipped_model_has_lineage_and_license(shipped: Tagger) -> None:
    contract = shipped.contract
    assert len(contract.labels) == (155 if has_parents(shipped) else 52)
    indices = [label.index for label in contract.labels]
    assert indices == sorted(indices)
    assert contract.lineage["metrics"]["test"]["mAP"] > 0.5
    assert contract.license
