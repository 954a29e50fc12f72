"""Many recordings through one model: decoding, resampling and inference overlap, and memory stays bounded.

A recording is cut into *pieces* of about 20 s (:func:`sedkit.inference.model.pieces`); a short one is a single piece.
Several threads share the work. A free thread takes the first task available:

1. run a full batch of pieces of equal length through the model;
2. decode the next piece of the earliest open recording, or else open the next recording;
3. run a batch that is not full.

So no thread waits while there is work, for any mixture of lengths, and one long recording keeps all threads busy.
libsndfile, FFmpeg, soxr and ONNX Runtime release Python's global lock while they work.

Three limits bound the memory: decoded audio that the model has not processed, the number of open recordings, and their
total length in seconds. A slow or very long recording delays later ones only when a limit is reached. The recording
whose result will be yielded next is exempt from the limit on seconds.
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

from sedkit.audio.prefetch import AudioSource
from sedkit.audio.reading import open_audio
from sedkit.errors import SedkitError
from sedkit.geometry import SEGMENT_HOP, padded_samples
from sedkit.inference.model import Model, pieces
from sedkit.inference.session import usable_cpus
from sedkit.timeline.views import View

Result = TypeVar("Result")
Source: TypeAlias = str | BinaryIO | AudioSource

BATCH_HOPS = {"cpu": 64, "cuda": 512, "tensorrt": 512}  # hops of 0.32 s in a full batch; larger is slower on a CPU
BATCHES_AHEAD = 8  # full batches' worth of audio decoded ahead of the batches that are running
MAX_OPEN = 512  # open recordings: those whose results have not been yielded yet
MAX_OPEN_SECONDS = 3600.0  # total decoded length of these recordings, except the one whose result will be yielded next
STDIN = "-"
JOIN_TIMEOUT = 1.0  # seconds to wait, at the end, for a thread that may be blocked reading from a pipe


def analyse(
    model: Model, make_view: Callable[[], View[Result]], sources: Iterable[Source], cpus: int | None = None
) -> Generator[tuple[str, Result | SedkitError], None, None]:
    """Analyse recordings; yield their results in the order of `sources`.

    On a CPU, several pieces run in parallel if the model uses fewer threads than there are CPUs. ``Model(threads=1)``,
    which runs one piece per CPU, is fastest for more than a few seconds of audio.

    Parameters
    ----------
    model : the model.
    make_view : called once per recording; returns the view (:mod:`sedkit.timeline.views`) that makes its result. A view
        is used by one thread at a time, but by several threads in turn.
    sources : paths, binary files, or either with options for reading; consumed lazily, by other threads.
    cpus : number of CPUs to use; None for all that this process may use.

    Yields
    ------
    name : str
        Path of the recording, ``-`` for a binary file.
    result
        The result of the view, or the error of this recording. Other recordings are not affected by it.
    """
    workers = _Workers(model, make_view, sources, cpus or usable_cpus())
    try:
        yield from workers.results()
    finally:
        workers.stop()


@dataclass(eq=False)
class _Recording(Generic[Result]):
    """An open recording: its result has not been yielded yet."""

    number: int
    name: str
    view: View[Result]
    pieces: Generator[_Piece[Result], None, None] = field(init=False)
    view_lock: threading.Lock = field(default_factory=threading.Lock)
    early_scores: dict[int, NDArray[np.float32]] = field(default_factory=dict)  # by piece; waiting for earlier pieces
    seconds: float = 0.0  # decoded so far
    pieces_decoded: int = 0
    pieces_added: int = 0  # to the view
    decoded: bool = False  # to the end
    result: Result | SedkitError | None = None


@dataclass(eq=False, slots=True)
class _Piece(Generic[Result]):
    """A piece of a recording, with the context of its first and last segment."""

    recording: _Recording[Result]
    number: int
    samples: NDArray[np.float32]  # zero-padded to whole hops, as the graph would do
    kept: slice  # the segments that are not context
    until: float  # seconds of the recording decoded so far
    last: bool

    @property
    def hops(self) -> int:
        return len(self.samples) // SEGMENT_HOP


class _Workers(Generic[Result]):
    """The threads and their shared state, which ``lock`` protects."""

    def __init__(
        self, model: Model, make_view: Callable[[], View[Result]], sources: Iterable[Source], cpus: int
    ) -> None:
        self.model, self.make_view, self.sources = model, make_view, enumerate(sources)
        self.max_running = max(1, cpus // model.threads) if model.device == "cpu" else 1
        self.batch_hops = BATCH_HOPS[model.device]
        self.max_hops = (self.max_running + BATCHES_AHEAD) * self.batch_hops

        self.lock = threading.Lock()
        self.task_ready = threading.Condition(self.lock)
        self.result_ready = threading.Condition(self.lock)
        self.open = deque[_Recording[Result]]()  # recordings in order
        self.undecoded: list[_Recording[Result]] = []  # open recordings with more to decode, not being decoded now
        self.partial_batches: dict[int, list[_Piece[Result]]] = {}  # by number of hops, the longest waiting first
        self.full_batches = deque[list[_Piece[Result]]]()
        self.hops = 0  # decoded, but not yet run through the model
        self.seconds = 0.0  # decoded, of all open recordings
        self.running = 0  # batches in the model
        self.opening = False  # a thread is taking the next source
        self.exhausted = False  # there are no more sources
        self.stopped = False
        self.fault: BaseException | None = None  # an error of `sources` or of this module; ends everything

        count = max(self.max_running, cpus) + 1  # one more to decode while the others compute
        self.threads = [threading.Thread(target=self.work, name=f"sedkit-{n}", daemon=True) for n in range(count)]
        for thread in self.threads:
            thread.start()

    def results(self) -> Iterator[tuple[str, Result | SedkitError]]:
        """Yield results in order, as they become ready."""
        while True:
            with self.lock:
                while not (self.fault or self.finished() or (self.open and self.open[0].result is not None)):
                    self.result_ready.wait()
                if self.fault:
                    raise self.fault
                if self.finished():
                    return
                recording = self.open.popleft()
                self.seconds -= recording.seconds
                self.task_ready.notify()
            assert recording.result is not None
            yield recording.name, recording.result

    def finished(self) -> bool:
        return self.exhausted and not self.open

    def stop(self) -> None:
        """End the threads. A thread that is blocked reading from a pipe is abandoned."""
        with self.lock:
            self.stopped = True
            self.task_ready.notify_all()
        deadline = time.monotonic() + JOIN_TIMEOUT
        for thread in self.threads:
            while thread.is_alive() and (self.running or time.monotonic() < deadline):
                thread.join(0.02)
        for recording in self.undecoded:
            recording.pieces.close()

    def work(self) -> None:
        """The main function of each thread."""
        try:
            while task := self.next_task():
                task()
        except BaseException as error:
            with self.lock:
                self.fault, self.stopped = error, True
                self.task_ready.notify_all()
                self.result_ready.notify()

    def next_task(self) -> Callable[[], None] | None:
        """Wait for a task; None at the end."""
        with self.lock:
            while not (self.stopped or self.finished()):
                if task := self.choose_task():
                    self.task_ready.notify()  # there may be more
                    return task
                self.task_ready.wait()
            self.task_ready.notify_all()
        return None

    def choose_task(self) -> Callable[[], None] | None:
        """The first task available, in the order given at the top of this module; None if there is none."""
        may_run = self.running < self.max_running
        if may_run and self.full_batches:
            return self.start(self.full_batches.popleft())
        if self.hops < self.max_hops:
            decodable = [recording for recording in self.undecoded if self.may_decode(recording)]
            if decodable:
                recording = min(decodable, key=lambda recording: recording.number)
                self.undecoded.remove(recording)
                return partial(self.decode, recording)
            if not (self.opening or self.exhausted) and len(self.open) < MAX_OPEN and self.may_decode(None):
                self.opening = True
                return self.open_next
        if may_run and self.partial_batches:
            return self.start(self.partial_batches.pop(next(iter(self.partial_batches))))
        return None

    def may_decode(self, recording: _Recording[Result] | None) -> bool:
        """Whether the limit on seconds allows decoding more of a recording, or opening a new one (None)."""
        if not self.open or recording is self.open[0]:
            return True
        return self.seconds - self.open[0].seconds < MAX_OPEN_SECONDS

    def start(self, batch: list[_Piece[Result]]) -> Callable[[], None]:
        self.running += 1
        return partial(self.run, batch)

    def open_next(self) -> None:
        """Open the next recording and decode its first piece."""
        number, source = next(self.sources, (-1, None))
        with self.lock:
            self.opening = False
            if source is None:
                self.exhausted = True
                self.result_ready.notify()
                return
            recording = _Recording(number, name_of(source), self.make_view())
            recording.pieces = _pieces(recording, source)
            self.open.append(recording)
            self.task_ready.notify()
        self.decode(recording)

    def decode(self, recording: _Recording[Result]) -> None:
        """Decode the next piece of a recording and put it into a batch."""
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
            recording.pieces_decoded += 1
            recording.decoded = piece.last
            if not piece.last:
                self.undecoded.append(recording)
            self.hops += piece.hops
            batch = self.partial_batches.setdefault(piece.hops, [])
            batch.append(piece)
            if (len(batch) + 1) * piece.hops > self.batch_hops:
                self.full_batches.append(self.partial_batches.pop(piece.hops))

    def run(self, batch: list[_Piece[Result]]) -> None:
        """Run pieces of equal length through the model and add their scores to the views."""
        try:
            for piece, scores in self.scores(batch):
                self.add_scores(piece, scores[piece.kept])
        finally:
            with self.lock:
                self.running -= 1
                self.hops -= sum(piece.hops for piece in batch)

    def scores(self, batch: list[_Piece[Result]]) -> Iterable[tuple[_Piece[Result], NDArray[np.float32]]]:
        """Each piece with its scores, [k, classes]. If the batch fails, its pieces are run one by one."""
        try:
            return zip(batch, self.model.batch(np.stack([piece.samples for piece in batch])), strict=True)
        except Exception as error:
            if len(batch) > 1:
                return chain.from_iterable(self.scores([piece]) for piece in batch)
            self.fail(batch[0].recording, error)
            return []

    def add_scores(self, piece: _Piece[Result], scores: NDArray[np.float32]) -> None:
        """Add scores to the view of their recording, in the order of its pieces; after the last, make the result."""
        recording = piece.recording
        try:
            with recording.view_lock:
                recording.early_scores[piece.number] = scores
                while recording.pieces_added in recording.early_scores:
                    recording.view.add_scores(recording.early_scores.pop(recording.pieces_added))
                    recording.pieces_added += 1
                if not (recording.decoded and recording.pieces_added == recording.pieces_decoded):
                    return
            result = recording.view.finish(recording.name, recording.seconds)
        except Exception as error:
            self.fail(recording, error)
        else:
            self.set_result(recording, result)

    def fail(self, recording: _Recording[Result], error: Exception) -> None:
        """Make an error the result of a recording."""
        if not isinstance(error, SedkitError):
            wrapped = SedkitError(f"{recording.name}: {type(error).__name__}: {error}")
            wrapped.__cause__ = error
            error = wrapped
        self.set_result(recording, error)

    def set_result(self, recording: _Recording[Result], result: Result | SedkitError) -> None:
        """Set the result of a recording, unless it has one; decode no more of it."""
        with self.lock:
            if recording.result is None:
                recording.result = result
            if recording in self.undecoded:
                self.undecoded.remove(recording)
                recording.pieces.close()
            self.result_ready.notify()


def name_of(source: Source) -> str:
    if isinstance(source, AudioSource):
        return source.name
    return source if isinstance(source, str) else STDIN


def _pieces(recording: _Recording[Result], source: Source) -> Generator[_Piece[Result], None, None]:
    """Decode the pieces of a recording one by one."""
    with source.stream() if isinstance(source, AudioSource) else open_audio(source) as stream:
        for number, (samples, kept) in enumerate(pieces(stream)):
            padded = np.zeros(padded_samples(len(samples)), np.float32)
            padded[: len(samples)] = samples
            with recording.view_lock:
                recording.view.add_samples(samples, kept)
            yield _Piece(recording, number, padded, kept, stream.duration, last=kept.stop is None)
