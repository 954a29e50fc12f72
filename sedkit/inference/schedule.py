"""Which task comes next when many recordings share one model: the rules of the pipeline, without threads.

A recording is cut into *pieces* of about 20 s (:func:`sedkit.inference.model.pieces`); a short one is a single piece.
:meth:`Schedule.take` returns the first task available:

1. :class:`Add` the scores of a recording's pieces to its view, in order;
2. :class:`Run` a full batch of pieces of equal length through the model;
3. :class:`Decode` the next piece of the earliest open recording, or else :class:`Open` the next recording;
4. :class:`Run` a batch that is not full.

So no thread waits while there is work, for any mixture of lengths, and one long recording keeps all threads busy.
Whoever took a task carries it out, writes the outcome into it, and passes it to :meth:`Schedule.done`. Until then, what
the task refers to belongs to him: the pieces of a recording are decoded by one thread at a time, and so is its view.

Three limits bound the memory: decoded audio whose scores have not been added yet, the number of open recordings, and
their total length in seconds. A slow or very long recording delays later ones only when a limit is reached. The
recording whose result is due next is exempt from the limit on seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import SedkitError
from sedkit.timeline.views import View

Result = TypeVar("Result")

BATCHES_AHEAD = 8  # full batches' worth of audio decoded ahead of the batches that are running
MAX_OPEN = 512  # open recordings: those whose results have not been taken yet
MAX_OPEN_SECONDS = 3600.0  # total decoded length of these recordings, except the one whose result is due next


@dataclass(eq=False)
class Recording(Generic[Result]):
    """An open recording: its result has not been taken yet."""

    name: str
    view: View[Result]
    pieces: Generator[Piece[Result], None, None]
    number: int = 0  # in order
    seconds: float = 0.0  # decoded so far
    added: int = 0  # pieces, to the view
    adding: bool = False
    scored: dict[int, Piece[Result]] = field(default_factory=dict)  # by number; not added yet
    result: Result | SedkitError | None = None


@dataclass(eq=False, slots=True)
class Piece(Generic[Result]):
    """A piece of a recording, with the context of its first and last segment."""

    number: int
    samples: NDArray[np.float32]
    padded: NDArray[np.float32]  # samples, zero-padded to whole hops, as the graph would do
    kept: slice  # the segments that are not context
    until: float  # seconds of the recording decoded so far
    hops: int  # its length, of which the limits of memory are made
    recording: Recording[Result] = field(init=False)
    scores: NDArray[np.float32] | SedkitError | None = None  # of the kept segments, [k, classes]

    @property
    def last(self) -> bool:
        return self.kept.stop is None


@dataclass(eq=False, slots=True)
class Open(Generic[Result]):
    """Take the next source. The outcome is None if there is none."""

    outcome: Recording[Result] | None = None


@dataclass(eq=False, slots=True)
class Decode(Generic[Result]):
    """Decode the next piece of a recording."""

    recording: Recording[Result]
    outcome: Piece[Result] | SedkitError | None = None


@dataclass(eq=False, slots=True)
class Run(Generic[Result]):
    """Run pieces of equal length through the model. The outcome is in their ``scores``."""

    pieces: list[Piece[Result]]


@dataclass(eq=False, slots=True)
class Add(Generic[Result]):
    """Add the scores of consecutive pieces to their view. After the last piece, the outcome is the result."""

    recording: Recording[Result]
    pieces: list[Piece[Result]]
    outcome: Result | SedkitError | None = None


Task: TypeAlias = Open[Result] | Decode[Result] | Run[Result] | Add[Result]


class Schedule(Generic[Result]):
    """The state of all open recordings. Not thread-safe: call its methods under a lock.

    Parameters
    ----------
    lanes : number of batches in the model at the same time.
    batch_hops : hops in a full batch.
    """

    def __init__(self, lanes: int, batch_hops: int) -> None:
        self.lanes, self.batch_hops = lanes, batch_hops
        self.max_hops = (lanes + BATCHES_AHEAD) * batch_hops
        self.open = deque[Recording[Result]]()  # in order
        self.undecoded: list[Recording[Result]] = []  # with more to decode, not being decoded now
        self.addable = deque[Recording[Result]]()  # whose next piece has its scores
        self.partial_batches: dict[int, list[Piece[Result]]] = {}  # by number of hops, the longest waiting first
        self.full_batches = deque[list[Piece[Result]]]()
        self.opened = 0  # recordings so far
        self.hops = 0  # decoded, but not added to a view yet
        self.seconds = 0.0  # decoded, of all open recordings
        self.running = 0  # batches in the model
        self.opening = False  # a thread is taking the next source
        self.exhausted = False  # there are no more sources
        self.stopped = False

    @property
    def finished(self) -> bool:
        """Whether there will be no more tasks and no more results."""
        return self.stopped or (self.exhausted and not self.open)

    @property
    def has_result(self) -> bool:
        """Whether the result that is due next can be taken."""
        return bool(self.open) and self.open[0].result is not None

    def take(self) -> Task[Result] | None:
        """Return the next task; None if there is none until another task is done or a result is taken."""
        if self.stopped:
            return None
        if self.addable:
            recording = self.addable.popleft()
            ready = []
            while (piece := recording.scored.pop(recording.added, None)) is not None:
                ready.append(piece)
                recording.added += 1
            return Add(recording, ready)
        may_run = self.running < self.lanes
        if may_run and self.full_batches:
            self.running += 1
            return Run(self.full_batches.popleft())
        if self.hops < self.max_hops:
            decodable = [recording for recording in self.undecoded if self._may_decode(recording)]
            if decodable:
                recording = min(decodable, key=lambda recording: recording.number)
                self.undecoded.remove(recording)
                return Decode(recording)
            if not (self.opening or self.exhausted) and len(self.open) < MAX_OPEN and self._may_decode(None):
                self.opening = True
                return Open()
        if may_run and self.partial_batches:
            self.running += 1
            return Run(self.partial_batches.pop(next(iter(self.partial_batches))))
        return None

    def done(self, task: Task[Result]) -> None:
        """Take note of a task's outcome."""
        match task:
            case Open():
                self._done_open(task)
            case Decode():
                self._done_decode(task)
            case Run():
                self._done_run(task)
            case Add():
                self._done_add(task)

    def take_result(self) -> Recording[Result] | None:
        """Return the recording whose result is due next; None if it has none yet."""
        if not self.has_result:
            return None
        recording = self.open.popleft()
        self.seconds -= recording.seconds
        return recording

    def stop(self) -> None:
        """Return no more tasks, and close the recordings. One that is being decoded is closed when this is done."""
        self.stopped = True
        for recording in self.undecoded:
            recording.pieces.close()
        self.undecoded.clear()

    def _may_decode(self, recording: Recording[Result] | None) -> bool:
        """Whether the limit on seconds allows decoding more of a recording, or opening a new one (None)."""
        if not self.open or recording is self.open[0]:
            return True
        return self.seconds - self.open[0].seconds < MAX_OPEN_SECONDS

    def _done_open(self, task: Open[Result]) -> None:
        self.opening = False
        if task.outcome is None:
            self.exhausted = True
        else:
            task.outcome.number, self.opened = self.opened, self.opened + 1
            self.open.append(task.outcome)
            self.undecoded.append(task.outcome)

    def _done_decode(self, task: Decode[Result]) -> None:
        recording, piece = task.recording, task.outcome
        if isinstance(piece, SedkitError):
            self._fail(recording, piece)
            return
        assert piece is not None
        if self.stopped or recording.result is not None:
            recording.pieces.close()
            return
        piece.recording = recording
        self.seconds += piece.until - recording.seconds
        recording.seconds = piece.until
        if not piece.last:
            self.undecoded.append(recording)
        self.hops += piece.hops
        batch = self.partial_batches.setdefault(piece.hops, [])
        batch.append(piece)
        if (len(batch) + 1) * piece.hops > self.batch_hops:
            self.full_batches.append(self.partial_batches.pop(piece.hops))

    def _done_run(self, task: Run[Result]) -> None:
        self.running -= 1
        for piece in task.pieces:
            recording = piece.recording
            if isinstance(piece.scores, SedkitError):
                self._fail(recording, piece.scores)
            if recording.result is not None:
                self.hops -= piece.hops
                continue
            recording.scored[piece.number] = piece
            if piece.number == recording.added and not recording.adding:
                recording.adding = True
                self.addable.append(recording)

    def _done_add(self, task: Add[Result]) -> None:
        recording = task.recording
        recording.adding = False
        self.hops -= sum(piece.hops for piece in task.pieces)
        if isinstance(task.outcome, SedkitError):
            self._fail(recording, task.outcome)
        elif recording.result is None:
            recording.result = task.outcome
            if recording.added in recording.scored:
                recording.adding = True
                self.addable.append(recording)

    def _fail(self, recording: Recording[Result], error: SedkitError) -> None:
        """Make an error the result of a recording, unless it has one; decode and add no more of it."""
        if recording.result is None:
            recording.result = error
        self.hops -= sum(piece.hops for piece in recording.scored.values())
        recording.scored.clear()
        if recording in self.undecoded:
            self.undecoded.remove(recording)
            recording.pieces.close()
        if recording in self.addable:
            self.addable.remove(recording)
