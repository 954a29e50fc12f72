"""Audio of a data set: is a file readable, and the samples of one clip."""

from __future__ import annotations

import math
import os

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.reading import open_audio, probe
from sedkit.errors import AudioError
from sedkit.geometry import SAMPLE_RATE

SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".mp4", ".webm", ".aiff", ".aif", ".caf"}
FULL_SCALE = 32768  # int16 of a sample of 1.0


def fault(path: str) -> str | None:
    """What is wrong with an audio file, from its header: a kind of problem, or None."""
    if not os.path.isfile(path):
        return "missing file"
    try:
        if not probe(path).duration:
            open_audio(path).close()  # the header does not tell: is there any sound?
    except AudioError:
        return "unreadable audio"
    return None


def length(path: str) -> float:
    """Seconds of an audio file: from its header, or counted where that does not tell.

    Raises
    ------
    AudioError
        If the file cannot be read.
    """
    seconds = probe(path).duration
    if seconds is None:
        with open_audio(path) as stream:
            seconds = sum(map(len, stream)) / SAMPLE_RATE
    return seconds


def decode(path: str, start: float = 0.0, duration: float = math.nan) -> NDArray[np.int16]:
    """Samples [samples] of a clip, 16 kHz mono int16; 32768 is full scale, beyond which it clips.

    ``start`` and ``duration`` in seconds; a duration of NaN means to the end.
    Empty where the file ends before ``start``.

    Raises
    ------
    AudioError
        If the file cannot be read or decoded.
    """
    first = round(start * SAMPLE_RATE)
    last = math.inf if math.isnan(duration) else first + round(duration * SAMPLE_RATE)
    blocks, done = [], 0
    with open_audio(path) as stream:
        for block in stream:
            inside = block[max(0, first - done) : max(0, int(min(last - done, len(block))))]
            blocks.append(np.clip(np.rint(inside * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16))
            done += len(block)
            if done >= last:
                break
    return np.concatenate(blocks) if blocks else np.zeros(0, np.int16)
