"""Exported networks give torch's scores on real clips, and shipped models can be read back into torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sedkit.contract import Contract, Label
from sedkit.geometry import SAMPLE_RATE
from sedkit.inference.installed import INT8, installed_models
from sedkit.inference.model import Model
from sedkit.tagger import Tagger
from training.data.audio import FULL_SCALE
from training.networks.float16 import fold_for_export
from training.networks.onnx_import import read_onnx, refit_batch_norm
from training.networks.wels import Network
from training.release.export import export


@pytest.mark.slow
def test_exported_network_scores_like_torch(data: Path, tmp_path: Path) -> None:
    files = sorted((data / "esc50" / "audio").glob("*.ogg"))[::700]
    clips = [soundfile.read(file, dtype="float32")[0] for file in files]
    torch.manual_seed(0)
    network = Network(2, width=1 / 16).eval()
    labels = (Label("Dog", "/m/0bt9lr", 74), Label("Siren", "/m/03kmc9", 396))
    description = Contract("parity", labels, (0.5, 0.5), {"kind": "none"}, {}, "CC0-1.0")
    assert export(network, description, tmp_path / "parity.onnx", clips) <= 1e-4
    tagger = Tagger(tmp_path / "parity.onnx", "cpu")
    for clip in clips:
        with torch.no_grad():
            expected = fold_for_export(network)(torch.from_numpy(clip)[None]).clip[0].numpy()
        scores = {tag.label: tag.score for tag in tagger.tag(clip, 16_000).tags}
        np.testing.assert_allclose([scores["Dog"], scores["Siren"]], expected, atol=1e-4)


@pytest.mark.parametrize(
    "path",
    [  # the small one stands for all, unless slow tests are asked for
        pytest.param(path, id=path.stem, marks=[] if path.stem.endswith("small") else [pytest.mark.slow])
        for path in installed_models()
        if not path.stem.endswith(INT8)
    ],
)
def test_shipped_models_read_back_score_like_the_file(data: Path, path: Path) -> None:
    """After refit_batch_norm on real clips, scores in training mode are close to those in eval mode, too."""
    files = sorted((data / "esc50" / "audio").glob("*.ogg"))[::170]
    clips = np.stack([soundfile.read(file, dtype="int16")[0][: 2 * SAMPLE_RATE] for file in files])
    sound = torch.from_numpy(clips / np.float32(FULL_SCALE))
    imported, model = read_onnx(path), Model(path, "cpu")
    network = Network(len(imported.contract.labels), imported.width, pooling=imported.pooling, stem=imported.stem)
    network.load_state_dict(imported.weights)
    expected = model.batch(sound.numpy())
    refit_batch_norm(network, clips)
    with torch.no_grad():
        np.testing.assert_allclose(network(sound).segments.numpy(), expected, atol=1e-4)
        assert np.abs(network.train()(sound).segments.numpy() - expected).mean() < 0.01
