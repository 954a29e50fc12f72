"""Many recordings through one model: the same results as one by one, in order, in bounded memory."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from sedkit.audio.prefetch import PrefetchedRecording
from sedkit.audio.reading import open_audio
from sedkit.cli import batch
from sedkit.errors import AudioError, ModelError, SedkitError
from sedkit.geometry import segment_count
from sedkit.inference import pipeline
from sedkit.inference.model import BLOCK, Model
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


class Raw:
    """The view that changes nothing."""

    def __init__(self) -> None:
        self.chunks: list[NDArray[np.float32]] = []
        self.listened = 0  # segments

    def listen(self, samples: NDArray[np.float32], kept: slice) -> None:
        self.listened += len(range(segment_count(len(samples)))[kept])

    def add(self, scores: NDArray[np.float32]) -> None:
        self.chunks.append(scores.copy())

    def finish(self, file: str, duration: float) -> NDArray[np.float32]:
        assert self.listened == sum(map(len, self.chunks))
        return np.concatenate(self.chunks)


def names(results: Iterator[tuple[str, Any]]) -> list[str]:
    return [name for name, _ in results]


@pytest.mark.parametrize("cpus", [1, 2, 5])
def test_scores_are_those_of_each_recording_alone_in_order(model: Model, clips: list[str], cpus: int):
    results = list(analyse(model, Raw, clips, cpus))
    assert [name for name, _ in results] == clips
    for name, scores in results:
        with open_audio(name) as stream:
            alone = np.concatenate(list(model.segments(stream)))
        assert scores.shape == alone.shape
        np.testing.assert_allclose(scores, alone, rtol=0, atol=1e-6)


def test_views_give_what_the_tagger_gives(model_path: Path, clips: list[str]):
    tagger = Tagger(model_path, "cpu", threads=1)
    tags = dict(analyse(tagger.model, tagger.tags_view(top_k=2), clips))
    timelines = dict(analyse(tagger.model, tagger.timeline_view(threshold=0.3), clips))
    for clip in clips:
        assert tags[clip] == tagger.tag(clip, top_k=2)
        assert timelines[clip] == tagger.timeline(clip, threshold=0.3)


def test_recordings_of_one_length_share_batches_and_long_ones_are_cut(
    model: Model, clips: list[str], monkeypatch: pytest.MonkeyPatch
):
    shapes = []
    honest = model.batch
    monkeypatch.setattr(model, "batch", lambda waveforms: shapes.append(waveforms.shape) or honest(waveforms))
    assert len(list(analyse(model, Raw, [clips[1]] * 40 + clips))) == 40 + len(clips)
    assert max(count for count, _ in shapes) > 2
    assert max(samples for _, samples in shapes) < (BLOCK + 10) * 5120
    assert all(count * samples <= max(samples, 64 * 5120) for count, samples in shapes)
    assert sum(count for count, _ in shapes) > 40 + len(clips)


def test_a_failure_is_a_value_and_costs_nobody_else_anything(model: Model, clips: list[str], tmp_path: Path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF, or so it says")
    nan = np.r_[make_sound(30), np.nan, make_sound(30)]
    soundfile.write(tmp_path / "late.wav", nan, 16000, subtype="FLOAT")
    sources = [clips[0], str(tmp_path / "broken.wav"), "nowhere.wav", str(tmp_path / "late.wav"), *clips[1:]]
    results = list(analyse(model, Raw, sources))
    assert [name for name, _ in results] == sources
    failed = {name: result for name, result in results if isinstance(result, SedkitError)}
    assert list(failed) == sources[1:4]
    assert all(isinstance(error, AudioError) and name in str(error) for name, error in failed.items())


def test_what_the_model_fails_on_does_not_take_its_batch_along(
    model: Model, clips: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    soundfile.write(tmp_path / "loud.wav", np.full(48000, 0.99), 16000, subtype="FLOAT")
    honest = model.batch

    def picky(waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        if waveforms.mean(axis=1).max() > 0.9:
            raise ModelError("too loud")
        if waveforms.max() > 0.98 and len(waveforms) > 1:
            raise MemoryError
        return honest(waveforms)

    monkeypatch.setattr(model, "batch", picky)
    sources = [*[clips[1]] * 9, str(tmp_path / "loud.wav"), *[clips[1]] * 9]
    results = list(analyse(model, Raw, sources))
    assert names(iter(results)) == sources
    assert [str(result) for _, result in results if isinstance(result, SedkitError)] == ["too loud"]


def test_a_fault_of_a_view_is_told_with_the_name_of_the_recording(model: Model, clips: list[str]):
    class Faulty(Raw):
        def finish(self, file: str, duration: float) -> NDArray[np.float32]:
            if duration > 60:
                raise ZeroDivisionError("what now")
            return super().finish(file, duration)

    (error,) = (result for _, result in analyse(model, Faulty, clips) if isinstance(result, SedkitError))
    assert str(error) == f"{clips[12]}: ZeroDivisionError: what now"
    assert isinstance(error.__cause__, ZeroDivisionError)


def test_no_sources(model: Model):
    assert list(analyse(model, Raw, [])) == []


def test_a_recording_begun_while_the_model_loads_gives_the_same(model: Model, clips: list[str], tmp_path: Path):
    begun = [PrefetchedRecording(name) for name in (clips[0], str(tmp_path / "nowhere.wav"))]
    begin = threading.Thread(target=lambda: [recording.prefetch() for recording in begun])
    begin.start()
    (name, scores), (lost, error) = analyse(model, Raw, begun)
    begin.join()
    assert (name, lost) == (clips[0], begun[1].name)
    np.testing.assert_array_equal(scores, dict(analyse(model, Raw, clips[:1]))[clips[0]])
    assert isinstance(error, AudioError)
    assert "no such file" in str(error)


def test_an_error_of_the_sources_is_raised(model: Model, clips: list[str]):
    def sources() -> Iterator[str]:
        yield clips[0]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        list(analyse(model, Raw, sources()))


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("sedkit-")]


def test_sources_without_end_are_taken_as_needed_and_threads_end(
    model: Model, clips: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline, "RECORDINGS", 20)
    taken = itertools.count()
    sources = (clips[next(taken) % 6] for _ in itertools.count())
    with closing(analyse(model, Raw, sources)) as results:
        assert [name for name, _ in itertools.islice(results, 100)] == [clips[n % 6] for n in range(100)]
        time.sleep(0.3)
        assert threads()
    assert next(taken) <= 121
    assert not threads()


class Slow(io.BytesIO):
    """A stream that says nothing until it is told to."""

    name = None

    def __init__(self, path: str, gate: threading.Event) -> None:
        super().__init__(Path(path).read_bytes())
        self.gate = gate

    def read(self, size: int | None = -1) -> bytes:
        self.gate.wait(30)
        return super().read(size)

    def seekable(self) -> bool:
        return False


def test_a_slow_recording_holds_the_others_up_only_at_the_bound(
    model: Model, clips: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline, "SECONDS", 60.0)
    gate, begun = threading.Event(), []

    def sources() -> Iterator[str | BinaryIO]:
        yield Slow(clips[1], gate)
        for _ in range(60):
            begun.append(1)
            yield clips[1]

    with closing(analyse(model, Raw, sources())) as results:
        threading.Timer(1.0, gate.set).start()
        name, scores = next(results)
        assert 20 <= len(begun) <= 26
        assert name == "-"
        assert len(scores) == 8
        assert names(results) == [clips[1]] * 60


def test_a_pipe_that_stays_silent_does_not_keep_the_run_from_ending(
    model: Model, clips: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline, "PATIENCE", 0.1)
    reader, writer = os.pipe()
    with open(reader, "rb") as pipe, closing(analyse(model, Raw, [clips[1], pipe])) as results:
        assert next(results)[0] == clips[1]
        started = time.monotonic()
        results.close()
        assert time.monotonic() - started < 2
        os.close(writer)
        while threads():
            time.sleep(0.01)


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
    assert many < few + 12


def test_what_goes_wrong_in_the_background_keeps_nobody_waiting(model: Model, clips: list[str], monkeypatch):
    """Such as a library that is there and broken."""
    monkeypatch.setattr(batch, "LATER", ("json", "tests.nonesuch"))
    monkeypatch.setattr(batch, "import_module", lambda name: 1 / 0)
    begun = PrefetchedRecording(clips[0])
    batch.meanwhile(begun)
    ((_, scores),) = analyse(model, Raw, [begun])
    assert len(scores)
    monkeypatch.setattr("sedkit.audio.reading.open_audio", lambda name: 1 / 0)
    begun.prefetch()
    ((_, error),) = analyse(model, Raw, [begun])
    assert "ZeroDivisionError" in str(error)
