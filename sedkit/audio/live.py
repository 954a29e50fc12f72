"""Sound while it is played: from a microphone (sounddevice, the extra ``listen``), or as samples through a pipe.

Another thread takes the sound in, so that nothing is missed while the model works; whoever iterates gets it in order.
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

ENCODINGS = {"u8": "u1", "s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}  # names as FFmpeg's; to NumPy
BLOCK = 0.1  # seconds of a microphone's block
MOST = 100  # blocks of a microphone that may wait: ten seconds
READ = 1 << 16  # bytes taken from a pipe at once, at most
AHEAD = 64  # such reads that may wait; then the pipe has to
ENDLESS = 0x7FFF0000  # bytes that a wav header promises where its writer could not know: as many or more, or none


class Live:
    """Sound that another thread hands over: iterate once for arrays [samples, channels].

    Attributes
    ----------
    name : of the microphone, ``-`` for standard input.
    sample_rate : Hz.
    stopped : whether :meth:`stop` ended it, and not the end of the pipe.
    losses : how often sound was lost, because nobody took it in time.
    endless : whether it should not end unless stopped.
    """

    endless = False

    def __init__(self, name: str, sample_rate: float) -> None:
        self.name, self.sample_rate = name, sample_rate
        self.stopped = False
        self.losses = 0
        self._blocks = SimpleQueue[NDArray[Any] | None]()  # its put() may be called in a signal handler

    def stop(self) -> None:
        """End it after what has been heard so far; from any thread or signal handler."""
        self.stopped = True
        self._blocks.put(None)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """What has come since the last time, as one array: whoever falls behind catches up in longer strides."""
        while True:
            heard = list[NDArray[Any]]()
            for block in [self._wait(), *(self._blocks.get() for _ in range(self._blocks.qsize()))]:
                if block is None:
                    break
                heard.append(block)
            if not heard:
                return
            yield np.concatenate(heard)
            self._taken(len(heard))
            if block is None:
                return

    def _wait(self) -> NDArray[Any] | None:
        while True:
            try:
                return self._blocks.get(timeout=1.0)
            except Empty:  # again: some systems deliver signals only between two calls
                continue

    def _taken(self, blocks: int) -> None:
        """So many were worked on."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return


class Pipe(Live):
    """Samples that come through a pipe. One that is never closed leaves a thread waiting, which ends with the program.

    Parameters
    ----------
    file : open for reading bytes, unbuffered.
    sample_rate : Hz; needed unless a wav header says it.
    channels, encoding : likewise; the encoding is one of :data:`ENCODINGS`.

    Raises
    ------
    AudioError
        If the pipe is empty, or begins with a wav header of something else than samples.
    ArgumentError
        If `sample_rate` is missing, or contradicts a wav header.
    """

    def __init__(
        self, file: io.RawIOBase, sample_rate: float | None, channels: int = 1, encoding: str = "s16le"
    ) -> None:
        self._file = io.BufferedReader(file, READ)
        start = self._file.peek(4)[:4]
        if not start:
            raise AudioError("-: nothing came through the pipe; see what the command before it says")
        self._left: int | None = None  # bytes; None is until the end
        if start == b"RIFF":
            sample_rate, channels, encoding = self._read_header(sample_rate)
        if sample_rate is None:
            raise ArgumentError("-: samples do not say what their rate is; add --rate, such as --rate 44100")
        super().__init__("-", float(sample_rate))
        self._channels, self._type = channels, np.dtype(ENCODINGS[encoding])
        self._room = threading.Semaphore(AHEAD)
        threading.Thread(target=self._read, name="sedkit-pipe", daemon=True).start()

    def _read_header(self, sample_rate: float | None) -> tuple[float, int, str]:
        """Rate, channels and encoding as a wav header has them."""
        try:
            header = wave.Wave_read(self._file)
        except (wave.Error, EOFError) as error:
            raise AudioError(
                f"-: a wav that cannot be read ({error or 'cut off'}); pipe bare samples instead"
            ) from None
        rate, channels, length = header.getframerate(), header.getnchannels(), header.getnframes()
        encoding = {1: "u8", 2: "s16le", 4: "s32le"}.get(header.getsampwidth())
        if encoding is None:
            raise AudioError("-: a wav with samples of 24 bits; pipe 16 or 32")
        if sample_rate is not None and sample_rate != rate:
            raise ArgumentError(f"-: --rate is {sample_rate:g}, but the wav that comes says {rate}; leave --rate out")
        size = length * channels * header.getsampwidth()
        self._left = size if 0 < size < ENDLESS else None
        return rate, channels, encoding

    def _read(self) -> None:
        frame, rest = self._type.itemsize * self._channels, b""
        while data := self._file.read1(READ if self._left is None else min(READ, self._left)):
            if self._left is not None:
                self._left -= len(data)
            rest += data
            whole = len(rest) // frame * frame
            if whole:
                self._room.acquire()
                self._blocks.put(np.frombuffer(rest[:whole], self._type).reshape(-1, self._channels))
                rest = rest[whole:]
        self._blocks.put(None)

    def _taken(self, blocks: int) -> None:
        self._room.release(blocks)


class Microphone(Live):
    """A microphone, from entering the ``with`` block until :meth:`stop`.

    Parameters
    ----------
    name : number, or part of a name; None is the system's default.
    sample_rate : Hz; None is the microphone's own.

    Raises
    ------
    DeviceError
        If there is no such microphone, or it cannot be opened, or sounddevice or PortAudio is missing; says what to do.
    """

    endless = True

    def __init__(self, name: str | None = None, sample_rate: float | None = None) -> None:
        sd = _sounddevice()
        wanted = int(name) if name is not None and name.isdecimal() else name
        try:
            found = sd.query_devices(wanted, "input")
        except (ValueError, sd.PortAudioError) as error:
            if not microphones():
                raise DeviceError(
                    "no microphone on this computer; plug one in, or pipe samples: sedkit listen -"
                ) from None
            what = "no default microphone" if name is None else f"{name}: no such microphone ({_one_line(error)})"
            raise DeviceError(f"{what}; sedkit listen --list shows what there is") from None
        super().__init__(found["name"], float(sample_rate or found["default_samplerate"]))
        self._stream = self._open(sd, found["index"], found["max_input_channels"])

    def _open(self, sd: sounddevice, index: int, channels: int) -> sounddevice.InputStream:
        """The stream: of one channel, or of all where the microphone does not offer one alone."""
        settings = {"device": index, "samplerate": self.sample_rate, "dtype": "float32", "callback": self._hear}
        settings |= {"blocksize": int(BLOCK * self.sample_rate), "finished_callback": lambda: self._blocks.put(None)}
        try:
            try:
                return sd.InputStream(channels=1, **settings)
            except sd.PortAudioError:
                return sd.InputStream(channels=channels, **settings)
        except sd.PortAudioError as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> DeviceError:
        remedy = "another program may hold it, or --rate ask for what it cannot do"
        return DeviceError(f"{self.name}: cannot be opened ({_one_line(error)}); {remedy}")

    def _hear(self, block: NDArray[np.float32], frames: int, time: Any, status: sounddevice.CallbackFlags) -> None:
        """Called by PortAudio, in a thread of its own; `block` is overwritten after it."""
        if self._blocks.qsize() < MOST:
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
    """Number, name, channels, own rate in Hz of every microphone, and whether it is the default.

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
        what, remedy = "the library PortAudio", "apt install libportaudio2, dnf install portaudio, or the like"
    else:
        return sounddevice
    raise DeviceError(f"a microphone needs {what}: {remedy}; or pipe samples, as in arecord -t raw | sedkit listen -")


def _one_line(error: Exception) -> str:
    return " ".join(str(error.args[0] if error.args else error).split()).rstrip(".")
