"""Networks that have learnt elsewhere keep WELS-Net's segments, take part in the cascade and teach."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from click.testing import CliRunner

from sedkit.contract import Label
from sedkit.errors import SedkitError
from sedkit.geometry import SEGMENT_HOP
from tests.conftest import make_sound
from tests.training.conftest import SMALL
from tests.training.supervision.test_yamnet_teacher import listener
from training.loop.settings import Kind
from training.networks import efficientnet
from training.networks.pretrained import BACKBONES, PretrainedNetwork, YamnetLogMel, build_network
from training.networks.wels import Network
from training.release.publish import main as publish
from training.runs.experiments.sweep import finished
from training.runs.generations import trained_network
from training.runs.run import Run
from training.runs.teacher_files import bring, read
from training.runtime.checkpoint import load
from training.runtime.checkpoint import save as save_state
from training.secost import main

TRAINED = [*SMALL[2:], "--epochs", "1", "--ema", "0.5", "--seed", "3"]  # SMALL without its width


@pytest.fixture(scope="module")
def yamnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YAMNet with random weights, as it lies in a listener's file."""
    path = tmp_path_factory.mktemp("yamnet") / "yamnet.pt"
    save_state({"listener": listener().state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def files(yamnet: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What there is to begin with, by kind."""
    lite0 = tmp_path_factory.mktemp("lite0") / "lite0.pth"
    checkpoint(lite0)
    return {"yamnet": yamnet, "efficientnet-lite0": lite0}


def checkpoint(path: Path, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    """Weights of EfficientNet-Lite0 as its package has them: of three colours, with classes of its own."""
    state = {f"own.{name}": value for name, value in efficientnet.layers().state_dict().items()}
    state["own.0.weight"] = torch.randn(32, 3, 3, 3) / 3
    for name, value in state.items():
        if name.endswith("running_mean"):
            value.normal_()
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
    state |= {"_fc.weight": torch.zeros(10, 1280), "_fc.bias": torch.zeros(10)} | more
    torch.save(state, path)
    return state


def test_the_kinds_are_those_of_settings() -> None:
    assert {"wels", *BACKBONES} == set(get_args(Kind))


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("samples", [1, 15_360, 15_361, 40_960, 160_000])
def test_segments_are_those_of_wels_net(kind: str, samples: int) -> None:
    network, ours = PretrainedNetwork(kind, 3).eval(), Network(3, 0.0625).eval()
    waveform = torch.from_numpy(make_sound(10))[None, :samples]
    with torch.no_grad():
        found, wanted = network(waveform), ours(waveform)
    assert found.segments.shape == wanted.segments.shape
    assert found.clip.shape == wanted.clip.shape
    assert found.embedding.shape == (1, wanted.embedding.shape[1], BACKBONES[kind].filters)


@pytest.mark.parametrize("kind", BACKBONES)
def test_silence_scores_nothing(kind: str) -> None:
    """Digital silence, and dither of the last bit: where WELS-Net's segments are silent, theirs are."""
    torch.manual_seed(0)
    network, ours = PretrainedNetwork(kind, 3).eval(), Network(3, 0.0625).eval()
    if kind == "yamnet":
        network.frontend.filters.copy_(mel_like(network.frontend.filters.shape))
        network.frontend.floor.fill_(0.001)  # as in its file
    waveform = torch.randint(-1, 2, (1, 40 * SEGMENT_HOP)) / 32_768
    waveform[0, 30 * SEGMENT_HOP :] = 0
    waveform[0, : 10 * SEGMENT_HOP] = torch.from_numpy(make_sound(10))[: 10 * SEGMENT_HOP]
    with torch.no_grad():
        scores, wanted = network(waveform), ours(waveform)
    sounding, theirs = scores.segments[0, :, 0] > 0, wanted.segments[0, :, 0] > 0
    assert theirs[:8].all()
    assert not theirs[11:].any()
    assert (sounding != theirs).sum() <= 1  # frames are not of the same samples
    torch.testing.assert_close(scores.clip[0], scores.segments[0, sounding].mean(0))


def mel_like(shape: torch.Size) -> torch.Tensor:
    """Triangles of height 1 [bins, bands], as YAMNet's are, equally wide."""
    bins, bands = torch.arange(shape[0])[:, None], torch.arange(shape[1])[None]
    return (1 - (bins - 4 * bands - 4).abs() / 4).clamp(min=0)


def test_yamnet_hears_what_it_learnt_to_hear(yamnet: Path) -> None:
    network = build_network("yamnet", 3, 1.0)
    network.load_state_dict(network.state_dict() | BACKBONES["yamnet"].read(yamnet))
    network.frontend.mean.fill_(-30.0)
    network.frontend.std.fill_(15.0)
    assert isinstance(network.frontend, YamnetLogMel)
    waveform = torch.from_numpy(make_sound(2))[None, :15_600]
    heard = network.frontend.learnt(network.frontend(waveform))
    its_own = listener().yamnet.patches(waveform)  # the same weights
    torch.testing.assert_close(heard[:, :, :96], its_own, atol=1e-5, rtol=1e-5)
    louder = network.frontend.decibels(waveform, torch.full((1, 64), 20.0)) - network.frontend.decibels(10 * waveform)
    assert louder.abs().max() < 1e-3


def test_log_mel_has_no_colours(tmp_path: Path) -> None:
    state = checkpoint(tmp_path / "lite0.pth")
    network = efficientnet.layers()
    network.load_state_dict(efficientnet.read(tmp_path / "lite0.pth"))
    first, *others = network.state_dict().values()
    torch.testing.assert_close(first, state["own.0.weight"].sum(1, keepdim=True))
    assert all(map(torch.equal, others, list(state.values())[1:-2]))


def test_what_cannot_be_begun_with_is_one_line(tmp_path: Path, small_manifest: Path, yamnet: Path) -> None:
    (tmp_path / "text.pth").write_text("text")
    checkpoint(tmp_path / "more.pth", more=torch.zeros(1))
    for name in ("text.pth", "more.pth"):
        with pytest.raises(SedkitError, match="no checkpoint of EfficientNet-Lite0"):
            efficientnet.read(tmp_path / name)
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
def test_a_cascade_begins_with_what_was_learnt_resumes_and_teaches(
    kind: str, tmp_path: Path, small_manifest: Path, files: dict[str, Path]
) -> None:
    def secost(*options: object) -> str:
        result = CliRunner().invoke(main, [*map(str, options), "--device", "cpu"])
        assert result.exit_code == 0, result.output
        return result.output

    begin = ["--manifest", small_manifest, "--fine-tune", f"{kind}={files[kind]}"]
    options = [*begin, "--teachers-hear", "view", *TRAINED]
    directory = tmp_path / "tuned"
    said = secost("--run", directory, "--stages", "1", *options)
    assert "is not exported" in said
    assert f"{kind}, fine-tuned" in said
    assert finished(directory)
    assert not (directory / "model.onnx").exists()
    begun = load(directory / "begun.pt")
    first, student = (load(directory / f"generation-{n}" / "network.pt")["network"] for n in (0, 1))
    name = next(name for name in begun if name.endswith("weight"))
    for trained in (first, student):  # both from there, neither far from it
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
    about = bring(directory, tmp_path / "big.pt", "of other clips", run.labels)
    assert f"{kind}, fine-tuned" in about["teacher"]
    teacher = read(tmp_path / "big.pt", "of other clips", run.labels, 5)
    sound = torch.from_numpy(make_sound(1))[None]
    with torch.no_grad():
        said = teacher.teacher(sound, torch.zeros(1, dtype=torch.int64))
        itself = trained_network(run, 1, torch.device("cpu"))(sound).clip
    torch.testing.assert_close(said, itself, atol=0.01, rtol=0)


def test_networks_that_began_with_other_weights_are_not_reused(
    tmp_path: Path, small_manifest: Path, files: dict[str, Path]
) -> None:
    def begun(name: str, file: Path, *options: str) -> str:
        given = ["--manifest", str(small_manifest), "--run", str(tmp_path / name), "--fine-tune", f"yamnet={file}"]
        result = CliRunner().invoke(main, [*given, "--stages", "0", *TRAINED, *options])
        assert result.exit_code == 0, result.output
        return result.output

    begun("one", files["yamnet"])
    state = load(files["yamnet"])
    state["listener"]["yamnet.layers.0.1.weight"][0] += 0.1
    save_state(state, tmp_path / "other.pt")
    reused = ["--reuse", str(tmp_path), "--stop-after", "0s"]
    assert "generation 0 is that of" not in begun("two", tmp_path / "other.pt", *reused)
    assert "generation 0 is that of" in begun("three", files["yamnet"], *reused)

    (tmp_path / "two" / "begun.pt").unlink()
    (tmp_path / "two" / "generation-0" / "checkpoint.pt").unlink()
    result = CliRunner().invoke(main, ["--resume", str(tmp_path / "two"), "--device", "cpu"])
    assert result.exit_code == 1
    assert "begun.pt: cannot be read, and networks begin with it" in result.output


def test_a_teacher_of_before_there_were_others_is_a_wels_net(tmp_path: Path) -> None:
    network, labels = Network(2, 0.0625).eval(), (Label("tone"), Label("noise"))
    save_state({"network": network.state_dict(), "width": 0.0625, "about": {}}, tmp_path / "big.pt")
    teacher = read(tmp_path / "big.pt", "of other clips", labels, 5).teacher
    sound = torch.from_numpy(make_sound(1))[None]
    with torch.no_grad():
        assert torch.equal(teacher(sound, torch.zeros(1, dtype=torch.int64)), network(sound).clip)
