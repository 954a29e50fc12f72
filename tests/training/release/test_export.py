"""ONNX export: contract, checker, parity with torch, stable bytes, and refusals."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from sedkit.contract import Contract, Label
from sedkit.tagger import Tagger
from training.networks.wels import Network, exempt_classes
from training.release import export as exporting
from training.release.export import ExportError, export, parity

DESCRIPTION = Contract("small", (Label("Dog", "/m/0bt9lr", 74), Label("Mine")), (0.5, 0.4), {"kind": "none"}, {}, "CC0")


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network(2, width=1 / 16)


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [(0.1 * random.standard_normal(length)).astype(np.float32) for length in (50_000, 7_000)]


@pytest.fixture(scope="module")
def exported(network: Network, clips: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "small.onnx"
    assert export(network, DESCRIPTION, path, clips) <= 1e-4
    return path


def test_the_file_keeps_the_contract(exported: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["waveform"]
    assert [value.name for value in model.graph.output] == ["segments", "clip", "embedding"]
    shapes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.output]
    assert shapes == [["batch", "K", 2], ["batch", 2], ["batch", "K", 1024]]
    assert Contract.from_metadata({entry.key: entry.value for entry in model.metadata_props}) == DESCRIPTION
    assert model.opset_import[0].version == 18


def test_batch_normalisation_is_folded_into_the_convolutions(exported: Path) -> None:
    kinds = [node.op_type for node in onnx.load(exported).graph.node]
    assert "BatchNormalization" not in kinds
    assert (kinds.count("Conv"), kinds.count("Relu")) == (12, 11)


@pytest.mark.slow
def test_the_same_network_gives_the_same_bytes(
    network: Network, clips: list[np.ndarray], exported: Path, tmp_path: Path
) -> None:
    export(network, DESCRIPTION, tmp_path / "again.onnx", clips)
    assert (tmp_path / "again.onnx").read_bytes() == exported.read_bytes()


def test_the_file_holds_no_local_paths(exported: Path) -> None:
    content = exported.read_bytes()
    assert b"site-packages" not in content
    assert str(Path(__file__).parents[3]).encode() not in content


@pytest.mark.slow
def test_a_graph_that_differs_from_torch_is_not_written(
    network: Network, clips: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph_of = exporting.to_onnx

    def wrong(of: Network, description: Contract) -> onnx.ModelProto:
        model = graph_of(of, description)
        bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("L4.bias"))
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.01), bias.name))
        return model

    monkeypatch.setattr(exporting, "to_onnx", wrong)
    with pytest.raises(ExportError, match="not written: ONNX Runtime and torch differ"):
        export(network, DESCRIPTION, tmp_path / "wrong.onnx", clips)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("layer", "value"), [("L4", float("nan")), ("L3", 0.5)])
def test_parity_checks_nan_and_embeddings(
    layer: str, value: float, network: Network, clips: list[np.ndarray], exported: Path
) -> None:
    other = copy.deepcopy(network).eval()
    with torch.no_grad():
        bias = other.wels.L4.bias if layer == "L4" else other.wels.L3[1].bias
        bias.fill_(value)
    assert not parity([other], exported.read_bytes(), clips)[0] <= exporting.TOLERANCE


@pytest.mark.slow
def test_weights_outside_float16_are_refused(clips: list[np.ndarray], tmp_path: Path) -> None:
    """Weights below 6e-5 lose digits, which matters if the next layer amplifies them."""
    for factor, message in (
        (1e-5, "to float16 changes a score by .* train again"),
        (1e-7, r"wels\.B\S* has a weight of \d"),
    ):
        with pytest.raises(ExportError, match=f"tiny.onnx: not written: .*{message}") as refused:
            export(unequal(factor), DESCRIPTION, tmp_path / "tiny.onnx", clips)
        assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def unequal(factor: float) -> Network:
    """A network whose layers alternate between weights times ``factor`` and weights divided by it."""
    torch.manual_seed(0)
    network = Network(2, width=1 / 16)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # statistics of the sound that follows
    wels = network.wels
    pairs = [(block[0], block[1][0]) for block in (wels.B1, wels.B2, wels.B3, wels.B4)]
    with torch.no_grad():
        network(0.1 * torch.randn(2, 48_000))
        for layer, following in (*pairs, (wels.L1, wels.L2[0]), (wels.L3, wels.L4)):
            layer[1].weight.mul_(factor)
            layer[1].bias.mul_(factor)
            following.weight.div_(factor)
    return network


@pytest.mark.slow
def test_silent_filters_do_no_harm(network: Network, clips: list[np.ndarray], tmp_path: Path) -> None:
    silent = copy.deepcopy(network)
    with torch.no_grad():
        silent.wels.L2[1].weight[::2] = 1e-12
    assert export(silent, DESCRIPTION, tmp_path / "silent.onnx", clips) <= 1e-4


def test_parity_needs_a_clip(network: Network) -> None:
    with pytest.raises(ExportError, match="at least one real clip"):
        parity([network], b"", [])


@pytest.mark.slow
def test_a_model_with_the_class_silence_names_it(clips: list[np.ndarray], tmp_path: Path) -> None:
    labels = (Label("Dog", "/m/0bt9lr", 74), Label("Silence", "/m/028v0c", 500))
    torch.manual_seed(0)
    network = Network(2, width=1 / 16)
    network.exempt.copy_(exempt_classes(labels))
    export(network, replace(DESCRIPTION, labels=labels), tmp_path / "exempt.onnx", clips)
    sound = np.concatenate([clips[0], np.zeros(30_000, np.float32)])

    tagger = Tagger(tmp_path / "exempt.onnx")
    dog, silence = tagger.timeline(sound, 16_000, resolution="native").scores.T
    assert dog[-1] == 0 < silence[-1]
    tag = tagger.tag(sound, 16_000, classes=["Dog"]).tags[0]
    assert tag.score == pytest.approx(dog[dog > 0].mean(), abs=1e-6)  # silent segments do not count
    silent = tagger.tag(np.zeros(50_000, np.float32), 16_000, top_k=None, threshold=0)
    assert [tag.label for tag in silent.tags if tag.score > 0] == ["Silence"]
