"""Long recordings, many recordings and long listening, at flat memory, handles and threads. By hand: ``-m slow``."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

from tests.conftest import make_sound

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
# Reduced sizes for a try: SEDKIT_ENDURANCE=0.02 python -m pytest -m slow tests/sedkit/cli/test_endurance.py -s
SHARE = float(os.environ.get("SEDKIT_ENDURANCE", "1"))
RATE = 16_000
GROWTH = 30.0  # MB that memory may grow by between the first quarter of a run and its end


class Sample(NamedTuple):
    """What a process holds: resident memory in MB, open files, threads."""

    memory: float
    files: int
    threads: int


class Watch:
    """Samples a process every 50 ms until it ends."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process, self.samples = process, list[Sample]()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        folder = Path("/proc", str(self.process.pid))
        while self.process.poll() is None:
            try:
                status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
                memory = int(status["VmRSS"].split()[0]) / 1000
                self.samples.append(Sample(memory, len(os.listdir(folder / "fd")), int(status["Threads"])))
            except (KeyError, OSError):
                return
            time.sleep(0.05)

    def check_flat(self, what: str) -> None:
        """Compare the second quarter of the run with the last."""
        self.thread.join(60)
        assert len(self.samples) >= 12, "too short to tell"
        quarter = len(self.samples) // 4
        early, late = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        before, after = (Sample(*map(max, zip(*each, strict=True))) for each in (early, late))
        print(f"\n{what}: {before} in the second quarter, {after} in the last")
        assert after.memory <= before.memory + GROWTH
        assert after.files <= before.files + 2
        assert after.threads <= before.threads + 2


def start(model: Path, *arguments: str | Path, **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sedkit", *map(str, arguments), "--model", str(model), "--device", "cpu"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "busy"])
def test_a_recording_of_a_day(tmp_path: Path, model_path: Path, silent: bool):
    """Three seconds of sound every twelve; or a sparse file of silence, with sound at both ends and in the middle."""
    seconds = round(24 * 3600 * SHARE)
    sound = (make_sound(3, RATE) * 32767).astype("<i2").tobytes()
    size = seconds * RATE * 2
    path = tmp_path / "day.wav"
    with open(path, "wb") as file:
        file.write(struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16, b"data", size))  # fmt: skip  # noqa: E501
        for start_at in (0, size // 4 * 2, size - len(sound)) if silent else range(0, size, 4 * len(sound)):
            file.seek(44 + start_at)
            file.write(sound[: size - start_at])
        file.truncate(44 + size)
    output = tmp_path / "x.jsonl"
    process = start(model_path, "timeline", path, "-t", "0.3", "-o", output)
    watch = Watch(process)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"")
    (result,) = map(json.loads, output.read_text().splitlines())
    assert result["duration"] == seconds
    assert len(result["seconds"]) == seconds
    assert result["events"]
    watch.check_flat(f"a recording of {seconds / 3600:.2f} hours with {len(result['events'])} events")


def test_a_hundred_thousand_recordings(tmp_path: Path, model_path: Path):
    count = round(100_000 * SHARE)
    folder = tmp_path / "clips"
    for number in range(8):
        soundfile.write(tmp_path / f"{number}.wav", make_sound(1 + number / 8, seed=number), RATE)
    for number in range(count):
        if number % 1000 == 0:
            (folder / f"{number:06}").mkdir(parents=True)
        os.link(tmp_path / f"{number % 8}.wav", folder / f"{number // 1000 * 1000:06}" / f"{number:06}.wav")
    output = tmp_path / "x.tsv"
    process = start(model_path, "tag", folder, "--recursive", "-t", "0.3", "-o", output)
    watch = Watch(process)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"")
    found: dict[str, list[str]] = {}
    for line in output.read_text().splitlines()[1:]:
        name, tag = line.split("\t", 1)
        found.setdefault(name, []).append(tag)
    assert len({(int(Path(name).stem) % 8, tuple(tags)) for name, tags in found.items()}) <= 8
    assert len(found) % (count // 8) == 0
    watch.check_flat(f"{count} recordings")


def test_listening_for_six_hours(tmp_path: Path, model_path: Path):
    """Through a pipe, as fast as it is read, in blocks of odd lengths; every ten minutes a block is lost."""
    seconds = round(6 * 3600 * SHARE)
    sound = (make_sound(60, RATE, seed=5) * 32767).astype("<i2")
    rng = np.random.default_rng(0)
    output = tmp_path / "events.jsonl"
    with open(output, "wb") as file:
        arguments = ("listen", "--rate", str(RATE), "-t", "0.3", "-")
        process = start(model_path, *arguments, stdin=subprocess.PIPE, stdout=file)
        watch = Watch(process)
        sent = losses = 0
        while sent < seconds * RATE:
            block = int(rng.integers(1, 8000))
            if sent // (600 * RATE) != (sent + block) // (600 * RATE):
                losses += 1  # the receiver cannot know; what follows comes earlier
            else:
                at = sent % (len(sound) - 8000)
                process.stdin.write(sound[at : at + block].tobytes())
            sent += block
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert losses == seconds // 600
    records = [json.loads(line) for line in output.read_text().splitlines()]
    ends = [record["end"] for record in records if record["type"] == "second"]
    assert ends == sorted(ends)
    assert ends[-1] == pytest.approx(seconds, abs=losses * 0.5 + 1)
    assert any(record["type"] == "event" for record in records)
    watch.check_flat(f"listening for {seconds / 3600:.2f} hours")
