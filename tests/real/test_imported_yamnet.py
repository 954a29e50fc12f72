"""YAMNet imported from its TFLite file scores real clips as LiteRT scores them."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from sedkit import Tagger
from sedkit.audio import open_audio
from training.__main__ import main
from training.networks.yamnet_tflite import HOP, WINDOW, YamnetTflite
from training.release.imported.yamnet import Yamnet8Bit, read_yamnet

LOGMEL = "feature_patch"  # the file's tensor
CLIPS = 4


@pytest.fixture(scope="module")
def file(data: Path) -> Path:
    path = data / "peers" / "yamnet.tflite"
    if not path.is_file():
        pytest.skip(f"no YAMNet in {path.parent}")
    return path


@pytest.fixture(scope="module")
def reference(file: Path) -> YamnetTflite:
    return YamnetTflite(file)


@pytest.fixture(scope="module")
def network(file: Path) -> Yamnet8Bit:
    return read_yamnet(file)[0]


@pytest.fixture(scope="module")
def clips(data: Path) -> list[np.ndarray]:
    with (data / "esc50" / "esc50.csv").open(newline="") as table:
        names = sorted(row["filename"] for row in csv.DictReader(table))[:: 2000 // CLIPS]
    clips = []
    for name in names:
        with open_audio(data / "esc50" / "audio" / name) as stream:
            clips.append(np.concatenate(list(stream)))
    return clips


def logmels(reference: YamnetTflite, clip: np.ndarray, patches: int) -> np.ndarray:
    """The log-mel of each patch that the file itself computes."""
    interpreter = reference.interpreter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (index,) = (each["index"] for each in interpreter.get_tensor_details() if each["name"] == LOGMEL)
    padded = np.zeros(WINDOW + HOP * patches, np.float32)
    padded[: len(clip)] = clip
    found = []
    for patch in range(patches):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], padded[HOP * patch : HOP * patch + WINDOW])
        interpreter.invoke()
        found.append(interpreter.get_tensor(index)[0].copy())
    return np.stack(found)


def test_classes_have_the_published_mids(file: Path, data: Path) -> None:
    with (data / "peers" / "yamnet_class_map.csv").open(newline="") as table:
        mids = [row["mid"] for row in csv.DictReader(table)]
    assert [label.mid for label in read_yamnet(file)[1]] == mids


def test_all_scores_equal_the_files_for_the_same_log_mel(reference, network, clips) -> None:
    for clip in clips:
        expected = reference(clip)
        given = torch.from_numpy(logmels(reference, clip, len(expected.scores)))[None]
        with torch.no_grad():
            scores, embeddings = network.score_patches(given)
        np.testing.assert_array_equal(scores[0], expected.scores)
        np.testing.assert_allclose(embeddings[0], expected.embeddings, rtol=1e-6)


def test_nearly_all_scores_of_clips_equal_the_files(reference, network, clips) -> None:
    """The front ends differ by rounding, which changes an 8-bit input now and then."""
    differences = []
    for clip in clips:
        expected = reference(clip).scores
        with torch.no_grad():
            scores = network(torch.from_numpy(clip)[None]).segments[0].numpy()
        assert len(scores) == len(expected) == 10
        differences.append(abs(scores - expected).ravel())
    apart = np.concatenate(differences)
    assert (apart > 1e-4).mean() < 0.001
    assert apart.max() < 0.1


@pytest.mark.slow
def test_the_model_that_the_command_writes(file: Path, tmp_path: Path, reference, clips) -> None:
    output = tmp_path / "yamnet.onnx"
    result = CliRunner().invoke(main, ["import", "yamnet", str(file), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "521 classes, 16000 Hz, segments of 0.96 s every 0.48 s" in result.output
    tagger = Tagger(output, "cpu", threads=1)
    for clip in clips:
        expected = reference(clip).scores.mean(axis=0)
        found = tagger.tag(clip, 16_000, top_k=None, threshold=0.0)
        scores = {tag.label: tag.score for tag in found.tags}
        np.testing.assert_allclose([scores[label.name] for label in tagger.labels], expected, atol=0.02)
