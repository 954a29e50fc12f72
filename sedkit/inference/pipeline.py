"""Many recordings through one model: decoding, resampling and inference overlap, and memory stays bounded.

A recording is cut into *pieces* of some twenty seconds (:func:`sedkit.inference.model.pieces`); a short one is a single
piece. A crew of threads looks for work, and each takes the first that there is of

1. a full batch of pieces of one length, to be run through the model;
2. the next piece of the earliest recording that is being decoded, or else the first piece of the next recording;
3. a batch that is not full.

So no thread waits while there is something to do, whatever the mixture of lengths, and one long recording keeps
all of them busy as well. libsndfile, FFmpeg, soxr and ONNX Runtime let go of Python's lock while they work.

Three bounds keep memory flat: decoded audio that the model has not seen, recordings begun and not yet handed over,
and their length in seconds. A recording that is slow or huge holds the later ones up when a bound is reached, not
before, and is itself always free to go on once it is the one waited for.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import BinaryIO, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.prefetch import PrefetchedRecording
from sedkit.audio.reading import open_audio
from sedkit.errors import SedkitError
from sedkit.geometry import SEGMENT_HOP, padded_samples
from sedkit.inference.model import Model, pieces
from sedkit.inference.session import usable_cpus
from sedkit.timeline.views import View

Result = TypeVar("Result")
Source: TypeAlias = str | BinaryIO | PrefetchedRecording

BATCH = {"cpu": 64, "cuda": 512, "tensorrt": 512}  # hops of 0.32 s in a full batch; on a CPU more is slower again
BATCHES_AHEAD = 8  # full batches' worth of audio decoded ahead of those that are running
RECORDINGS = 512  # begun and not yet handed over
SECONDS = 3600.0  # of recordings begun and not yet handed over, the one waited for left out
STDIN = "-"
PATIENCE = 1.0  # seconds to wait, at the end, for a thread that is reading from what may never answer


def analyse(
    model: Model, view: Callable[[], View[Result]], sources: Iterable[Source], cpus: int | None = None
) -> Generator[tuple[str, Result | SedkitError], None, None]:
    """What a view makes of each recording, in the order of `sources`.

    On a CPU as many pieces run side by side as the model's threads leave room for: with ``Model(threads=1)``, which is
    fastest for more than a few seconds of sound, one on every CPU.

    Parameters
    ----------
    view : makes the view of a recording; views are used from several threads, each view from one at a time.
    sources : paths, files open for reading bytes, or recordings that are begun (sedkit.audio.prefetch). Taken as they are
        needed, from other threads.
    cpus : how many to keep busy; None for all that this process may use.

    Yields
    ------
    The name (``-`` for standard input) and the result of a recording, or the error that kept it from having one. No
    other recording suffers from it.
    """
    crew = _Crew(model, view, sources, cpus or usable_cpus())
    try:
        yield from crew.results()
    finally:
        crew.stop()


@dataclass(eq=False)
class _Recording(Generic[Result]):
    """A recording under way."""

    number: int
    name: str
    view: View[Result]
    pieces: Generator[_Piece[Result], None, None] = field(init=False)
    adding: threading.Lock = field(default_factory=threading.Lock)
    early: dict[int, NDArray[np.float32]] = field(default_factory=dict)  # scores that came before their turn
    seconds: float = 0.0  # decoded
    cut: int = 0  # pieces decoded
    added: int = 0  # pieces whose scores the view has
    decoded: bool = False  # to the end
    result: Result | SedkitError | None = None


@dataclass(eq=False, slots=True)
class _Piece(Generic[Result]):
    """A stretch of a recording, with the context that its first and last segment see."""

    recording: _Recording[Result]
    number: int
    samples: NDArray[np.float32]  # zeros up to whole hops, as the graph itself would have it
    kept: slice  # the segments that are not context
    until: float  # seconds of the recording decoded so far
    last: bool

    @property
    def hops(self) -> int:
        return len(self.samples) // SEGMENT_HOP


class _Crew(Generic[Result]):
    """The threads, and what they share: all of it belongs to whoever holds ``lock``."""

    def __init__(self, model: Model, view: Callable[[], View[Result]], sources: Iterable[Source], cpus: int) -> None:
        self.model, self.view, self.sources = model, view, enumerate(sources)
        self.lanes = max(1, cpus // model.threads) if model.device == "cpu" else 1
        self.batch_hops = BATCH[model.device]
        self.most_hops = (self.lanes + BATCHES_AHEAD) * self.batch_hops

        self.lock = threading.Lock()
        self.work = threading.Condition(self.lock)  # there is something to do
        self.done = threading.Condition(self.lock)  # there is something to hand over
        self.under_way = deque[_Recording[Result]]()  # in order
        self.undecoded: list[_Recording[Result]] = []  # those that no thread is decoding at the moment
        self.partial: dict[int, list[_Piece[Result]]] = {}  # by number of hops, the longest waiting first
        self.full = deque[list[_Piece[Result]]]()
        self.hops = 0  # decoded and not yet through the model
        self.seconds = 0.0  # decoded, of what is under way
        self.running = 0  # batches in the model
        self.fetching = False  # the next source
        self.exhausted = False
        self.stopped = False
        self.fault: BaseException | None = None  # ours, or of `sources`

        count = max(self.lanes, cpus) + 1  # one to read while the others compute
        self.threads = [threading.Thread(target=self.toil, name=f"sedkit-{n}", daemon=True) for n in range(count)]
        for thread in self.threads:
            thread.start()

    def results(self) -> Iterator[tuple[str, Result | SedkitError]]:
        """Results in order, as they become ready."""
        while True:
            with self.lock:
                while not (self.fault or self.finished() or (self.under_way and self.under_way[0].result is not None)):
                    self.done.wait()
                if self.fault:
                    raise self.fault
                if self.finished():
                    return
                recording = self.under_way.popleft()
                self.seconds -= recording.seconds
                self.work.notify()
            assert recording.result is not None
            yield recording.name, recording.result

    def finished(self) -> bool:
        return self.exhausted and not self.under_way

    def stop(self) -> None:
        """End the threads. One that reads from a pipe which stays silent is left behind."""
        with self.lock:
            self.stopped = True
            self.work.notify_all()
        deadline = time.monotonic() + PATIENCE
        for thread in self.threads:
            while thread.is_alive() and (self.running or time.monotonic() < deadline):
                thread.join(0.02)
        for recording in self.undecoded:
            recording.pieces.close()

    def toil(self) -> None:
        """What a thread does."""
        try:
            while task := self.next_task():
                task()
        except BaseException as error:
            with self.lock:
                self.fault, self.stopped = error, True
                self.work.notify_all()
                self.done.notify()

    def next_task(self) -> Callable[[], None] | None:
        """Something to do; waits for it. None at the end."""
        with self.lock:
            while not (self.stopped or self.finished()):
                if task := self.choose():
                    self.work.notify()  # there may be more
                    return task
                self.work.wait()
            self.work.notify_all()
        return None

    def choose(self) -> Callable[[], None] | None:
        """The first task that there is, in the order that stands above."""
        free_lane = self.running < self.lanes
        if free_lane and self.full:
            return self.start(self.full.popleft())
        if self.hops < self.most_hops:
            able = [recording for recording in self.undecoded if self.may_go_on(recording)]
            if able:
                recording = min(able, key=lambda recording: recording.number)
                self.undecoded.remove(recording)
                return partial(self.decode, recording)
            if not (self.fetching or self.exhausted) and len(self.under_way) < RECORDINGS and self.may_go_on(None):
                self.fetching = True
                return self.begin
        if free_lane and self.partial:
            return self.start(self.partial.pop(next(iter(self.partial))))
        return None

    def may_go_on(self, recording: _Recording[Result] | None) -> bool:
        """Whether a recording, or a new one, may add to the seconds under way; the one waited for always may."""
        if not self.under_way or recording is self.under_way[0]:
            return True
        return self.seconds - self.under_way[0].seconds < SECONDS

    def start(self, batch: list[_Piece[Result]]) -> Callable[[], None]:
        self.running += 1
        return partial(self.run, batch)

    def begin(self) -> None:
        """Take the next source and decode its first piece."""
        number, source = next(self.sources, (-1, None))
        with self.lock:
            self.fetching = False
            if source is None:
                self.exhausted = True
                self.done.notify()
                return
            recording = _Recording(number, name_of(source), self.view())
            recording.pieces = _pieces(recording, source)
            self.under_way.append(recording)
            self.work.notify()
        self.decode(recording)

    def decode(self, recording: _Recording[Result]) -> None:
        """Decode the next piece of a recording."""
        try:
            piece = next(recording.pieces)
        except Exception as error:
            self.fail(recording, error)
            return
        if piece.last or recording.result is not None:
            recording.pieces.close()
        with self.lock:
            if recording.result is not None:
                return
            self.seconds += piece.until - recording.seconds
            recording.seconds = piece.until
            recording.cut += 1
            recording.decoded = piece.last
            if not piece.last:
                self.undecoded.append(recording)
            self.hops += piece.hops
            batch = self.partial.setdefault(piece.hops, [])
            batch.append(piece)
            if (len(batch) + 1) * piece.hops > self.batch_hops:
                self.full.append(self.partial.pop(piece.hops))

    def run(self, batch: list[_Piece[Result]]) -> None:
        """Run pieces of one length through the model, and hand their scores to the views."""
        try:
            for piece, scores in self.scores(batch):
                self.add(piece, scores[piece.kept])
        finally:
            with self.lock:
                self.running -= 1
                self.hops -= sum(piece.hops for piece in batch)

    def scores(self, batch: list[_Piece[Result]]) -> Iterable[tuple[_Piece[Result], NDArray[np.float32]]]:
        """The pieces, each with its scores, [k, classes]; one that the model fails on does not harm the others."""
        try:
            return zip(batch, self.model.batch(np.stack([piece.samples for piece in batch])), strict=True)
        except Exception as error:
            if len(batch) > 1:
                return chain.from_iterable(self.scores([piece]) for piece in batch)
            self.fail(batch[0].recording, error)
            return []

    def add(self, piece: _Piece[Result], scores: NDArray[np.float32]) -> None:
        """Hand scores to the view of their recording when it is their turn."""
        recording = piece.recording
        try:
            with recording.adding:
                recording.early[piece.number] = scores
                while recording.added in recording.early:
                    recording.view.add_scores(recording.early.pop(recording.added))
                    recording.added += 1
                if not (recording.decoded and recording.added == recording.cut):
                    return
            result = recording.view.finish(recording.name, recording.seconds)
        except Exception as error:
            self.fail(recording, error)
        else:
            self.hand_over(recording, result)

    def fail(self, recording: _Recording[Result], error: Exception) -> None:
        """The recording has no result but an error."""
        if not isinstance(error, SedkitError):
            fault = SedkitError(f"{recording.name}: {type(error).__name__}: {error}")
            fault.__cause__ = error
            error = fault
        self.hand_over(recording, error)

    def hand_over(self, recording: _Recording[Result], result: Result | SedkitError) -> None:
        with self.lock:
            if recording.result is None:
                recording.result = result
            if recording in self.undecoded:
                self.undecoded.remove(recording)
                recording.pieces.close()
            self.done.notify()


def name_of(source: Source) -> str:
    return source if isinstance(source, str) else source.name if isinstance(source, PrefetchedRecording) else STDIN


def _pieces(recording: _Recording[Result], source: Source) -> Generator[_Piece[Result], None, None]:
    """The pieces of a recording, decoded as they are asked for."""
    with source.stream() if isinstance(source, PrefetchedRecording) else open_audio(source) as stream:
        for number, (samples, kept) in enumerate(pieces(stream)):
            padded = np.zeros(padded_samples(len(samples)), np.float32)
            padded[: len(samples)] = samples
            with recording.adding:
                recording.view.add_samples(samples, kept)
            yield _Piece(recording, number, padded, kept, stream.duration, last=kept.stop is None)
