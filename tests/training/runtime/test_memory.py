"""Freed memory is used again."""

from __future__ import annotations

import platform
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.processes import background
from training.runtime.memory import keep_freed_memory

SIZE, TIMES = 48 << 20, 10  # bytes; more than glibc keeps by default


def count_faults(path: str, kept: bool) -> None:
    """Allocate and fill memory several times; save how many pages the system had to provide."""
    if kept:
        keep_freed_memory()
    np.ones(SIZE, np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(TIMES):
        np.ones(SIZE, np.uint8)
    Path(path).write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="glibc only")
def test_large_blocks_are_not_provided_anew(tmp_path: Path) -> None:
    faults = []
    for kept in (False, True):
        process = background(count_faults, str(tmp_path / "faults"), kept)
        process.join()
        faults.append(int((tmp_path / "faults").read_text()))
    assert faults[1] < faults[0] / 5
