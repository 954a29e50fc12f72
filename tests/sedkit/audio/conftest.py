"""Fixtures: pipes of the operating system, and live audio that reads from them."""

from __future__ import annotations

import gc
import io
import os

import numpy as np
import pytest

from sedkit.audio.pipe import Pipe
from tests.sedkit.audio.piping import Writer, readers, wait_until


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    if readers():
        gc.collect()  # takes most of a second where torch is loaded
    wait_until(lambda: not readers())


@pytest.fixture
def open_pipe():
    """Return a function that makes an operating system's pipe: the file to read and its :class:`Writer`."""
    writers = []

    def make() -> tuple[io.FileIO, Writer]:
        reading, writing = os.pipe()
        writers.append(Writer(writing))
        return io.FileIO(reading), writers[-1]

    yield make
    for writer in writers:
        writer.close()
        writer.thread.join(60)


@pytest.fixture
def pipe(open_pipe):
    """Return a function that makes a Pipe and writes bytes into it piece by piece."""
    lives = []

    def make(content: bytes, *arguments, pieces: int = 7) -> Pipe:
        reading, writer = open_pipe()
        for piece in np.array_split(np.frombuffer(content, np.uint8), pieces):
            writer.write(piece.tobytes())
        writer.close()
        lives.append(Pipe(reading, *arguments))
        return lives[-1]

    yield make
    for live in lives:
        live.close()
