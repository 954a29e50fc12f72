"""What is saved reads back, whole or as it was before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from sedkit.errors import OutputError
from tests.training.processes import background, wait_for
from training.runtime.checkpoint import CheckpointError, load, save


def test_what_is_saved_reads_back_and_damage_is_one_line(tmp_path: Path) -> None:
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


def save_for_ever(path: str) -> None:
    number = 0
    while True:
        number += 1
        save({"number": number, "weight": torch.full((4_000_000,), float(number))}, Path(path))


def test_a_writer_killed_while_it_writes_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for _ in range(10):
        writer = background(save_for_ever, str(path))
        wait_for(path.exists, writer)
        wait_for(lambda: any(name.endswith(".tmp") for name in os.listdir(tmp_path)), writer)
        writer.kill()
        writer.join()
        state = load(path)
        assert (state["weight"] == state["number"]).all()
        if list(tmp_path.glob(".*.tmp")):
            return
    pytest.fail("none of the writers was killed while it wrote")


def test_where_it_cannot_be_written_what_was_there_stays(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be written"):
        save({}, folder / "checkpoint.pt")
    assert folder.read_text() == "not a folder"
