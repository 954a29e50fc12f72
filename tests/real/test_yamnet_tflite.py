"""YAMNet on real clips: the best class is right, and frames cover the documented samples."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from training.data.audio import decode
from training.data.readers.esc50 import esc50_labels
from training.networks.yamnet_tflite import HOP, WINDOW, YamnetTflite, match_classes

CLASSES = ("rooster", "siren", "crying_baby", "church_bells", "dog", "toilet_flush")


@pytest.fixture(scope="module")
def yamnet(data: Path) -> YamnetTflite:
    model = data / "peers" / "yamnet.tflite"
    if not model.is_file():
        pytest.skip(f"no YAMNet in {model.parent}")
    return YamnetTflite(model)


def test_yamnet_classes_are_audioset_classes(yamnet: YamnetTflite, data: Path) -> None:
    with (data / "audioset" / "class_labels_indices.csv").open(newline="") as file:
        names = {row["display_name"] for row in csv.DictReader(file)}
    assert len(yamnet.labels) == 521
    assert {label.name for label in yamnet.labels} < names
    assert {label.name for label in esc50_labels().values()} < {label.name for label in yamnet.labels}


def test_yamnet_tags_clear_clips(yamnet: YamnetTflite, data: Path) -> None:
    with (data / "esc50" / "esc50.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == "5"]
    labels = list(esc50_labels().values())
    right = 0
    for category in CLASSES:
        clip = next(row for row in rows if row["category"] == category)
        waveform = decode(str(data / "esc50" / "audio" / clip["filename"])) / np.float32(32768)
        frames = yamnet(waveform).scores
        assert frames.shape == (10, 521)
        scores = match_classes(frames, yamnet.labels, labels).mean(0)
        right += labels[int(scores.argmax())] == esc50_labels()[category]
    assert right >= len(CLASSES) - 1


@pytest.mark.parametrize(("samples", "frames"), [(0, 1), (WINDOW, 1), (WINDOW + 1, 2), (WINDOW + 2 * HOP, 3)])
def test_number_of_yamnet_frames(yamnet: YamnetTflite, samples: int, frames: int) -> None:
    output = yamnet(np.zeros(samples, np.float32))
    assert output.scores.shape == (frames, 521)
    assert output.embeddings.shape == (frames, 1024)


def test_yamnet_frame_depends_only_on_its_window(yamnet: YamnetTflite) -> None:
    random = np.random.default_rng(0)
    waveform = 0.1 * random.standard_normal(WINDOW + 2 * HOP).astype(np.float32)
    output, single = yamnet(waveform), yamnet(waveform[HOP : HOP + WINDOW])
    for all_frames, one_frame in zip(output, single, strict=True):
        assert (all_frames[1] == one_frame[0]).all()
    assert 0 <= output.embeddings.min() < output.embeddings.max() <= 6
