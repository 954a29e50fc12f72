"""Audio and video files for the tests, written with PyAV, and decoding of a file and of a pipe."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from sedkit.audio.level import WithoutOffset
from sedkit.audio.reading import open_audio

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


class Audio(NamedTuple):
    """An audio track: samples [samples] or [samples, channels], when it starts, and which packets are kept."""

    samples: NDArray[np.float32]
    rate: int
    codec: str
    start: float = 0.0
    keep: Callable[[float], bool] = lambda seconds: True
    default: bool = False
    options: dict[str, str] = {}  # noqa: RUF012


def write(
    path: Path, tracks: Sequence[Audio], *, video: float = 0.0, form: str | None = None, options: Any = None
) -> None:
    """Write audio tracks, and a black film of this many seconds."""
    with av.open(str(path), "w", format=form, options=options or {}) as container:
        packets = []
        if video:
            film = container.add_stream("mpeg4", rate=10)
            film.width = film.height = 64
            film.pix_fmt = "yuv420p"
        streams = []
        for track in tracks:
            channels = track.samples.shape[1] if track.samples.ndim == 2 else 1
            layout = LAYOUTS[channels]
            stream = container.add_stream(track.codec, rate=track.rate, layout=layout, options=dict(track.options))
            stream.disposition = av.stream.Disposition.default if track.default else av.stream.Disposition(0)
            streams.append((stream, track, layout, channels))
        if video:
            for _ in range(round(video * 10)):
                packets += film.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8)))
            packets += film.encode(None)
        for stream, track, layout, channels in streams:
            planes = np.ascontiguousarray(track.samples.reshape(-1, channels).T.astype(np.float32))
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = track.rate, 0, Fraction(1, track.rate)
            stream.codec_context.open()
            resampler = av.AudioResampler(stream.format, layout, track.rate, stream.codec_context.frame_size or 1024)
            for part in [*resampler.resample(frame), *resampler.resample(None), None]:
                if part is not None:
                    part.pts += round(track.start * track.rate)
                packets += [
                    packet for packet in stream.encode(part) if track.keep(float(packet.pts * packet.time_base))
                ]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)


class Unseekable(io.RawIOBase):
    """A file as a pipe would give it."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    def write(self, data: Any) -> int:
        return self.file.write(data)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


class Decoded(NamedTuple):
    samples: NDArray[np.float32]
    duration: float
    notices: list[str]


def decode(source: Any, sample_rate: float | None = None, **options: Any) -> Decoded:
    """Decode a recording to its end."""
    with open_audio(source, sample_rate, **options) as stream:
        blocks = list(stream)
    return Decoded(np.concatenate(blocks), stream.duration, [*stream.notices])


def piped(path: Path, **options: Any) -> Decoded:
    """Decode a file as ``cat FILE |`` would give it."""
    with open(path, "rb") as file:
        return decode(Unseekable(file), **options)


def without_offset(samples: NDArray[Any], rate: float = 16_000) -> NDArray[np.float32]:
    """Mono samples as sedkit decodes them: without their constant offset."""
    remove = WithoutOffset(rate)
    return np.concatenate([remove(np.asarray(samples, np.float32)), remove.finish()])


def onset(samples: NDArray[np.float32], level: float = 0.05) -> float:
    """Seconds up to the first sample above a level."""
    return int(np.argmax(np.abs(samples) > level)) / 16_000
