"""Audio files and clips: check a file, decode a clip, crop its samples."""

from __future__ import annotations

import math
import os

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.reading import open_audio, probe
from sedkit.errors import AudioError
from sedkit.geometry import SAMPLE_RATE

SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".mp4", ".webm", ".aiff", ".aif", ".caf"}
FULL_SCALE = 32768.0  # int16 value of a sample of 1.0


def fault(path: str) -> str | None:
    """The kind of fault of an audio file, judged by its header, or None if it is sound."""
    return header(path)[0]


def header(path: str) -> tuple[str | None, float]:
    """The kind of fault as :func:`fault` has it, and the length in seconds; NaN if the header does not give it."""
    if not os.path.isfile(path):
        return "missing file", math.nan
    try:
        seconds = probe(path).duration
        if not seconds:
            open_audio(path).close()  # the header has no length: is there any audio?
    except AudioError:
        return "unreadable audio", math.nan
    return None, seconds or math.nan


def length(path: str) -> float:
    """Length of an audio file in seconds, from its header or else by decoding it.

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
    """Decode a clip to 16 kHz mono.

    Parameters
    ----------
    start, duration : seconds; a duration of NaN means to the end of the file.

    Returns
    -------
    [samples] int16, where 32768 is full scale and louder samples are clipped. Empty if the file ends before ``start``.

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


def without_padding(clip: NDArray[np.int16]) -> NDArray[np.int16]:
    """``clip`` [samples] without exact zeros at its start and end; a clip of zeros stays whole.

    Data sets pad clips to equal lengths, and a crop of padding would not contain the labelled sound.
    """
    if len(clip) and clip[0] and clip[-1]:
        return clip
    nonzero = np.flatnonzero(clip)
    return clip[nonzero[0] : nonzero[-1] + 1] if len(nonzero) else clip


def crop(clip: NDArray[np.int16], samples: int, place: float) -> NDArray[np.int16]:
    """``samples`` consecutive samples of ``clip``, starting at the relative position ``place`` in [0, 1).

    A shorter clip is rolled to that position and repeated.
    """
    if len(clip) > samples:
        start = int(place * (len(clip) - samples + 1))
        return clip[start : start + samples]
    return np.resize(np.roll(clip, int(place * len(clip))), samples)
