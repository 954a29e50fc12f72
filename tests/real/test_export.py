"""Export checks itself on real clips; a network exported from them runs in sedkit with torch's scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch

from sedkit.contract import Contract, Label
from sedkit.tagger import Tagger
from training.export import export
from training.float16 import folded
from training.wels import Network


def test_parity_on_real_clips(data: Path, tmp_path: Path) -> None:
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
            expected = folded(network)(torch.from_numpy(clip)[None]).clip[0].numpy()
        scores = {tag.label: tag.score for tag in tagger.tag(clip, 16_000).tags}
        np.testing.assert_allclose([scores["Dog"], scores["Siren"]], expected, atol=1e-4)
