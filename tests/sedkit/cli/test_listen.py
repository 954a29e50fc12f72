"""``sedkit listen``: as a process that reads a pipe or a file."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sedkit.audio.pipe import Pipe
from sedkit.cli import listen, live_source, main
from sedkit.errors import AudioError
from tests.conftest import make_sound
from tests.sedkit.audio.piping import encode
from tests.sedkit.audio.test_microphone import microphone  # noqa: F401
from tests.sedkit.cli.test_process import posix

RATE = 16_000
SOUND = (make_sound(9.7, RATE, seed=11) * 32767).astype("<i2")


class ListenProcess:
    """A running ``sedkit listen``, fed through a pipe unless `stdin` is something else."""

    def __init__(self, model: Path, *arguments: str, source: str | None = "-", stdin: int | IO[bytes] | None) -> None:
        command = [sys.executable, "-m", "sedkit", "listen", "--model", model, "--device", "cpu", *arguments]
        command += [source] if source else []
        pipe = subprocess.PIPE
        stdin = pipe if stdin is None else stdin
        self.process = subprocess.Popen([*map(str, command)], stdin=stdin, stdout=pipe, stderr=pipe)

    def send(self, samples: np.ndarray) -> None:
        self.process.stdin.write(samples.tobytes())
        self.process.stdin.flush()

    def read_until(self, kind: str, **fields: float) -> list[dict]:
        """Read records up to the first of this type with these fields; returns all of them."""
        records = []
        for line in self.process.stdout:
            records.append(json.loads(line))
            if records[-1]["type"] == kind and all(records[-1][name] == value for name, value in fields.items()):
                return records
        raise AssertionError(f"no {kind} {fields}: {self.process.stderr.read().decode()}")

    def read_rest(self) -> list[dict]:
        return [json.loads(line) for line in self.process.stdout]

    def wait(self) -> tuple[int, str]:
        code = self.process.wait(60)
        if self.process.stdin:
            self.process.stdin.close()
        self.process.stdout.close()
        with self.process.stderr as errors:
            return code, errors.read().decode()


@pytest.fixture
def listening(model_path):
    started = []

    def start(*arguments: str, source: str | None = "-", stdin: int | IO[bytes] | None = None) -> ListenProcess:
        started.append(ListenProcess(model_path, *arguments, source=source, stdin=stdin))
        return started[-1]

    yield start
    for listening in started:
        listening.process.kill()
        listening.process.wait()
        for stream in (listening.process.stdin, listening.process.stdout, listening.process.stderr):
            with suppress(BrokenPipeError):  # samples that were not flushed
                if stream:
                    stream.close()


def of_type(records: list[dict], kind: str) -> list[dict]:
    return [
        {name: value for name, value in record.items() if name != "type"}
        for record in records
        if record["type"] == kind
    ]


def assert_close(found: list[dict], expected: list[dict]) -> None:
    """Assert that records are equal, except for the last of the four digits of scores."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        tags, others = one.pop("tags", []), other.pop("tags", [])
        assert one == {**other, "score": pytest.approx(other["score"], abs=2e-4)} if "score" in other else one == other
        assert {tag["label"]: tag["score"] for tag in tags} == {
            tag["label"]: pytest.approx(tag["score"], abs=2e-4) for tag in others
        }


def test_records_arrive_while_the_pipe_is_open_and_equal_the_timeline(listening, tagger):
    live = listening("--rate", "16000", "--threshold", "0.4")
    live.send(SOUND[: 6 * RATE])
    records = live.read_until("second", end=4.0)  # 6 s of sound decide 4 s of cells, which depend on up to 2 s more
    assert live.process.poll() is None
    live.send(SOUND[6 * RATE :])
    live.process.stdin.close()
    records += live.read_rest()
    assert live.wait() == (0, "")
    assert records[0].items() >= {"type": "start", "source": "-", "sample_rate": 16_000, "resolution": 1.0}.items()
    whole = tagger.timeline(SOUND, RATE, threshold=0.4).to_dict()
    assert_close(of_type(records, "second"), whole["seconds"])
    events = sorted(of_type(records, "event"), key=lambda event: (event["onset"], event["label"]))
    assert_close(events, sorted(whole["events"], key=lambda event: (event["onset"], event["label"])))


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_source_and_prints_open_events(listening, tagger, number):
    live = listening("--rate", "16000", "--threshold", "0", "--classes", "Dog,Siren")
    live.send(SOUND[: 4 * RATE])
    records = live.read_until("second", end=1.0)
    live.process.send_signal(number)
    records += live.read_rest()
    assert live.wait() == (0, "")
    end = of_type(records, "second")[-1]["end"]  # of the sound that had been read
    assert 1.0 < end <= 4.0
    whole = tagger.timeline(SOUND[: round(end * RATE)], RATE, threshold=0, classes=["Dog", "Siren"]).to_dict()
    assert_close(of_type(records, "event"), whole["events"])


@pytest.mark.parametrize("source", ["-", None])
@pytest.mark.parametrize(("kind", "codec"), [("wav", "pcm_s24le"), ("flac", "flac"), ("matroska", "pcm_s16le")])
def test_encoded_sound_through_a_pipe_equals_the_timeline(listening, tagger, source, kind, codec):
    live = listening("--threshold", "0.4", source=source)
    live.process.stdin.write(encode(kind, codec, SOUND / 32767))
    live.process.stdin.close()
    records = live.read_rest()
    assert live.wait() == (0, "")
    assert (records[0]["source"], records[0]["sample_rate"]) == ("-", RATE)
    assert_close(of_type(records, "second"), tagger.timeline(SOUND, RATE, threshold=0.4).to_dict()["seconds"])


def test_records_arrive_while_a_wav_file_is_piped(listening):
    live = listening()
    content = encode("wav", "pcm_s16le", SOUND / 32767)
    live.process.stdin.write(content[: 44 + 2 * 6 * RATE])
    live.process.stdin.flush()
    live.read_until("second", end=3.0)
    assert live.process.poll() is None
    live.process.stdin.close()
    assert of_type(live.read_rest(), "second")[-1]["end"] == pytest.approx(6.0, abs=0.01)
    assert live.wait() == (0, "")


@pytest.mark.parametrize("how", ["argument", "redirected", "raw"])
def test_file_is_analysed_like_live_sound(listening, tagger, tmp_path, how):
    path = tmp_path / "sound.wav"
    soundfile.write(path, SOUND, RATE, subtype="PCM_16")
    if how == "raw":
        SOUND.tofile(tmp_path / "sound")
        live = listening("--threshold", "0.4", "--rate", "16000", source=str(tmp_path / "sound"))
    elif how == "argument":
        live = listening("--threshold", "0.4", source=str(path))
    else:
        with path.open("rb") as file:
            live = listening("--threshold", "0.4", source=None, stdin=file)
    records = live.read_rest()
    assert live.wait() == (0, "")
    assert Path(records[0]["source"]).stem == {"argument": "sound", "redirected": "-", "raw": "sound"}[how]
    assert repr(records[0]["sample_rate"]) == "16000.0"
    whole = tagger.timeline(SOUND, RATE, threshold=0.4).to_dict()
    assert_close(of_type(records, "second"), whole["seconds"])
    events = sorted(of_type(records, "event"), key=lambda event: (event["onset"], event["label"]))
    assert_close(events, sorted(whole["events"], key=lambda event: (event["onset"], event["label"])))


@posix
def test_named_pipe(listening, tmp_path):
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    live = listening(source=path)
    with open(path, "wb") as pipe:
        pipe.write(encode("wav", "pcm_s16le", SOUND / 32767))
    records = live.read_rest()
    assert live.wait() == (0, "")
    assert records[0]["source"] == path
    assert of_type(records, "second")[-1]["end"] == pytest.approx(9.7, abs=0.01)


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs Linux")
@pytest.mark.parametrize("arguments", [[], ["--rate", "16000"]])
def test_read_error_is_one_line_and_exit_code_1(listening, arguments):
    with open("/proc/self/mem", "rb", buffering=0) as unreadable:
        live = listening(*arguments, stdin=unreadable)
    assert live.read_rest() == []
    remedy = "check the program or the device that feeds it"
    assert live.wait() == (1, f"sedkit: error: -: reading failed (Input/output error); {remedy}\n")


@posix
def test_non_blocking_pipe_is_read_to_its_end(listening):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    live = listening("--rate", "16000", stdin=reading)
    os.close(reading)
    with open(writing, "wb", buffering=0) as pipe:
        pipe.write(SOUND[: 3 * RATE // 2].tobytes())
        records = live.read_until("start")
        pipe.write(SOUND[3 * RATE // 2 : 3 * RATE].tobytes())
    records += live.read_rest()
    assert of_type(records, "second")[-1]["end"] == 3.0
    assert live.wait() == (0, "")


@posix
def test_closed_standard_output_exits_with_141(listening):
    live = listening("--rate", "16000")
    live.send(SOUND[: 4 * RATE])
    live.read_until("second", end=1.0)
    live.process.stdout.close()
    with suppress(BrokenPipeError):  # it may have ended already
        live.send(SOUND[4 * RATE :])
    assert live.process.wait(60) == 141
    assert live.process.stderr.read() == b""


def test_text_without_a_terminal_has_one_line_per_event(listening, tagger):
    live = listening("--rate", "16000", "--format", "text", "--threshold", "0.4")
    live.send(SOUND)
    live.process.stdin.close()
    lines = live.process.stdout.read().decode().splitlines()
    assert live.wait() == (0, "")
    onsets, events = ([line for line in lines if f" - {end}" in line] for end in ("...", "0:00:0"))
    assert len(onsets) + len(events) == len(lines)
    assert len(events) == len(tagger.timeline(SOUND, RATE, threshold=0.4).events)
    assert all(line.startswith("0:00:0") for line in lines)
    told = {(line[:10], line[25:].split("  ")[0]) for line in onsets}
    assert told
    assert told <= {(line[:10], line[25:].split("  ")[0]) for line in events}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "the sample rate of raw samples is unknown; add --rate"),
        (["--rate", "16000", "--classes", "Dgo"], 2, "did you mean Dog?"),
        (["--rate", "16000", "--encoding", "mp3"], 2, "not one of u8, s16le, s32le, f32le"),
    ],
)
@pytest.mark.parametrize("source", ["-", None])
def test_wrong_usage_is_a_one_line_error(listening, arguments, code, message, source):
    live = listening(*arguments, source=source)
    live.process.stdin.write(b"\0" * 8)
    live.process.stdin.close()
    found, text = live.wait()
    assert found == code
    assert message in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("nosuch.wav", 1, "nosuch.wav: no such file; check the path"),
        ("./nosuch", 1, "./nosuch: no such file; check the path"),
        ("./", 2, "./: is a folder; analyse its files with sedkit timeline ./"),
        ("file:///etc/passwd", 2, "file is not supported; these are: rtsp, rtsps, http"),
        ("rtsp://me:secret@127.0.0.1:9/1", 1, "rtsp://127.0.0.1:9/1: cannot be opened (Connection refused); check"),
    ],
)
def test_path_that_cannot_be_read(model_path, source, code, message):
    result = CliRunner().invoke(main, ["listen", source, "-m", str(model_path), "--device", "cpu"])
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr


def test_a_folder_is_no_microphone(model_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("recordings", "2024"):
        (tmp_path / name).mkdir()
        result = CliRunner().invoke(main, ["listen", name, "-m", str(model_path), "--device", "cpu"])
        assert (result.exit_code, result.stdout) == (2, "")
        message = f"{name}: is a folder; analyse its files with sedkit timeline {name}"
        assert result.stderr == f"sedkit: error: {message}\n"


def test_broken_pipe_shows_what_came_before(model_path, tmp_path, monkeypatch):
    """The error comes after the cells and events of the sound before it."""

    class Failing(Pipe):
        def __iter__(self):
            yield from super().__iter__()
            raise AudioError("-: reading failed (Input/output error); check")

    SOUND[: 2 * RATE].tofile(tmp_path / "sound")
    monkeypatch.setattr(listen, "open_source", lambda *_: Failing(io.FileIO(tmp_path / "sound"), RATE))
    result = CliRunner().invoke(main, ["listen", "-m", str(model_path), "--device", "cpu"])
    assert result.exit_code == 1
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert of_type(records, "second")[-1]["end"] == 2.0
    assert result.stderr == "sedkit: error: -: reading failed (Input/output error); check\n"


def test_damaged_sound_is_a_notice(model_path, tmp_path, monkeypatch):
    SOUND[: 4 * RATE].tofile(tmp_path / "sound")
    live = Pipe(io.FileIO(tmp_path / "sound"), RATE)
    live._input.damages = 1
    monkeypatch.setattr(listen, "open_source", lambda *_: live)
    result = CliRunner().invoke(main, ["listen", "-m", str(model_path), "--device", "cpu"])
    assert result.exit_code == 0
    assert result.stderr == "sedkit: -: damaged near 0:00:01; what could not be decoded was left out\n"


@pytest.mark.parametrize("how", ["argument", "redirected"])
def test_channels_that_cancel_each_other_are_a_notice(listening, tmp_path, how):
    soundfile.write(tmp_path / "sound.flac", np.stack([SOUND, -SOUND], axis=1), RATE)
    with open(tmp_path / "sound.flac", "rb") as file:
        live = listening(source=str(tmp_path / "sound.flac") if how == "argument" else None, stdin=file)
    live.read_rest()
    code, text = live.wait()
    assert code == 0
    assert len(text.splitlines()) == 1
    assert text.startswith(f"sedkit: {tmp_path / 'sound.flac' if how == 'argument' else '-'}: the channels cancel")


def test_idle_standard_input_is_a_notice(monkeypatch, capsys):
    monkeypatch.setattr(live_source, "PATIENCE", 0.0)
    with live_source.waiting_notice():
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()
    assert "waiting for audio from standard input" in capsys.readouterr().err


@posix
def test_null_device_is_not_taken_for_a_pipe(monkeypatch):
    """Under a service manager, cron and nohup, the microphone is meant."""
    with open(os.devnull) as null:
        monkeypatch.setattr(sys, "stdin", null)
        assert not live_source.stdin_is_fed()
    with open(__file__) as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert live_source.stdin_is_fed()
    monkeypatch.setattr(sys, "stdin", None)
    assert not live_source.stdin_is_fed()
