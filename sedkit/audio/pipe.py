"""Audio through a pipe: raw samples, or any format that FFmpeg can stream."""

from __future__ import annotations

import io
import select
import threading
import time
import weakref
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.container import audio_track, check_track
from sedkit.audio.decoding import not_audio
from sedkit.audio.frames import frame_samples, layout_weights
from sedkit.audio.live import LiveAudio, Queued
from sedkit.audio.recognition import HEAD, is_container, is_packets, may_be_packets
from sedkit.errors import ArgumentError, AudioError

if TYPE_CHECKING:
    import av
    import av.container

Blocks: TypeAlias = Iterator[tuple[float, NDArray[Any]]]  # (rate in Hz, samples [samples, channels] at that rate)
ENCODINGS = {"u8": "u1", "s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}  # FFmpeg's name of raw samples: dtype
READ_BYTES = 1 << 16  # maximum number of bytes per read from a pipe
MAX_QUEUED_READS = 64  # of a pipe; after that, its writer has to wait
WAKE_SECONDS = 0.2  # how often the thread that reads a pipe checks whether anybody still wants its samples
RETRY_SECONDS = 0.01  # until a pipe that was empty is read again, where poll() is missing
MAX_FAULTS = 10  # in a row, in which FFmpeg found no packet
OTHER_RATE_SECONDS = 0.5  # less than this is a damaged header
UNKNOWN_LENGTH = 0x7FFF0000  # bytes; a wav header with this length or more, or 0, was written without knowing it


class Pipe(LiveAudio):
    """Sound that arrives through a pipe, read and decoded by a daemon thread.

    The thread ends with the pipe, and soon after :meth:`stop`, :meth:`close` or the collection of this object as
    garbage (not on Windows, where it ends with the next data).

    Parameters
    ----------
    file : unbuffered binary file; may be non-blocking. The thread closes it.
    sample_rate : Hz; required for raw samples.
    channels, encoding : format of raw samples; `encoding` is one of :data:`ENCODINGS`.
    name : for error messages.
    track : number of the audio track, from 1 on; None for the default one, otherwise the first.
    endless : whether the end of the pipe is a loss.

    Raises
    ------
    AudioError
        If the pipe is empty or cannot be read, or has a format that cannot be decoded.
    ArgumentError
        If the samples are raw and `sample_rate` is missing, or they are not and it contradicts their format.
    """

    def __init__(
        self,
        file: io.RawIOBase,
        sample_rate: float | None,
        channels: int = 1,
        encoding: str = "s16le",
        name: str = "-",
        track: int | None = None,
        endless: bool = False,
    ) -> None:
        self.endless = endless
        self._input = _Input(file, name)
        weakref.finalize(self, self._input.close)  # the thread has no reference to this object
        self._free_slots = threading.Semaphore(MAX_QUEUED_READS)
        super().__init__(name, 0.0)
        opened = SimpleQueue[float | Exception]()
        blocks = _blocks(self._input, sample_rate, channels, np.dtype(ENCODINGS[encoding]), track)
        arguments = (blocks, self._input, self._free_slots, opened, self._blocks)
        threading.Thread(target=_receive, args=arguments, name="sedkit-pipe", daemon=True).start()
        while True:
            try:
                rate = opened.get(timeout=1.0)
            except Empty:  # as in _wait()
                continue
            break
        if isinstance(rate, Exception):
            raise rate
        self.sample_rate = self.block_rate = rate
        self.weights = self._input.weights

    @property
    def damages(self) -> int:
        return self._input.damages

    def stop(self) -> None:
        super().stop()
        self._input.close()

    def close(self) -> None:
        self._input.close()
        self._blocks.put(None)

    def _consumed(self, blocks: int) -> None:
        if blocks:
            self._free_slots.release(blocks)


class _Input:
    """The bytes of a pipe; a file object that PyAV can read.

    Reading ends when the pipe ends or fails, or when :meth:`close` is called, at any time and from anywhere.

    Attributes
    ----------
    start : the first bytes, for messages.
    closed : whether nobody wants the rest.
    ended : whether the pipe ended or failed, or was closed.
    damages : see :attr:`LiveAudio.damages`; counted by the decoder.
    weights : of the channels in the mix; set by the decoder.
    """

    def __init__(self, file: io.RawIOBase, name: str) -> None:
        self.name = name
        self.closed = self.ended = False
        self.start = b""
        self.damages = 0
        self.weights: tuple[float, ...] | None = None
        self._file = file
        self._peeked = b""
        self._error: Exception | None = None
        self._poll: select.poll | None = None
        if hasattr(select, "poll"):
            try:
                number = file.fileno()
            except OSError:  # not a file of the system
                return
            self._poll = select.poll()
            self._poll.register(number, select.POLLIN)

    def close(self) -> None:
        self.closed = True

    def release(self) -> None:
        """Close the file. Only for the thread that reads it."""
        self._file.close()

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, or what there is before the end; they will be read again."""
        while len(self._peeked) < size and (data := self._read(READ_BYTES)):
            self._peeked += data
        return self._peeked[:size]

    def read(self, size: int) -> bytes:
        """The next bytes, as soon as there are any, but no more than `size`; empty at the end."""
        if self._peeked:
            data, self._peeked = self._peeked[:size], self._peeked[size:]
            return data
        return self._read(size)

    def _read(self, size: int) -> bytes:
        while not (self.closed or self.ended):
            try:
                if self._poll and not self._poll.poll(1000 * WAKE_SECONDS):
                    continue
                data = self._file.read(size)
            except BlockingIOError:
                data = None
            except (OSError, ValueError) as error:  # ValueError: the file was closed
                self._error = error
                data = b""
            if data:
                return data
            if data is None:
                time.sleep(RETRY_SECONDS)
            else:
                self.ended = True
        self.ended = True
        return b""

    def check(self) -> None:
        """Raise AudioError if the pipe ended because it could not be read."""
        if self._error:
            reason = getattr(self._error, "strerror", None) or self._error
            remedy = "check the program or the device that feeds it"
            raise AudioError(f"{self.name}: reading failed ({reason}); {remedy}") from None


def _receive(
    blocks: Blocks,
    source: _Input,
    free_slots: threading.Semaphore,
    opened: SimpleQueue[float | Exception],
    queue: SimpleQueue[Queued],
) -> None:
    """Queue all blocks, then None or the exception that ended them; first, put the sample rate into `opened`."""
    end, rate = None, None
    try:
        for block_rate, block in blocks:
            if rate is None:
                rate = block_rate
                opened.put(rate)
            while not free_slots.acquire(timeout=WAKE_SECONDS):
                if source.closed:
                    return
            queue.put(block)
        source.check()
    except Exception as error:
        end = error
    finally:
        source.release()
    if rate is None:
        opened.put(end or AudioError(f"{source.name}: contains no samples; check the command that feeds it"))
    queue.put(end)


def _blocks(
    source: _Input, sample_rate: float | None, channels: int, dtype: np.dtype[Any], track: int | None
) -> Blocks:
    """Raw or decoded blocks, whatever comes.

    Raises
    ------
    AudioError
        If the pipe is empty, or its data cannot be decoded.
    ArgumentError
        If the samples are raw and `sample_rate` is missing, or they are not and it contradicts their format.
    """
    if not source.peek(1):
        source.check()
        raise AudioError(f"{source.name}: no data came through the pipe; check the output of the command that feeds it")
    if _is_encoded(source, anywhere=sample_rate is None):
        yield from _decoded_blocks(source, sample_rate, track)
        return
    check_track(source.name, track, 1)
    if sample_rate is None:
        source.check()
        raise ArgumentError(
            f"{source.name}: neither wav nor another known format, and the sample rate of raw samples is unknown; "
            "add --rate, for example --rate 44100"
        )
    frame, rest = dtype.itemsize * channels, b""
    while data := source.read(READ_BYTES):
        rest += data
        whole = len(rest) // frame * frame
        if whole:
            yield float(sample_rate), np.frombuffer(rest[:whole], dtype).reshape(-1, channels)
            rest = rest[whole:]


def _is_encoded(source: _Input, anywhere: bool) -> bool:
    """Whether the data are in a known format; if not, they are raw samples.

    Waits for no more data than it takes to decide.
    """
    if is_container(source.peek(24)):
        return True
    if anywhere or may_be_packets(source.peek(2)):
        return any(is_packets(source.peek(size), anywhere) for size in (HEAD // 4, HEAD // 2, HEAD))
    return False


def _decoded_blocks(source: _Input, sample_rate: float | None, number: int | None) -> Blocks:
    """Decode an audio track packet by packet.

    What cannot be decoded is left out, and counted where sound follows: a source that is disturbed for a moment should
    not end a watch of days.

    Raises
    ------
    AudioError
        If the format is unknown or damaged, or the sample rate changes.
    ArgumentError
        If the sample rate is not `sample_rate`.
    """
    import av

    rate, decoded, damaged = 0, 0, False
    other = 0.0  # seconds at another sample rate, in a row
    with _open(source) as container:
        track = audio_track(container, source.name, number)
        packets, faults = container.demux(track), 0
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                if source.ended:  # in the middle of a packet
                    break
                damaged = True
                faults += 1
                if faults < MAX_FAULTS:
                    packets = container.demux(track)  # FFmpeg looks for the next packet
                    continue
                cause = (error.strerror or "unknown cause").strip(" .")
                if not decoded:
                    raise not_audio(source.name, source.start, cause, piped=True) from None
                where = f"{decoded / rate:.1f} s"
                raise AudioError(f"{source.name}: damaged at {where} ({cause}); check the source") from None
            if packet is None:
                break
            try:
                frames = [frame for frame in packet.decode() if frame.samples]
            except av.FFmpegError:
                damaged = True
                continue
            faults = 0
            for frame in frames:
                if not rate:
                    rate = frame.sample_rate
                    _check_rate(source.name, container.format.name, rate, sample_rate)
                    source.weights = layout_weights(frame.layout.name)
                if frame.sample_rate != rate:
                    damaged = True
                    other += frame.samples / frame.sample_rate
                    if other < OTHER_RATE_SECONDS:
                        continue
                    change = f"the sample rate changes from {rate} to {frame.sample_rate} Hz at {decoded / rate:.1f} s"
                    raise AudioError(f"{source.name}: {change}; let ffmpeg resample it: ffmpeg -i - -f wav -")
                other = 0.0
                source.damages += bool(damaged and decoded and packet.size)  # size 0 flushes the decoder
                damaged = False
                decoded += frame.samples
                yield float(rate), frame_samples(frame).T
    if damaged and not decoded:
        raise AudioError(f"{source.name}: has no audio that can be decoded; check the source")


def _open(source: _Input) -> av.container.InputContainer:
    import av

    # No protocols: a playlist disguised as audio must not make FFmpeg open the files or URLs that it lists. By default,
    # FFmpeg analyses 5 s before it returns the first packet.
    options = {"protocol_whitelist": "none", "analyzeduration": "500000"}
    head = source.start = source.peek(8)
    if head[:4] == b"RIFF" and not 0 < int.from_bytes(head[4:], "little") < UNKNOWN_LENGTH:
        options["ignore_length"] = "1"  # or FFmpeg would stop after 2 GB
    try:
        return av.open(source, "r", metadata_errors="ignore", options=options)
    except av.FFmpegError as error:
        source.check()
        cause = (error.strerror or "unknown cause").strip(" .")
        raise not_audio(source.name, source.start, cause, piped=True) from None


def _check_rate(name: str, kind: str, rate: float, wanted: float | None) -> None:
    if wanted is not None and wanted != rate:
        what = f"this is no raw sound but {kind.split(',')[0]}, with {rate:g} Hz"
        raise ArgumentError(f"{name}: --rate is {wanted:g}, but {what}; leave --rate out")
