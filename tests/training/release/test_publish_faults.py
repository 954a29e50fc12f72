"""Publishing where files cannot be written: all files change, or none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from sedkit.errors import OutputError
from tests.training.conftest import full_disk
from training.release.publish import publish
from training.runtime.files import replace_together

OLD = "wels-secost.onnx", "wels-secost-int8.onnx", "README.md", "attribution.csv", "reliability.svg"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("fault", ["full disk", "folder in place of the card", "folder in place of the attribution"])
def test_a_file_that_cannot_be_written_leaves_all_others(run: Path, tmp_path: Path, fault: str) -> None:
    models, readme, device = tmp_path / "models", tmp_path / "front.md", torch.device("cpu")
    models.mkdir()
    for name in OLD:
        (models / name).write_text(f"the old {name}")
    readme.write_text("<!-- results -->\nold\n<!-- /results -->\n")
    if fault != "full disk":
        blocked = models / ("README.md" if fault.endswith("card") else "attribution.csv")
        blocked.unlink()
        (blocked / "inside").mkdir(parents=True)
    before = contents(models) | contents(tmp_path)
    with full_disk(9_000 if fault == "full disk" else 1 << 30), pytest.raises(OutputError, match="cannot be written"):
        publish(run, models, readme, None, None, device)
    assert contents(models) | contents(tmp_path) == before
    if fault != "full disk":
        shutil.rmtree(blocked)
    publish(run, models, readme, None, None, device)
    assert contents(models).keys() == {"wels-secost.onnx", "README.md", "attribution.csv"}  # no int8, not calibrated
    assert "old" not in readme.read_text()


def test_files_are_replaced_together_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "b" / "inside").mkdir(parents=True)
    with pytest.raises(OutputError, match="b: cannot be written"):
        replace_together({tmp_path / "a": b"new", tmp_path / "b": b"new"})
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a", "b"]
    assert (tmp_path / "a").read_bytes() == b"old"
    replace_together({tmp_path / "a": b"new", tmp_path / "c": b"new"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes() == b"new"
