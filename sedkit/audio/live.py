"""Audio in real time: from a microphone (sounddevice, the extra ``listen``), or as PCM samples through a pipe.

A separate thread receives the samples and queues them, so none are lost while the model runs.
"""

from __future__ import annotations

import io
import threading
import wave
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import ArgumentError, AudioError, DeviceError

if TYPE_CHECKING:
    import sounddevice

ENCODINGS = {"u8": "u1", "s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}  # FFmpeg's name: NumPy dtype
BLOCK_SECONDS = 0.1  # length of a microphone's block
MAX_QUEUED_BLOCKS = 100  # of a microphone: ten seconds; further blocks are lost
READ_BYTES = 1 << 16  # maximum number of bytes per read from a pipe
MAX_QUEUED_READS = 64  # of a pipe; after that, its writer has to wait
UNKNOWN_LENGTH = (
    0x7FFF0000  # bytes; a wav header with this length or more, or 0, was written without knowing the length
)


class LiveAudio:
    """Base class of real-time sources; iterate over it once for arrays [samples, channels].

    Attributes
    ----------
    name : name of the microphone; ``-`` for standard input.
    sample_rate : Hz.
    stopped : whether :meth:`stop` was called.
    losses : number of times that audio was lost because it was not consumed in time.
    endless : whether the source ends only if it is stopped.
    """

    endless = False

    def __init__(self, name: str, sample_rate: float) -> None:
        self.name, self.sample_rate = name, sample_rate
        self.stopped = False
        self.losses = 0
        self._blocks = SimpleQueue[NDArray[Any] | None]()  # its put() is safe in signal handlers

    def stop(self) -> None:
        """End the iteration after the samples received so far. May be called from any thread or signal handler."""
        self.stopped = True
        self._blocks.put(None)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield all samples received since the last iteration, as one array: a slow consumer gets longer arrays."""
        while True:
            received = list[NDArray[Any]]()
            for block in [self._wait(), *(self._blocks.get() for _ in range(self._blocks.qsize()))]:
                if block is None:
                    break
                received.append(block)
            if not received:
                return
            yield np.concatenate(received)
            self._consumed(len(received))
            if block is None:
                return

    def _wait(self) -> NDArray[Any] | None:
        while True:
            try:
                return self._blocks.get(timeout=1.0)
            except Empty:  # try again; some systems deliver signals only between two calls
                continue

    def _consumed(self, blocks: int) -> None:
        """Called after this many blocks were processed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return


class Pipe(LiveAudio):
    """PCM samples or a wav file, read from a pipe by a daemon thread.

    Parameters
    ----------
    file : unbuffered binary file.
    sample_rate : Hz; required for samples without a wav header.
    channels, encoding : format of samples without a wav header; `encoding` is one of :data:`ENCODINGS`.

    Raises
    ------
    AudioError
        If the pipe is empty, or the wav file is not PCM of 8, 16 or 32 bits.
    ArgumentError
        If `sample_rate` is missing or contradicts the wav header.
    """

    def __init__(
        self, file: io.RawIOBase, sample_rate: float | None, channels: int = 1, encoding: str = "s16le"
    ) -> None:
        self._file = io.BufferedReader(file, READ_BYTES)
        start = self._file.peek(4)[:4]
        if not start:
            raise AudioError("-: no data came through the pipe; check the output of the command that feeds it")
        self._bytes_left: int | None = None  # of the samples; None: up to the end of the pipe
        if start == b"RIFF":
            sample_rate, channels, encoding = self._read_header(sample_rate)
        if sample_rate is None:
            raise ArgumentError("-: the sample rate is unknown; add --rate, for example --rate 44100")
        super().__init__("-", float(sample_rate))
        self._channels, self._type = channels, np.dtype(ENCODINGS[encoding])
        self._free_slots = threading.Semaphore(MAX_QUEUED_READS)
        threading.Thread(target=self._read, name="sedkit-pipe", daemon=True).start()

    def _read_header(self, sample_rate: float | None) -> tuple[float, int, str]:
        """Sample rate, channels and encoding from a wav header."""
        try:
            header = wave.Wave_read(self._file)
        except (wave.Error, EOFError) as error:
            raise AudioError(
                f"-: this wav file cannot be read ({error or 'truncated'}); pipe raw samples instead"
            ) from None
        rate, channels, length = header.getframerate(), header.getnchannels(), header.getnframes()
        encoding = {1: "u8", 2: "s16le", 4: "s32le"}.get(header.getsampwidth())
        if encoding is None:
            raise AudioError("-: this wav file has 24-bit samples; pipe 16-bit or 32-bit samples")
        if sample_rate is not None and sample_rate != rate:
            raise ArgumentError(f"-: --rate is {sample_rate:g}, but the wav header says {rate}; leave --rate out")
        size = length * channels * header.getsampwidth()
        self._bytes_left = size if 0 < size < UNKNOWN_LENGTH else None
        return rate, channels, encoding

    def _read(self) -> None:
        frame, rest = self._type.itemsize * self._channels, b""
        while data := self._file.read1(READ_BYTES if self._bytes_left is None else min(READ_BYTES, self._bytes_left)):
            if self._bytes_left is not None:
                self._bytes_left -= len(data)
            rest += data
            whole = len(rest) // frame * frame
            if whole:
                self._free_slots.acquire()
                self._blocks.put(np.frombuffer(rest[:whole], self._type).reshape(-1, self._channels))
                rest = rest[whole:]
        self._blocks.put(None)

    def _consumed(self, blocks: int) -> None:
        self._free_slots.release(blocks)


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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
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
