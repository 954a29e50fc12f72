"""The networks that are timed: their sizes match the papers, and cutting a graph keeps its scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.conftest import make_sound

torch = pytest.importorskip("torch", reason="networks are made with torch")
onnx = pytest.importorskip("onnx", reason="networks are counted and cut with onnx")

from benchmarks.networks import SOURCES, Models, cut, multiply_adds, set_statistics  # noqa: E402
from benchmarks.peers import PEERS, parameters  # noqa: E402
from training.networks.wels import Network  # noqa: E402


@pytest.mark.parametrize(
    ("name", "published"),
    [("Cnn14", 80_753_615), ("Cnn10", 5_219_279), ("MobileNetV1", 4_796_303), ("mn10", 4_880_000)],
)
def test_parameter_counts_match_the_papers(name, published):
    with torch.device("meta"):
        make, bands = PEERS[name]
        network = make().eval()
        assert network(torch.empty(2, 1, 320, bands)).shape == (2, 527)
    assert parameters(network) == pytest.approx(published, rel=0.001 if name == "mn10" else 0)


def test_multiply_adds_of_a_graph_match_table_1(model_path, tmp_path):
    """Output positions of each layer in Table 1, for 1024 frames, times its weights."""
    body = onnx.load(cut(Models("test", model_path, model_path), model_path, tmp_path).body)
    widths = [max(1, round(0.05 * filters)) for filters in (64, 128, 256, 512)]
    expected, inputs = 0, 1
    for filters, positions in zip(widths, (1024 * 64, 256 * 16, 128 * 8, 64 * 4), strict=True):
        expected += positions * 9 * (inputs * filters + filters * filters)
        inputs = filters
    l1, l2 = round(0.05 * 2048), round(0.05 * 1024)
    expected += 30 * (inputs * l1 * 6 + l1 * l2 + l2 * 1024 + 1024 * 5)
    assert multiply_adds(body, (1, 1, 1024, 64)) == expected


def test_cut_graph_gives_the_scores_of_the_whole(model_path, tmp_path):
    parts = cut(Models("test", model_path, model_path), model_path, tmp_path)
    whole, front, body = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in (model_path, parts.front, parts.body)
    )
    waveform = make_sound(5)[None]
    (logmel,) = front.run(None, {"waveform": waveform})
    (scores,) = body.run(None, {parts.logmel: logmel})
    (segments,) = whole.run(["segments"], {"waveform": waveform})
    assert logmel.shape == (1, 1, 512, 64)
    np.testing.assert_allclose(scores, segments, atol=1e-6)


def test_set_statistics_keeps_a_random_network_from_saturating():
    torch.manual_seed(0)
    network = Network(classes=20, width=0.05)
    sound = torch.from_numpy(np.stack([make_sound(2, seed=seed) for seed in range(2)]))
    set_statistics(network, sound)
    assert not network.training
    with torch.no_grad():
        scores, _, embedding, _ = network(sound)
        logmel = network.frontend(sound)
    assert logmel.mean().abs() < 0.01
    assert logmel.std() == pytest.approx(1, abs=0.01)
    assert 0.2 < (embedding == 0).float().mean() < 0.8  # ReLU zeroes about half of the units
    assert 0.01 < scores.std() < 0.3
    assert 0.01 < scores.min() < scores.max() < 0.99


def test_source_files_of_the_cache_key_exist():
    root = Path(__file__).parents[2]
    assert [source for source in SOURCES if not (root / source).is_file()] == []
