"""sedkit.audio.live and sedkit.audio.pipe: threads, ends and errors of live audio, with real pipes."""

from __future__ import annotations

import errno
import gc
import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile

from sedkit.audio import pipe as pipe_module
from sedkit.audio.live import LiveAudio, Recording
from sedkit.audio.pipe import MAX_QUEUED_READS, Pipe
from sedkit.audio.reading import open_audio, open_blocks
from sedkit.errors import AudioError
from tests.sedkit.audio.piping import SOUND, all_samples, encode, readers, wait_until


def test_raw_samples_arrive_while_the_pipe_is_open(open_pipe):
    reading, writer = open_pipe()
    writer.write(SOUND[:100].tobytes())
    with Pipe(reading, 16_000, 1, "f32le") as live:
        np.testing.assert_array_equal(next(iter(live))[:, 0], SOUND[:100])
        writer.write(SOUND[100:150].tobytes())
        np.testing.assert_array_equal(next(iter(live))[:, 0], SOUND[100:150])
        writer.close()
        assert list(live) == []


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


def test_number_of_channels_may_change():
    live = LiveAudio("test", 16_000)
    for channels in (1, 1, 2, 1):
        live._blocks.put(np.ones((10, channels)))
    live.stop()
    assert [block.shape for block in live] == [(20, 1), (10, 2), (10, 1)]


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
        assert (live.sample_rate, live.block_rate, live.endless) == (22_050, 22_050, False)
        with open_blocks(live, live.block_rate) as blocks:
            np.testing.assert_array_equal(np.concatenate(list(blocks)), np.concatenate(list(stream)))
        assert list(live) == []
    with Recording(str(tmp_path / "sound.wav")) as live:
        live.stop()
        assert list(live) == []


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
