"""Run commands as child processes, and measure their peak memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Unavailable

SHOWN = 300  # characters of a failed command, and of its last output, in an error
SEDKIT = (sys.executable, "-m", "sedkit")

SEDKIT_CODE = "from sedkit.cli import main; main(sys.argv[1:])"

# Runs Python code and prints the kernel's record of the peak at the end. The maximum that wait4(2) reports is no use,
# because it starts from the size of the parent.
WATCHED = """
import re, sys
try:
    exec(sys.argv.pop(1))
finally:
    print(re.search("VmHWM.*", open("/proc/self/status").read())[0], file=sys.stderr)
"""


def run(
    command: Sequence[str | Path], environment: dict[str, str] | None = None, sound: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end.

    Parameters
    ----------
    environment : variables to add to those of this process.
    sound : its standard input; empty by default.

    Raises
    ------
    RuntimeError
        If it fails; with the exit code and the end of its standard error.
    """
    stdin = {"input": sound} if sound is not None else {"stdin": subprocess.DEVNULL}
    done = subprocess.run(command, capture_output=True, env=os.environ | (environment or {}), **stdin)
    if done.returncode:
        words = " ".join(map(str, command))
        output = " ".join(done.stderr.decode(errors="replace")[-SHOWN:].split())
        raise RuntimeError(f"exit code {done.returncode} of {words[:SHOWN]}: {output}")
    return done


def peak_memory(arguments: Sequence[str | Path], sound: bytes | None = None, code: str = SEDKIT_CODE) -> float:
    """Peak resident memory (VmHWM) of ``sedkit ARGUMENTS``, or of other code, in MB of 10^6 bytes."""
    if not Path("/proc/self/status").exists():
        raise Unavailable("needs Linux: peak memory is read from /proc")
    log = run([sys.executable, "-c", WATCHED, code, *arguments], sound=sound).stderr.decode()
    (kibibytes,) = re.findall(r"^VmHWM:\s*(\d+) kB", log, re.MULTILINE)
    return int(kibibytes) * 1024 / 1e6
