"""Many recordings through one model: decoding, resampling and inference overlap, and memory stays bounded.

Several threads share the work; :mod:`sedkit.inference.schedule` says what each does next. libsndfile, FFmpeg, soxr and
ONNX Runtime release Python's global lock while they work.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import BinaryIO, Generic, TypeAlias, TypeVar

import numpy as np

from sedkit.audio.prefetch import AudioSource
from sedkit.audio.reading import open_audio
from sedkit.errors import SedkitError
from sedkit.geometry import Geometry
from sedkit.inference.cpus import usable_cpus
from sedkit.inference.model import Model, pieces
from sedkit.inference.schedule import Add, Decode, Open, Piece, Recording, Run, Schedule, Task
from sedkit.timeline.views import View

Result = TypeVar("Result")
Source: TypeAlias = str | BinaryIO | AudioSource

BATCH_SECONDS = {"cpu": 20.48, "cuda": 163.84, "tensorrt": 163.84}  # in a full batch; larger is slower on a CPU
STDIN = "-"
JOIN_TIMEOUT = 1.0  # seconds to wait, at the end, for a thread that may be blocked reading from a pipe


def analyse(
    model: Model, make_view: Callable[[], View[Result]], sources: Iterable[Source], jobs: int | None = None
) -> Generator[tuple[str, Result | SedkitError], None, None]:
    """Analyse recordings; yield their results in the order of `sources`.

    If the iteration is interrupted (an exception, Ctrl-C, ``close``), all threads end and all recordings are closed. A
    thread that is blocked reading from a pipe is not waited for; it ends, and closes its recording, when the read does.

    Parameters
    ----------
    model : the model.
    make_view : called once per recording; returns the view (:mod:`sedkit.timeline.views`) that makes its result. A view
        is used by one thread at a time, but by several threads in turn.
    sources : paths, binary files, or either with options for reading; consumed lazily, by other threads.
    jobs : number of pieces to run through the model at the same time, on a CPU; None for as many as the CPUs can run
        with the model's number of threads. ``Model(threads=1)``, which runs one piece per CPU, is fastest for more than
        a few seconds of audio.

    Yields
    ------
    name : str
        Path of the recording, ``-`` for a binary file.
    result
        The result of the view, or the error of this recording. Other recordings are not affected by it.
    """
    cpus = usable_cpus()
    lanes = (jobs or max(1, cpus // model.threads)) if model.device == "cpu" else 1
    batch = max(1, model.geometry.hops(BATCH_SECONDS[model.device]))
    with closing(_Workers(_Work(model, make_view, sources), Schedule(lanes, batch))) as workers:
        yield from workers.results(max(lanes, jobs or cpus) + 1)  # one more to decode while the others compute


class _Workers(Generic[Result]):
    """Threads that carry out the tasks of a schedule, which ``lock`` protects."""

    def __init__(self, work: _Work[Result], schedule: Schedule[Result]) -> None:
        self.work, self.schedule = work, schedule
        self.lock = threading.Lock()
        self.task_ready, self.result_ready = threading.Condition(self.lock), threading.Condition(self.lock)
        self.threads: list[threading.Thread] = []
        self.fault: BaseException | None = None  # an error of the sources or of this module; ends everything

    def results(self, count: int) -> Iterator[tuple[str, Result | SedkitError]]:
        """Start `count` threads; yield results in order, as they become ready."""
        for number in range(count):
            thread = threading.Thread(target=self.main, name=f"sedkit-{number}", daemon=True)
            thread.start()
            self.threads.append(thread)
        while True:
            with self.lock:
                while (recording := self.schedule.take_result()) is None and not self.schedule.finished:
                    self.result_ready.wait()
                if self.fault:
                    raise self.fault
                self.task_ready.notify()
            if recording is None:
                return
            assert recording.result is not None
            yield recording.name, recording.result

    def main(self) -> None:
        """The main function of each thread."""
        task: Task[Result] | None = None
        try:
            while task := self.next_task(task):
                self.work(task)
        except BaseException as error:
            with self.lock:
                self.fault = error
                self.stop()

    def next_task(self, previous: Task[Result] | None) -> Task[Result] | None:
        """Report the previous task as done and wait for another; None at the end."""
        with self.lock:
            if previous is not None:
                self.schedule.done(previous)
                if self.schedule.has_result or self.schedule.finished:
                    self.result_ready.notify()
            while (task := self.schedule.take()) is None and not self.schedule.finished:
                self.task_ready.wait()
            self.task_ready.notify()  # there may be more
            return task

    def stop(self) -> None:
        self.schedule.stop()
        self.task_ready.notify_all()
        self.result_ready.notify()

    def close(self) -> None:
        """End the threads and close the recordings. A thread that is blocked reading from a pipe is abandoned."""
        with self.lock:
            self.stop()
        deadline = time.monotonic() + JOIN_TIMEOUT
        for thread in self.threads:
            while thread.is_alive() and (self.schedule.running or time.monotonic() < deadline):
                thread.join(0.02)


class _Work(Generic[Result]):
    """What the tasks do. An error of a recording is an outcome; an error of the sources is raised."""

    def __init__(self, model: Model, make_view: Callable[[], View[Result]], sources: Iterable[Source]) -> None:
        self.model, self.make_view, self.sources = model, make_view, iter(sources)

    def __call__(self, task: Task[Result]) -> None:
        match task:
            case Open():
                for source in self.sources:
                    task.outcome = self.recording(source)
                    break
            case Decode():
                task.outcome = self.decode(task.recording)
            case Run():
                self.run(task.pieces)
            case Add():
                task.outcome = self.add(task)

    def recording(self, source: Source) -> Recording[Result]:
        name = source.name if isinstance(source, AudioSource) else source if isinstance(source, str) else STDIN
        return Recording(name, self.make_view(), _pieces(source, self.model.geometry))

    def decode(self, recording: Recording[Result]) -> Piece[Result] | SedkitError:
        """The next piece. After the last one, the recording is closed."""
        try:
            piece = next(recording.pieces)
            if piece.last:
                recording.pieces.close()
        except Exception as error:
            return _as_sedkit_error(error, recording)
        return piece

    def run(self, batch: list[Piece[Result]]) -> None:
        """Run pieces of equal length through the model. If the batch fails, its pieces are run one by one."""
        try:
            scores = self.model.batch(np.stack([piece.padded for piece in batch]))
        except Exception as error:
            if len(batch) == 1:
                batch[0].scores = _as_sedkit_error(error, batch[0].recording)
            else:
                for piece in batch:
                    self.run([piece])
        else:
            for piece, rows in zip(batch, scores, strict=True):
                piece.scores = rows[piece.kept]

    def add(self, task: Add[Result]) -> Result | SedkitError | None:
        """Add the scores of pieces to the view; after the last piece, return the result."""
        recording = task.recording
        try:
            for piece in task.pieces:
                assert isinstance(piece.scores, np.ndarray)
                recording.view.add(piece.samples, piece.kept, piece.scores)
                if piece.last:
                    return recording.view.finish(recording.name, piece.until)
        except Exception as error:
            return _as_sedkit_error(error, recording)
        return None


def _pieces(source: Source, geometry: Geometry) -> Generator[Piece[Result], None, None]:
    """Decode the pieces of a recording one by one, at the model's sample rate."""
    rate = geometry.sample_rate
    with source.stream(rate) if isinstance(source, AudioSource) else open_audio(source, output_rate=rate) as stream:
        for number, (samples, kept) in enumerate(pieces(stream, geometry=geometry)):
            padded = np.zeros(geometry.padded_samples(len(samples)), np.float32)
            padded[: len(samples)] = samples
            hops = len(padded) // geometry.segment_hop
            yield Piece(number, padded[: len(samples)], padded, kept, stream.duration, hops)


def _as_sedkit_error(error: Exception, recording: Recording[Result]) -> SedkitError:
    if isinstance(error, SedkitError):
        return error
    wrapped = SedkitError(f"{recording.name}: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
