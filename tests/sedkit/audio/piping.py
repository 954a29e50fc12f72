"""Sound that is written into pipes, for the tests of live audio."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

import av
import numpy as np

from tests.conftest import make_sound

SOUND = make_sound(3, 16_000, seed=3)


def encode(kind: str, codec: str, sound: np.ndarray = SOUND, rate: int = 16_000, channels: int = 1) -> bytes:
    """A file as a program writes it into a pipe: without seeking back to fill in lengths."""
    buffer = io.BytesIO()

    class Writer:
        def write(self, data: bytes) -> int:
            return buffer.write(data)

    options = {"movflags": "frag_keyframe+empty_moov"} if kind == "mp4" else {}
    layout = "stereo" if channels == 2 else "mono"
    with av.open(Writer(), "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        for start in range(0, len(sound), 1600):
            block = np.repeat((sound[start : start + 1600] * 32767).astype(np.int16), channels)
            frame = av.AudioFrame.from_ndarray(block[None], format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another thread; a minute is for a loaded machine."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sedkit-pipe"]


class Writer:
    """The end of a pipe into which another program writes; a thread of its own writes, since a pipe holds 64 kB."""

    def __init__(self, number: int) -> None:
        self.number, self.data = number, SimpleQueue[bytes | None]()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        with suppress(BrokenPipeError), open(self.number, "wb", buffering=0) as file:
            while (data := self.data.get()) is not None:
                while data:
                    data = data[file.write(data) :]

    def write(self, data: bytes) -> None:
        self.data.put(data)

    def close(self) -> None:
        self.data.put(None)


def all_samples(live) -> np.ndarray:
    with live:
        return np.concatenate(list(live))
