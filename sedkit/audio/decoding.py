"""What the decoders share: the chunks that they yield, conversion of samples to float32, and error messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import AudioError

Samples: TypeAlias = NDArray[np.float32]
Notify: TypeAlias = Callable[[str], None]  # called with a message, without the name of the recording

RATES = (1_000, 1_000_000)  # Hz; a rate outside this range means a broken header
LONGEST_LACK = 0.2  # seconds; a recording that lacks more of its end is truncated
MAX_AMPLITUDE = 100.0  # 40 dB above full scale; samples beyond it were never scaled to [-1, 1]
BLOCK = 2**18  # samples decoded at once, over all channels: 1 MB at any sample rate, 3 s of 44.1 kHz stereo
FAMILIAR = {b"OggS": "Ogg", b"fLaC": "FLAC", b"ID3": "MP3", b"FORM": "AIFF", b"\x1aE\xdf\xa3": "Matroska"}


class Truncated(str):
    """A notice that the end of a recording is missing, for a :data:`Notify`.

    Attributes
    ----------
    seconds : how much the header promises and the file lacks.
    """

    seconds: float

    def __new__(cls, at: float, seconds: float) -> Self:
        notice = super().__new__(
            cls,
            f"ends at {at:.1f} s, {seconds:.1f} s before the end that its header gives; sedkit analyses what is there",
        )
        notice.seconds = seconds
        return notice


def notify_if_truncated(notify: Notify, at: float, promised: float | None) -> None:
    """Notify if a recording ends before the end that its header promises, both in seconds."""
    if promised is not None and LONGEST_LACK < promised - at < math.inf:
        notify(Truncated(at, promised - at))


class Chunk(NamedTuple):
    """Decoded samples.

    Attributes
    ----------
    rate : sample rate in Hz, the same for all chunks of a recording.
    samples : float32 [channels, samples]. The number of channels may change between chunks.
    weights : of the channels in the mix, by their place in the layout; None for equal weights.
    """

    rate: float
    samples: Samples
    weights: tuple[float, ...] | None = None


Decoder: TypeAlias = Generator[Chunk, None, None]


def to_float(samples: NDArray[Any]) -> Samples:
    """Convert to float32: integers are scaled from the range of their type to [-1, 1), floats keep their values."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is refused later
            return samples.astype(np.float32)
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / np.float32(half)
    return (samples / half - 1).astype(np.float32)


def not_audio(name: str, start: bytes, cause: str | None, piped: bool) -> AudioError:
    """The error for a file that no decoder reads.

    Parameters
    ----------
    start : its first bytes, as far as they are known.
    piped : whether it cannot be read from the start again.
    """
    if piped and (start[4:8] == b"ftyp" or start[:4] == b"caff"):
        remedy = "save it to a file first, or pipe wav"
        return AudioError(f"{name}: its index may be at its end, where a pipe cannot look it up ({cause}); {remedy}")
    kind = next((kind for magic, kind in FAMILIAR.items() if start.startswith(magic)), None)
    if kind:
        return AudioError(f"{name}: an incomplete or damaged {kind} file ({cause}); copy or record it again")
    remedy = "save it to a file first, or pipe wav" if piped else "convert it to wav or flac first"
    source = "from a pipe " if piped else ""
    return AudioError(f"{name}: not audio that sedkit can decode {source}({cause}); {remedy}")


def check_plausible(name: str, rate: float, channels: int = 1) -> None:
    """Raise AudioError if a header gives an impossible sample rate or number of channels."""
    if not channels:
        raise AudioError(f"{name}: its header gives no channels; record or export it again")
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(f"{name}: sample rate {rate:g} Hz is out of range (1 kHz to 1 MHz); resample it")


def check_amplitude(name: str, samples: Samples, at: int, rate: float) -> None:
    """Raise AudioError if one of the samples, [samples] or [channels, samples], is NaN or far outside [-1, 1].

    Parameters
    ----------
    at : number of samples before the first of these.
    """
    if np.abs(samples).max() <= MAX_AMPLITUDE:  # which NaN is not
        return
    rows = samples.reshape(-1, samples.shape[-1])
    usual = np.abs(rows) <= MAX_AMPLITUDE
    first = int(np.argmin(usual.all(axis=0)))
    value = rows[np.argmin(usual[:, first]), first]
    raise AudioError(
        f"{name}: sample {value:g} at {(at + first) / rate:.3f} s; samples must be in [-1, 1], so repair or rescale "
        "the recording"
    )


def damaged(name: str, where: str, cause: str | None) -> AudioError:
    """The error for a file that cannot be decoded beyond a point."""
    cause = (cause or "unknown cause").strip(" .")
    return AudioError(f"{name}: damaged {where} ({cause}); repair the file, or convert the playable part to wav")
