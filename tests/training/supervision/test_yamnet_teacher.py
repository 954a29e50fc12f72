"""The online YAMNet teacher: YAMNet in torch, cross-fitted regressions, the teacher file, and the command."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.conftest import make_sound
from training.data.audio import decode
from training.data.manifest.table import Manifest
from training.networks.yamnet import FEATURES, Yamnet, frame_count, read_yamnet
from training.networks.yamnet_tflite import HOP, WINDOW, PeerError
from training.runtime.checkpoint import save as save_state
from training.supervision.predictions import TeacherError
from training.supervision.regression import cross_fitted, fit_regression
from training.supervision.teacher_commands import main
from training.supervision.yamnet_teacher import PARTS, Fitted, YamnetTeacher, load, save


@pytest.fixture(scope="module")
def model(data: Path) -> Path:
    """YAMNet's TFLite file; skipped without LiteRT, which reads it."""
    pytest.importorskip("ai_edge_litert", reason="LiteRT reads YAMNet's file")
    path = data / "peers" / "yamnet.tflite"
    if not path.is_file():
        pytest.skip(f"no YAMNet in {path.parent}")
    return path


@pytest.fixture(scope="module")
def yamnet(model: Path) -> Yamnet:
    return read_yamnet(model)


def make_teacher(classes: int = 4, parts: int = 2) -> YamnetTeacher:
    """A teacher with random weights whose scores differ between sounds."""
    random = torch.Generator().manual_seed(0)
    teacher = YamnetTeacher(parts, classes)
    for name, value in teacher.state_dict().items():
        scale = 0.1 if value.ndim < 4 else (2 / value[0].numel()) ** 0.5
        value.copy_(scale * torch.randn(value.shape, generator=random))
        if name in ("yamnet.mel", "yamnet.floor", "spread"):
            value.abs_().add_(1e-3)
    return teacher


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 1), (1, 1), (WINDOW, 1), (WINDOW + 1, 2), (40_960, 5), (WINDOW + 9 * HOP, 10)]
)
def test_number_of_frames(samples: int, frames: int) -> None:
    assert frame_count(samples) == frames
    network = Yamnet()
    assert network.patches(torch.zeros(2, samples)).shape == (2, frames, 96, 64)
    assert network.embeddings(torch.zeros(2, samples)).shape == (2, frames, 1024)


def test_embeddings_are_close_to_those_of_the_tflite_file(yamnet: Yamnet, model: Path, data: Path) -> None:
    """They differ because the file rounds activations to 8 bits."""
    from training.networks.yamnet_tflite import YamnetTflite

    with (data / "esc50" / "esc50.csv").open(newline="") as file:
        names = [row["filename"] for row in csv.DictReader(file)][::400]
    peer = YamnetTflite(model)
    for name in names:
        waveform = decode(str(data / "esc50" / "audio" / name))[:60_000] / np.float32(32768)
        expected = peer(waveform)
        ours = yamnet.embeddings(torch.from_numpy(waveform)[None])[0].numpy()
        assert ours.shape == expected.embeddings.shape
        assert np.linalg.norm(ours - expected.embeddings) < 0.1 * np.linalg.norm(expected.embeddings)
        features = yamnet(torch.from_numpy(waveform)[None])[0].numpy()
        assert np.corrcoef(features, expected.features())[0, 1] > 0.99


def test_clips_of_a_batch_do_not_influence_each_other() -> None:
    network = make_teacher()
    waveform = torch.from_numpy(np.stack([make_sound(2.56, seed=seed) for seed in range(3)]))
    part = torch.tensor([2, 0, 2])
    scores = network(waveform, part)
    assert scores.shape == (3, 4)
    assert scores.dtype == torch.float32
    for clip in range(3):
        torch.testing.assert_close(network(waveform[clip, None], part[clip, None])[0], scores[clip])
    assert not any(weight.requires_grad for weight in network.parameters())


def test_front_end_and_regressions_compute_in_float32() -> None:
    network = make_teacher()
    waveform, part = torch.from_numpy(make_sound(2, seed=1))[None], torch.tensor([1])
    network.weight.mul_(0.005)  # otherwise all scores are 0 or 1
    patches, features = network.yamnet.patches(waveform), network.yamnet(waveform)
    classified, expected = network.classify(features, part), network(waveform, part)
    assert 0.05 < expected.min() < expected.max() < 0.95
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.yamnet.patches(waveform), patches)
        assert torch.equal(network.classify(features, part), classified)
        scores = network(waveform, part)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected, atol=0.05, rtol=0)


def test_each_part_has_its_own_regression() -> None:
    random = np.random.default_rng(0)
    features = random.random((60, FEATURES))
    targets = np.eye(3, dtype=np.float32)[random.integers(0, 3, 60)]
    fitted = [fit_regression(features[start:], targets[start:], 30.0) for start in (0, 20)]
    network = YamnetTeacher(1, 3)
    network.set_regressions(fitted)
    for part, one in enumerate(fitted):
        scores = network.classify(torch.from_numpy(features), torch.full((60,), part)).numpy()
        np.testing.assert_allclose(scores, one(features), atol=1e-5)
    mixed = network.classify(torch.from_numpy(features[:2]), torch.tensor([1, 0])).numpy()
    np.testing.assert_allclose(mixed, np.stack([fitted[1](features[:1])[0], fitted[0](features[1:2])[0]]), atol=1e-5)


def test_cross_fitted_regressions_do_not_know_held_out_labels() -> None:
    """With more random features than clips, a regression knows the label of every clip that it was fitted on."""
    random = np.random.default_rng(0)
    features, part = random.standard_normal((100, 300)), np.arange(100) % PARTS
    targets = np.eye(2, dtype=np.float32)[random.integers(0, 2, 100)]
    *others, whole = cross_fitted(features, targets, part, (3.0,))
    assert len(others) == PARTS
    scores = np.stack([others[held](features[row, None])[0] for row, held in enumerate(part)])
    assert 0.3 < (scores.argmax(1) == targets.argmax(1)).mean() < 0.7
    assert (whole(features).argmax(1) == targets.argmax(1)).all()


def test_teacher_file_belongs_to_one_manifest(small_manifest: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(small_manifest)
    data, labels = manifest.sha256(), manifest.vocabulary.labels
    path, teacher = tmp_path / "teacher.pt", make_teacher(len(labels))
    parts = np.arange(len(manifest)) % 3
    save(path, Fitted(teacher, parts, {"teacher": "noise", "metrics": {"test": {"mAP": 0.5}}}), data, labels)
    read = load(path, data, labels)
    assert read.about == {"teacher": "noise", "metrics": {"test": {"mAP": 0.5}}}
    assert read.parts.dtype == np.int64
    assert (read.parts == parts).all()
    assert all(value.dtype == torch.float32 for value in read.teacher.state_dict().values())
    waveform, part = torch.from_numpy(make_sound(1, seed=2))[None], torch.tensor([1])
    torch.testing.assert_close(read.teacher(waveform, part), teacher(waveform, part), atol=1e-3, rtol=0)
    for other, classes in (("another", labels), (data, labels[:-1])):
        with pytest.raises(TeacherError, match=r"teacher\.pt: a teacher for another manifest or other classes"):
            load(path, other, classes)
    teacher.offset[0] = torch.nan
    save(path, Fitted(teacher, parts, {}), data, labels)
    with pytest.raises(TeacherError, match=r"teacher\.pt: weights that are not finite; make it again"):
        load(path, data, labels)


def test_unreadable_teacher_files_are_one_line_errors(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    with pytest.raises(
        TeacherError, match=r"teacher\.pt: .* \(no such file\); make one with sedkit-train teachers yamnet-online"
    ):
        load(path, "", [])
    for state in ({}, {"about": {}, "parts": torch.zeros(2), "listener": {}}, torch.zeros(3), ["about"]):
        save_state(state, path)
        with pytest.raises(TeacherError, match=r"it is damaged, or something else"):
            load(path, "", [])
    for content in (b"", b"not a teacher", path.read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(TeacherError, match=r"it is damaged, or something else"):
            load(path, "", [])
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    with pytest.raises(PeerError, match=r"model\.tflite"):
        read_yamnet(tmp_path / "model.tflite")


@pytest.mark.slow
def test_command_yamnet_online(model: Path, small_manifest: Path, tmp_path: Path) -> None:
    """Clips without any class and unlabelled clips are scored, too."""
    rows = list(Manifest.load(small_manifest).rows())
    rows[0], rows[1] = rows[0]._replace(labels="-"), rows[1]._replace(labels="?")
    manifest = Manifest.from_rows(rows, Manifest.load(small_manifest).vocabulary, small_manifest.parent)
    manifest.save(tmp_path / "manifest.csv")
    arguments = [
        "yamnet-online",
        "--model",
        model,
        "--manifest",
        tmp_path / "manifest.csv",
        "--strength",
        "30",
        "--output",
        tmp_path / "teacher.pt",
    ]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert "36 clips, 3 classes" in result.output
    assert "test: mAP" in result.output
    fitted = load(tmp_path / "teacher.pt", manifest.sha256(), manifest.vocabulary.labels)
    train = manifest.labelled("train")
    assert len(train) == 23
    assert set(fitted.parts[train]) == set(range(PARTS))
    assert fitted.parts[1] == PARTS
    assert (np.delete(fitted.parts, train) == PARTS).all()
    assert fitted.about["model"] == "yamnet.tflite"
    waveform = torch.from_numpy(make_sound(2.56, seed=4))[None]
    scores = fitted.teacher(waveform.repeat(PARTS + 1, 1), torch.arange(PARTS + 1))
    assert scores.shape == (PARTS + 1, 3)
    assert torch.isfinite(scores).all()
    assert (scores.std(0) > 0).all()


def test_read_yamnet_from_an_earlier_teacher(tmp_path: Path) -> None:
    earlier = make_teacher(3)
    save(tmp_path / "earlier.pt", Fitted(earlier, np.zeros(1, np.int64), {}), "", ())
    sound = torch.from_numpy(make_sound(1, seed=1))[None]
    torch.testing.assert_close(read_yamnet(tmp_path / "earlier.pt")(sound), earlier.yamnet(sound), atol=0.02, rtol=0.02)
    (tmp_path / "other.pt").write_bytes(b"nothing")
    with pytest.raises(PeerError, match=r"other\.pt: not a YAMNet teacher"):
        read_yamnet(tmp_path / "other.pt")
