"""The int8 form of an imported YAMNet computes the same scores with integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper

from sedkit import Tagger
from sedkit.contract import Contract, metadata_of
from sedkit.inference.onnx_runtime import onnxruntime
from training.__main__ import main
from training.release.imported.integers import integer_graph

FLOAT = onnx.TensorProto.FLOAT


def whole_numbers(*shape: int, limit: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(-limit, limit + 1, shape).astype(np.float32)


def two_layers(scale: float = 1.0) -> onnx.ModelProto:
    """Maps [n, 1, 12, 8] → limited to -100 to 155, rounded, a convolution of stride 2 and a depthwise one."""
    constants = {
        "least": np.float32(-100),
        "most": np.float32(155),
        "w0": whole_numbers(4, 1, 3, 3, limit=127) * scale,
        "b0": whole_numbers(4, limit=5000),
        "f0": np.linspace(1e-3, 5e-3, 4, dtype=np.float32).reshape(4, 1, 1),
        "w1": whole_numbers(4, 1, 3, 3, limit=127),
        "b1": whole_numbers(4, limit=9000),
        "f1": np.linspace(4e-2, 4e-3, 4, dtype=np.float32).reshape(4, 1, 1),
        "255": np.float32(255),
    }
    nodes = [helper.make_node("Round", ["x"], ["r"]), helper.make_node("Clip", ["r", "least", "most"], ["limited"])]
    source = "limited"
    for layer, attributes in (("0", {"strides": [2, 2], "pads": [0, 0, 1, 1]}), ("1", {"group": 4, "pads": [1] * 4})):
        names = [f"{kind}{layer}" for kind in ("sums", "relu", "scaled", "rounded", "y")]
        operands = [
            [source, f"w{layer}", f"b{layer}"],
            names[:1],
            [names[1], f"f{layer}"],
            names[2:3],
            [names[3], "255"],
        ]
        for kind, given, made in zip(("Conv", "Relu", "Mul", "Round", "Min"), operands, names, strict=True):
            more = attributes if kind == "Conv" else {}
            nodes.append(helper.make_node(kind, given, [made], name=made, **more))
        source = names[-1]
    shapes = [
        helper.make_tensor_value_info("x", FLOAT, ["n", 1, 12, 8]),
        helper.make_tensor_value_info("y1", FLOAT, ["n", 4, 6, 4]),
    ]
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "layers", shapes[:1], shapes[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def output(model: onnx.ModelProto, maps: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": maps})[0]


def test_integer_layers_give_the_same_numbers() -> None:
    model = two_layers()
    integers = integer_graph(model)
    assert integers is not None
    onnx.checker.check_model(integers, full_check=True)
    kinds = {node.op_type for node in integers.graph.node}
    assert kinds == {"Round", "Clip", "QuantizeLinear", "DequantizeLinear", "Conv"}
    stored = {tensor.data_type for tensor in integers.graph.initializer if len(tensor.dims) == 4}
    assert stored == {onnx.TensorProto.UINT8}
    maps = (100 * np.random.default_rng(0).standard_normal((6, 1, 12, 8))).astype(np.float32)
    expected = output(model, maps)
    assert expected.min() == 0
    assert expected.max() == 255
    assert len(np.unique(expected)) > 50
    np.testing.assert_array_equal(output(integers, maps), expected)


def test_other_weights_have_no_integers() -> None:
    assert integer_graph(two_layers(scale=0.5)) is None
    assert integer_graph(two_layers(scale=2)) is None


@pytest.mark.slow
def test_command_on_the_published_yamnet(data: Path, small_manifest: Path, tmp_path: Path) -> None:
    file, model = data / "peers" / "yamnet.tflite", tmp_path / "yamnet.onnx"
    if not file.is_file():
        pytest.skip(f"no YAMNet in {file.parent}")
    assert CliRunner().invoke(main, ["import", "yamnet", str(file), "-o", str(model)]).exit_code == 0
    quantized = tmp_path / "yamnet-int8.onnx"
    for again in (False, True):
        result = CliRunner().invoke(
            main, ["quantize", str(quantized if again else model), "--manifest", str(small_manifest)]
        )
        assert isinstance(result.exception, SystemExit if again else type(None)), result.output
    assert quantized.stat().st_size < 0.7 * model.stat().st_size
    one, other = (Contract.from_metadata(metadata_of(path)) for path in (model, quantized))
    assert (other.precision, other.labels, other.geometry) == ("int8", one.labels, one.geometry)
    loss = other.lineage["quantisation"]["loss"]["compared"]
    assert (loss["clips"], loss["largest_difference"]) == (36, 0)
    sound = (0.1 * np.random.default_rng(0).standard_normal(48_000)).astype(np.float32)
    tags = [
        Tagger(path, "cpu", threads=1).tag(sound, 16_000, top_k=None, threshold=0.0).tags for path in (model, quantized)
    ]
    assert [(tag.label, tag.score) for tag in tags[0]] == [(tag.label, tag.score) for tag in tags[1]]
