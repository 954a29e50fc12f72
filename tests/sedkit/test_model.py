"""Loading models, choosing the device, and seams that cannot be seen."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sedkit import session
from sedkit.contract import Contract
from sedkit.errors import ArgumentError, ContractError, DeviceError, ModelError
from sedkit.geometry import SAMPLE_RATE, SEGMENT_HOP, segment_count
from sedkit.model import BLOCK, Model
from tests.conftest import make_sound


@pytest.fixture(scope="module")
def model(model_path: Path) -> Model:
    return Model(model_path, "cpu")


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return make_sound(80, seed=5)


@pytest.fixture(scope="module")
def one_pass(model_path: Path):
    session = onnxruntime.InferenceSession(str(model_path), providers=["CPUExecutionProvider"])
    return lambda samples: session.run(["segments"], {"waveform": samples[None]})[0][0]


def run(model: Model, *blocks: np.ndarray) -> np.ndarray:
    return np.concatenate(list(model.segments(iter(blocks))))


def test_scores_of_the_test_model_vary(model, sound):
    scores = run(model, sound)
    assert scores.dtype == np.float32
    assert scores.std(axis=0).max() > 0.1  # or else the tests of the seams would prove nothing


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(samples=st.integers(1, 80 * SAMPLE_RATE))
def test_blocks_give_the_scores_of_one_pass(model, sound, one_pass, samples):
    scores = run(model, *np.array_split(sound[:samples], 7))
    assert scores.shape == (segment_count(samples), 5)
    np.testing.assert_allclose(scores, one_pass(sound[:samples]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("hops", [1, 3, 4, BLOCK + 2, BLOCK + 4, BLOCK + 5, 2 * BLOCK + 4])
def test_lengths_about_a_seam(model, sound, one_pass, hops, extra):
    samples = hops * SEGMENT_HOP + extra
    scores = run(model, sound[:samples])
    assert len(scores) == segment_count(samples)
    np.testing.assert_allclose(scores, one_pass(sound[:samples]), rtol=0, atol=1e-6)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 40 * SAMPLE_RATE), max_size=6))
def test_scores_do_not_depend_on_where_blocks_are_cut(model, sound, cuts):
    sound = sound[: 40 * SAMPLE_RATE]
    edges = [0, *sorted(cuts), len(sound)]
    blocks = [sound[start:stop] for start, stop in itertools.pairwise(edges)]
    np.testing.assert_array_equal(run(model, *blocks), run(model, sound))


def test_memory_is_bounded(model, sound):
    """Scores come while the recording still runs: nothing waits for its end."""
    seen = 0

    def blocks():
        nonlocal seen
        for block in np.array_split(sound, 8):
            seen += len(block)
            yield block

    next(model.segments(blocks()))
    assert seen <= (BLOCK + 6) * SEGMENT_HOP + len(sound) / 8


def test_no_blocks_give_no_scores(model):
    assert list(model.segments(iter([]))) == []


@pytest.mark.parametrize("content", [b"", b"hello\n" * 50, b"\x08\x09\x12\x00" * 100])
def test_what_is_not_onnx_is_refused(tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.onnx: not an ONNX file") as caught:
        Model(path)
    assert "\n" not in str(caught.value)


def test_a_cut_off_model_is_refused(tmp_path, model_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes(model_path.read_bytes()[:-5000])
    with pytest.raises(ModelError, match="not an ONNX file"):
        Model(path)


@pytest.mark.parametrize("name", ["missing.onnx", "."])
def test_a_missing_model_is_refused(tmp_path, name):
    with pytest.raises(ModelError, match="no such model"):
        Model(tmp_path / name)


def edited(model_path: Path, tmp_path: Path, edit) -> Path:
    graph = onnx.load(model_path)
    edit(graph)
    path = tmp_path / "edited.onnx"
    onnx.save(graph, path)
    return path


def rename(graph, old, new):
    for value in (*graph.graph.input, *graph.graph.output):
        value.name = new if value.name == old else value.name
    for node in graph.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


BREAKS = {
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


@pytest.mark.parametrize("field", BREAKS)
def test_a_break_of_the_contract_names_file_and_field(model_path, tmp_path, field):
    path = edited(model_path, tmp_path, BREAKS[field])
    with pytest.raises(ContractError, match=r"edited\.onnx: not a sedkit model: " + field) as caught:
        Model(path)
    assert caught.value.field == field
    assert caught.value.file == str(path)


def test_a_model_for_other_classes_than_it_names_is_refused(model_path, tmp_path, description):
    fewer = Contract("fewer", description.labels[:4], description.thresholds[:4], {"kind": "none"}, {}, "CC0-1.0")
    path = edited(model_path, tmp_path, lambda graph: onnx.helper.set_model_props(graph, fewer.to_metadata()))
    with pytest.raises(ContractError) as caught:
        Model(path)
    assert caught.value.field == "segments"


def test_the_contract_of_the_file_is_read(model, description):
    assert model.contract == description


def test_unknown_devices_are_refused(model_path):
    with pytest.raises(ArgumentError, match="auto, cpu or cuda, not 'gpu'"):
        Model(model_path, "gpu")


@pytest.mark.skipif(session._driver_problem() is None, reason="there is an NVIDIA GPU")
def test_without_a_gpu_cuda_says_what_is_missing_and_auto_is_silent(model_path, capfd):
    with pytest.raises(DeviceError, match=r"device cuda does not work: .*(driver|GPU).*use device cpu"):
        Model(model_path, "cuda")
    model = Model(model_path, "auto")
    assert (model.device, model.notice) == ("cpu", None)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(session._driver_problem() is None, reason="there is an NVIDIA GPU")
def test_with_a_gpu_but_no_cuda_libraries_auto_says_so_without_log_lines(model_path, monkeypatch, capfd):
    monkeypatch.setattr(session, "_driver_problem", lambda: None)
    model = Model(model_path, "auto")
    assert model.device == "cpu"
    assert model.notice.startswith("running on the CPU: there is a GPU, but ")
    assert "onnxruntime-gpu" in model.notice
    with pytest.raises(DeviceError, match="onnxruntime-gpu"):
        Model(model_path, "cuda")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(session._driver_problem() is not None, reason="needs an NVIDIA GPU")
def test_cuda_gives_the_scores_of_the_cpu(model, model_path, sound):
    cuda = Model(model_path, "cuda")
    assert cuda.device == "cuda"
    np.testing.assert_allclose(run(cuda, sound), run(model, sound), rtol=0, atol=1e-3)
