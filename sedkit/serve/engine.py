"""Recordings of all clients through one model, by :mod:`sedkit.inference.pipeline`.

There are two lanes, each a pipeline of its own: small requests do not wait for long recordings. Within a lane,
recordings are decoded in the order of their arrival, and each is answered as soon as its own scores are there.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import closing, contextmanager, suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.prefetch import AudioSource
from sedkit.audio.reading import AudioStream
from sedkit.errors import SedkitError
from sedkit.geometry import SAMPLE_RATE
from sedkit.inference.model import Model
from sedkit.inference.pipeline import analyse
from sedkit.results import Tagging, Timeline
from sedkit.serve.limits import Limits
from sedkit.serve.refusals import Refusal, busy
from sedkit.timeline.views import View

Result: TypeAlias = Tagging | Timeline
LARGE = 8_000_000  # bytes of a request that takes the lane of long recordings


class Job(AudioSource):
    """A recording of a request: how to read it, and the view that gets its scores.

    Parameters
    ----------
    file : the recording; read by other threads until ``released``.
    name : of the recording, for the result and for messages.
    view : makes the result.
    longest : seconds that it may last.
    reading : arguments of :func:`sedkit.audio.reading.open_audio`.

    Attributes
    ----------
    result : the result or the error.
    released : done when no thread reads the recording any more.
    """

    def __init__(self, file: BinaryIO, name: str, view: View[Result], longest: float, **reading: Any) -> None:
        super().__init__(file, **reading)
        self.name, self.view, self.longest = name, view, longest
        self.result, self.released = Future[Result](), Future[None]()
        self.cancelled = False
        self._audio: AudioStream | None = None

    def stream(self, output_rate: int = SAMPLE_RATE) -> AudioStream:
        """Open the recording; an error is the result at once, before earlier recordings have theirs."""
        try:
            self._audio = super().stream(output_rate)
        except SedkitError as error:
            self.fail(error)
            self.release()
            raise
        return self._audio

    def add(self, samples: NDArray[np.float32], kept: slice, scores: NDArray[np.float32]) -> None:
        """Pass scores to the view, unless nobody wants the result or the recording is too long."""
        if self.cancelled:
            raise Refusal(503, f"{self.name}: nobody waits for the result any more")
        if self._audio is not None and self._audio.duration > self.longest:
            error = Refusal(413, f"{self.name}: is longer than the {self.longest:g} s that this server accepts; cut it")
            self.fail(error)
            raise error
        self.view.add(samples, kept, scores)

    def finish(self, file: str, duration: float) -> Job:
        result = self.view.finish(file, duration)
        self.release()
        with suppress(InvalidStateError):
            self.result.set_result(result)
        return self

    def fail(self, error: BaseException) -> None:
        with suppress(InvalidStateError):
            self.result.set_exception(error)

    def release(self) -> None:
        with suppress(InvalidStateError):
            self.released.set_result(None)


class Lane:
    """A pipeline that runs until it is closed, in threads of its own."""

    def __init__(self, model: Model, name: str) -> None:
        self.model = model
        self.fault: BaseException | None = None
        self._waiting = SimpleQueue[Job | None]()
        self._opened = deque[Job]()  # their outcomes come in this order
        self._thread = threading.Thread(target=self._work, name=f"sedkit-{name}", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        self._waiting.put(job)
        if self.fault is not None:
            self._give_up(self.fault)

    def close(self) -> None:
        """End the threads when all jobs are done."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            with closing(analyse(self.model, self._view, self._jobs())) as outcomes:
                for _, outcome in outcomes:
                    job = self._opened.popleft()
                    if isinstance(outcome, SedkitError):
                        job.fail(outcome)
                    job.release()
        except BaseException as fault:
            self.fault = fault
            self._give_up(fault)

    def _jobs(self) -> Iterator[Job]:
        while (job := self._waiting.get()) is not None:
            if job.cancelled:
                job.release()
                continue
            self._opened.append(job)
            yield job

    def _view(self) -> View[Job]:
        return self._opened[-1]  # the pipeline asks for it right after it has taken the job

    def _give_up(self, fault: BaseException) -> None:
        """Fail all jobs, those under way and those that wait."""
        jobs = list[Job | None](self._opened)
        while not self._waiting.empty():
            jobs.append(self._waiting.get())
        for job in filter(None, jobs):
            job.fail(SedkitError(f"{job.name}: the analysis has ended ({fault!r}); restart the server"))
            job.release()


class Engine:
    """The lanes, and how many recordings may be in them. Its methods belong to the thread of the event loop, but for
    :meth:`cancel` and :meth:`close`.

    Attributes
    ----------
    pending : recordings that are being uploaded, wait or are analysed.
    seconds : of audio analysed so far.
    """

    def __init__(self, model: Model, limits: Limits) -> None:
        self.model, self.limits = model, limits
        self.pending, self.seconds = 0, 0.0
        self._small, self._large = Lane(model, "small"), Lane(model, "large")
        self._jobs = set[Job]()

    @property
    def fault(self) -> BaseException | None:
        """What ended the analysis of all recordings, if anything did."""
        return self._small.fault or self._large.fault

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A place for a request.

        Raises
        ------
        Refusal
            If all are taken.
        """
        if self.pending >= self.limits.queue:
            raise busy(429, f"{self.pending} recordings wait or are analysed now; try again in a moment")
        self.pending += 1
        try:
            yield
        finally:
            self.pending -= 1

    async def run(self, job: Job, size: int, gone: Awaitable[None]) -> Result:
        """Analyse a recording.

        Parameters
        ----------
        size : bytes of the recording.
        gone : done when the client has left.

        Raises
        ------
        SedkitError
            If the recording cannot be analysed, or not in time.
        """
        self._jobs.add(job)
        (self._large if size > LARGE else self._small).put(job)
        result = asyncio.wrap_future(job.result)
        leaving = asyncio.ensure_future(gone)
        try:
            await asyncio.wait((result, leaving), timeout=self.limits.timeout, return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                self.seconds += result.result().duration
                return result.result()
            if leaving.done():
                raise Refusal(499, "the client has left")
            raise busy(503, f"{job.name}: not analysed within {self.limits.timeout:g} s; try again later, or cut it")
        finally:
            job.cancelled = True
            leaving.cancel()
            result.cancel()
            self._jobs.discard(job)

    def cancel(self) -> None:
        """Give up all recordings."""
        for job in self._jobs.copy():  # a job that has failed leaves the set, in the thread of the event loop
            job.cancelled = True
            job.fail(busy(503, "the server is shutting down; try again later"))

    def close(self) -> None:
        """Give up all recordings, and end the threads."""
        self.cancel()
        for lane in (self._small, self._large):
            lane.close()
