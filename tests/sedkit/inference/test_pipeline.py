"""sedkit.inference.pipeline: results as one by one, in order, with bounded memory."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from sedkit.audio.reading import open_audio
from sedkit.errors import AudioError, ModelError, SedkitError
from sedkit.geometry import WELS_NET, segment_count
from sedkit.inference import pipeline, schedule
from sedkit.inference.model import Model
from sedkit.inference.pipeline import analyse
from sedkit.tagger import Tagger
from tests.conftest import make_sound

LENGTHS = (0.01, 3, 25, 3, 3, 0.5, 45, 3, 3, 2.999, 3, 7, 70, 3, 0.5, 3)  # seconds


@pytest.fixture(scope="module")
def model(model_path: Path) -> Model:
    return Model(model_path, "cpu", threads=1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Recordings of all lengths, at several rates."""
    folder = tmp_path_factory.mktemp("clips")
    for number, seconds in enumerate(LENGTHS):
        rate = (16000, 22050, 16000, 48000)[number % 4]
        soundfile.write(folder / f"{number:02}.wav", make_sound(seconds, rate, seed=number), rate)
    return sorted(str(path) for path in folder.iterdir())


class SegmentScores:
    """A view whose result is the segment scores."""

    def __init__(self) -> None:
        self.chunks: list[NDArray[np.float32]] = []
        self.segments = 0  # in the samples added

    def add(self, samples: NDArray[np.float32], kept: slice, scores: NDArray[np.float32]) -> None:
        self.segments += len(range(segment_count(len(samples)))[kept])
        self.chunks.append(scores.copy())

    def finish(self, file: str, duration: float) -> NDArray[np.float32]:
        assert self.segments == sum(map(len, self.chunks))
        return np.concatenate(self.chunks)


def names(results: Iterator[tuple[str, Any]]) -> list[str]:
    return [name for name, _ in results]


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_results_equal_those_of_each_recording_alone_and_are_in_order(model: Model, clips: list[str], jobs: int):
    results = list(analyse(model, SegmentScores, clips, jobs))
    assert [name for name, _ in results] == clips
    for name, scores in results:
        with open_audio(name) as stream:
            alone = np.concatenate(list(model.segments(stream)))
        assert scores.shape == alone.shape
        np.testing.assert_allclose(scores, alone, rtol=0, atol=1e-6)


def test_results_equal_those_of_the_tagger(model_path: Path, clips: list[str]):
    tagger = Tagger(model_path, "cpu", threads=1)
    tags = dict(analyse(tagger.model, tagger.tags_view(top_k=2), clips))
    timelines = dict(analyse(tagger.model, tagger.timeline_view(threshold=0.3), clips))
    for clip in clips:
        assert tags[clip] == tagger.tag(clip, top_k=2)
        assert timelines[clip] == tagger.timeline(clip, threshold=0.3)


def test_pieces_of_equal_length_share_batches(model: Model, clips: list[str], monkeypatch: pytest.MonkeyPatch):
    shapes = []
    original = model.batch
    monkeypatch.setattr(model, "batch", lambda waveforms: shapes.append(waveforms.shape) or original(waveforms))
    assert len(list(analyse(model, SegmentScores, [clips[1]] * 40 + clips))) == 40 + len(clips)
    assert max(count for count, _ in shapes) > 2
    assert max(samples for _, samples in shapes) < (WELS_NET.piece + 10) * 5120
    assert all(count * samples <= max(samples, 64 * 5120) for count, samples in shapes)
    assert sum(count for count, _ in shapes) > 40 + len(clips)


def test_error_of_one_recording_does_not_affect_others(model: Model, clips: list[str], tmp_path: Path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF without content")
    nan = np.r_[make_sound(30), np.nan, make_sound(30)]
    soundfile.write(tmp_path / "late.wav", nan, 16000, subtype="FLOAT")
    sources = [clips[0], str(tmp_path / "broken.wav"), "nowhere.wav", str(tmp_path / "late.wav"), *clips[1:]]
    results = list(analyse(model, SegmentScores, sources))
    assert [name for name, _ in results] == sources
    failed = {name: result for name, result in results if isinstance(result, SedkitError)}
    assert list(failed) == sources[1:4]
    assert all(isinstance(error, AudioError) and name in str(error) for name, error in failed.items())


def test_error_of_the_model_affects_one_recording_of_a_batch(
    model: Model, clips: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    soundfile.write(tmp_path / "loud.wav", np.resize([0.99, -0.99], 48000), 16000, subtype="FLOAT")
    original = model.batch

    def failing(waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        if np.abs(waveforms).mean(axis=1).max() > 0.9:
            raise ModelError("too loud")
        if waveforms.max() > 0.98 and len(waveforms) > 1:
            raise MemoryError
        return original(waveforms)

    monkeypatch.setattr(model, "batch", failing)
    sources = [*[clips[1]] * 9, str(tmp_path / "loud.wav"), *[clips[1]] * 9]
    results = list(analyse(model, SegmentScores, sources))
    assert names(iter(results)) == sources
    assert [str(result) for _, result in results if isinstance(result, SedkitError)] == ["too loud"]


def test_unexpected_error_names_the_recording(model: Model, clips: list[str]):
    class Faulty(SegmentScores):
        def finish(self, file: str, duration: float) -> NDArray[np.float32]:
            if duration > 60:
                raise ZeroDivisionError("what now")
            return super().finish(file, duration)

    (error,) = (result for _, result in analyse(model, Faulty, clips) if isinstance(result, SedkitError))
    assert str(error) == f"{clips[12]}: ZeroDivisionError: what now"
    assert isinstance(error.__cause__, ZeroDivisionError)


def test_no_sources(model: Model):
    assert list(analyse(model, SegmentScores, [])) == []


def test_error_of_the_sources_is_raised(model: Model, clips: list[str]):
    def sources() -> Iterator[str]:
        yield clips[0]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        list(analyse(model, SegmentScores, sources()))


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("sedkit-")]


def test_endless_sources_are_consumed_lazily_and_threads_end(
    model: Model, clips: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(schedule, "MAX_OPEN", 20)
    taken = itertools.count()
    sources = (clips[next(taken) % 6] for _ in itertools.count())
    with closing(analyse(model, SegmentScores, sources)) as results:
        assert [name for name, _ in itertools.islice(results, 100)] == [clips[n % 6] for n in range(100)]
        assert threads()
    assert next(taken) <= 121
    assert not threads()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ZeroDivisionError, GeneratorExit])
def test_interruption_ends_threads_and_closes_recordings(
    interruption: type[BaseException], model: Model, clips: list[str], monkeypatch: pytest.MonkeyPatch
):
    open_files = set[str]()
    original = pipeline.open_audio

    class Noted:
        """Notes which recordings are open."""

        def __init__(self, name: str) -> None:
            self.name, self.stream = name, original(name)

        def __enter__(self):
            open_files.add(self.name)
            return self.stream.__enter__()

        def __exit__(self, *error: object) -> None:
            self.stream.__exit__(*error)
            open_files.discard(self.name)

    monkeypatch.setattr(pipeline, "open_audio", Noted)
    long = clips[12]  # several pieces

    def interrupted() -> None:
        with closing(analyse(model, SegmentScores, itertools.repeat(long))) as results:
            assert names(itertools.islice(results, 3)) == [long] * 3
            raise interruption

    with pytest.raises(interruption):
        interrupted()
    assert not threads()
    assert not open_files
    assert len(list(analyse(model, SegmentScores, [long]))) == 1  # the model still works


def test_a_thread_that_cannot_start_ends_the_others(model: Model, clips: list[str], monkeypatch: pytest.MonkeyPatch):
    original = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "sedkit-1":
            raise RuntimeError("can't start new thread")
        original(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start"):
        next(analyse(model, SegmentScores, itertools.repeat(clips[0])))
    assert not threads()


class Slow(io.BytesIO):
    """A stream that blocks until `gate` is set."""

    name = None

    def __init__(self, path: str, gate: threading.Event) -> None:
        super().__init__(Path(path).read_bytes())
        self.gate = gate

    def read(self, size: int | None = -1) -> bytes:
        assert self.gate.wait(60)
        return super().read(size)

    def seekable(self) -> bool:
        return False


def test_slow_recording_does_not_delay_the_analysis_of_later_ones(model: Model, clips: list[str]):
    gate = threading.Event()
    finished = itertools.count()

    class Counted(SegmentScores):
        def finish(self, file: str, duration: float) -> NDArray[np.float32]:
            if next(finished) == 39:  # all later ones; otherwise the gate stays closed
                gate.set()
            return super().finish(file, duration)

    sources = [Slow(clips[1], gate), *[clips[1]] * 40]
    assert names(analyse(model, Counted, sources, jobs=1)) == ["-", *[clips[1]] * 40]


def test_blocked_pipe_does_not_keep_the_pipeline_from_ending(
    model: Model, clips: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline, "JOIN_TIMEOUT", 0.1)
    reader, writer = os.pipe()
    with open(reader, "rb") as pipe, closing(analyse(model, SegmentScores, [clips[1], pipe])) as results:
        assert next(results)[0] == clips[1]
        results.close()
        blocked = [thread for thread in threading.enumerate() if thread.name.startswith("sedkit-")]
        os.close(writer)
        for thread in blocked:
            thread.join(60)
        assert not threads()


PROGRAM = """
import sys
from sedkit.inference.pipeline import analyse
from sedkit.tagger import Tagger

def peak():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

tagger = Tagger(sys.argv[1], "cpu", threads=1)
view = tagger.timeline_view(resolution=0.1, threshold=0)
for count in (40, 400):
    for _ in analyse(tagger.model, view, (sys.argv[2] for _ in range(count))):
        pass
    print(peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_number_of_recordings(model_path: Path, clips: list[str]):
    run: Callable[..., str] = subprocess.check_output
    few, many = map(float, run([sys.executable, "-c", PROGRAM, model_path, clips[1]], text=True).split())
    assert many < few + 25  # the allocator keeps some; the samples of 360 recordings would be 69 MB
