"""Pretrained backbones produce WELS-Net's segments, are fine-tuned in a cascade and serve as teachers."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from click.testing import CliRunner

from sedkit.contract import Label
from sedkit.geometry import SEGMENT_HOP
from tests.conftest import make_sound
from tests.training.conftest import SMALL
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.loop.settings import Kind
from training.networks.pretrained import BACKBONES, PretrainedNetwork, YamnetLogMel, build_network
from training.networks.wels import Network
from training.release.publish import main as publish
from training.runs import teacher_files
from training.runs.experiments.launch import finished
from training.runs.generations import trained_network
from training.runs.run import Run
from training.runtime.checkpoint import load
from training.runtime.checkpoint import save as save_state
from training.secost import main
from training.supervision.yamnet_teacher import YamnetTeacher

OPTIONS = [*SMALL[2:], "--epochs", "1", "--set", "ema=0.5", "--seed", "3"]  # SMALL without --width


def yamnet_teacher() -> YamnetTeacher:
    """An online YAMNet teacher with random weights."""
    random = torch.Generator().manual_seed(0)
    teacher = YamnetTeacher(2, 4)
    for name, value in teacher.state_dict().items():
        scale = 0.1 if value.ndim < 4 else (2 / value[0].numel()) ** 0.5
        value.copy_(scale * torch.randn(value.shape, generator=random))
        if name in ("yamnet.mel", "yamnet.floor", "spread"):
            value.abs_().add_(1e-3)
    return teacher


@pytest.fixture(scope="module")
def yamnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YAMNet with random weights, in the file of an online YAMNet teacher."""
    path = tmp_path_factory.mktemp("yamnet") / "yamnet.pt"
    save_state({"listener": yamnet_teacher().state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def files(yamnet: Path) -> dict[str, Path]:
    """Pretrained weights, by kind of backbone."""
    return {"yamnet": yamnet}


def test_settings_allow_exactly_the_known_backbones() -> None:
    assert {"wels", *BACKBONES} == set(get_args(Kind))


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("samples", [1, 15_360, 15_361, 40_960, 160_000])
def test_backbone_outputs_have_the_shapes_of_wels_net(kind: str, samples: int) -> None:
    network, wels = PretrainedNetwork(kind, 3).eval(), Network(3, 0.0625).eval()
    waveform = torch.from_numpy(make_sound(10))[None, :samples]
    with torch.no_grad():
        scores, expected = network(waveform), wels(waveform)
    assert scores.segments.shape == expected.segments.shape
    assert scores.clip.shape == expected.clip.shape
    assert scores.embedding.shape == (1, expected.embedding.shape[1], BACKBONES[kind].filters)


@pytest.mark.parametrize("kind", BACKBONES)
def test_backbones_treat_the_same_segments_as_silent_as_wels_net(kind: str) -> None:
    """For digital silence and for dither of the last bit."""
    torch.manual_seed(0)
    network, wels = PretrainedNetwork(kind, 3).eval(), Network(3, 0.0625).eval()
    if kind == "yamnet":
        network.frontend.filters.copy_(mel_like(network.frontend.filters.shape))
        network.frontend.floor.fill_(0.001)  # the value in YAMNet's file
    waveform = torch.randint(-1, 2, (1, 40 * SEGMENT_HOP)) / 32_768
    waveform[0, 30 * SEGMENT_HOP :] = 0
    waveform[0, : 10 * SEGMENT_HOP] = torch.from_numpy(make_sound(10))[: 10 * SEGMENT_HOP]
    with torch.no_grad():
        scores, expected = network(waveform), wels(waveform)
    audible, audible_to_wels = scores.segments[0, :, 0] > 0, expected.segments[0, :, 0] > 0
    assert audible_to_wels[:8].all()
    assert not audible_to_wels[11:].any()
    assert (audible != audible_to_wels).sum() <= 1  # the front ends frame the samples differently
    torch.testing.assert_close(scores.clip[0], scores.segments[0, audible].mean(0))


def mel_like(shape: torch.Size) -> torch.Tensor:
    """Triangular filters of height 1 and equal width [bins, bands]; YAMNet's have height 1 too."""
    bins, bands = torch.arange(shape[0])[:, None], torch.arange(shape[1])[None]
    return (1 - (bins - 4 * bands - 4).abs() / 4).clamp(min=0)


def test_yamnet_backbone_gets_the_input_of_the_original_yamnet(yamnet: Path) -> None:
    network = build_network("yamnet", 3, 1.0)
    network.load_state_dict(network.state_dict() | BACKBONES["yamnet"].read(yamnet))
    network.frontend.mean.fill_(-30.0)
    network.frontend.std.fill_(15.0)
    assert isinstance(network.frontend, YamnetLogMel)
    waveform = torch.from_numpy(make_sound(2))[None, :15_600]
    nepers = network.frontend.to_nepers(network.frontend(waveform))
    expected = yamnet_teacher().yamnet.patches(waveform)  # the same weights
    torch.testing.assert_close(nepers[:, :, :96], expected, atol=1e-5, rtol=1e-5)
    louder = network.frontend.decibels(waveform, torch.full((1, 64), 20.0)) - network.frontend.decibels(10 * waveform)
    assert louder.abs().max() < 1e-3


def test_wrong_fine_tune_file_is_a_one_line_error(tmp_path: Path, small_manifest: Path, yamnet: Path) -> None:
    (tmp_path / "text.pth").write_text("text")
    run = ["--manifest", str(small_manifest), "--run", str(tmp_path / "run")]
    for options, cause in (
        (["--fine-tune", "yamnet"], "is not yamnet=FILE"),
        (["--fine-tune", f"resnet={yamnet}"], "is not yamnet=FILE"),
        (["--fine-tune", f"yamnet={tmp_path / 'none.tflite'}"], "is not a file"),
        (["--fine-tune", f"yamnet={tmp_path / 'text.pth'}"], "text.pth: not YAMNet"),
        (["--fine-tune", f"yamnet={yamnet}", "--width", "1"], "--width"),
    ):
        result = CliRunner().invoke(main, [*run, *options])
        assert result.exit_code, options
        assert cause in result.output
        assert "Traceback" not in result.output
        assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.slow
def test_fine_tuned_cascade_resumes_and_teaches(
    kind: str, tmp_path: Path, small_manifest: Path, files: dict[str, Path]
) -> None:
    def secost(*options: object) -> str:
        result = CliRunner().invoke(main, [*map(str, options), "--device", "cpu"])
        assert result.exit_code == 0, result.output
        return result.output

    begin = ["--manifest", small_manifest, "--fine-tune", f"{kind}={files[kind]}"]
    options = [*begin, "--teachers-hear", "view", *OPTIONS]
    directory = tmp_path / "tuned"
    output = secost("--run", directory, "--stages", "1", *options)
    assert "backbones are not exported" in output
    assert f"{kind}, fine-tuned" in output
    assert finished(directory)
    assert not (directory / "model.onnx").exists()
    begun = load(directory / "begun.pt")
    first, student = (load(directory / f"generation-{n}" / "network.pt")["network"] for n in (0, 1))
    name = next(name for name in begun if name.endswith("weight"))
    for trained in (first, student):  # both started from these weights and stayed close to them
        assert 0 < (trained[name] - begun[name]).abs().max() < 0.1

    stopped = tmp_path / "stopped"
    secost("--run", stopped, "--stages", "0", *options, "--stop-after", "0s")
    assert load(stopped / "generation-0" / "checkpoint.pt")["progress"]["batch"] == 1
    secost("--resume", stopped)
    resumed = load(stopped / "generation-0" / "network.pt")["network"]
    assert all(torch.equal(resumed[name], value) for name, value in first.items())

    refused = CliRunner().invoke(publish, [str(directory), "--output", str(tmp_path / "models")])
    assert "fine-tuned networks are not exported" in refused.output
    assert not (tmp_path / "models").exists()

    run = Run.open(directory)
    about = teacher_files.copy_teacher(directory, directory, "big", "view", run.data, run.labels)
    assert f"{kind}, fine-tuned" in about["teacher"]
    teacher = teacher_files.read_teachers(run, {"big": 1.0}, torch.device("cpu")).online["big"]
    sound = torch.from_numpy(make_sound(1))[None]
    with torch.no_grad():
        scores = teacher.teacher(sound, torch.zeros(1, dtype=torch.int64))
        expected = trained_network(run.generation(1), run.settings, len(run.labels), torch.device("cpu"))(sound).clip
    torch.testing.assert_close(scores, expected, atol=0.01, rtol=0)


@pytest.mark.slow
def test_generations_with_another_warm_start_are_not_reused(
    tmp_path: Path, small_manifest: Path, files: dict[str, Path]
) -> None:
    def run(name: str, file: Path, *options: str) -> str:
        given = ["--manifest", str(small_manifest), "--run", str(tmp_path / name), "--fine-tune", f"yamnet={file}"]
        result = CliRunner().invoke(main, [*given, "--stages", "0", *OPTIONS, *options])
        assert result.exit_code == 0, result.output
        return result.output

    run("one", files["yamnet"])
    state = load(files["yamnet"])
    state["listener"]["yamnet.layers.0.1.weight"][0] += 0.1
    save_state(state, tmp_path / "other.pt")
    reused = ["--set", f"reuse={tmp_path}", "--stop-after", "0s"]
    assert "generation 0 is that of" not in run("two", tmp_path / "other.pt", *reused)
    assert "generation 0 is that of" in run("three", files["yamnet"], *reused)

    (tmp_path / "two" / "begun.pt").unlink()
    (tmp_path / "two" / "generation-0" / "checkpoint.pt").unlink()
    result = CliRunner().invoke(main, ["--resume", str(tmp_path / "two"), "--device", "cpu"])
    assert result.exit_code == 1
    assert "begun.pt: the warm start cannot be read" in result.output


def test_teacher_file_without_a_kind_is_a_wels_net(tmp_path: Path) -> None:
    network, vocabulary = Network(2, 0.0625).eval(), Vocabulary((Label("tone"), Label("noise")))
    manifest = Manifest.from_rows([Row("a.wav", labels="tone")], vocabulary, tmp_path)
    save_state({"network": network.state_dict(), "width": 0.0625, "about": {}}, tmp_path / "big.pt")
    teacher = teacher_files._read_network(tmp_path / "big.pt", "another manifest", manifest).teacher
    sound = torch.from_numpy(make_sound(1))[None]
    with torch.no_grad():
        assert torch.equal(teacher(sound, torch.zeros(1, dtype=torch.int64)), network(sound).clip)
