"""Disks that are full or read-only, and limits on files and memory: one line, and no result is lost."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile

from tests.conftest import make_sound

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs tmpfs and limits of processes")
COUNT = 40


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    soundfile.write(folder / "00.wav", make_sound(1.5), 16000)
    for number in range(1, COUNT):
        os.link(folder / "00.wav", folder / f"{number:02}.wav")
    return folder


def timeline(
    clips: Path, model: Path, output: Path, *options: str, limits: Callable[[], None] | None = None
) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "sedkit", "timeline", clips, "-t", "0.1", "--model", model, "-o", output, *options]
    result = subprocess.run(command, preexec_fn=limits, stderr=subprocess.PIPE, text=True, timeout=300)
    return result.returncode, result.stderr.splitlines()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB, too small for the results."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk(clips: Path, model_path: Path, small_disk: Path, tmp_path: Path):
    output = small_disk / "x.jsonl"
    output.write_text("old")
    code, messages = timeline(clips, model_path, output)
    assert code == 1
    assert (
        messages[-1].replace(".journal", "") == f"sedkit: error: {output}: cannot be written: No space left on device"
    )
    assert len(messages) == 2
    assert "--resume continues from there" in messages[0]
    assert output.read_text() == "old"
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert timeline(clips, model_path, output, "--resume")[0] == 0
    assert timeline(clips, model_path, tmp_path / "quiet.jsonl") == (0, [])
    assert output.read_bytes() == (tmp_path / "quiet.jsonl").read_bytes()


def test_clips_on_a_full_disk_do_not_blame_the_recording(clips: Path, model_path: Path, small_disk: Path):
    command = [sys.executable, "-m", "sedkit", "extract", clips / "00.wav", "-t", "0.1", "--model", model_path]
    result = subprocess.run([*command, "-o", small_disk / "clips"], stderr=subprocess.PIPE, text=True, timeout=300)
    assert result.returncode == 1
    assert "cannot be written: System error; make room" in result.stderr
    assert "damaged" not in result.stderr


def test_a_read_only_disk(clips: Path, model_path: Path, small_disk: Path):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    output = small_disk / "x.csv"
    code, messages = timeline(clips, model_path, output)
    assert (code, messages) == (1, [f"sedkit: error: {output}: cannot be written: Read-only file system"])


def test_64_open_files_are_enough(clips: Path, model_path: Path, tmp_path: Path):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    output = tmp_path / "x.jsonl"
    assert timeline(clips, model_path, output, "--jobs", "4", limits=limit) == (0, [])
    assert len(output.read_text().splitlines()) == COUNT


@pytest.mark.parametrize("megabytes", [700, *(pytest.param(size, marks=pytest.mark.slow) for size in (300, 500, 1500))])
def test_too_little_memory_is_an_error_or_enough(clips: Path, model_path: Path, tmp_path: Path, megabytes: int):
    """Of addresses, which the libraries reserve by the hundred megabytes. A library may also end the process."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    output = tmp_path / "x.jsonl"
    output.write_text("old")
    code, messages = timeline(clips, model_path, output, limits=limit)
    if code == 0:
        assert len(output.read_text().splitlines()) == COUNT
    else:
        assert messages
        assert output.read_text() == "old" or all(json.loads(line)["file"] for line in output.read_text().splitlines())
