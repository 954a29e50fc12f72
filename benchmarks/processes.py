"""Child processes: commands that are timed as a whole, and the memory that they took at most."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Unavailable

SAID = 300  # characters of a long command, and of what it said before it failed, that are worth showing
SEDKIT = (sys.executable, "-m", "sedkit")

# sedkit's command line, and what the kernel says of the process at its end. The maximum that wait4(2) reports is no
# use: it starts from the size of the parent.
WATCHED = """
import re, sys
from sedkit.cli import main
try:
    main(sys.argv[1:])
finally:
    print(re.search("VmHWM.*", open("/proc/self/status").read())[0], file=sys.stderr)
"""


def run(
    command: Sequence[str | Path], environment: dict[str, str] | None = None, sound: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end.

    Parameters
    ----------
    environment : variables to set beside those of this process.
    sound : what comes through its standard input; nothing by default.

    Raises
    ------
    RuntimeError
        If it fails; says how.
    """
    given = {"input": sound} if sound is not None else {"stdin": subprocess.DEVNULL}
    done = subprocess.run(command, capture_output=True, env=os.environ | (environment or {}), **given)
    if done.returncode:
        words = " ".join(map(str, command))
        said = " ".join(done.stderr.decode(errors="replace")[-SAID:].split())
        raise RuntimeError(f"exit code {done.returncode} of {words[:SAID]}: {said}")
    return done


def peak_memory(arguments: Sequence[str | Path], sound: bytes | None = None) -> float:
    """The most memory, in MB of 10^6 bytes, that ``sedkit ARGUMENTS`` held in RAM (VmHWM)."""
    if not Path("/proc/self/status").exists():
        raise Unavailable("needs Linux, whose /proc tells what a process held at most")
    log = run([sys.executable, "-c", WATCHED, *arguments], sound=sound).stderr.decode()
    (kibibytes,) = re.findall(r"^VmHWM:\s*(\d+) kB", log, re.MULTILINE)
    return int(kibibytes) * 1024 / 1e6
