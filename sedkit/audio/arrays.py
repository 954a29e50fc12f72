"""Samples in arrays, lists of floats, and what NumPy makes an array of → chunks of float32."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.decoding import BLOCK, RATES, Chunk, Decoder, Notify, to_float
from sedkit.errors import ArgumentError

Value = TypeVar("Value")

MAX_CHANNELS = 64  # of an array [samples, channels]; with more, and more than samples, it is [channels, samples]
LISTED = "a list must hold floats in [-1, 1]; pass integers as an array, numpy.array(samples, dtype)"
SMALLEST_PEAK = 256  # of int32 samples; below it, they are silence rather than samples of fewer bits


def in_array(source: Value) -> Value | NDArray[Any]:
    """A list of floats, or of rows of floats, and whatever has ``__array__``, as an array; others unchanged.

    Raises
    ------
    ArgumentError
        If a list holds integers, or its rows differ in length.
    """
    first: Any = source
    while isinstance(first, list | tuple) and first:
        first = first[0]
    listed = first is not source and isinstance(first, int | float | np.number | np.ndarray)
    if isinstance(source, str | os.PathLike) or not (listed or hasattr(source, "__array__")):
        return source
    try:
        array = np.asarray(source)
    except ValueError:
        raise ArgumentError("the rows of a list must have equal lengths; pass one number per channel") from None
    if listed and array.dtype.kind != "f":
        raise ArgumentError(LISTED)
    return array


def decode_arrays(
    arrays: Iterable[NDArray[Any]], sample_rate: float, notify: Notify, weights: tuple[float, ...] | None = None
) -> Decoder:
    """Yield the samples of consecutive arrays.

    Parameters
    ----------
    arrays : as for :func:`sedkit.audio.reading.open_audio`, of any length.
    sample_rate : Hz.
    notify : called with a message if integers look like samples of fewer bits than their type has.
    weights : of the channels in the mix; None for equal weights.

    Raises
    ------
    ArgumentError
        If an array is invalid.
    """
    peak, shifted = 0, True  # of int32 samples: the largest, and whether all are multiples of 256
    for array in arrays:
        samples = checked_array(array)
        if samples.dtype == np.int32 and samples.size:
            peak = max(peak, int(samples.max()), -int(samples.min()))
            shifted = shifted and not (samples & 0xFF).any()
        block = max(1, BLOCK // samples.shape[1])
        fitting = weights if weights and len(weights) == samples.shape[1] else None
        for start in range(0, len(samples), block):
            yield Chunk(sample_rate, to_float(samples[start : start + block]).T, fitting)
    if SMALLEST_PEAK <= peak <= 1 << 23 and not shifted:
        bits, remedy = (16, "samples.astype(numpy.int16)") if peak <= 1 << 15 else (24, "samples << 8")
        notify(
            f"int32 samples with a peak of {peak} look like {bits}-bit samples, but count as 32-bit samples; "
            f"if they have {bits} bits, pass {remedy}"
        )


def checked_array(block: object) -> NDArray[Any]:
    """An array, or what becomes one, as [samples, channels]; raises ArgumentError if it is not audio."""
    array = in_array(block)
    if not isinstance(array, np.ndarray):
        raise ArgumentError(
            "samples must be an array or a list of floats in [-1, 1]; pass integers as an array, "
            "numpy.array(samples, dtype)"
        )
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > (8 if array.dtype.kind == "f" else 4):
        raise ArgumentError(f"samples must be floats or integers of up to 32 bits, not {array.dtype}")
    if array.ndim not in (1, 2):
        raise ArgumentError(f"an array must be [samples] or [samples, channels], not {list(array.shape)}")
    samples = array.reshape(len(array), -1) if array.size else array.reshape(0, 1)
    return samples.T if samples.shape[1] > max(MAX_CHANNELS, len(samples)) else samples


def check_rate(sample_rate: float | None) -> float:
    """The sample rate of an array as a float.

    Raises
    ------
    ArgumentError
        If it is missing, or outside 1 kHz to 1 MHz.
    """
    if not isinstance(sample_rate, int | float | np.number) or not RATES[0] <= sample_rate <= RATES[1]:
        raise ArgumentError(f"an array needs a sample_rate from 1 kHz to 1 MHz, not {sample_rate}")
    return float(sample_rate)
