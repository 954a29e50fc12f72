"""Weights stored as float16: which ones, exact to the last bit, with all arithmetic in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper

from sedkit.contract import Contract, metadata_of
from sedkit.inference.model import Model
from sedkit.model_file import with_digest
from tests.conftest import make_sound
from training.networks.float16 import fold_for_export, with_float16_weights, with_float32_weights
from training.networks.wels import Network


@pytest.fixture
def network() -> Network:
    """A narrow network with random weights and batch-norm statistics."""
    torch.manual_seed(0)
    network = Network(2, width=1 / 16)
    with torch.no_grad():
        network(0.1 * torch.randn(2, 32_000))
    return network.eval()


def weights_of(network: Network) -> dict[str, torch.Tensor]:
    return {name: layer.weight for name, layer in network.named_modules() if isinstance(layer, torch.nn.Conv2d)}


def test_fold_for_export_folds_batch_norm_and_rounds_weights(network: Network) -> None:
    folded, sound = fold_for_export(network), torch.from_numpy(make_sound(4))[None]
    assert not [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    norm, before, after = network.wels.B3[1][1], weights_of(network), weights_of(folded)
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).view(-1, 1, 1, 1)
    assert torch.equal(after["wels.B3.1.0"], (before["wels.B3.1.0"] * scale).half().float())
    assert len(after) == 12
    with torch.no_grad():
        for one, other in zip(network(sound), folded(sound), strict=True):
            torch.testing.assert_close(one, other, atol=5e-3, rtol=5e-3)
    assert [
        module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)
    ]  # the original is unchanged


def test_only_convolution_weights_are_stored_as_float16(model_path: Path) -> None:
    graph = onnx.load(model_path).graph
    halves = [tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16]
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == len(halves) == 12
    assert sorted(f"{node.input[1]}.float16" for node in convolutions) == sorted(halves)
    assert all(value.type.tensor_type.elem_type == TensorProto.FLOAT for value in (*graph.input, *graph.output))


def test_float16_storage_round_trip_is_lossless(model_path: Path) -> None:
    model = onnx.load(model_path)
    single = with_float32_weights(model)
    kinds = {tensor.data_type for tensor in single.graph.initializer}
    assert kinds == {TensorProto.FLOAT, TensorProto.INT64}
    assert with_float16_weights(single) == with_float16_weights(with_float16_weights(single)) == model
    assert with_float32_weights(single) == single
    half_weights, single_weights = (
        {tensor.name.removesuffix(".float16"): numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
        for proto in (model, single)
    )
    assert all(
        np.array_equal(half_weights[name], single_weights[name]) for name in half_weights.keys() | single_weights.keys()
    )


def test_onnx_runtime_casts_weights_once_at_load(model_path: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4  # hides the warning that the file is specific to this machine
    onnxruntime.InferenceSession(str(model_path), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "optimised.onnx").graph
    kinds = {tensor.data_type for tensor in graph.initializer}
    assert kinds <= {TensorProto.FLOAT, TensorProto.INT64}
    inputs = {tensor.name for tensor in graph.initializer}
    assert not [node for node in graph.node if node.op_type == "Cast" and node.input[0] in inputs]


@pytest.mark.parametrize("cached", [False, True])
def test_scores_are_identical_with_float16_and_float32_storage(
    cached: bool, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEDKIT_CACHE", str(tmp_path / "cache") if cached else "off")
    single = tmp_path / "float32.onnx"
    single.write_bytes(with_digest(with_float32_weights(onnx.load(model_path)).SerializeToString()))
    assert model_path.stat().st_size < single.stat().st_size
    assert Contract.from_metadata(metadata_of(model_path)).precision == "fp32"
    sound = make_sound(6, seed=5)
    for _ in range(2):  # the second pass reads the cache
        one, other = (np.concatenate(list(Model(path, "cpu", 1).segments([sound]))) for path in (model_path, single))
        np.testing.assert_array_equal(one, other)
