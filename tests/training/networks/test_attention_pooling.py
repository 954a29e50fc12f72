"""Attention pooling (layer P with trained weights): in the network, in a cascade, exported, quantised, in sedkit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from sedkit.cli import describe
from sedkit.contract import Contract, Label, metadata_of
from sedkit.inference.model import Model
from sedkit.tagger import Tagger
from sedkit.timeline.edges import level_changes
from tests.conftest import make_sound
from tests.sedkit.audio.encoding import without_offset
from tests.training.conftest import continue_run, run_secost, start_run, weights
from training.data.store.source import open_audio
from training.evaluate.metrics.event_decoding import event_scores
from training.evaluate.timelines import sedkit_detector
from training.networks.wels import MAX_LOG_WEIGHT, Network, WelsNet, multiply_adds, pool
from training.release.calibrate import main as calibrate
from training.release.export import export
from training.release.quantize import quantize
from training.secost import main


def test_attention_clip_scores_are_weighted_means_of_segments() -> None:
    network = WelsNet(5, 1 / 16, pooling="attention").eval()
    scores = pool(network(torch.randn(2, 1, 320, 64)))
    assert scores.weights.shape == scores.segments.shape == (2, 8, 5)
    assert scores.weights.std() > 0
    expected = (scores.segments * scores.weights).sum(1) / scores.weights.sum(1)
    torch.testing.assert_close(scores.clip, expected)
    with torch.no_grad():
        network.weights.bias.fill_(1e4)
    torch.testing.assert_close(
        network(torch.randn(1, 1, 320, 64)).weights.amax(), torch.tensor(math.exp(MAX_LOG_WEIGHT))
    )


def test_attention_weights_of_silent_segments_are_zero() -> None:
    network = Network(3, 1 / 16, pooling="attention").eval()
    sound = torch.from_numpy(0.1 * np.random.default_rng(0).standard_normal((1, 32_000))).float()
    padded = network(torch.cat([sound, torch.zeros(1, 96_000)], 1))
    assert (padded.weights[:, :5] > 0).all()
    assert not padded.weights[:, 12:].any()
    assert not network(torch.zeros(1, 32_000)).clip.any()


def test_multiply_adds_include_the_attention_layer() -> None:
    assert multiply_adds(5, 1 / 16, "attention") == multiply_adds(10, 1 / 16)


@pytest.fixture(scope="module")
def attention_run(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("attention") / "run"
    start_run(small_manifest, directory, "--stages", "1", "--set", "pooling=attention", "--teachers-hear", "view")
    run_secost("--resume", directory, "--device", "cpu")
    return directory


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Network]:
    """A network whose scores and attention weights vary between segments, and its ONNX file."""
    labels, sound = tuple(Label(name) for name in ("clicks", "noise", "tone")), make_sound(5)
    torch.manual_seed(0)
    network = Network(3, 1 / 16, pooling="attention")
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.momentum = 1.0  # take the statistics of the next batch
    with torch.no_grad():
        network(torch.from_numpy(np.stack([sound, make_sound(5, seed=1)])))
        network.wels.L4.weight.mul_(3)
        network.wels.weights.weight.mul_(5)
    path = tmp_path_factory.mktemp("varied") / "varied.onnx"
    export(network, Contract("varied", labels, (0.5,) * 3, {"kind": "none"}, {}, "CC0-1.0"), path, [sound])
    return path, network.eval()


def test_sedkit_applies_attention_weights_like_the_network(varied: tuple[Path, Network]) -> None:
    path, network = varied
    tagger, sound = Tagger(path, device="cpu"), make_sound(9, seed=2)
    assert tagger.model.weighted
    with torch.no_grad():
        expected = network(torch.from_numpy(without_offset(sound))[None])
    mean = expected.segments[0].mean(0)
    assert (expected.clip[0] - mean).abs().max() > 0.02  # mean pooling would fail this test
    scores = {tag.label: tag.score for tag in tagger.tag(sound, 16_000).tags}
    clip = [scores[label.name] for label in tagger.labels]
    np.testing.assert_allclose(clip, expected.clip[0], atol=5e-3)  # the file stores weights as float16
    assert [tag.score for tag in tagger.tag(sound, 16_000, classes=["noise"]).tags] == [scores["noise"]]
    timeline = tagger.timeline(sound, 16_000, resolution="native")
    np.testing.assert_allclose(timeline.scores, expected.segments[0], atol=1e-2)


def test_long_recordings_are_scored_in_pieces_with_attention_weights(varied: tuple[Path, Network]) -> None:
    model, sound = Model(varied[0], "cpu", threads=1), make_sound(45, seed=3)
    whole, parts = model.batch(sound[None])[0], np.concatenate(list(model.segments([sound])))
    assert whole.shape[1] == 6
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_exported_model_records_attention_pooling(attention_run: Path) -> None:
    model = Model(attention_run / "model.onnx", "cpu")
    assert model.weighted
    assert model.contract.lineage["pooling"] == "attention"
    assert str(describe.network(model.contract.lineage)).startswith("width 0.0625, attention, ")


@pytest.mark.slow
def test_attention_model_can_be_quantised_and_calibrated(
    attention_run: Path, small_manifest: Path, tmp_path: Path
) -> None:
    model, int8 = tmp_path / "model.onnx", tmp_path / "model-int8.onnx"
    model.write_bytes((attention_run / "model.onnx").read_bytes())
    quantize(model, open_audio(str(small_manifest)), int8, clips=8, seed=0)
    assert Model(int8, "cpu").weighted
    given = [str(model), "--manifest", str(small_manifest), "--soundscapes", "6"]
    result = CliRunner().invoke(calibrate, given)
    assert result.exit_code == 0, result.output
    assert Contract.from_metadata(metadata_of(int8)).calibration["kind"] == "platt"


@pytest.mark.slow
def test_student_with_mean_pooling_learns_from_attention_teacher(
    attention_run: Path, small_manifest: Path, tmp_path: Path
) -> None:
    options = ["--stages", "0", "--teacher", f"big={attention_run}", "--first", "labels=0.5,big=0.5"]
    start_run(small_manifest, tmp_path / "run", *options, "--teachers-hear", "view")
    continue_run(tmp_path / "run")
    about = json.loads((tmp_path / "run" / "config.json").read_text())
    assert about["settings"]["pooling"] == "mean"
    assert about["teachers"]["big"]["teacher"].endswith("width 0.0625, attention")
    assert not any(name.startswith("wels.weights") for name in weights(tmp_path / "run", 0))
    assert any(name.startswith("wels.weights") for name in weights(attention_run, 1))


def test_fine_tuned_backbones_refuse_attention_pooling(small_manifest: Path, tmp_path: Path) -> None:
    given = ["--manifest", str(small_manifest), "--run", str(tmp_path / "run"), "--fine-tune", "yamnet=yamnet.tflite"]
    result = CliRunner().invoke(main, [*given, "--set", "pooling=attention"])
    assert result.exit_code == 2
    assert "--set pooling: is that of the warm start" in result.output
    assert not (tmp_path / "run").exists()


def test_evaluation_uses_the_tags_and_scores_of_sedkit(varied: tuple[Path, Network], tmp_path: Path) -> None:
    tagger, sound = Tagger(varied[0], device="cpu"), tmp_path / "sound.wav"
    soundfile.write(sound, make_sound(9, seed=2), 16_000, subtype="FLOAT")
    heard = sedkit_detector(tagger, tagger.labels)(sound)
    tags = {tag.label: tag.score for tag in tagger.tag(sound).tags}
    np.testing.assert_allclose(heard.tags, [tags[label.name] for label in tagger.labels], atol=1e-6)
    edges, scores = event_scores(
        tagger.timeline(sound, resolution="native").scores, level_changes(make_sound(9, seed=2)), 9
    )
    np.testing.assert_array_equal(heard.edges, edges)
    np.testing.assert_array_equal(heard.scores, scores)
