"""Compressed clips: 16 kHz mono int16 ↔ the bytes of a file. Equal samples give equal bytes.

FLAC is lossless. Opus takes a third of the space and ten times as long to decode.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import AudioError
from sedkit.geometry import SAMPLE_RATE

Codec = Literal["flac", "opus"]


def encoder(codec: Codec, bitrate: int) -> Callable[[NDArray[np.int16]], bytes]:
    """A function from samples [samples] to the bytes of a file. ``bitrate`` is Opus's, in kbit/s; FLAC ignores it."""
    return _flac if codec == "flac" else lambda samples: _opus(samples, bitrate)


def decode(content: bytes) -> NDArray[np.int16]:
    """Samples [samples] of a file that ``encoder`` made.

    Raises
    ------
    AudioError
        If ``content`` cannot be decoded or is not 16 kHz mono.
    """
    import soundfile

    try:
        samples, rate = soundfile.read(io.BytesIO(content), dtype="int16")
    except soundfile.SoundFileError as error:
        raise AudioError(f"compressed clip cannot be decoded: {error}") from None
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise AudioError(f"compressed clip has {rate} Hz and shape {samples.shape}, not {SAMPLE_RATE} Hz mono")
    decoded: NDArray[np.int16] = samples
    return decoded


def _flac(samples: NDArray[np.int16]) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, "PCM_16", format="FLAC")
    return file.getvalue()


def _opus(samples: NDArray[np.int16], bitrate: int) -> bytes:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="ogg", options={"fflags": "+bitexact"}) as container:  # else a random serial number
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = 1000 * bitrate
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
