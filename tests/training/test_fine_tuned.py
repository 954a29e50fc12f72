"""Networks that have learnt elsewhere keep WELS-Net's segments, take part in the cascade and teach."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from sedkit.errors import SedkitError
from sedkit.geometry import SEGMENT_HOP
from tests.conftest import make_sound
from tests.training.conftest import SMALL
from tests.training.test_listeners import listener
from training import efficientnet
from training.asked import bring, read
from training.checkpoint import load
from training.checkpoint import save as save_state
from training.experiments import finished
from training.fine_tuned import KINDS, FineTuned, YamnetLogMel, network_of
from training.generations import trained_network
from training.publish import main as publish
from training.run import Run
from training.secost import main
from training.wels import Network

TRAINED = [*SMALL[2:], "--epochs", "1", "--seed", "3"]  # SMALL without its width


@pytest.fixture(scope="module")
def yamnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YAMNet with random weights, as it lies in a listener's file."""
    path = tmp_path_factory.mktemp("yamnet") / "yamnet.pt"
    save_state({"listener": listener().state_dict()}, path)
    return path


def checkpoint(path: Path, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    """Random weights of EfficientNet-Lite0 as its package has them: of three colours, with classes of its own."""
    own = efficientnet.layers().state_dict()
    state = {f"own.{name}": torch.randn_like(held) if held.ndim else held for name, held in own.items()}
    state["own.0.weight"] = torch.randn(32, 3, 3, 3)
    state |= {"_fc.weight": torch.zeros(10, 1280), "_fc.bias": torch.zeros(10)} | more
    torch.save(state, path)
    return state


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [1, 15_360, 15_361, 40_960, 160_000])
def test_segments_are_those_of_wels_net(kind: str, samples: int) -> None:
    network, ours = FineTuned(kind, 3).eval(), Network(3, 0.0625).eval()
    waveform = torch.from_numpy(make_sound(10))[None, :samples]
    with torch.no_grad():
        found, wanted = network(waveform), ours(waveform)
    assert found.segments.shape == wanted.segments.shape
    assert found.clip.shape == wanted.clip.shape
    assert found.embedding.shape == (1, wanted.embedding.shape[1], KINDS[kind].filters)


def test_digital_silence_scores_nothing() -> None:
    network = FineTuned("efficientnet-lite0", 3).eval()
    waveform = torch.zeros(1, 20 * SEGMENT_HOP)
    waveform[0, : 8 * SEGMENT_HOP] = torch.from_numpy(make_sound(10))[: 8 * SEGMENT_HOP]
    with torch.no_grad():
        scores = network(waveform)
    silent = scores.segments[0, 9:]
    assert (silent == 0).all()
    assert (scores.segments[0, :6] > 0).all()
    torch.testing.assert_close(scores.clip, scores.segments[:, :9].sum(1) / (scores.segments[:, :9, :1] > 0).sum())


def test_yamnet_hears_what_it_learnt_to_hear(yamnet: Path) -> None:
    network = network_of("yamnet", 3, 1.0)
    network.load_state_dict(network.state_dict() | KINDS["yamnet"].read(yamnet))
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
        (["--fine-tune", f"yamnet={tmp_path / 'none.tflite'}"], "no such file"),
        (["--fine-tune", f"yamnet={tmp_path / 'text.pth'}"], "text.pth: not YAMNet"),
        (["--fine-tune", f"yamnet={yamnet}", "--width", "1"], "--width"),
    ):
        result = CliRunner().invoke(main, [*run, *options])
        assert result.exit_code, options
        assert cause in result.output
        assert "Traceback" not in result.output
        assert not (tmp_path / "run" / "config.json").exists()


def test_a_cascade_goes_on_with_what_was_learnt_resumes_and_teaches(
    tmp_path: Path, small_manifest: Path, yamnet: Path
) -> None:
    directory = tmp_path / "tuned"
    options = ["--fine-tune", f"yamnet={yamnet}", "--stages", "1", "--teachers-hear", "view", *TRAINED]
    result = CliRunner().invoke(main, ["--manifest", str(small_manifest), "--run", str(directory), *options])
    assert result.exit_code == 0, result.output
    assert "is not exported" in result.output
    assert "yamnet, fine-tuned" in result.output
    assert finished(directory)
    assert not (directory / "model.onnx").exists()
    begun = load(directory / "begun.pt")
    first, student = (load(directory / f"generation-{n}" / "network.pt")["network"] for n in (0, 1))
    for trained in (first, student):  # both from YAMNet, neither far from it
        change = trained["wels.layers.0.1.weight"] - begun["wels.layers.0.1.weight"]
        assert 0 < change.abs().max() < 0.1
        assert torch.equal(trained["frontend.filters"], begun["frontend.filters"])

    (directory / "generation-1" / "network.pt").unlink()
    result = CliRunner().invoke(main, ["--resume", str(directory), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    again = load(directory / "generation-1" / "network.pt")["network"]
    assert all(torch.equal(again[name], value) for name, value in student.items())

    refused = CliRunner().invoke(publish, [str(directory), "--output", str(tmp_path / "models")])
    assert "fine-tuned networks are not exported" in refused.output
    assert not (tmp_path / "models").exists()

    run = Run.open(directory)
    about = bring(directory, tmp_path / "big.pt", "of other clips", run.labels)
    assert "yamnet, fine-tuned" in about["teacher"]
    teacher = read(tmp_path / "big.pt", "of other clips", run.labels, 5)
    sound = torch.from_numpy(make_sound(1))[None]
    with torch.no_grad():
        said = teacher.teacher(sound, torch.zeros(1, dtype=torch.int64))
        itself = trained_network(run, 1, torch.device("cpu"))(sound).clip
    torch.testing.assert_close(said, itself, atol=0.01, rtol=0)
