"""Audio as it arrives: the interface of the sources, and recordings as one of them.

The other sources are :mod:`sedkit.audio.pipe`, :mod:`sedkit.audio.microphone` and :mod:`sedkit.audio.network`. A
separate thread receives and decodes the sound and queues it, so none is lost while the model runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import chain, groupby
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.decoding import Notify
from sedkit.audio.reading import Notices, decode_path
from sedkit.errors import AudioError

WAIT_SECONDS = 1.0  # how often a consumer that waits looks at the clock


class Incident(NamedTuple):
    """Something that happened to a source.

    Attributes
    ----------
    kind : ``"stalled"``: no audio comes, for `seconds` so far. ``"resumed"``: it comes again, after `seconds`.
        ``"lost"``: the next `seconds` of audio did not arrive; there is silence in their place.
    at : position in the audio, in seconds.
    seconds : on the clock.
    cause : of a stall, if it is known.
    """

    kind: Literal["stalled", "resumed", "lost"]
    at: float
    seconds: float
    cause: str = ""


Queued: TypeAlias = NDArray[Any] | Incident | Exception | None  # None, or an exception, ends the audio


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
    received : seconds of audio that were taken so far.
    patience : seconds without audio until the source counts as stalled.
    on_incident : called with each incident, by the thread that iterates.
    """

    endless = False
    patience = math.inf

    def __init__(self, name: str, sample_rate: float) -> None:
        self.name = name
        self.sample_rate = self.block_rate = float(sample_rate)  # files tell whole numbers
        self.weights: tuple[float, ...] | None = None
        self.stopped = False
        self.losses = 0
        self._ended = False
        self._failure: Exception | None = None
        self.received = 0.0
        self.on_incident: Callable[[Incident], None] = lambda incident: None
        self._blocks = SimpleQueue[Queued]()  # its put() is safe in signal handlers

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
            if isinstance(block, Incident):
                self.on_incident(block)
                continue
            received.append(block)
            self.received += len(block) / self.block_rate
        self._consumed(len(received))
        return received

    def _wait(self) -> Queued:
        start, stalled = time.monotonic(), False
        while True:
            try:
                block = self._blocks.get(timeout=min(WAIT_SECONDS, self.patience))
            except Empty:  # try again; some systems deliver signals only between two calls
                waited = time.monotonic() - start
                if waited >= self.patience and not stalled:
                    stalled = True
                    self.on_incident(Incident("stalled", self.received, waited))
                continue
            if stalled and isinstance(block, np.ndarray):
                self.on_incident(Incident("resumed", self.received, time.monotonic() - start))
            return block

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
            self.received += chunk.samples.shape[1] / self.block_rate
            yield chunk.samples.T

    def close(self) -> None:
        self._chunks.close()
