"""What the decoders share: the chunks that they yield, conversion of samples to float32, and error messages."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import AudioError

Samples: TypeAlias = NDArray[np.float32]
Notify: TypeAlias = Callable[[str], None]  # called with a message, without the name of the recording

BLOCK = 2**18  # samples decoded at once, over all channels: 1 MB at any sample rate, 3 s of 44.1 kHz stereo


class Chunk(NamedTuple):
    """Decoded samples.

    Attributes
    ----------
    rate : sample rate in Hz, the same for all chunks of a recording.
    samples : float32 [channels, samples]. The number of channels may change between chunks.
    lfe : index of the low-frequency effects channel, as in 5.1; None if there is none, or the layout is unknown.
    """

    rate: float
    samples: Samples
    lfe: int | None = None


Decoder: TypeAlias = Generator[Chunk, None, None]


def to_float(samples: NDArray[Any]) -> Samples:
    """Convert to float32: integers are scaled from the range of their type to [-1, 1), floats keep their values."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # beyond float32: infinite, which is refused later
            return samples.astype(np.float32)
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / np.float32(half)
    return (samples / half - 1).astype(np.float32)


def not_audio(file: BinaryIO, name: str, cause: str | None) -> AudioError:
    """The error for a file that no decoder knows."""
    remedy = "convert it to wav or flac first" if file.seekable() else "save it to a file first, or pipe wav"
    source = "" if file.seekable() else "from a pipe "
    return AudioError(f"{name}: not audio that sedkit can decode {source}({cause}); {remedy}")


def damaged(name: str, where: str, cause: str | None) -> AudioError:
    """The error for a file that cannot be decoded beyond a point."""
    cause = (cause or "unknown cause").strip(" .")
    return AudioError(f"{name}: damaged {where} ({cause}); repair the file, or convert the playable part to wav")
