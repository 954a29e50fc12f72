"""sedkit.inference.schedule: the order of tasks, the limits, and what is closed, without threads."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

from sedkit.errors import AudioError, ModelError
from sedkit.geometry import SEGMENT_HOP
from sedkit.inference import schedule as module
from sedkit.inference.schedule import Add, Decode, Open, Piece, Recording, Run, Schedule

FULL = 8  # hops in a full batch
SECONDS = 20.0  # of each piece


class Collected:
    """A view that lists the numbers of its pieces."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def add(self, samples: np.ndarray, kept: slice, scores: np.ndarray) -> None: ...

    def finish(self, file: str, duration: float) -> tuple[int, ...]:
        return tuple(self.numbers)


class Recordings:
    """Recordings of given numbers of hops in each piece. Carries out the tasks of a schedule for them."""

    def __init__(self, *hops: list[int]) -> None:
        self.waiting = iter([self.recording(number, pieces) for number, pieces in enumerate(hops)])
        self.closed: set[str] = set()

    def recording(self, number: int, hops: list[int]) -> Recording:
        return Recording(f"r{number}", Collected(), self.pieces(f"r{number}", hops))

    def pieces(self, name: str, hops: list[int]) -> Iterator[Piece]:
        try:
            for number, count in enumerate(hops):
                samples = np.zeros(count * SEGMENT_HOP, np.float32)
                kept = slice(0, None if number == len(hops) - 1 else 1)
                yield Piece(number, samples, samples, kept, SECONDS * (number + 1), count)
        finally:
            self.closed.add(name)

    def carry_out(self, task) -> None:
        match task:
            case Open():
                task.outcome = next(self.waiting, None)
            case Decode():
                task.outcome = next(task.recording.pieces)
                if task.outcome.last:
                    task.recording.pieces.close()
            case Run():
                for piece in task.pieces:
                    piece.scores = np.zeros((1, 1), np.float32)
            case Add():
                task.recording.view.numbers += [piece.number for piece in task.pieces]
                if task.pieces[-1].last:
                    task.outcome = task.recording.view.finish("", 0)


def step(schedule: Schedule, recordings: Recordings, *kinds: type) -> list:
    """Take, carry out and report one task of each of these kinds, in this order; return the tasks."""
    tasks = []
    for kind in kinds:
        task = schedule.take()
        assert type(task) is kind, (tasks, task)
        recordings.carry_out(task)
        schedule.done(task)
        tasks.append(task)
    return tasks


def test_one_recording_of_two_pieces():
    schedule, recordings = Schedule(1, FULL), Recordings([8, 3])
    _, _, run, add = step(schedule, recordings, Open, Decode, Run, Add)  # a full batch comes before the next piece
    assert [piece.hops for piece in run.pieces] == [8]
    assert add.outcome is None
    assert schedule.take_result() is None
    step(schedule, recordings, Decode, Open, Run, Add)  # a batch that is not full waits until there are no more sources
    assert schedule.take_result().result == (0, 1)
    assert (schedule.hops, schedule.seconds, schedule.running) == (0, 0.0, 0)
    assert schedule.finished
    assert schedule.take() is None


def test_pieces_of_equal_length_share_a_batch():
    schedule, recordings = Schedule(1, FULL), Recordings([2], [3], [2], [2], [2], [2])
    tasks = step(schedule, recordings, *[Open, Decode] * 5, Run)
    assert [piece.recording.name for piece in tasks[-1].pieces] == ["r0", "r2", "r3", "r4"]
    tasks = step(schedule, recordings, *[Add] * 4, Open, Decode, Open, Run, Add, Run, Add)
    assert [[piece.hops for piece in task.pieces] for task in tasks if isinstance(task, Run)] == [[3], [2]]


def test_batches_in_the_model_are_limited_by_the_lanes():
    schedule, recordings = Schedule(2, FULL), Recordings([8, 8, 8, 1])
    step(schedule, recordings, Open, Decode)
    running = [schedule.take()]
    step(schedule, recordings, Decode)
    running.append(schedule.take())
    assert [type(task) for task in running] == [Run, Run]
    step(schedule, recordings, Decode, Decode, Open)
    assert schedule.take() is None
    recordings.carry_out(running[0])
    schedule.done(running[0])
    step(schedule, recordings, Add, Run)


def test_scores_are_added_in_order_whatever_batch_ends_first():
    schedule, recordings = Schedule(3, FULL), Recordings([8, 8, 8, 1])
    step(schedule, recordings, Open)
    running = []
    for _ in range(3):
        step(schedule, recordings, Decode)
        running.append(schedule.take())
    for task in (running[2], running[1]):
        recordings.carry_out(task)
        schedule.done(task)
        assert not schedule.addable
    recordings.carry_out(running[0])
    schedule.done(running[0])
    assert [piece.number for piece in step(schedule, recordings, Add)[0].pieces] == [0, 1, 2]
    step(schedule, recordings, Decode, Open, Run, Add)
    assert schedule.take_result().result == (0, 1, 2, 3)


def test_decoded_audio_is_limited(monkeypatch):
    monkeypatch.setattr(module, "BATCHES_AHEAD", 2)
    schedule, recordings = Schedule(1, FULL), Recordings([8] * 9)
    step(schedule, recordings, Open, Decode)
    running = schedule.take()
    step(schedule, recordings, Decode, Decode)  # 3 batches of audio: the lane's, and 2 ahead
    assert schedule.take() is None
    recordings.carry_out(running)
    schedule.done(running)
    step(schedule, recordings, Add, Run, Add, Run, Add, Decode)


def test_open_recordings_are_limited(monkeypatch):
    monkeypatch.setattr(module, "MAX_OPEN", 3)
    schedule, recordings = Schedule(1, FULL), Recordings(*[[8]] * 5)
    step(schedule, recordings, *[Open, Decode, Run, Add] * 3)
    assert schedule.take() is None
    assert schedule.take_result().name == "r0"
    step(schedule, recordings, Open, Decode, Run, Add)
    assert schedule.take() is None


def test_seconds_of_open_recordings_are_limited_except_the_first(monkeypatch):
    monkeypatch.setattr(module, "MAX_OPEN_SECONDS", 3 * SECONDS)
    schedule, recordings = Schedule(1, FULL), Recordings([8] * 5, *[[8]] * 5)
    step(schedule, recordings, Open)
    slow = schedule.take()
    assert isinstance(slow, Decode)  # of the first recording; takes long
    step(schedule, recordings, *[Open, Decode, Run, Add] * 3)
    assert schedule.take() is None
    recordings.carry_out(slow)
    schedule.done(slow)
    step(schedule, recordings, *[Run, Add, Decode] * 4, Run, Add)
    assert [schedule.take_result().name for _ in range(4)] == ["r0", "r1", "r2", "r3"]
    step(schedule, recordings, Open, Decode)


@pytest.mark.parametrize("while_decoding", [False, True])
def test_recording_that_fails_in_the_model_is_closed(while_decoding: bool):
    schedule, recordings = Schedule(1, FULL), Recordings([8, 8, 8], [8])
    step(schedule, recordings, Open, Decode)
    run = schedule.take()
    decode = schedule.take() if while_decoding else None
    run.pieces[0].scores = ModelError("too loud")
    schedule.done(run)
    if decode:
        assert not recordings.closed  # another thread is reading it
        recordings.carry_out(decode)
        schedule.done(decode)
    assert recordings.closed == {"r0"}
    assert isinstance(schedule.take_result().result, ModelError)
    step(schedule, recordings, Open, Decode, Run, Add, Open)
    assert schedule.take_result().result == (0,)
    assert (schedule.hops, schedule.seconds) == (0, 0.0)
    assert schedule.finished


def test_error_of_a_later_piece_drops_the_earlier_ones():
    schedule, recordings = Schedule(2, FULL), Recordings([8, 8, 8])
    step(schedule, recordings, Open, Decode)
    run = schedule.take()
    decode = schedule.take()
    decode.outcome = AudioError("damaged")
    schedule.done(decode)
    recordings.carry_out(run)
    schedule.done(run)
    assert str(schedule.take_result().result) == "damaged"
    assert schedule.hops == 0
    step(schedule, recordings, Open)
    assert schedule.finished


def test_error_of_a_view():
    schedule, recordings = Schedule(1, FULL), Recordings([8, 8, 1])
    step(schedule, recordings, Open, Decode, Run)
    add = schedule.take()
    add.outcome = ModelError("what now")
    schedule.done(add)
    assert recordings.closed == {"r0"}
    assert str(schedule.take_result().result) == "what now"


def test_stop_closes_recordings_also_those_being_decoded():
    schedule, recordings = Schedule(1, FULL), Recordings([8, 8], [1, 1], [1, 1])
    step(schedule, recordings, Open, Decode, Run)
    add, *_ = schedule.take(), *step(schedule, recordings, Decode, Run, Open, Decode)
    decode = schedule.take()
    schedule.stop()
    assert schedule.take() is None
    assert schedule.finished
    assert recordings.closed == {"r0"}
    recordings.carry_out(decode)
    for task in (decode, add):
        schedule.done(task)
    assert recordings.closed == {"r0", "r1"}


@pytest.mark.parametrize("seed", range(30))
def test_any_order_of_completion(seed: int):
    """Up to five tasks are under way; a random one of them ends first."""
    chance = random.Random(seed)
    lengths = [[8] * chance.randrange(4) + [chance.randint(1, 8)] for _ in range(40)]
    schedule, recordings, under_way, results = Schedule(2, FULL), Recordings(*lengths), [], []
    while not schedule.finished:
        while len(under_way) < 5 and (task := schedule.take()) is not None:
            under_way.append(task)
        assert schedule.running <= 2
        if under_way:
            task = under_way.pop(chance.randrange(len(under_way)))
            recordings.carry_out(task)
            schedule.done(task)
        while (recording := schedule.take_result()) is not None:
            results.append((recording.name, recording.result))
    assert results == [(f"r{number}", tuple(range(len(pieces)))) for number, pieces in enumerate(lengths)]
    assert len(recordings.closed) == 40
    assert (schedule.hops, schedule.seconds) == (0, 0.0)
