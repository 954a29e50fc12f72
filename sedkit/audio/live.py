"""Audio as it arrives: from a microphone (sounddevice, the extra ``listen``), through a pipe, or from a file.

A separate thread receives and decodes the sound and queues it, so none is lost while the model runs.
"""

from __future__ import annotations

import io
import select
import threading
import time
import weakref
from collections.abc import Iterator
from itertools import groupby
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.decoding import Notify, Samples
from sedkit.audio.ffmpeg import audio_track, frame_samples
from sedkit.audio.reading import open_audio
from sedkit.audio.recognition import HEAD, is_container, is_packets, may_be_packets
from sedkit.errors import ArgumentError, AudioError, DeviceError
from sedkit.geometry import SAMPLE_RATE

if TYPE_CHECKING:
    import av
    import av.container
    import sounddevice

Blocks: TypeAlias = Iterator[tuple[float, NDArray[Any]]]  # (rate in Hz, samples [samples, channels] at that rate)

ENCODINGS = {"u8": "u1", "s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}  # FFmpeg's name of raw samples: dtype
BLOCK_SECONDS = 0.1  # length of a microphone's block
MAX_QUEUED_BLOCKS = 100  # of a microphone: ten seconds; further blocks are lost
READ_BYTES = 1 << 16  # maximum number of bytes per read from a pipe
MAX_QUEUED_READS = 64  # of a pipe; after that, its writer has to wait
WAKE_SECONDS = 0.2  # how often the thread that reads a pipe checks whether anybody still wants its samples
RETRY_SECONDS = 0.01  # until a pipe that was empty is read again, where poll() is missing
MAX_FAULTS = 10  # in a row, in which FFmpeg found no packet
OTHER_RATE_SECONDS = 0.5  # less than this is a damaged header
UNKNOWN_LENGTH = 0x7FFF0000  # bytes; a wav header with this length or more, or 0, was written without knowing it


class LiveAudio:
    """Base class of sources; iterate over it once for arrays [samples] or [samples, channels].

    Attributes
    ----------
    name : name of the microphone; ``-`` for standard input; a path.
    sample_rate : Hz, of the source.
    block_rate : Hz, of the arrays.
    stopped : whether :meth:`stop` was called.
    losses : number of times that audio was lost because it was not consumed in time.
    endless : whether the source ends only if it is stopped.
    """

    endless = False

    def __init__(self, name: str, sample_rate: float) -> None:
        self.name, self.sample_rate, self.block_rate = name, sample_rate, sample_rate
        self.stopped = False
        self.losses = 0
        self._ended = False
        self._failure: Exception | None = None
        self._blocks = SimpleQueue[NDArray[Any] | Exception | None]()  # its put() is safe in signal handlers

    @property
    def damages(self) -> int:
        """Number of places where the sound was damaged and left out."""
        return 0

    def stop(self) -> None:
        """End the iteration after the samples received so far. May be called from any thread or signal handler."""
        self.stopped = True
        self._blocks.put(None)

    def close(self) -> None:
        """Release the source. Iterating over it then ends, too."""

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield all samples received since the last iteration, as one array: a slow consumer gets longer arrays.

        Where the number of channels changes, a new array begins.

        Raises
        ------
        AudioError
            If the source fails. Raised once, after the samples received before.
        """
        while not self._ended:
            for _, blocks in groupby(self._take(), key=lambda block: block.shape[1:]):
                yield np.concatenate(list(blocks))
        failure, self._failure = self._failure, None
        if failure:
            raise failure

    def _take(self) -> list[NDArray[Any]]:
        """Wait for a block; return all that are queued."""
        received = list[NDArray[Any]]()
        for block in [self._wait(), *(self._blocks.get() for _ in range(self._blocks.qsize()))]:
            if block is None or isinstance(block, Exception):
                self._ended, self._failure = True, block
                break
            received.append(block)
        self._consumed(len(received))
        return received

    def _wait(self) -> NDArray[Any] | Exception | None:
        while True:
            try:
                return self._blocks.get(timeout=1.0)
            except Empty:  # try again; some systems deliver signals only between two calls
                continue

    def _consumed(self, blocks: int) -> None:
        """Called when this many blocks were taken from the queue."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Recording(LiveAudio):
    """A file, decoded as fast as it is consumed, by :func:`sedkit.audio.reading.open_audio`.

    Parameters
    ----------
    on_notice : called with notices about the file, see there.

    Raises
    ------
    AudioError
        If the file does not exist or has no audio that can be decoded.
    """

    def __init__(self, path: str, on_notice: Notify | None = None) -> None:
        self._stream = open_audio(path, on_notice=on_notice)
        super().__init__(path, self._stream.sample_rate)
        self.block_rate = SAMPLE_RATE

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for block in self._stream:
            if self.stopped:
                return
            yield block

    def close(self) -> None:
        self._stream.close()


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
    ) -> None:
        self._input = _Input(file, name)
        weakref.finalize(self, self._input.close)  # the thread has no reference to this object
        self._free_slots = threading.Semaphore(MAX_QUEUED_READS)
        super().__init__(name, 0.0)
        opened = SimpleQueue[float | Exception]()
        blocks = _blocks(self._input, sample_rate, channels, np.dtype(ENCODINGS[encoding]))
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
    closed : whether nobody wants the rest.
    ended : whether the pipe ended or failed, or was closed.
    damages : see :attr:`LiveAudio.damages`; counted by the decoder.
    """

    def __init__(self, file: io.RawIOBase, name: str) -> None:
        self.name = name
        self.closed = self.ended = False
        self.damages = 0
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
    queue: SimpleQueue[NDArray[Any] | Exception | None],
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


def _blocks(source: _Input, sample_rate: float | None, channels: int, dtype: np.dtype[Any]) -> Blocks:
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
        yield from _decoded_blocks(source, sample_rate)
        return
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


def _decoded_blocks(source: _Input, sample_rate: float | None) -> Blocks:
    """Decode the default audio track, or else the first, packet by packet, without its low-frequency effects channel.

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
        track = audio_track(container, source.name)
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
                where = f"{decoded / rate:.1f} s" if rate else "its start"
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
                yield float(rate), _samples(frame)
    if damaged and not decoded:
        raise AudioError(f"{source.name}: has no audio that can be decoded; check the source")


def _open(source: _Input) -> av.container.InputContainer:
    import av

    # No protocols: a playlist disguised as audio must not make FFmpeg open the files or URLs that it lists. By default,
    # FFmpeg analyses 5 s before it returns the first packet.
    options = {"protocol_whitelist": "none", "analyzeduration": "500000"}
    head = source.peek(8)
    if head[:4] == b"RIFF" and not 0 < int.from_bytes(head[4:], "little") < UNKNOWN_LENGTH:
        options["ignore_length"] = "1"  # or FFmpeg would stop after 2 GB
    try:
        return av.open(source, "r", metadata_errors="ignore", options=options)
    except av.FFmpegError as error:
        source.check()
        cause = (error.strerror or "unknown cause").strip(" .")
        remedy = "save it to a file first, or pipe wav"
        raise AudioError(f"{source.name}: not audio that sedkit can decode from a pipe ({cause}); {remedy}") from None


def _check_rate(name: str, kind: str, rate: float, wanted: float | None) -> None:
    if wanted is not None and wanted != rate:
        what = f"this is no raw sound but {kind.split(',')[0]}, with {rate:g} Hz"
        raise ArgumentError(f"{name}: --rate is {wanted:g}, but {what}; leave --rate out")


def _samples(frame: av.AudioFrame) -> Samples:
    """Samples [samples, channels] without the LFE channel."""
    samples = frame_samples(frame).T
    if frame.layout.nb_channels > 2:
        samples = samples[:, [channel.name != "LFE" for channel in frame.layout.channels]]
    return samples


class Microphone(LiveAudio):
    """A microphone. Records from entering the ``with`` block until :meth:`stop`.

    Parameters
    ----------
    name : number or part of a name, as :func:`microphones` lists them; None is the system's default microphone.
    sample_rate : Hz; None is the microphone's own.

    Raises
    ------
    DeviceError
        If there is no such microphone, it cannot be opened, or sounddevice or PortAudio is missing.
    """

    endless = True

    def __init__(self, name: str | None = None, sample_rate: float | None = None) -> None:
        sd = _sounddevice()
        wanted = int(name) if name is not None and name.isdecimal() else name
        try:
            info = sd.query_devices(wanted, "input")
        except (ValueError, sd.PortAudioError) as error:
            if not microphones():
                raise DeviceError(
                    "this computer has no microphone; plug one in, or pipe samples: sedkit listen -"
                ) from None
            what = "no default microphone" if name is None else f"{name}: no such microphone ({_one_line(error)})"
            raise DeviceError(f"{what}; list the microphones with sedkit listen --list") from None
        super().__init__(info["name"], float(sample_rate or info["default_samplerate"]))
        self._stream = self._open(sd, info["index"], info["max_input_channels"])

    def _open(self, sd: sounddevice, index: int, channels: int) -> sounddevice.InputStream:
        """Open a stream of one channel, or of all channels if the microphone does not offer a single one."""
        settings = {"device": index, "samplerate": self.sample_rate, "dtype": "float32", "callback": self._on_block}
        settings |= {
            "blocksize": int(BLOCK_SECONDS * self.sample_rate),
            "finished_callback": lambda: self._blocks.put(None),
        }
        try:
            try:
                return sd.InputStream(channels=1, **settings)
            except sd.PortAudioError:
                return sd.InputStream(channels=channels, **settings)
        except sd.PortAudioError as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> DeviceError:
        remedy = "close other programs that use it, or try another --rate"
        return DeviceError(f"{self.name}: cannot be opened ({_one_line(error)}); {remedy}")

    def _on_block(self, block: NDArray[np.float32], frames: int, time: Any, status: sounddevice.CallbackFlags) -> None:
        """Called by PortAudio in its own thread; PortAudio overwrites `block` afterwards."""
        if self._blocks.qsize() < MAX_QUEUED_BLOCKS:
            self._blocks.put(np.clip(block, -1.0, 1.0))
            self.losses += bool(status.input_overflow)
        else:
            self.losses += 1

    def __enter__(self) -> Self:
        sd = _sounddevice()
        try:
            self._stream.start()
        except sd.PortAudioError as error:
            raise self._failed(error) from None
        return self

    def close(self) -> None:
        self._stream.close()


def microphones() -> list[tuple[int, str, int, float, bool]]:
    """List the microphones: number, name, channels, own sample rate in Hz, and whether it is the default.

    Raises
    ------
    DeviceError
        If sounddevice or PortAudio is missing.
    """
    sd = _sounddevice()
    default = sd.default.device["input"]
    return [
        (x["index"], x["name"], x["max_input_channels"], x["default_samplerate"], x["index"] == default)
        for x in sd.query_devices()
        if x["max_input_channels"] > 0
    ]


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ModuleNotFoundError:
        from sedkit.install import install_remedy

        what, remedy = "the package sounddevice", install_remedy("listen")
    except OSError:
        what, remedy = "the library PortAudio", "apt install libportaudio2 or dnf install portaudio"
    else:
        return sounddevice
    raise DeviceError(f"a microphone needs {what}: {remedy}; or pipe samples, as in arecord -t raw | sedkit listen -")


def _one_line(error: Exception) -> str:
    return " ".join(str(error.args[0] if error.args else error).split()).rstrip(".")
