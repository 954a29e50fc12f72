"""Peak memory does not grow with the length of a recording."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import make_sound

PROGRAM = """
import sys
from sedkit.cli import main
code = main(sys.argv[1:], standalone_mode=False)
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(peak, file=sys.stderr)
sys.exit(code)
"""
TOLERANCE = 16.0  # MB; 15 minutes more of decoded audio are 58 MB

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see peak memory")


def peak(minutes: int, *arguments: str | Path) -> float:
    """Peak memory in MB of ``sedkit`` while it reads a recording of this length from a pipe."""
    minute = (make_sound(60, seed=1) * 32767).astype("<i2").tobytes()
    header = io.BytesIO()
    soundfile.write(header, np.zeros(0, np.int16), 16_000, format="WAV")
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:

        def write() -> None:
            with suppress(BrokenPipeError), process.stdin as pipe:
                pipe.write(header.getvalue()[:-4] + b"\xff\xff\xff\xff")  # unknown length
                for _ in range(minutes):
                    pipe.write(minute)

        writer = threading.Thread(target=write)
        writer.start()
        errors = process.stderr.read().decode()
        writer.join()
        assert process.wait() == 0, errors
    return int(errors) / 1024


@pytest.mark.parametrize("command", ["tag", "timeline"])
@pytest.mark.slow
def test_twenty_minutes_take_no_more_memory_than_five(model_path, command):
    arguments = [command, "-", "--model", model_path, "--device", "cpu", "--format", "json"]
    assert peak(20, *arguments) < peak(5, *arguments) + TOLERANCE
