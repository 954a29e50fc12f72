"""Sources of live audio, with real pipes and a fake of the package sounddevice."""

from __future__ import annotations

import errno
import gc
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

import av
import numpy as np
import pytest
import soundfile

from sedkit.audio import pipe as pipe_module
from sedkit.audio.ffmpeg import frame_samples
from sedkit.audio.live import LiveAudio, Recording
from sedkit.audio.microphone import MAX_QUEUED_BLOCKS, Microphone, microphones
from sedkit.audio.pipe import MAX_QUEUED_READS, Pipe
from sedkit.audio.reading import open_audio, open_blocks
from sedkit.errors import ArgumentError, AudioError, DeviceError
from tests.conftest import make_sound
from tests.sedkit.audio.encoding import Audio, write

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


def encode(kind: str, codec: str, sound: np.ndarray = SOUND, rate: int = 16_000, channels: int = 1) -> bytes:
    """A file as a program writes it into a pipe: without seeking back to fill in lengths."""
    buffer = io.BytesIO()

    class Writer:
        def write(self, data: bytes) -> int:
            return buffer.write(data)

    options = {"movflags": "frag_keyframe+empty_moov"} if kind == "mp4" else {}
    layout = "stereo" if channels == 2 else "mono"
    with av.open(Writer(), "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        for start in range(0, len(sound), 1600):
            block = np.repeat((sound[start : start + 1600] * 32767).astype(np.int16), channels)
            frame = av.AudioFrame.from_ndarray(block[None], format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another thread; a minute is for a loaded machine."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sedkit-pipe"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    wait_until(lambda: not readers())


class Writer:
    """The end of a pipe into which another program writes; a thread of its own writes, since a pipe holds 64 kB."""

    def __init__(self, number: int) -> None:
        self.number, self.data = number, SimpleQueue[bytes | None]()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        with suppress(BrokenPipeError), open(self.number, "wb", buffering=0) as file:
            while (data := self.data.get()) is not None:
                while data:
                    data = data[file.write(data) :]

    def write(self, data: bytes) -> None:
        self.data.put(data)

    def close(self) -> None:
        self.data.put(None)


@pytest.fixture
def open_pipe():
    """Return a function that makes an operating system's pipe: the file to read and its :class:`Writer`."""
    writers = []

    def make() -> tuple[io.FileIO, Writer]:
        reading, writing = os.pipe()
        writers.append(Writer(writing))
        return io.FileIO(reading), writers[-1]

    yield make
    for writer in writers:
        writer.close()
        writer.thread.join(60)


@pytest.fixture
def pipe(open_pipe):
    """Return a function that makes a Pipe and writes bytes into it piece by piece."""
    lives = []

    def make(content: bytes, *arguments, pieces: int = 7) -> Pipe:
        reading, writer = open_pipe()
        for piece in np.array_split(np.frombuffer(content, np.uint8), pieces):
            writer.write(piece.tobytes())
        writer.close()
        lives.append(Pipe(reading, *arguments))
        return lives[-1]

    yield make
    for live in lives:
        live.close()


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


def test_raw_samples_arrive_while_the_pipe_is_open(open_pipe):
    reading, writer = open_pipe()
    writer.write(SOUND[:100].tobytes())
    with Pipe(reading, 16_000, 1, "f32le") as live:
        np.testing.assert_array_equal(next(iter(live))[:, 0], SOUND[:100])
        writer.write(SOUND[100:150].tobytes())
        np.testing.assert_array_equal(next(iter(live))[:, 0], SOUND[100:150])
        writer.close()
        assert list(live) == []


@pytest.mark.parametrize(
    ("kind", "codec", "seconds"),
    [
        ("wav", "pcm_s16le", 2.3),  # FFmpeg reads 64 kB of PCM before it decides that this is not S/PDIF
        ("wav", "pcm_f32le", 1.0),
        ("flac", "flac", 1.3),
        ("ogg", "libopus", 1.5),
        ("mp3", "libmp3lame", 1.2),
        ("adts", "aac", 1.0),
        ("mp4", "aac", 0.6),
        ("mpegts", "aac", 0.6),
        ("matroska", "libopus", 0.6),
    ],
)
def test_decoded_samples_arrive_while_the_pipe_is_open(open_pipe, kind, codec, seconds):
    """The first sound comes after this much sound at most; then another second of sound lets out another second."""
    sound = np.tile(make_sound(2, 16_000, seed=5), 3)
    content = encode(kind, codec, sound)
    second = len(content) / 6
    reading, writer = open_pipe()
    writer.write(content[: int(seconds * second)])
    received = 0
    with Pipe(reading, None) as live:
        assert live.sample_rate in (16_000, 48_000)  # Opus always decodes to 48 kHz
        for end in (seconds, seconds + 1, seconds + 2):
            writer.write(content[int((end - 1) * second) if end > seconds else int(end * second) : int(end * second)])
            while received < (end - 1.1) * live.sample_rate:
                received += len(next(iter(live)))
            assert received <= (end + 0.3) * live.sample_rate
        writer.write(content[int(end * second) :])
        writer.close()
        received += sum(map(len, live))
    assert received / live.sample_rate == pytest.approx(6, abs=0.15)


@pytest.mark.parametrize("kind", ["raw", "wav"])
def test_pipe_blocks_its_writer_if_the_consumer_is_slow(pipe, kind):
    content = np.arange(10_000_000, dtype="<i4")[::4]
    data = content.tobytes()
    if kind == "wav":
        buffer = io.BytesIO()
        soundfile.write(buffer, content, 16_000, subtype="PCM_32", format="WAV")
        data = buffer.getvalue()
    live = pipe(data, 16_000, 1, "s32le")
    wait_until(lambda: live._blocks.qsize() == MAX_QUEUED_READS)
    samples = all_samples(live)[:, 0]
    if kind == "wav":
        samples = samples.astype(np.float64) * 2.0**31
    np.testing.assert_allclose(samples, content, rtol=2e-7)


WAV_LENGTHS = ["known", 0, 0xFFFFFFFF, 0x7FFFFFFF - 36]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE", "ULAW"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
@pytest.mark.parametrize("length", WAV_LENGTHS)
def test_wav_header(pipe, kind, subtype, length):
    stereo, buffer = np.stack([SOUND, -SOUND / 2], axis=1), io.BytesIO()
    soundfile.write(buffer, stereo, 22_050, subtype=subtype, format=kind)
    content = bytearray(buffer.getvalue())
    at = content.index(b"data") + 4
    if length == "known":
        content += b"LIST\x04\0\0\0abcd" * 100  # a chunk after the samples is not audio
    else:  # as written by arecord, FFmpeg and GStreamer into a pipe
        content[at : at + 4] = length.to_bytes(4, "little")
        content[4:8] = (length + 36 if 0 < length < 0x7FFFFFFF else length).to_bytes(4, "little")
        end = at + 4 + 2 * len(SOUND) * (np.dtype(np.float64).itemsize if subtype == "DOUBLE" else 1)
        del content[max(end, len(content)) :]
    live = pipe(bytes(content), None)
    assert (live.sample_rate, live.damages) == (22_050, 0)
    samples = all_samples(live)
    np.testing.assert_allclose(samples, stereo, atol=0.02)


def test_wav_that_is_longer_than_its_writer_thought(pipe):
    """arecord declares 2 GB, and a recorder of days writes more."""
    buffer = io.BytesIO()
    soundfile.write(buffer, SOUND, 16_000, format="WAV")
    content = bytearray(buffer.getvalue())
    content[4:8] = (0x7FFFFFFF).to_bytes(4, "little")
    at = content.index(b"data") + 4
    content[at : at + 4] = (1000).to_bytes(4, "little")  # instead of 2 GB
    assert len(all_samples(pipe(bytes(content), None))) == len(SOUND)


SOUNDFILE_KINDS = [("RF64", "PCM_16"), ("RF64", "PCM_24"), ("W64", "PCM_16"), ("AIFF", "PCM_24"), ("AU", "FLOAT")]
SOUNDFILE_KINDS += [("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]


@pytest.mark.parametrize("rate", [None, 16_000])
@pytest.mark.parametrize(("kind", "subtype"), SOUNDFILE_KINDS)
def test_files_of_libsndfile_are_recognised(pipe, kind, subtype, rate):
    buffer = io.BytesIO()
    soundfile.write(buffer, SOUND, 16_000, format=kind, subtype=subtype)
    samples = all_samples(pipe(buffer.getvalue(), rate))[:, 0]
    assert len(samples) == pytest.approx(len(SOUND), abs=2000)
    if kind not in ("MP3", "OGG"):
        np.testing.assert_allclose(samples, SOUND, atol=1e-4)
    assert 0.5 < np.std(samples) / np.std(SOUND) < 2


@pytest.mark.parametrize("rate", [None, 16_000])
@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("wav", "pcm_s24le"),
        ("flac", "flac"),
        ("mp3", "libmp3lame"),
        ("adts", "aac"),
        ("mp4", "aac"),
        ("mpegts", "aac"),
        ("matroska", "pcm_s16le"),
        ("caf", "pcm_s16le"),
        ("nut", "pcm_s16le"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_streams_of_ffmpeg_are_recognised(pipe, kind, codec, rate, channels):
    content = encode(kind, codec, channels=channels)
    samples = all_samples(pipe(content, rate))
    assert samples.shape == (pytest.approx(len(SOUND), abs=3000), channels)
    assert samples.dtype == np.float32
    assert 0.5 < np.std(samples) / np.std(SOUND) < 2


@pytest.mark.parametrize(("kind", "codec"), [("mp3", "libmp3lame"), ("adts", "aac"), ("mpegts", "aac")])
def test_radio_that_is_tuned_in_between_two_packets(pipe, kind, codec):
    content = encode(kind, codec)
    assert len(all_samples(pipe(content[777:], None))) > 0.7 * len(SOUND)


def test_surround_sound_has_the_mix_of_a_file(pipe):
    buffer = io.BytesIO()
    channels = SOUND[:, None] * np.arange(1, 7) / 6
    soundfile.write(buffer, channels, 16_000, format="FLAC", subtype="PCM_16")
    live = pipe(buffer.getvalue(), None)
    np.testing.assert_allclose(samples := all_samples(live), channels, atol=1e-4)
    with open_blocks([samples], 16_000, weights=live.weights) as stream, open_audio(buffer.getvalue()) as whole:
        np.testing.assert_allclose(np.concatenate(list(stream)), np.concatenate(list(whole)), atol=1e-6)


def test_track(pipe, tmp_path):
    path = tmp_path / "two.mkv"
    write(path, [Audio(SOUND, 16_000, "flac"), Audio(SOUND[::-1].copy(), 16_000, "flac")])
    for number, expected in ((1, SOUND), (2, SOUND[::-1])):
        live = pipe(path.read_bytes(), None, 1, "s16le", "-", number)
        np.testing.assert_allclose(all_samples(live)[:, 0], expected, atol=1e-3)
    with pytest.raises(AudioError, match="has 2 audio tracks, no track 3"):
        pipe(path.read_bytes(), None, 1, "s16le", "-", 3)
    with pytest.raises(AudioError, match="has 1 audio track, no track 2"):
        pipe(SOUND.tobytes(), 16_000, 1, "f32le", "-", 2)


def test_number_of_channels_may_change():
    live = LiveAudio("test", 16_000)
    for channels in (1, 1, 2, 1):
        live._blocks.put(np.ones((10, channels)))
    live.stop()
    assert [block.shape for block in live] == [(20, 1), (10, 2), (10, 1)]


def test_invalid_pipe_input(pipe):
    with pytest.raises(AudioError, match="no data came through the pipe"):
        pipe(b"", 16_000)
    with pytest.raises(ArgumentError, match="add --rate"):
        pipe(b"\0" * 100, None)
    with pytest.raises(ArgumentError, match="add --rate"):
        pipe(np.random.default_rng(0).bytes(100_000), None)
    with pytest.raises(AudioError, match="contains no samples"):
        pipe(b"\0", 16_000)
    with pytest.raises(AudioError, match="not audio that sedkit can decode from a pipe"):
        pipe(b"RIFF" + bytes(100), None)
    buffer = io.BytesIO()
    soundfile.write(buffer, SOUND, 16_000, format="WAV")
    with pytest.raises(AudioError, match="not audio that sedkit can decode from a pipe"):
        pipe(buffer.getvalue()[:40], None)


@pytest.mark.parametrize(("kind", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("mp3", "libmp3lame")])
def test_encoded_sound_is_not_taken_for_raw_samples(pipe, kind, codec):
    with pytest.raises(ArgumentError, match=f"--rate is 44100, but this is no raw sound but {kind}, with 16000 Hz"):
        pipe(encode(kind, codec), 44_100)


def test_damaged_packets_are_left_out_and_counted(pipe):
    content = bytearray(encode("adts", "aac", np.tile(SOUND, 3)))
    for start in (20_000, 40_000):
        content[start : start + 3000] = np.random.default_rng(start).bytes(3000)
    live = pipe(bytes(content), None)
    assert 0.7 < len(all_samples(live)) / (3 * len(SOUND)) < 1
    assert live.damages >= 1


def test_packets_that_cannot_be_found_are_left_out_and_counted(pipe):
    """FFmpeg's ADTS demuxer fails at a header that declares a length of 0."""
    content = encode("adts", "aac")
    live = pipe(content + b"\xff\xf1" + bytes(20) + content, None)
    assert len(all_samples(live)) > 1.5 * len(SOUND)
    assert live.damages >= 1


def test_frame_with_another_sample_rate_is_damage_and_many_are_an_error(pipe):
    first, other = encode("mp3", "libmp3lame"), encode("mp3", "libmp3lame", rate=24_000)
    start = other.index(b"\xff\xf3", len(other) // 2)
    frame = other[start : other.index(b"\xff\xf3", start + 2)]
    live = pipe(first + frame + first, None)
    assert len(all_samples(live)) == pytest.approx(2 * len(SOUND), abs=5000)
    assert live.damages == 1
    live = pipe(first + other, None)
    with pytest.raises(AudioError, match="the sample rate changes from 16000 to 24000 Hz at 3"):
        list(live)


def test_more_than_eight_planes():
    """PyAV's to_ndarray crashes on them."""
    samples = np.zeros((16, 960), np.float32) + np.arange(16, dtype=np.float32)[:, None] / 16
    frame = av.AudioFrame("fltp", "16 channels", 960)
    for plane, channel in zip(frame.planes, samples, strict=False):
        plane.update(np.pad(channel, (0, plane.buffer_size // 4 - 960)).tobytes())
    np.testing.assert_array_equal(frame_samples(frame), samples)


def test_stop_keeps_the_samples_received(open_pipe):
    reading, writer = open_pipe()
    writer.write(SOUND[:1000].tobytes())
    live = Pipe(reading, 16_000, 1, "f32le")
    first = next(iter(live))
    writer.write(SOUND[1000:2000].tobytes())
    wait_until(lambda: live._blocks.qsize() == 1)
    live.stop()
    assert live.stopped
    np.testing.assert_array_equal(np.concatenate([first, *live])[:, 0], SOUND[:2000])
    wait_until(lambda: not readers())  # although the pipe is open


class Failing(io.RawIOBase):
    """A file that fails, or whose data come in pieces with nothing (None) between them."""

    def __init__(self, *pieces: bytes | OSError | None) -> None:
        self.pieces = list(pieces)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes | None:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, OSError):
            raise piece
        return piece


EIO = OSError(errno.EIO, os.strerror(errno.EIO))


def test_read_error_is_raised_after_the_samples_received():
    live = Pipe(Failing(SOUND[:1000].tobytes(), EIO), 16_000, 1, "f32le")
    blocks = []
    with pytest.raises(AudioError, match=r"^-: reading failed \(Input/output error\); check"):
        blocks.extend(live)
    assert blocks == [] or len(blocks[0]) == 1000
    assert list(live) == []  # raised once


@pytest.mark.parametrize("kind", ["wav", "ogg"])
def test_read_error_in_an_encoded_stream(kind):
    content = encode(*{"wav": ("wav", "pcm_s16le"), "ogg": ("ogg", "libopus")}[kind], np.tile(SOUND, 3))
    live, blocks = Pipe(Failing(content[:-3000], EIO), None), []
    with pytest.raises(AudioError, match="reading failed"):
        blocks.extend(live)
    assert sum(map(len, blocks)) > 6 * live.sample_rate


def test_read_error_before_the_first_sample():
    with pytest.raises(AudioError, match="reading failed"):
        Pipe(Failing(EIO), 16_000)
    with pytest.raises(AudioError, match="reading failed"):
        Pipe(Failing(b"RIFF", EIO), None)
    with pytest.raises(AudioError, match="reading failed"):
        Pipe(Failing(b"abc", EIO), None)


def test_empty_reads_of_a_non_blocking_file_are_not_its_end():
    data = SOUND[:300].tobytes()
    live = Pipe(Failing(None, data[:400], None, None, data[400:], None, BlockingIOError(), b""), 16_000, 1, "f32le")
    np.testing.assert_array_equal(all_samples(live)[:, 0], SOUND[:300])


@pytest.mark.skipif(os.name != "posix", reason="needs non-blocking pipes")
@pytest.mark.parametrize("polled", [True, False])
def test_non_blocking_pipe(open_pipe, monkeypatch, polled):
    if not polled:  # as on Windows
        monkeypatch.delattr(pipe_module.select, "poll")
    reading, writer = open_pipe()
    os.set_blocking(reading.fileno(), False)
    threading.Timer(0.1, writer.write, [SOUND[:100].tobytes()]).start()
    live = Pipe(reading, 16_000, 1, "f32le")
    np.testing.assert_array_equal(next(iter(live))[:, 0], SOUND[:100])
    writer.write(SOUND[100:200].tobytes())
    writer.close()
    np.testing.assert_array_equal(all_samples(live)[:, 0], SOUND[100:200])


def test_second_iteration_after_the_end_is_empty(pipe):
    live = pipe(SOUND.tobytes(), 16_000, 1, "f32le")
    assert sum(map(len, live)) == len(SOUND)
    assert list(live) == []
    live.stop()
    assert list(live) == []


@pytest.mark.parametrize("content", [SOUND[:1000].tobytes(), SOUND.tobytes() * 200])
@pytest.mark.parametrize("leave", ["close", "forget"])
def test_abandoned_pipe_ends_its_thread(open_pipe, content, leave):
    """Also if the thread waits for a consumer."""
    reading, writer = open_pipe()
    writer.write(content)
    live = Pipe(reading, 16_000, 1, "f32le")
    assert len(readers()) == 1
    if leave == "close":
        next(iter(live))
        live.close()
        list(live)  # ends
    del live
    gc.collect()
    wait_until(lambda: not readers())
    assert reading.closed


def test_recording_has_the_blocks_of_the_file(tmp_path):
    soundfile.write(tmp_path / "sound.wav", SOUND, 22_050)
    with Recording(str(tmp_path / "sound.wav")) as live, open_audio(tmp_path / "sound.wav") as stream:
        assert (live.sample_rate, live.block_rate, live.endless) == (22_050, 16_000, False)
        np.testing.assert_array_equal(np.concatenate(list(live)), np.concatenate(list(stream)))
        assert list(live) == []
    with Recording(str(tmp_path / "sound.wav")) as live:
        live.stop()
        assert list(live) == []


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


@pytest.mark.parametrize(("rate", "content"), [(16_000, b"\0" * 1000), (None, encode("mp3", "libmp3lame"))])
def test_open_pipe_does_not_keep_the_program_running(rate, content):
    code = (
        "import io; from sedkit.audio.pipe import Pipe\n"
        f"live = Pipe(io.FileIO(0, closefd=False), {rate})\n"
        "print(len(next(iter(live))), flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(content)
        process.stdin.flush()
        assert process.wait(60) == 0
