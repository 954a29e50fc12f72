"""sedkit.inference.installed: models by name, path and precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from sedkit.contract import Contract
from sedkit.errors import ArgumentError, ModelError
from sedkit.inference import installed as module
from sedkit.inference.installed import find_model, installed_models, named_model, sibling
from sedkit.tagger import Tagger


@pytest.mark.parametrize(("name", "problem"), [("missing.onnx", "no such model"), (".", "is a folder, not a model")])
def test_missing_model(tmp_path, name, problem):
    with pytest.raises(ModelError, match=problem):
        find_model(tmp_path / name)


def test_installed_models_by_name(tmp_path, monkeypatch, model_path):
    package = tmp_path / "sedkit"
    (package / "models").mkdir(parents=True)
    monkeypatch.setattr(module, "__file__", str(package / "inference" / "installed.py"))
    with pytest.raises(ModelError, match="no models are installed"):
        find_model()
    for name in ("wels-secost", "wels-secost-small", "other-1.5"):
        (package / "models" / f"{name}.onnx").write_bytes(b"")
    assert [path.stem for path in installed_models()] == ["other-1.5", "wels-secost", "wels-secost-small"]
    assert find_model() == package / "models" / "wels-secost.onnx"
    assert find_model("other-1.5") == package / "models" / "other-1.5.onnx"
    assert find_model(model_path) == model_path
    with pytest.raises(
        ModelError, match=r"nonesuch: no such model; installed: other-1\.5, wels-secost, wels-secost-small"
    ):
        find_model("nonesuch")


def test_models_of_a_source_checkout(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "wels-secost.onnx").write_bytes(b"")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "sedkit" / "inference" / "installed.py"))
    assert find_model() == tmp_path / "models" / "wels-secost.onnx"


def test_short_names(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setattr(module, "__file__", str(tmp_path / "sedkit" / "inference" / "installed.py"))
    for name in ("wels-secost", "wels-secost-int8", "wels-secost-small", "wels-secost-tiny", "tiny"):
        (folder / f"{name}.onnx").write_bytes(b"")
    small = folder / "wels-secost-small.onnx"
    assert find_model("small") == find_model("wels-secost-small") == named_model("small") == small
    assert named_model("tiny") == folder / "tiny.onnx"  # a full name takes precedence over a short one
    monkeypatch.chdir(folder)
    (folder / "small").write_bytes(b"")
    assert find_model("small") == small
    assert find_model("./small") == Path("./small")
    with pytest.raises(ModelError, match=r"^smal: no such model; installed: tiny, wels-secost, wels-secost-int8, "):
        find_model("smal")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_path: Path, description: Contract) -> Path:
    """Installed models: ``wels-secost`` and ``-small`` with int8, ``lossy`` with a poor int8, ``plain`` without."""
    folder = tmp_path / "sedkit" / "models"
    folder.mkdir(parents=True)
    monkeypatch.setattr(module, "__file__", str(folder.parent / "inference" / "installed.py"))
    monkeypatch.setattr(module, "expects_gpu", lambda device: device == "cuda")
    for name, lost in (("wels-secost", 0.003), ("wels-secost-small", 0.0), ("lossy", 0.0031)):
        write(model_path, folder / f"{name}.onnx", description)
        write(model_path, folder / f"{name}-int8.onnx", quantised(description, lost))
    write(model_path, folder / "plain.onnx", description)
    return folder


def quantised(description: Contract, lost: float) -> Contract:
    """Metadata of an int8 model; the graph does not matter here."""
    return replace(description, lineage={"quantisation": {"loss": {"test": {"mAP": lost}, "validation": {"mAP": 1}}}})


def write(model_path: Path, path: Path, contract: Contract) -> None:
    model = onnx.load(model_path)
    onnx.helper.set_model_props(model, contract.to_metadata())
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("name", "precision", "device", "expected"),
    [
        (None, "auto", "cpu", "wels-secost-int8"),
        (None, "auto", "auto", "wels-secost-int8"),
        (None, "auto", "cuda", "wels-secost"),
        (None, "fp32", "cpu", "wels-secost"),
        (None, "int8", "cuda", "wels-secost-int8"),
        ("wels-secost", "auto", "cpu", "wels-secost-int8"),
        ("wels-secost-int8", "auto", "cuda", "wels-secost-int8"),
        ("wels-secost-int8", "fp32", "cpu", "wels-secost"),
        ("small", "auto", "cpu", "wels-secost-small-int8"),
        ("small", "auto", "cuda", "wels-secost-small"),
        ("small", "fp32", "cpu", "wels-secost-small"),
        ("small", "int8", "cuda", "wels-secost-small-int8"),
        ("small-int8", "auto", "cuda", "wels-secost-small-int8"),
        ("wels-secost-small", "auto", "cpu", "wels-secost-small-int8"),
        ("lossy", "auto", "cpu", "lossy"),
        ("lossy", "int8", "cpu", "lossy-int8"),
        ("plain", "auto", "cpu", "plain"),
        ("plain", "fp32", "cpu", "plain"),
    ],
)
def test_choice_of_precision(folder, name, precision, device, expected):
    assert find_model(name, precision, device) == folder / f"{expected}.onnx"


def test_path_is_used_as_given(folder):
    for name in ("wels-secost", "wels-secost-int8"):
        path = folder / f"{name}.onnx"
        assert find_model(path, "auto", "cpu") == find_model(str(path)) == path
        for precision in ("fp32", "int8"):
            assert find_model(path, precision) == sibling(folder / "wels-secost.onnx", precision)


def test_missing_precision(folder):
    with pytest.raises(ModelError, match=r"its int8 file plain-int8\.onnx is missing; .* sedkit-train quantize"):
        find_model("plain", "int8")
    (folder / "wels-secost.onnx").unlink()
    with pytest.raises(ModelError, match=r"its fp32 file wels-secost\.onnx is missing; copy it there"):
        find_model("wels-secost-int8", "fp32")
    (folder / "plain.onnx").rename(folder / "lossy-int8.onnx")
    with pytest.raises(ModelError, match=r"lossy-int8\.onnx: is not an int8 model"):
        find_model("lossy", "int8")
    with pytest.raises(ArgumentError, match="auto, fp32 or int8, not 'half'"):
        find_model("lossy", "half")


def test_unreadable_int8_file_is_ignored(folder):
    int8 = folder / "wels-secost-int8.onnx"
    for content in (int8.read_bytes()[:2000], b"", b"\xff" * 99):
        int8.write_bytes(content)
        assert find_model(device="cpu") == folder / "wels-secost.onnx"
    int8.unlink()
    int8.mkdir()
    assert find_model(device="cpu") == folder / "wels-secost.onnx"


def test_named_model(folder):
    assert named_model("wels-secost") == folder / "wels-secost.onnx"
    assert named_model("wels-secost-int8") == folder / "wels-secost-int8.onnx"


def test_precision_of_the_tagger(folder):
    assert Tagger(device="cpu").model.path.stem == "wels-secost-int8"
    assert Tagger(device="cpu", precision="fp32").model.path.stem == "wels-secost"
