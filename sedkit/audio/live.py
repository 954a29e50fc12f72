"""Audio as it arrives: the interface of the sources, and recordings as one of them.

The other sources are :mod:`sedkit.audio.pipe` and :mod:`sedkit.audio.microphone`. A separate thread receives and
decodes the sound and queues it, so none is lost while the model runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, groupby
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.decoding import Notify
from sedkit.audio.reading import Notices, decode_path
from sedkit.errors import AudioError


class LiveAudio:
    """Base class of sources; iterate over it once for arrays [samples] or [samples, channels].

    Attributes
    ----------
    name : name of the microphone; ``-`` for standard input; a path.
    sample_rate : Hz, of the source.
    block_rate : Hz, of the arrays.
    weights : of the channels in the mix, see :class:`sedkit.audio.decoding.Chunk`.
    stopped : whether :meth:`stop` was called.
    losses : number of times that audio was lost because it was not consumed in time.
    endless : whether the source ends only if it is stopped.
    """

    endless = False

    def __init__(self, name: str, sample_rate: float) -> None:
        self.name, self.sample_rate, self.block_rate = name, sample_rate, sample_rate
        self.weights: tuple[float, ...] | None = None
        self.stopped = False
        self.losses = 0
        self._ended = False
        self._failure: Exception | None = None
        self._blocks = SimpleQueue[NDArray[Any] | Exception | None]()  # its put() is safe in signal handlers

    @property
    def damages(self) -> int:
        """Number of places where the sound was damaged and left out."""
        return 0

    def stop(self) -> None:
        """End the iteration after the samples received so far. May be called from any thread or signal handler."""
        self.stopped = True
        self._blocks.put(None)

    def close(self) -> None:
        """Release the source. Iterating over it then ends, too."""

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield all samples received since the last iteration, as one array: a slow consumer gets longer arrays.

        Where the number of channels changes, a new array begins.

        Raises
        ------
        AudioError
            If the source fails. Raised once, after the samples received before.
        """
        while not self._ended:
            for _, blocks in groupby(self._take(), key=lambda block: block.shape[1:]):
                yield np.concatenate(list(blocks))
        failure, self._failure = self._failure, None
        if failure:
            raise failure

    def _take(self) -> list[NDArray[Any]]:
        """Wait for a block; return all that are queued."""
        received = list[NDArray[Any]]()
        for block in [self._wait(), *(self._blocks.get() for _ in range(self._blocks.qsize()))]:
            if block is None or isinstance(block, Exception):
                self._ended, self._failure = True, block
                break
            received.append(block)
        self._consumed(len(received))
        return received

    def _wait(self) -> NDArray[Any] | Exception | None:
        while True:
            try:
                return self._blocks.get(timeout=1.0)
            except Empty:  # try again; some systems deliver signals only between two calls
                continue

    def _consumed(self, blocks: int) -> None:
        """Called when this many blocks were taken from the queue."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Recording(LiveAudio):
    """A file, decoded as fast as it is consumed.

    Parameters
    ----------
    on_notice : called with notices about the file.
    track : number of the audio track, from 1 on; None for the default one, otherwise the first.

    Raises
    ------
    AudioError
        If the file does not exist or has no audio that can be decoded.
    """

    def __init__(self, path: str, on_notice: Notify | None = None, track: int | None = None) -> None:
        self._chunks = decode_path(path, track, Notices(path, on_notice))
        self._first = next(self._chunks, None)
        if self._first is None:
            raise AudioError(f"{path}: contains no samples; record or export it again")
        super().__init__(path, self._first.rate)
        self.weights = self._first.weights

    def __iter__(self) -> Iterator[NDArray[Any]]:
        first, self._first = self._first, None
        for chunk in chain([first] if first else [], self._chunks):
            if self.stopped:
                return
            yield chunk.samples.T

    def close(self) -> None:
        self._chunks.close()
