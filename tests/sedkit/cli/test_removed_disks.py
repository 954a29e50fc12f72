"""Disks that are removed during a run: one line, an error, and the outputs elsewhere are complete."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile

from tests.conftest import make_sound

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs file systems that can be removed")
COUNT = 4


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts file systems on folders, which it returns."""
    folders = list[Path]()

    def mount(*arguments: str | Path) -> Path:
        folder = tmp_path / f"disk{len(folders)}"
        folder.mkdir()
        if subprocess.run(["mount", *arguments, folder], capture_output=True).returncode:
            pytest.skip("needs the right to mount a file system")
        folders.append(folder)
        return folder

    yield mount
    for folder in reversed(folders):
        subprocess.run(["umount", "--lazy", folder], capture_output=True)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings, and then a named pipe, with which a run waits for the test."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(COUNT):
        soundfile.write(folder / f"{number}.wav", make_sound(1.5, seed=number), 16000)
    os.mkfifo(folder / "pipe.wav")
    return folder


def run_until(removed: Callable[[], None], clips: Path, model: Path, journal: Path, *options: str | Path):
    """A run during which a disk is removed, after some results are in the journal: exit code, messages."""
    command = [sys.executable, "-m", "sedkit", "timeline", *sorted(clips.glob("?.wav")), clips / "pipe.wav"]
    process = subprocess.Popen(
        [*command, "-t", "0.1", "--model", model, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (journal.exists() and b'"3.wav"' in journal.read_bytes().replace(os.fsencode(clips) + b"/", b"")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    removed()
    with open(clips / "pipe.wav", "wb") as pipe:
        pipe.write((clips / "0.wav").read_bytes())
    output, errors = process.communicate(timeout=120)
    assert not output
    return process.returncode, errors.splitlines()


@pytest.mark.parametrize(
    ("options", "name", "journal"),
    [
        (["-o", "x.csv"], "x.csv", "x.csv.journal"),
        (["-o", "x.csv", "--resume"], "x.csv", "x.csv.journal"),
        (["-o", "folder/x.csv"], "folder/x.csv", "folder/x.csv.journal"),
        (["-f", "csv", "-f", "audacity", "--output-dir", "folder"], "folder/sedkit", "folder/sedkit.journal"),
    ],
)
def test_an_unmounted_disk_gets_no_substitute(mount, clips, model_path, options, name, journal):
    """Otherwise the files would lie below the mount point, where nobody finds them when the disk is back."""
    disk = mount("-t", "tmpfs", "tmpfs")
    (disk / "folder").mkdir()
    options = [
        option if option.startswith("-") or option in ("csv", "audacity") else disk / option for option in options
    ]
    code, messages = run_until(
        lambda: subprocess.run(["umount", "--lazy", disk], check=True), clips, model_path, disk / journal, *options
    )
    assert code == 1
    assert messages == [f"sedkit: error: {disk / name}: not written, because its folder or its disk was removed"]
    assert not list(disk.iterdir())


@pytest.mark.parametrize("first", ["disk", "here"])
def test_outputs_on_other_disks_are_complete(mount, tmp_path, clips, model_path, first):
    disk = mount("-t", "tmpfs", "tmpfs")
    outputs = [disk / "x.csv", tmp_path / "here.csv"]
    if first == "here":
        outputs.reverse()
    journal = outputs[0].with_name(outputs[0].name + ".journal")
    code, messages = run_until(
        lambda: subprocess.run(["umount", "--lazy", disk], check=True),
        *(clips, model_path, journal, "-o", outputs[0], "-o", outputs[1]),
    )
    assert code == 1
    assert messages[-1] == f"sedkit: error: {disk / 'x.csv'}: not written, because its folder or its disk was removed"
    assert len(messages) == (2 if first == "here" else 1)  # the journal is on the disk of the first one
    assert "pipe.wav" in (tmp_path / "here.csv").read_text()
    assert not list(disk.iterdir())
