"""Audio from a microphone, by the package sounddevice (the extra ``listen``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.live import LiveAudio
from sedkit.errors import DeviceError

if TYPE_CHECKING:
    import sounddevice

BLOCK_SECONDS = 0.1  # length of a microphone's block
MAX_QUEUED_BLOCKS = 100  # of a microphone: ten seconds; further blocks are lost


class NoMicrophoneError(DeviceError):
    """There is no microphone of a name, or nothing to find it with."""


class Microphone(LiveAudio):
    """A microphone. Records from entering the ``with`` block until :meth:`stop`.

    Parameters
    ----------
    name : number or part of a name, as :func:`microphones` lists them; None is the system's default microphone.
    sample_rate : Hz; None is the microphone's own.
    all_channels : whether to record all channels instead of a single one.

    Raises
    ------
    DeviceError
        If there is no such microphone, it cannot be opened, or sounddevice or PortAudio is missing.
    """

    endless = True

    def __init__(self, name: str | None = None, sample_rate: float | None = None, all_channels: bool = False) -> None:
        sd = _sounddevice(name)
        wanted = int(name) if name is not None and name.isdecimal() else name
        try:
            info = sd.query_devices(wanted, "input")
        except (ValueError, sd.PortAudioError) as error:
            if not microphones():
                raise NoMicrophoneError(
                    "this computer has no microphone; plug one in, or pipe samples: sedkit listen -"
                ) from None
            what = "no default microphone" if name is None else f"{name}: no such microphone ({_one_line(error)})"
            raise NoMicrophoneError(f"{what}; list the microphones with sedkit listen --list") from None
        super().__init__(info["name"], float(sample_rate or info["default_samplerate"]))
        self._stream = self._open(sd, info["index"], info["max_input_channels"], all_channels)

    def _open(self, sd: sounddevice, index: int, channels: int, every: bool) -> sounddevice.InputStream:
        """Open a stream of one channel, or of all channels if wanted or if there is no single one."""
        settings = {"device": index, "samplerate": self.sample_rate, "dtype": "float32", "callback": self._on_block}
        settings |= {
            "blocksize": int(BLOCK_SECONDS * self.sample_rate),
            "finished_callback": lambda: self._blocks.put(None),
        }
        try:
            try:
                return sd.InputStream(channels=channels if every else 1, **settings)
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


def _sounddevice(wanted: str | None = None) -> Any:
    """The package, for a microphone of this name, which may be meant as that of a file."""
    try:
        import sounddevice
    except ModuleNotFoundError:
        from sedkit.install import install_remedy

        what, remedy = "the package sounddevice", install_remedy("listen")
    except OSError:
        what, remedy = "the library PortAudio", "apt install libportaudio2 or dnf install portaudio"
    else:
        return sounddevice
    if wanted is not None and not wanted.isdecimal():
        raise NoMicrophoneError(f"{wanted}: no such file; a microphone of this name would need {what}: {remedy}")
    raise NoMicrophoneError(
        f"a microphone needs {what}: {remedy}; or pipe samples, as in arecord -t raw | sedkit listen -"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error.args[0] if error.args else error).split()).rstrip(".")
