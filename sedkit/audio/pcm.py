"""Uncompressed samples of WAV files, read without libsndfile, whose import takes longer than a short file.

The samples are those of libsndfile, bit for bit.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.channels import cell_length
from sedkit.audio.decoding import BLOCK, Chunk, Decoder, Notify, notify_if_truncated, to_float
from sedkit.audio.wav import Pcm


def decode_pcm(file: BinaryIO, pcm: Pcm, notify: Notify, lacks: float) -> Decoder:
    """Decode the samples of a seekable file.

    Parameters
    ----------
    lacks : seconds that the header promises and the file does not have.
    """
    cell = cell_length(pcm.rate)
    frame = pcm.channels * int(pcm.kind[-1])  # bytes
    most = max(1, BLOCK // pcm.channels // cell) * cell  # whole cells are mixed without a copy
    file.seek(pcm.start)
    left = (pcm.end - pcm.start) // frame
    while left and (data := file.read(min(left, most) * frame)):
        frames = len(data) // frame
        left -= frames
        yield Chunk(pcm.rate, to_float(_samples(data[: frames * frame], pcm.kind)).reshape(frames, pcm.channels).T)
    seconds = (pcm.end - pcm.start) // frame / pcm.rate
    notify_if_truncated(notify, seconds, seconds + lacks)


def _samples(data: bytes, kind: str) -> NDArray[Any]:
    if kind != "<i3":
        return np.frombuffer(data, kind)
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return wide.view("<i4")[:, 0]
