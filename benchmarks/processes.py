"""Child processes: commands that are timed as a whole, and the memory that they took at most."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Unavailable

SEDKIT = (sys.executable, "-m", "sedkit")

# sedkit's command line, and what the kernel says of the process at its end. The maximum that wait4(2) reports is no
# use: it starts from the size of the parent.
WATCHED = """
import sys
from sedkit.cli import main
try:
    main(sys.argv[1:])
finally:
    print(open("/proc/self/status").read(), file=sys.stderr)
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
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {done.returncode}: {done.stderr.decode()[-500:]}")
    return done


def peak_memory(arguments: Sequence[str | Path], sound: bytes | None = None) -> float:
    """The most memory, in MB of 10^6 bytes, that ``sedkit ARGUMENTS`` held in RAM (VmHWM)."""
    if not Path("/proc/self/status").exists():
        raise Unavailable("needs Linux, whose /proc tells what a process held at most")
    log = run([sys.executable, "-c", WATCHED, *arguments], sound=sound).stderr.decode()
    (kibibytes,) = re.findall(r"^VmHWM:\s*(\d+) kB", log, re.MULTILINE)
    return int(kibibytes) * 1024 / 1e6
