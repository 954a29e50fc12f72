"""Models by name and by path."""

from __future__ import annotations

import pytest

from sedkit import installed as module
from sedkit.errors import ModelError
from sedkit.installed import find_model, installed_models


@pytest.mark.parametrize("name", ["missing.onnx", "."])
def test_a_missing_model_is_refused(tmp_path, name):
    with pytest.raises(ModelError, match="no such model"):
        find_model(tmp_path / name)


def test_installed_models_are_found_by_name(tmp_path, monkeypatch, model_path):
    package = tmp_path / "sedkit"
    (package / "models").mkdir(parents=True)
    monkeypatch.setattr(module, "__file__", str(package / "installed.py"))
    with pytest.raises(ModelError, match="none is installed"):
        find_model()
    for name in ("wels-secost", "other-1.5"):
        (package / "models" / f"{name}.onnx").write_bytes(b"")
    assert [path.stem for path in installed_models()] == ["other-1.5", "wels-secost"]
    assert find_model() == package / "models" / "wels-secost.onnx"
    assert find_model("other-1.5") == package / "models" / "other-1.5.onnx"
    assert find_model(model_path) == model_path
    with pytest.raises(ModelError, match=r"nonesuch: no such model; installed: other-1\.5, wels-secost"):
        find_model("nonesuch")


def test_a_source_checkout_finds_the_models_beside_the_package(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "wels-secost.onnx").write_bytes(b"")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "sedkit" / "installed.py"))
    assert find_model() == tmp_path / "models" / "wels-secost.onnx"
