"""Checkpoint files: round trip, damage, atomic writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from sedkit.errors import OutputError
from tests.training.processes import background, wait_for
from training.runtime.checkpoint import CheckpointError, load, save


def test_round_trip_and_one_line_error_for_a_damaged_file(tmp_path: Path) -> None:
    state = {"network": {"weight": torch.arange(1000.0)}, "history": [{"epoch": 1, "validation_mAP": None}]}
    path = tmp_path / "checkpoint.pt"
    save(state, path)
    assert torch.equal(load(path)["network"]["weight"], state["network"]["weight"])
    assert load(path)["history"] == state["history"]
    whole = path.read_bytes()
    for damaged in (b"", b"half a checkpoint", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"checkpoint\.pt: cannot be read .* remove it") as error:
            load(path)
        assert "\n" not in str(error.value)


def save_repeatedly(path: str) -> None:
    number = 0
    while True:
        number += 1
        save({"number": number, "weight": torch.full((4_000_000,), float(number))}, Path(path))


def test_killing_the_writer_leaves_a_complete_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for _ in range(10):
        writer = background(save_repeatedly, str(path))
        wait_for(path.exists, writer)
        wait_for(lambda: any(name.endswith(".tmp") for name in os.listdir(tmp_path)), writer)
        writer.kill()
        writer.join()
        state = load(path)
        assert (state["weight"] == state["number"]).all()
        if list(tmp_path.glob(".*.tmp")):
            return
    pytest.fail("no writer was killed while it was writing")


def test_write_error_leaves_existing_files_unchanged(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be written"):
        save({}, folder / "checkpoint.pt")
    assert folder.read_text() == "not a folder"
