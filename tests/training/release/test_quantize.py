"""int8 models: contract, seams between blocks, which nodes are integers, and measured losses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
from click.testing import CliRunner

from sedkit.contract import Contract, Label, metadata_of
from sedkit.geometry import SAMPLE_RATE
from sedkit.inference.installed import find_model, sibling
from sedkit.inference.model import Model
from tests.conftest import LABELS, make_sound
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.store.source import open_audio
from training.networks.float16 import with_float32_weights
from training.release import quantize
from training.release.int8_layers import LIMIT


def command(*arguments: object) -> str:
    result = CliRunner().invoke(quantize.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty clips with arbitrary labels from the classes of the test model."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for number in range(30):
        soundfile.write(folder / f"{number}.wav", make_sound(3, seed=number), SAMPLE_RATE)
        split = "train" if number < 20 else "validation" if number < 25 else "test"
        rows.append(Row(f"{number}.wav", labels=LABELS[number % 5].name, split=split, license="CC0"))
    path = folder / "manifest.csv"
    Manifest.from_rows(rows, Vocabulary(LABELS), folder).save(path)
    return path


@pytest.fixture(scope="module")
def models(model_path: Path, manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The test model, and its int8 version beside it."""
    path = tmp_path_factory.mktemp("quantized") / "model.onnx"
    path.write_bytes(model_path.read_bytes())
    output = command(path, "--manifest", manifest)
    assert "test: clips 5, mAP " in output
    return path, sibling(path, "int8")


def scores(path: Path, sound: np.ndarray) -> np.ndarray:
    return np.concatenate(list(Model(path, "cpu").segments([sound])))


def test_contract_and_losses(models):
    fp32, int8 = (Contract.from_metadata(metadata_of(path)) for path in models)
    assert int8.name == f"{fp32.name}-int8"
    assert (fp32.precision, int8.precision) == ("fp32", "int8")
    assert (int8.labels, int8.thresholds, int8.license) == (fp32.labels, fp32.thresholds, fp32.license)
    assert int8.lineage["seed"] == fp32.lineage["seed"]
    loss = int8.lineage["quantisation"]["loss"]
    for split in ("validation", "test"):
        assert 0 < int8.lineage["metrics"][split]["mAP"] <= 1
        assert 0 < loss[split]["mean_difference"] <= loss[split]["largest_difference"] < 0.3
    assert int8.quantisation_loss == loss["test"]["mAP"]
    assert find_model(models[0], "int8") == models[1]
    onnx.checker.check_model(onnx.load(models[1]), full_check=True)


def test_scores_are_close_to_fp32(models):
    sound = make_sound(20, seed=2)
    exact, integer = (scores(path, sound) for path in models)
    assert np.abs(exact - integer).max() < 0.3  # with so few filters, every rounding step matters
    assert np.abs(exact - integer).mean() < 0.03
    assert exact.std(axis=0).max() > 0.1  # otherwise the comparison would prove nothing


def test_silence_still_scores_nothing(models):
    assert scores(models[1], np.zeros(16_000, np.float32)).max() == 0


def test_seams_between_blocks_are_exact(models):
    sound = make_sound(75, seed=4)
    session = onnxruntime.InferenceSession(str(models[1]), providers=["CPUExecutionProvider"])
    whole = session.run(["segments"], {"waveform": sound[None]})[0][0]
    np.testing.assert_array_equal(scores(models[1], sound), whole)


def test_only_the_body_is_integer_and_it_cannot_saturate(models):
    model = onnx.load(models[1])
    made = {output: node for node in model.graph.node for output in node.output}
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 12
    for node in convolutions[:-1]:
        assert {made[name].op_type for name in node.input} == {"DequantizeLinear"}
        weight = tensors[made[node.input[1]].input[0]]
        assert weight.dtype == np.int8
        assert np.abs(weight.astype(int)).max() <= LIMIT
    assert convolutions[-1].input[1] in tensors  # L4
    assert made[convolutions[-1].output[0]].op_type == "Conv"
    assert tensors[convolutions[-1].input[1]].dtype == np.float32
    assert all(tensors[name].dtype == np.float32 for node in model.graph.node if node.op_type == "MatMul" for name in
               node.input if name in tensors)  # fmt: skip


def test_onnx_runtime_matches_the_fitted_layers(models, manifest):
    """One rounding step in an early layer changes many later ones, so errors are compared, not values."""
    original = with_float32_weights(onnx.load(models[0]))
    layers, convolutions = quantize.read_layers(original, models[0])
    audio = open_audio(manifest)
    clips = [audio[row] for row in audio.manifest.indices("test")]
    logmel = quantize.calibration_inputs(original, convolutions[0].input[0], clips, 0)
    made, last = quantize.quantize_layers(layers, logmel)
    integers = quantize.quantized_graph(original, convolutions, made, last)
    source, target = convolutions[0].input[0], convolutions[-1].input[0]
    integers.graph.value_info.append(onnx.helper.make_tensor_value_info(source, 1, ["clips", 1, "frames", 64]))
    integers.graph.value_info.append(onnx.helper.make_tensor_value_info(target, 1, ["clips", 1024, "K", 1]))
    alone = onnx.utils.Extractor(integers).extract_model([source], [target])
    session = onnxruntime.InferenceSession(alone.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {source: logmel[:2].numpy()})
    fitted = exact = logmel[:2]
    for layer, original_layer in zip(made, layers, strict=True):
        fitted, exact = layer(fitted), original_layer(exact)
    error, expected = (np.abs(values - exact.numpy()).mean() for values in (found, last(fitted).numpy()))
    assert 0.7 * expected < error < 1.3 * expected < 0.2 * exact.mean()


def test_float16_and_float32_storage_give_the_same_result(models, manifest, tmp_path):
    original = onnx.load(models[0])
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in original.graph.initializer}
    onnx.save(with_float32_weights(original), tmp_path / "model.onnx")
    command(tmp_path / "model.onnx", "--manifest", manifest)
    (graph, about), (other, its) = (
        (onnx.load(path).graph, Contract.from_metadata(metadata_of(path)))
        for path in (models[1], tmp_path / "model-int8.onnx")
    )
    assert graph == other
    assert onnx.TensorProto.FLOAT16 not in {tensor.data_type for tensor in graph.initializer}
    for key in ("of_sha256", "of_digest"):
        assert about.lineage["quantisation"].pop(key) != its.lineage["quantisation"].pop(key)
    assert about == its


def test_errors_are_one_line(models, manifest, tmp_path):
    def fails(*arguments: object) -> str:
        result = CliRunner().invoke(quantize.main, [str(argument) for argument in arguments])
        assert result.exit_code == 1
        assert len(result.output.strip().splitlines()) == 1
        return result.output

    assert "already quantized" in fails(models[1], "--manifest", manifest)
    other = onnx.load(models[0])
    contract = Contract.from_metadata(metadata_of(models[0]))
    renamed = replace(contract, labels=(Label("Our cat"), *contract.labels[1:]))
    onnx.helper.set_model_props(other, renamed.to_metadata())
    onnx.save(other, tmp_path / "other.onnx")
    assert "classes differ from the manifest's" in fails(tmp_path / "other.onnx", "--manifest", manifest)
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    assert "broken.onnx: " in fails(tmp_path / "broken.onnx", "--manifest", manifest)
    for node in other.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Tanh"
    onnx.helper.set_model_props(other, contract.to_metadata())
    onnx.save(other, tmp_path / "tanh.onnx")
    assert "not the graph of a WELS-Net" in fails(tmp_path / "tanh.onnx", "--manifest", manifest)
    assert not list(tmp_path.glob("*int8*"))


def test_the_fp32_model_is_not_replaced(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"weights")
    arguments = [tmp_path / "model.onnx", "--manifest", "all.csv", "--output", tmp_path / "model.onnx"]
    result = CliRunner().invoke(quantize.main, [str(argument) for argument in arguments])
    assert result.exit_code == 2
    assert "model.onnx is read, and would be replaced; choose another --output" in result.output
