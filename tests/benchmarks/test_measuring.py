"""What is measured around the code under test: processes, memory, other work on the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.machine import Watch
from benchmarks.processes import peak_memory, run

LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


@LINUX
def test_peak_memory_is_the_childs_own():
    held = np.ones(40_000_000)  # 320 MB of the parent's, which must not count
    peak = peak_memory(["completion", "bash"])
    assert held[-1] == 1
    assert 10 < peak < 150


@LINUX
def test_work_of_other_processes_is_told_from_our_own():
    spin = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    watch = Watch()
    subprocess.run([sys.executable, "-c", spin], check=True)
    own = watch.others()
    assert own is not None
    assert 0 <= own <= 1
    watch = Watch()
    with subprocess.Popen([sys.executable, "-c", spin]) as child:
        while child.poll() is None and watch.seconds() < 0.3:
            pass
        meanwhile = watch.others()  # a child that has not been waited for counts as somebody else
    assert meanwhile is not None
    assert meanwhile > 0.02


def test_a_command_that_fails_says_how():
    with pytest.raises(RuntimeError, match=r"exit code 3 of .*: nothing to see"):
        run([sys.executable, "-c", "import sys; print('nothing to see', file=sys.stderr); sys.exit(3)"])
