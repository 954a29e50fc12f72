"""sedkit.audio.live, with real pipes and a fake of the package sounddevice."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sedkit.audio.live import MAX_QUEUED_BLOCKS, Microphone, Pipe, microphones
from sedkit.errors import ArgumentError, AudioError, DeviceError
from tests.conftest import make_sound

SOUND = make_sound(3, 16_000, seed=3)

SOUNDDEVICE = '''
"""A fake sounddevice with one microphone, which plays a file of float32 samples."""
import threading, types
import numpy as np

SOUND = np.fromfile({sound!r}, np.float32)
DEVICES = [
    {{"index": 0, "name": "Loudspeaker", "max_input_channels": 0, "default_samplerate": 48000.0}},
    {{"index": 1, "name": "Test microphone", "max_input_channels": 2, "default_samplerate": 16000.0}},
]
default = types.SimpleNamespace(device={{"input": 1, "output": 0}})

class PortAudioError(Exception):
    pass

def query_devices(device=None, kind=None):
    if kind is None:
        return DEVICES
    found = [x for x in DEVICES if device in (None, x["index"]) or (isinstance(device, str) and device in x["name"])]
    found = [x for x in found if x["max_input_channels"]]
    if not found:
        raise ValueError(f"No input device matching {{device!r}}")
    return found[0]

class InputStream:
    def __init__(self, device, samplerate, dtype, channels, blocksize, callback, finished_callback):
        if channels == 1:
            raise PortAudioError("Error opening InputStream: Invalid number of channels [PaErrorCode -9998]")
        if samplerate > 192000:
            raise PortAudioError("Error opening InputStream: Invalid sample rate [PaErrorCode -9997]")
        self.callback, self.finished, self.block, self.channels = callback, finished_callback, blocksize, channels

    def start(self):
        threading.Thread(target=self.play, daemon=True).start()

    def play(self):
        buffer = np.empty((self.block, self.channels), np.float32)
        for start in range(0, len(SOUND) - self.block + 1, self.block):
            buffer[:] = SOUND[start : start + self.block, None]
            self.callback(buffer, self.block, None, types.SimpleNamespace(input_overflow=start == 5 * self.block))
            buffer[:] = 9  # PortAudio reuses the buffer
        self.finished()

    def close(self):
        pass
'''


@pytest.fixture
def microphone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``import sounddevice`` find the fake."""
    SOUND.tofile(tmp_path / "sound.f32")
    (tmp_path / "sounddevice.py").write_text(SOUNDDEVICE.format(sound=str(tmp_path / "sound.f32")))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)


@pytest.fixture
def pipe():
    """Return a function that makes a Pipe and writes bytes into it piece by piece."""
    ends, lives = [], []

    def make(content: bytes, *arguments, pause: float = 0.0, pieces: int = 7) -> Pipe:
        reading, writing = os.pipe()
        ends.append(reading)

        def write() -> None:
            with suppress(BrokenPipeError), open(writing, "wb", buffering=0) as file:
                for piece in np.array_split(np.frombuffer(content, np.uint8), pieces):
                    file.write(piece.tobytes())
                    time.sleep(pause)

        threading.Thread(target=write, daemon=True).start()
        lives.append(Pipe(io.FileIO(reading, closefd=False), *arguments))
        return lives[-1]

    yield make
    for live in lives:  # let its thread read to the end: the file descriptor may be reused
        live._free_slots.release(1000)
    for thread in threading.enumerate():
        if thread.name == "sedkit-pipe":
            thread.join(30)
    for end in ends:
        os.close(end)


def all_samples(live) -> np.ndarray:
    with live:
        return np.concatenate(list(live))


@pytest.mark.parametrize(
    ("encoding", "scale"), [("u8", 2.0**7), ("s16le", 2.0**15), ("s32le", 2.0**31), ("f32le", 1.0)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_raw_samples_of_every_encoding(pipe, encoding, scale, channels):
    dtype = {"u8": "u1", "s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}[encoding]
    samples = (SOUND[:15_000].reshape(-1, channels).astype(np.float64) * scale + (128 if dtype == "u1" else 0)).astype(
        dtype
    )
    live = pipe(samples.tobytes() + b"\0" * (channels * samples.itemsize - 1), 8_000, channels, encoding, pieces=97)
    assert (live.name, live.sample_rate, live.endless) == ("-", 8_000, False)
    np.testing.assert_array_equal(all_samples(live), samples)  # the incomplete last sample is dropped


def test_samples_arrive_while_the_pipe_is_open(pipe):
    live = pipe(SOUND.tobytes(), 16_000, 1, "f32le", pause=0.3, pieces=3)
    first = next(iter(live))
    assert 0 < len(first) < len(SOUND) / 2


def test_pipe_blocks_its_writer_if_the_consumer_is_slow(pipe):
    content = np.arange(2_500_000, dtype="<i4")  # 10 MB
    live = pipe(content.tobytes(), 16_000, 1, "s32le")
    time.sleep(0.3)
    assert live._blocks.qsize() <= 64
    np.testing.assert_array_equal(all_samples(live)[:, 0], content)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_32", "PCM_U8"])
@pytest.mark.parametrize("length", ["known", 0, 0xFFFFFFFF, 0x7FFFFFFF - 36])
def test_wav_header(pipe, tmp_path, subtype, length):
    stereo = np.stack([SOUND, -SOUND / 2], axis=1)
    soundfile.write(tmp_path / "sound.wav", stereo, 22_050, subtype=subtype)
    content = bytearray((tmp_path / "sound.wav").read_bytes())
    if length != "known":  # as written by arecord and FFmpeg into a pipe
        at = content.index(b"data") + 4
        content[at : at + 4] = length.to_bytes(4, "little")
    else:
        content += b"LIST\x04\0\0\0abcd" * 100  # a chunk after the samples is not audio
    live = pipe(bytes(content), None)
    assert live.sample_rate == 22_050
    samples = all_samples(live)
    assert samples.shape == stereo.shape
    half = float(np.iinfo(samples.dtype).max) / (2 if samples.dtype.kind == "u" else 1)
    np.testing.assert_allclose(samples / half - (samples.dtype.kind == "u"), stereo, atol=0.02)


def test_invalid_pipe_input(pipe, tmp_path):
    with pytest.raises(AudioError, match="no data came through the pipe"):
        pipe(b"", 16_000)
    with pytest.raises(ArgumentError, match="add --rate"):
        pipe(b"\0" * 100, None)
    soundfile.write(tmp_path / "sound.wav", SOUND, 16_000, subtype="PCM_24")
    with pytest.raises(AudioError, match="24-bit samples"):
        pipe((tmp_path / "sound.wav").read_bytes(), None)
    soundfile.write(tmp_path / "sound.wav", SOUND, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="pipe raw samples instead"):
        pipe((tmp_path / "sound.wav").read_bytes(), None)
    soundfile.write(tmp_path / "sound.wav", SOUND, 16_000)
    with pytest.raises(ArgumentError, match="says 16000; leave --rate out"):
        pipe((tmp_path / "sound.wav").read_bytes(), 44_100)


def test_stop_keeps_the_samples_received(pipe):
    live = pipe(SOUND.tobytes(), 16_000, 1, "f32le", pause=0.2, pieces=10)
    blocks = [next(iter(live))]
    live.stop()
    assert live.stopped
    blocks += list(live)
    samples = np.concatenate(blocks)[:, 0]
    np.testing.assert_array_equal(samples, SOUND[: len(samples)])


@pytest.mark.usefixtures("microphone")
@pytest.mark.parametrize("name", [None, "Test", "1"])
def test_microphone(name):
    live = Microphone(name)
    assert (live.name, live.sample_rate, live.endless) == ("Test microphone", 16_000, True)
    samples = all_samples(live)
    np.testing.assert_array_equal(
        samples, np.stack([SOUND, SOUND], axis=1)
    )  # the fake refuses to open a single channel
    assert live.losses == 1
    assert microphones() == [(1, "Test microphone", 2, 16_000.0, True)]


@pytest.mark.usefixtures("microphone")
def test_microphone_counts_blocks_lost_by_a_slow_consumer():
    live = Microphone(None, 1_600)  # blocks of 160 samples, 300 of them
    with live:
        time.sleep(0.3)
        samples = np.concatenate(list(live))
    assert len(samples) == MAX_QUEUED_BLOCKS * 160
    assert live.losses == 1 + 300 - MAX_QUEUED_BLOCKS


@pytest.mark.usefixtures("microphone")
def test_microphone_errors():
    with pytest.raises(DeviceError, match=r"nosuch: no such microphone .*sedkit listen --list"):
        Microphone("nosuch")
    with pytest.raises(DeviceError, match=r"Test microphone: cannot be opened \(.*sample rate.*--rate"):
        Microphone(None, 1_000_000)
    sys.modules["sounddevice"].DEVICES.pop()
    with pytest.raises(DeviceError, match="this computer has no microphone"):
        Microphone()


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [("ModuleNotFoundError", r"pip install 'sedkit-audio\[listen\]'"), ("OSError", "apt install libportaudio2")],
)
def test_missing_sounddevice_or_portaudio(tmp_path, monkeypatch, fault, remedy):
    (tmp_path / "sounddevice.py").write_text(f"raise {fault}('not here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    for call in (Microphone, microphones):
        with pytest.raises(DeviceError, match=remedy):
            call()


def test_open_pipe_does_not_keep_the_program_running():
    code = (
        "import io; from sedkit.audio.live import Pipe\n"
        "live = Pipe(io.FileIO(0, closefd=False), 16000)\n"
        "print(len(next(iter(live))), flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"\0" * 1000)
        process.stdin.flush()
        assert process.wait(60) == 0
