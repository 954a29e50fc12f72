"""Measurements of child processes, memory and the load from other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.machine import Watch
from benchmarks.processes import peak_memory, run

LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


@LINUX
def test_peak_memory_excludes_the_parent():
    array = np.ones(40_000_000)  # 320 MB in the parent, which must not count
    peak = peak_memory(["completion", "bash"])
    assert array[-1] == 1
    assert 10 < peak < 150


def test_child_processes_keep_compiled_modules():
    child = "import sys; print(sys.dont_write_bytecode)"
    code = f"import benchmarks, subprocess, sys; subprocess.run([sys.executable, '-c', '{child}'])"
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "False\n"


@LINUX
def test_watch_separates_other_processes_from_own_children():
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
        meanwhile = watch.others()  # a running child counts as another process
    assert meanwhile is not None
    assert meanwhile > 0.02


def test_failed_command_reports_exit_code_and_stderr():
    with pytest.raises(RuntimeError, match=r"exit code 3 of .*: nothing to see"):
        run([sys.executable, "-c", "import sys; print('nothing to see', file=sys.stderr); sys.exit(3)"])
