"""sedkit.model_file and hostile model files: each is refused quickly, in one line that names the file and the field."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sedkit.contract import Contract
from sedkit.errors import ContractError, ModelError
from sedkit.inference.model import Model
from sedkit.model_file import DIGEST, LONGEST_ENTRY, ModelFile, metadata_of, with_digest
from tests.conftest import make_sound

SECONDS, MEGABYTES = 5, 450  # to refuse a file

Edit = Callable[[onnx.ModelProto], None]


def edited(model_path: Path, path: Path, edit: Edit) -> Path:
    """The test model after an edit, with a digest that fits."""
    model = onnx.load(model_path)
    edit(model)
    path.write_bytes(with_digest(model.SerializeToString()))
    return path


def metadata(**fields: str) -> Edit:
    """Replace fields of the metadata."""

    def edit(model: onnx.ModelProto) -> None:
        props = {entry.key: entry.value for entry in model.metadata_props}
        onnx.helper.set_model_props(model, props | {f"sedkit.{key}": value for key, value in fields.items()})

    return edit


def refused(path: Path, *words: str) -> None:
    """Loading a model raises one line that contains these words, within the limits."""
    before, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError) as caught:
        Model(path, "cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    for word in (path.name, *words):
        assert word in message
    assert time.process_time() - before < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024 < MEGABYTES


def test_metadata_of(model_path: Path, description: Contract, tmp_path: Path):
    assert metadata_of(model_path) == description.to_metadata() | {DIGEST: ModelFile(model_path).digest}
    model = onnx.load(model_path)
    model.ClearField("metadata_props")
    model.metadata_props.add(key="long", value="x" * 100_000)
    model.metadata_props.add(key="none")
    onnx.save(model, tmp_path / "other.onnx")
    assert metadata_of(tmp_path / "other.onnx") == {"long": "x" * 100_000, "none": ""}


def test_digest_depends_on_graph_and_weights_only(model_path: Path, tmp_path: Path):
    digest = ModelFile(model_path).digest
    model = onnx.load(model_path)
    model.ClearField("metadata_props")
    assert digest == hashlib.sha256(model.SerializeToString()).hexdigest()
    assert ModelFile(edited(model_path, tmp_path / "renamed.onnx", metadata(name="another"))).digest == digest
    weights = edited(model_path, tmp_path / "weights.onnx", lambda model: model.graph.initializer.pop())
    assert ModelFile(weights).digest != digest


def test_with_digest_keeps_all_other_bytes(model_path: Path, description: Contract):
    model = onnx.load(model_path)
    onnx.helper.set_model_props(model, description.to_metadata())
    plain = model.SerializeToString()
    sealed = with_digest(plain)
    assert sealed.startswith(plain)
    assert with_digest(sealed) == sealed
    parsed = onnx.load_from_string(sealed)
    assert parsed.graph == model.graph
    assert parsed.metadata_props[-1].key == DIGEST


def test_model_without_a_digest_loads(model_path: Path, description: Contract, tmp_path: Path):
    model = onnx.load(model_path)
    onnx.helper.set_model_props(model, description.to_metadata())
    onnx.save(model, tmp_path / "older.onnx")
    scores = [
        np.concatenate(list(Model(path).segments([make_sound(2)]))) for path in (tmp_path / "older.onnx", model_path)
    ]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("seed", range(5))
def test_flipped_bits_in_weights(model_path: Path, tmp_path: Path, seed: int):
    """The file still loads in ONNX Runtime, and would give wrong scores."""
    content = np.frombuffer(model_path.read_bytes(), np.uint8).copy()
    weights = onnx.load(model_path).graph.initializer
    raw = max((tensor.raw_data for tensor in weights), key=len)
    start = content.tobytes().index(raw)
    rng = np.random.default_rng(seed)
    content[start + rng.integers(0, len(raw), 30)] ^= 1 << seed
    (tmp_path / "flipped.onnx").write_bytes(content.tobytes())
    refused(tmp_path / "flipped.onnx", DIGEST, "have changed since the export")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9, 0.999])
def test_truncated_file(model_path: Path, tmp_path: Path, share: float):
    content = model_path.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: int(share * len(content))])
    refused(tmp_path / "cut.onnx", "not an ONNX file")


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_is_an_error_or_harmless(model_path: Path, tmp_path: Path, seed: int):
    rng = np.random.default_rng(seed)
    content = bytearray(model_path.read_bytes())
    for position in rng.integers(0, len(content), 20):
        content[position] = rng.integers(256)
    (tmp_path / "damaged.onnx").write_bytes(content)
    refused(tmp_path / "damaged.onnx")


DEEP = 100_000
METADATA = {
    "sedkit.labels": [
        "{}",
        "17",
        '"x"',
        "[1, 2]",
        "[" * DEEP,
        "[" * DEEP + "]" * DEEP,
        '{"a":' * DEEP,
        "9" * 10_000,
        json.dumps([{"name": "a\x1b[2J", "mid": None, "index": None}]),
        json.dumps([{"name": "Dog", "mid": None, "index": None}] * 5),
        "[" + "{}," * 1_000_000 + "{}]",
        "[" + "0," * LONGEST_ENTRY + "0]",
    ],
    "sedkit.thresholds": ["[NaN, NaN, NaN, NaN, NaN]", "[Infinity, 1, 1, 1, 1]", "[0.5, 0.5, 0.5, 0.5, 1e999]", "{}"],
    "sedkit.timeline_thresholds": ["[0.5, 0.5, 0.5, 0.5, -Infinity]", "[[]]", "null"],
    "sedkit.calibration": [
        "[]",
        '{"kind": []}',
        '{"kind": "platt", "slope": [1, 1, 1, 1, NaN], "offset": [0, 0, 0, 0, 0]}',
    ],
    "sedkit.lineage": ["[]", "{" * DEEP, "x" * (LONGEST_ENTRY + 1)],
    "sedkit.tag_segments": ["1e3", "-1"],
    "sedkit.sample_rate": ["16000.0", "\u0661\u0666\u0660\u0660\u0660"],
    "sedkit.name": ["", "two\nlines", "\x1b]0;title\x07"],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param(field, value, id=f"{field}-{number}")
        for field, values in METADATA.items()
        for number, value in enumerate(values)
    ],
)
def test_hostile_metadata(field: str, value: str, model_path: Path, tmp_path: Path):
    refused(edited(model_path, tmp_path / "m.onnx", metadata(**{field.removeprefix("sedkit."): value})), f"{field}: ")


def with_attribute_tensor(location: str) -> Edit:
    """External data in an attribute of a node in the branch of an If."""

    def edit(model: onnx.ModelProto) -> None:
        tensor = TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=location)
        constant = helper.make_node("Constant", [], ["hidden"], value=tensor)
        branch = helper.make_graph([constant], "branch", [], [helper.make_tensor_value_info("hidden", 1, [4])])
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        model.graph.node.append(helper.make_node("If", ["yes"], ["unused"], then_branch=branch, else_branch=branch))

    return edit


def with_initializer(location: str) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return edit


@pytest.mark.parametrize("where", [with_attribute_tensor, with_initializer])
@pytest.mark.parametrize("location", ["/etc/passwd", "../outside.bin", "link.bin", "a/../../outside.bin"])
def test_external_data_outside_the_folder(
    where: Callable[[str], Edit], location: str, model_path: Path, tmp_path: Path
):
    (tmp_path / "models").mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(1 << 20))
    (tmp_path / "models" / "link.bin").symlink_to(tmp_path / "outside.bin")
    path = edited(model_path, tmp_path / "models" / "split.onnx", where(location))
    assert ModelFile(path).external == {location}
    refused(path, "external_data", location, "outside the model's folder")


def test_custom_operator(model_path: Path, tmp_path: Path):
    def edit(model: onnx.ModelProto) -> None:
        model.graph.node[0].domain = "evil"
        model.opset_import.add(domain="evil", version=1)

    refused(edited(model_path, tmp_path / "custom.onnx", edit), "evil")


def dimension(tensor: str, axis: int, size: int | str) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        (value,) = (x for x in (*model.graph.input, *model.graph.output) if x.name == tensor)
        axes = value.type.tensor_type.shape.dim
        axes[axis].Clear()
        setattr(axes[axis], "dim_value" if isinstance(size, int) else "dim_param", size)

    return edit


@pytest.mark.parametrize(
    ("tensor", "axis", "size"), [("waveform", 0, 1), ("waveform", 1, 160_000), ("segments", 1, 30)]
)
def test_fixed_axes(tensor: str, axis: int, size: int, model_path: Path, tmp_path: Path):
    refused(edited(model_path, tmp_path / "axes.onnx", dimension(tensor, axis, size)), tensor, str(size))


@pytest.mark.parametrize(("tensor", "axis", "size"), [("segments", 2, 6), ("clip", 1, 10**9), ("embedding", 2, "any")])
def test_declared_shape_that_the_graph_contradicts(
    tensor: str, axis: int, size: int | str, model_path: Path, tmp_path: Path
):
    """ONNX Runtime infers the true shape, and the contract is checked against that."""
    path, sound = edited(model_path, tmp_path / "axes.onnx", dimension(tensor, axis, size)), make_sound(3)
    scores = [np.concatenate(list(Model(file, "cpu").segments([sound]))) for file in (path, model_path)]
    np.testing.assert_array_equal(*scores)


def test_output_that_differs_from_its_declared_shape(model_path: Path, tmp_path: Path):
    """The graph claims as many segments as the contract asks for, and returns others."""

    def edit(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.output[:] = ["all" if name == "segments" else name for name in node.output]
            node.input[:] = ["all" if name == "segments" else name for name in node.input]
        ends = [numpy_helper.from_array(np.array([value]), name) for name, value in (("s", 0), ("e", 1), ("ax", 1))]
        model.graph.initializer.extend(ends)
        model.graph.node.append(helper.make_node("Slice", ["all", "s", "e", "ax"], ["segments"]))

    model = Model(edited(model_path, tmp_path / "short.onnx", edit), "cpu")
    with pytest.raises(ContractError, match=r"short\.onnx.*segments: shape is \(1, 5\)"):
        list(model.segments([make_sound(5)]))


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "empty", "sparse", "many fields", "null"])
def test_not_a_model_file(kind: str, tmp_path: Path):
    path, problem = tmp_path / "model.onnx", "not an ONNX file"
    match kind:
        case "pipe":
            os.mkfifo(path)
            problem = "is a pipe or a device"
        case "folder":
            path.mkdir()
            problem = "is a folder"
        case "device":
            path.symlink_to("/dev/zero")
            problem = "is a pipe or a device"
        case "empty":
            path.touch()
        case "sparse":
            path.touch()
            os.truncate(path, 1 << 40)
        case "many fields":
            path.write_bytes(b"\x72\x00" * 10_000_000)
        case "null":
            path.write_bytes(bytes(100_000))
    refused(path, problem)
