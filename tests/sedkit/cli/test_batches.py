"""Batches of recordings with faults among them: the others come out right, and the faults are listed last."""

from __future__ import annotations

import json
import os
import random
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner, Result

from sedkit.cli import main
from sedkit.formats.reading import read_annotations
from tests.conftest import make_sound
from tests.sedkit.cli.test_inputs import ordinary_user

COMMAND = [sys.executable, "-m", "sedkit"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs named pipes, odd names and users")
ODD_NAMES = (
    b"new\nline.wav",
    b"carriage\rreturn.wav",
    b"invalid \xff\xfe utf-8.wav",
    b"tab\t, comma; \"quotes\" 'both'.wav",
    b"\xf0\x9f\x90\x95 \xe2\x80\xae reversed.wav",
    b" blanks .wav",
    b"-o.wav",
    b"a" * 251 + b".wav",
    b"a" * 250 + b"b.wav",
    "é".encode() * 125 + b"z.wav",
)


def corrupt(number: int) -> bytes:
    """What is left of a recording after one of five accidents; none of it can be decoded."""
    rng = random.Random(number)
    return (b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt ", rng.randbytes(3000), b"\0" * 4096)[number % 5]


def make_batch(folder: Path, count: int) -> tuple[list[str], list[str]]:
    """Write ``count`` recordings, every tenth of them corrupt; the names of the good ones and of the corrupt ones."""
    folder.mkdir()
    for number in range(4):
        soundfile.write(folder.parent / f"{number}.wav", make_sound(0.5 + number / 8, seed=number), 16000)
    good, bad = list[str](), list[str]()
    for number in range(count):
        path = folder / f"{number:04}.wav"
        if number % 10 == 4:
            path.write_bytes(corrupt(number // 10))
            bad.append(str(path))
        else:
            os.link(folder.parent / f"{number % 4}.wav", path)
            good.append(str(path))
    return good, bad


def sedkit(*arguments: str | Path, model: Path, **options: object) -> tuple[int, list[str]]:
    """Exit code and lines of standard error of ``sedkit`` in a process of its own."""
    command = [*COMMAND, *map(os.fsencode, arguments), "--model", model, "--device", "cpu"]
    result = subprocess.run(command, stderr=subprocess.PIPE, timeout=900, **options)  # type: ignore[call-overload]
    return result.returncode, result.stderr.decode("utf-8", "surrogateescape").splitlines()


def in_this_process(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_tenth_of_the_recordings_is_corrupt(tmp_path: Path, model_path: Path, count: int):
    good, bad = make_batch(tmp_path / "clips", count)
    together, alone = ["csv", "tsv", "json", "dcase", "kaleidoscope", "rttm", "raven"], ["audacity", "textgrid", "jams"]
    formats = [argument for name in together + alone for argument in ("-f", name)]
    code, messages = sedkit(
        "timeline", tmp_path / "clips", "-t", "0.3", *formats, "--output-dir", tmp_path / "out", model=model_path
    )
    assert code == 1
    assert messages[-1] == f"sedkit: {len(bad)} of {count} failed"
    assert [line.split(": ")[2] for line in messages[:-1]] == bad, "one line each, in order, and nothing else"
    out = tmp_path / "out"
    expected = events_of(out / "events.json")
    assert list(expected) == good
    assert len({tuple(events) for events in expected.values()}) == 4, "links to one recording have the same events"
    for path in out.iterdir():
        if path.stem == "events" and path.suffix in (".csv", ".tsv"):
            found = {item.file: len(item.events) for item in read_annotations(path)}
            assert found == {name: len(events) for name, events in expected.items() if events}
        elif path.stem != "sedkit":
            read_annotations(path)
    assert len([path for path in out.iterdir() if path.name[:4].isdigit()]) == len(good) * len(alone)


def events_of(path: Path) -> dict[str, list[str]]:
    """The events in a file of JSON lines, as text, by recording."""
    results = [json.loads(line) for line in path.read_text("utf-8", "surrogateescape").splitlines()]
    return {item["file"]: [json.dumps(event) for event in item["events"]] for item in results if "events" in item}


def test_names_that_no_program_expects(tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ODD_NAMES:
        soundfile.write(folder / "plain.wav", make_sound(0.6), 16000)
        os.rename(folder / "plain.wav", os.path.join(os.fsencode(folder), name))
    formats = ("json", "csv", "tsv", "dcase", "kaleidoscope", "audacity")
    arguments = [argument for name in formats for argument in ("-f", name)]
    out = tmp_path / "out"
    code, messages = sedkit("timeline", folder, "-t", "0.1", *arguments, "--output-dir", out, model=model_path)
    assert (code, messages) == (0, [])
    assert len(list(out.glob("*.labels.txt"))) == len(ODD_NAMES)
    results = [json.loads(line) for line in (out / "events.json").read_text().splitlines()]
    assert {os.fsencode(os.path.basename(item["file"])) for item in results} == set(ODD_NAMES)
    for name in ("events.csv", "events.tsv"):
        assert len(read_annotations(out / name)) == len(ODD_NAMES)
    monkeypatch.chdir(folder)
    result = in_this_process("tag", "--model", model_path, "--", *map(os.fsdecode, ODD_NAMES))
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become an ordinary user")
def test_unreadable_folder_and_file(tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch):
    good, _ = make_batch(tmp_path / "clips", 4)
    (tmp_path / "clips" / "locked").mkdir()
    os.link(tmp_path / "0.wav", tmp_path / "clips" / "locked" / "x.wav")
    (tmp_path / "clips" / "locked").chmod(0)
    secret = tmp_path / "clips" / "9.wav"
    soundfile.write(secret, make_sound(1), 16000)
    secret.chmod(0)
    assert in_this_process("tag", good[0], "--model", model_path).exit_code == 0, (
        "imports what an ordinary user may not"
    )
    model = tmp_path / "model.onnx"
    model.write_bytes(model_path.read_bytes())
    modes = {folder: folder.stat().st_mode for folder in (*tmp_path.parents[:-2], tmp_path)}
    monkeypatch.setenv("SEDKIT_CACHE", "off")
    try:
        for path in (*modes, model):
            path.chmod(0o755)
        with ordinary_user():
            result = in_this_process("tag", secret, tmp_path / "clips", "-r", "--model", model, "-f", "json")
    finally:
        for folder, mode in modes.items():
            folder.chmod(mode)
        (tmp_path / "clips" / "locked").chmod(0o755)
    assert result.exit_code == 1
    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == good
    first, second, last = result.stderr.splitlines()
    assert f"{tmp_path / 'clips' / 'locked'}: this folder cannot be read: Permission denied" in first
    assert f"{secret}: " in second
    assert "ermission" in second
    assert last == "sedkit: 2 of 6 failed"


def test_links_in_a_circle_and_what_is_not_a_file(tmp_path: Path, model_path: Path):
    good, _ = make_batch(tmp_path / "clips", 3)
    folder = tmp_path / "clips"
    (folder / "deep").mkdir()
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "self.wav").symlink_to("self.wav")
    (folder / "dangling.wav").symlink_to("nowhere.wav")
    (folder / "zero.wav").symlink_to("/dev/zero")
    (folder / "full.wav").symlink_to("/dev/full")
    os.mkfifo(folder / "pipe.wav")
    with socket.socket(socket.AF_UNIX) as address:
        address.bind(str(folder / "s.wav"))
    output = tmp_path / "x.jsonl"
    result = in_this_process("tag", folder, "--recursive", "-o", output, "--model", model_path)
    messages = result.stderr.splitlines()
    assert result.exit_code == 1
    assert [json.loads(line)["file"] for line in output.read_text().splitlines()] == good
    skipped = [
        line for line in messages if line.endswith("skipped, because it is not a regular file; name it to read from it")
    ]
    assert [Path(line.split(": ")[2]).name for line in skipped] == ["full.wav", "pipe.wav", "s.wav", "zero.wav"]
    assert messages[-1] == "sedkit: 6 of 9 failed"
    assert len(messages) == 7


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))


def test_a_device_that_never_ends_is_refused_when_it_is_named(tmp_path: Path, model_path: Path):
    good, _ = make_batch(tmp_path / "clips", 2)
    output = tmp_path / "x.jsonl"
    code, messages = sedkit("tag", "/dev/zero", *good, "-o", output, model=model_path, preexec_fn=limit_memory)
    assert code == 1
    assert [json.loads(line)["file"] for line in output.read_text().splitlines()] == good
    assert messages[0].startswith("sedkit: error: /dev/zero: ")
    assert len(messages) == 2


@pytest.mark.parametrize("command", ["tag", "timeline"])
def test_a_recording_that_vanishes_and_one_that_grows(
    tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
):
    """Both change after the list of recordings is made: the first before its turn, the second while it is read."""
    good, _ = make_batch(tmp_path / "clips", 4)
    growing, vanishing = tmp_path / "clips" / "growing.wav", tmp_path / "clips" / "vanishing.wav"
    for path in (growing, vanishing):
        soundfile.write(path, make_sound(30), 16000)
    after_listing(monkeypatch, lambda: (vanishing.unlink(), start_growing(growing)))
    output = tmp_path / "x.jsonl"
    result = CliRunner().invoke(
        main, [command, str(tmp_path / "clips"), "--model", str(model_path), "--device", "cpu", "-o", str(output)]
    )
    assert result.exit_code == 1
    found = {item["file"]: item["duration"] for item in map(json.loads, output.read_text().splitlines())}
    assert list(found) == [*good, str(growing)]
    assert 30 <= found[str(growing)] <= 45
    assert result.stderr.splitlines()[-2:] == [
        f"sedkit: error: {vanishing}: no such file; check the path",
        "sedkit: 1 of 6 failed",
    ]


def after_listing(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Call ``change`` when the recordings have been listed and none has been read."""
    from sedkit.cli import batch

    monkeypatch.setattr(batch, "check_recordings", lambda *_: change())


def start_growing(path: Path) -> None:
    """Append to a file for a second, 0.3 s of sound every 20 ms."""

    def grow() -> None:
        with open(path, "ab") as file:
            for _ in range(50):
                file.write(bytes(9600))
                file.flush()
                time.sleep(0.02)

    threading.Thread(target=grow, daemon=True).start()
