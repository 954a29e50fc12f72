"""Files of other networks that cannot be imported, or that hold code: one line each."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.release.test_imported import invoke, mobilenet_state
from training.release.imported.checkpoint import ImportModelError
from training.release.imported.efficientat import read_efficientat
from training.release.imported.panns import read_panns


def damaged(tmp_path: Path, kind: str) -> Path:
    path, state = tmp_path / "weights.pt", mobilenet_state(8)
    if kind == "missing":
        del state["features.3.block.0.1.running_var"]
    elif kind == "extra":
        state["head.weight"] = torch.zeros(3)
    elif kind == "shape":
        state["features.16.1.bias"] = torch.zeros(3)
    elif kind == "nan":
        state["classifier.2.weight"][0, 0] = torch.nan
    elif kind == "classes":
        state |= {name: state[name][:10] for name in ("classifier.5.weight", "classifier.5.bias")}
    elif kind == "other":
        state = {"conv.weight": torch.zeros(3)}
    torch.save([1, 2] if kind == "list" else state, path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:10_000])
    elif kind == "text":
        path.write_text("not a checkpoint")
    return path


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (
            "missing",
            r"not an EfficientAT MobileNet: lacks features\.3\.block\.0\.1\.running_var; give a file such as mn10",
        ),
        ("extra", r"not an EfficientAT MobileNet: has head\.weight too; give"),
        ("shape", r"features\.16\.1\.bias has the shape \[3\], not \[120\]; give"),
        ("nan", r"classifier\.2\.weight holds infinite numbers or NaN; download the file again"),
        ("classes", "scores 10 classes, not AudioSet's 527; give"),
        ("other", "its layers have other names or shapes; give"),
        ("list", "holds no weights by name; give"),
        ("truncated", "not a torch checkpoint, or truncated; download it again"),
        ("text", "or is damaged; give|not a torch checkpoint, or truncated; download it again"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, kind: str, problem: str) -> None:
    path = damaged(tmp_path, kind)
    with pytest.raises(ImportModelError, match=problem) as caught:
        read_efficientat(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["CODE_RAN"],)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Any) -> None:
    monkeypatch.setenv("CODE_RAN", str(tmp_path / "ran"))
    save({"model": Code()}, tmp_path / "weights.pth")
    with pytest.raises(ImportModelError, match="holds more than weights, which could run code, or is damaged; give"):
        read_panns(tmp_path / "weights.pth", framewise=False)
    assert not (tmp_path / "ran").exists()


def test_refusals_of_the_command(tmp_path: Path) -> None:
    checkpoint = tmp_path / "Cnn14_DecisionLevelMax.pth"
    torch.save({"model": mobilenet_state(8)}, checkpoint)
    for arguments, problem in (
        (("panns", tmp_path / "none.pth"), "none.pth: no such file; check the path"),
        (("yamnet", tmp_path), f"{tmp_path}: a folder; check the path"),
        (("yamnet", checkpoint), "not YAMNet's TFLite file"),
        (("panns", checkpoint), "by its name, it scores every 0.32 s; import it as panns-dl"),
        (("panns-dl", checkpoint), "not PANNs' Cnn14: lacks spectrogram_extractor.stft.conv_real.weight"),
        (("panns", checkpoint, "--window", "20"), "--window must be from 0.5 to 10 seconds, not 20"),
        (("panns", checkpoint, "--hop", "3"), "--hop must be from 0.4 to 1 seconds for this --window, not 3"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 1
        assert problem in result.output
        assert result.output.count("\n") == 1
    renamed = tmp_path / "mn10_as_hop_5_mAP_475.pt"
    torch.save(mobilenet_state(8), renamed)
    assert "by its name, it has another front end or head" in invoke("efficientat", renamed).output
    assert len(list(tmp_path.iterdir())) == 2
