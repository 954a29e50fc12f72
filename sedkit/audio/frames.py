"""Samples and channels of the frames that FFmpeg (PyAV) decodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sedkit.audio.decoding import Chunk, Samples, to_float

if TYPE_CHECKING:
    import av

SAMPLE_FORMATS = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}  # FFmpeg's name: dtype
WEIGHTS = {  # of the channels in the mix: ITU-R BS.775-4, Annex 4, Table 2, for mono, relative to left and right
    **dict.fromkeys(("LFE", "LFE2"), 0.0),
    "FC": math.sqrt(2),
    **dict.fromkeys(("SL", "SR", "BL", "BR", "BC"), math.sqrt(0.5)),
}


class Part(NamedTuple):
    """A frame of a track, or silence in a gap.

    Attributes
    ----------
    kind : sample rate, layout of the channels, sample format. Parts of one kind are decoded at once.
    """

    kind: tuple[int, str, str]
    channels: int
    samples: int
    frame: av.AudioFrame | None = None


def decoded(parts: list[Part]) -> Chunk:
    """Parts of one kind as a chunk."""
    (rate, layout, form), channels = parts[0].kind, parts[0].channels
    dtype = np.dtype(SAMPLE_FORMATS[form.removesuffix("p")])
    planes = channels if form.endswith("p") else 1
    width = channels // planes
    silence = np.full(max(part.samples for part in parts) * width, 128 if form.startswith("u8") else 0, dtype)
    samples = np.empty((planes, sum(part.samples for part in parts) * width), dtype)
    at = 0
    for part in parts:
        size = part.samples * width
        # Not by PyAV's to_ndarray: it crashes on more than eight planes, and does not know 64-bit integers.
        buffers: Sequence[Any] = part.frame.planes if part.frame else [silence] * planes
        for plane in range(planes):
            samples[plane, at : at + size] = np.frombuffer(buffers[plane], dtype, size)
        at += size
    floats = to_float(samples)
    return Chunk(rate, floats if planes > 1 or width == 1 else floats.reshape(-1, channels).T, layout_weights(layout))


def frame_samples(frame: av.AudioFrame) -> Samples:
    """Samples [channels, samples] of a decoded frame."""
    kind = frame.sample_rate, frame.layout.name, frame.format.name
    return decoded([Part(kind, frame.layout.nb_channels, frame.samples, frame)]).samples


@cache
def layout_weights(layout: str) -> tuple[float, ...] | None:
    """Weights of the channels of a layout, by FFmpeg's name; None if they are equal."""
    import av

    try:
        weights = tuple(WEIGHTS.get(channel.name, 1.0) for channel in av.AudioLayout(layout).channels)
    except ValueError:  # no named layout, such as "12 channels"
        return None
    return weights if len(set(weights)) > 1 else None
