"""The stem "patches", and back: fitted to the full stem, trained, exported, read back and quantized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from sedkit.contract import INPUT, Contract, metadata_of
from sedkit.inference.model import Model
from tests.conftest import make_sound
from tests.training.conftest import SMALL, run_secost
from training.networks import stem
from training.networks.onnx_import import read_onnx
from training.networks.wels import Network, multiply_adds
from training.release import quantize
from training.runs.config import read_config
from training.runs.warm_start import read_warm_start

WITHOUT_WIDTH = SMALL[2:]  # the width is that of the warm start


def waveforms(count: int) -> list[np.ndarray]:
    return [(make_sound(2, seed=seed) * 32_767).astype(np.int16) for seed in range(count)]


def test_patches_are_fitted_to_the_outputs_of_the_full_stem(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stem, "STEPS", 300)
    torch.manual_seed(0)
    full, patches = Network(3, 1 / 16).eval(), Network(3, 1 / 16, stem="patches").eval()
    full.frontend.mean.fill_(-42)
    full.frontend.std.fill_(15)
    clips = waveforms(8)
    state = stem.with_stem(full, "patches", clips, 16_000, seed=0)
    patches.load_state_dict(state)
    with torch.no_grad():
        logmel = full.frontend(torch.from_numpy(np.stack(clips) / np.float32(32_768)))
        wanted, found = full.wels.B1(logmel), patches.wels.B1(logmel)
    assert (wanted - found).square().mean() < 0.3 * wanted.var((0, 2, 3)).mean()
    assert all(torch.equal(value, state[name]) for name, value in full.state_dict().items() if ".B1." not in name)
    monkeypatch.setattr(stem, "STEPS", 5)
    first, again = (stem.with_stem(full, "patches", clips, 16_000, seed=0) for _ in range(2))
    assert all(map(torch.equal, first.values(), again.values()))


@pytest.fixture(scope="module")
def trained(run: Path, small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with patches, from the run with the full stem."""
    directory = tmp_path_factory.mktemp("patches") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stem, "STEPS", 20)
        run_secost("--manifest", small_manifest, "--fine-tune", f"wels={run}", "--set", "stem=patches", "--stages", 0,
                   *WITHOUT_WIDTH, "--run", directory)  # fmt: skip
    return directory


def test_the_exported_file_is_read_back_with_its_stem(trained: Path):
    found = read_onnx(trained / "model.onnx")
    assert found.stem == "patches"
    network = Network(3, found.width, stem="patches")
    network.load_state_dict(found.weights)
    sound = make_sound(3, seed=1)[None]
    session = onnxruntime.InferenceSession(trained / "model.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(sound)).segments
    np.testing.assert_allclose(session.run(["segments"], {INPUT: sound})[0], expected, atol=1e-5)
    lineage = Contract.from_metadata(metadata_of(trained / "model.onnx")).lineage
    assert lineage["settings"]["stem"] == "patches"
    assert lineage["multiply_adds"] == multiply_adds(3, found.width, stem="patches")


def test_int8_scores_are_close_and_their_seams_exact(trained: Path, small_manifest: Path, tmp_path: Path):
    output = tmp_path / "int8.onnx"
    arguments = [trained / "model.onnx", "--manifest", small_manifest, "--output", output]
    result = CliRunner().invoke(quantize.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    sound = make_sound(75, seed=4)
    exact, integer = (np.concatenate(list(Model(path, "cpu").segments([sound]))) for path in arguments[::4])
    assert np.abs(exact - integer).mean() < 0.03
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(integer, session.run(["segments"], {INPUT: sound[None]})[0][0])


def test_a_network_with_patches_starts_others(trained: Path, small_manifest: Path, tmp_path: Path):
    start = ["--manifest", str(small_manifest), "--stages", "0", *WITHOUT_WIDTH, "--stop-after", "0s"]
    for number, source in enumerate((trained, trained / "model.onnx")):
        arguments = [*start, "--fine-tune", f"wels={source}", "--run", str(tmp_path / str(number))]
        assert "patches" in run_secost(*arguments)


def test_a_network_of_table_1_starts_from_one_with_patches(
    trained: Path, small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stem, "STEPS", 300)
    run_secost("--manifest", small_manifest, "--stages", 0, "--fine-tune", f"wels={trained}", "--set", "stem=full",
               "--width", 1 / 8, *WITHOUT_WIDTH, "--stop-after", "0s", "--run", tmp_path / "full")  # fmt: skip
    settings = read_config(tmp_path / "full")["settings"]
    assert (settings["stem"], settings["width"]) == ("full", 1 / 8)
    start, patches = Network(3, 1 / 8).eval(), read_onnx(trained / "model.onnx")
    start.load_state_dict(read_warm_start(tmp_path / "full"))
    before = Network(3, patches.width, stem="patches").eval()
    before.load_state_dict(patches.weights)
    sounds = torch.from_numpy(np.stack([make_sound(2, seed=seed) for seed in range(4)]))
    with torch.no_grad():
        logmel = before.frontend(sounds)
        wanted = before.wels.B1(logmel)
        found = start.wels.B1(logmel)[:, : wanted.shape[1]]  # the first filters are those that were copied
    assert (wanted - found).square().mean() < 0.6 * wanted.var((0, 2, 3)).mean()
