"""sedkit.inference.model and session: loading models and choosing the device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from sedkit.contract import Contract
from sedkit.errors import ArgumentError, ContractError, DeviceError, ModelError
from sedkit.inference import session
from sedkit.inference.model import Model
from sedkit.model_file import with_digest
from tests.conftest import make_sound


@pytest.fixture(scope="module")
def model(model_path: Path) -> Model:
    return Model(model_path, "cpu")


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return make_sound(80, seed=5)


def run(model: Model, *blocks: np.ndarray) -> np.ndarray:
    return np.concatenate(list(model.segments(iter(blocks))))


@pytest.mark.parametrize("content", [b"", b"hello\n" * 50, b"\x08\x09\x12\x00" * 100])
def test_file_that_is_not_onnx(tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.onnx: not an ONNX file") as caught:
        Model(path)
    assert "\n" not in str(caught.value)


def test_truncated_model(tmp_path, model_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes(model_path.read_bytes()[:-5000])
    with pytest.raises(ModelError, match="not an ONNX file"):
        Model(path)


def test_missing_model(tmp_path):
    with pytest.raises(ModelError, match=r"missing\.onnx: no such model"):
        Model(tmp_path / "missing.onnx")


def edited(model_path: Path, tmp_path: Path, edit) -> Path:
    graph = onnx.load(model_path)
    edit(graph)
    path = tmp_path / "edited.onnx"
    path.write_bytes(with_digest(graph.SerializeToString()))
    return path


def rename(graph, old, new):
    for value in (*graph.graph.input, *graph.graph.output):
        value.name = new if value.name == old else value.name
    for node in graph.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


CONTRACT_VIOLATIONS = {
    "sedkit.contract": lambda graph: graph.ClearField("metadata_props"),
    "sedkit.labels": lambda graph: onnx.helper.set_model_props(
        graph, {p.key: p.value for p in graph.metadata_props if p.key != "sedkit.labels"}
    ),
    "waveform": lambda graph: rename(graph, "waveform", "audio"),
    "clip": lambda graph: rename(graph, "clip", "clips"),
    "sedkit.thresholds": lambda graph: next(
        p for p in graph.metadata_props if p.key == "sedkit.thresholds"
    ).__setattr__("value", "[0.5]"),
}


@pytest.mark.parametrize("field", CONTRACT_VIOLATIONS)
def test_contract_error_names_file_and_field(model_path, tmp_path, field):
    path = edited(model_path, tmp_path, CONTRACT_VIOLATIONS[field])
    with pytest.raises(ContractError, match=r"edited\.onnx: not a sedkit model: " + field) as caught:
        Model(path)
    assert caught.value.field == field
    assert caught.value.file == str(path)


def test_number_of_classes_must_match_the_labels(model_path, tmp_path, description):
    fewer = Contract("fewer", description.labels[:4], description.thresholds[:4], {"kind": "none"}, {}, "CC0-1.0")
    path = edited(model_path, tmp_path, lambda graph: onnx.helper.set_model_props(graph, fewer.to_metadata()))
    with pytest.raises(ContractError) as caught:
        Model(path)
    assert caught.value.field == "segments"


def test_contract_is_read_from_the_file(model, description):
    assert model.contract == description


def test_unknown_device(model_path):
    with pytest.raises(ArgumentError, match="auto, cpu, cuda or tensorrt, not 'gpu'"):
        Model(model_path, "gpu")


@pytest.mark.skipif(session._driver_problem() is None, reason="there is an NVIDIA GPU")
def test_without_gpu_cuda_fails_and_auto_is_silent(model_path, capfd):
    with pytest.raises(DeviceError, match=r"device cuda does not work: .*(driver|GPU).*use device cpu"):
        Model(model_path, "cuda")
    model = Model(model_path, "auto")
    assert (model.device, model.notice) == ("cpu", None)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(session._driver_problem() is None, reason="there is an NVIDIA GPU")
def test_with_gpu_but_without_cuda_auto_has_a_notice(model_path, monkeypatch, capfd):
    monkeypatch.setattr(session, "_driver_problem", lambda: None)
    model = Model(model_path, "auto")
    assert model.device == "cpu"
    assert model.notice.startswith("running on the CPU: there is a GPU, but ")
    assert "onnxruntime-gpu" in model.notice
    with pytest.raises(DeviceError, match="onnxruntime-gpu"):
        Model(model_path, "cuda")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(session._driver_problem() is None, reason="there is an NVIDIA GPU")
def test_tensorrt_error_says_what_is_missing(model_path, monkeypatch, capfd):
    with pytest.raises(DeviceError, match="device tensorrt does not work: no NVIDIA driver"):
        Model(model_path, "tensorrt")
    monkeypatch.setattr(session, "_driver_problem", lambda: None)
    with pytest.raises(DeviceError, match=r"device tensorrt does not work: .*; .*pip install .*tensorrt") as caught:
        Model(model_path, "tensorrt")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(session._driver_problem() is not None, reason="needs an NVIDIA GPU")
def test_cuda_scores_equal_cpu_scores(model, model_path, sound):
    cuda = Model(model_path, "cuda")
    assert cuda.device == "cuda"
    np.testing.assert_allclose(run(cuda, sound), run(model, sound), rtol=0, atol=1e-3)
