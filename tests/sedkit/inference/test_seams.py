"""Results do not depend on how long a recording is, how it was cut, how many threads ran it, or whether it was live.

Where a recording is cut makes no difference to the last bit, since the pieces that are run are the same. With other
pieces or threads ONNX Runtime may add in another order: what differs is rounding, less than 1e-6 in a trained model
(tests/real/test_streaming.py).
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sedkit import Tagger
from sedkit.audio.reading import open_audio, open_blocks
from sedkit.errors import ArgumentError, AudioError
from sedkit.geometry import SAMPLE_RATE, SEGMENT_HOP, segment_count
from sedkit.inference import model as module
from sedkit.inference.model import BLOCK, Model
from sedkit.results import Event, Second
from tests.conftest import make_sound

ROUNDING = 3e-6  # 1e-6 and thrice as steep a last layer as a trained model has
MINUTES = 20

few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seconds = st.floats(1e-4, 40)
cuts = st.lists(st.floats(0, 1), max_size=12)


@pytest.fixture(scope="module")
def models(model_path: Path) -> dict[int, Model]:
    return {threads: Model(model_path, "cpu", threads) for threads in (1, 2, 3)}


@pytest.fixture(scope="module")
def model(models) -> Model:
    return models[1]


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return make_sound(80, seed=5)


def split(sound: np.ndarray, cuts: list[float]) -> list[np.ndarray]:
    edges = [0, *sorted(round(cut * len(sound)) for cut in cuts), len(sound)]
    return [sound[start:stop] for start, stop in itertools.pairwise(edges)]


def run(model: Model, *blocks: np.ndarray, prompt: bool = False) -> np.ndarray:
    return np.concatenate(list(model.segments(iter(blocks), prompt)))


def one_pass(model: Model, sound: np.ndarray) -> np.ndarray:
    return model.batch(sound[None])[0]


def test_scores_of_the_test_model_vary(model, sound):
    scores = run(model, sound)
    assert scores.dtype == np.float32
    assert scores.std(axis=0).max() > 0.1  # or else what follows would prove nothing


@few
@given(length=seconds, cuts=cuts, block=st.integers(1, 130), threads=st.integers(1, 3), prompt=st.booleans())
def test_scores_are_those_of_one_pass(models, sound, length, cuts, block, threads, prompt):
    sound = sound[: max(1, int(length * SAMPLE_RATE))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        scores = run(models[threads], *split(sound, cuts), prompt=prompt)
    assert scores.shape == (segment_count(len(sound)), 5)
    np.testing.assert_allclose(scores, one_pass(models[1], sound), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("hops", [1, 3, 4, BLOCK + 4, BLOCK + 5, BLOCK + 6, 2 * BLOCK + 6])
def test_lengths_about_a_seam(model, sound, hops, extra):
    samples = hops * SEGMENT_HOP + extra
    scores = run(model, sound[:samples])
    assert len(scores) == segment_count(samples)
    np.testing.assert_allclose(scores, one_pass(model, sound[:samples]), rtol=0, atol=ROUNDING)


@few
@given(length=seconds, cuts=cuts)
def test_where_a_recording_is_cut_makes_no_difference_to_the_last_bit(models, sound, length, cuts):
    sound = sound[: max(1, int(length * SAMPLE_RATE))]
    np.testing.assert_array_equal(run(models[2], *split(sound, cuts)), run(models[2], sound))


def test_twenty_minutes(model):
    different = [make_sound(60, seed=seed) for seed in range(3)]
    minutes = [np.roll(different[minute % 3], 777 * minute) for minute in range(MINUTES)]
    scores = run(model, *minutes)
    np.testing.assert_allclose(scores, one_pass(model, np.concatenate(minutes)), rtol=0, atol=ROUNDING)


def test_recordings_in_a_batch_are_as_alone(models, sound):
    batch = sound[: 12 * 30_001].reshape(12, 30_001)
    for model in models.values():
        alone = np.stack([one_pass(model, row) for row in batch])
        np.testing.assert_allclose(model.batch(batch), alone, rtol=0, atol=ROUNDING)


def test_memory_is_bounded(model, sound):
    """Scores come while the recording still runs: nothing waits for its end."""
    seen = 0

    def blocks():
        nonlocal seen
        for block in np.array_split(sound, 40):
            seen += len(block)
            yield block

    next(model.segments(blocks()))
    assert seen <= (BLOCK + 6) * SEGMENT_HOP + len(sound) / 40


def test_a_segment_comes_as_soon_as_what_it_depends_on(model, sound):
    heard = 0

    def blocks():
        nonlocal heard
        for block in np.array_split(sound[: 10 * SAMPLE_RATE], 200):
            heard += len(block)
            yield block

    came = 0
    for scores in model.segments(blocks(), prompt=True):
        came += len(scores)
        if heard < 10 * SAMPLE_RATE:
            assert came == heard // SEGMENT_HOP - 4  # 212 frames from the first that segment k sees: up to hop k + 4


def test_no_blocks_give_no_scores(model):
    assert list(model.segments(iter([]))) == []


@few
@given(
    rate=st.sampled_from([8_000, 16_000, 44_100, 48_000]),
    length=st.floats(0.01, 12),
    cuts=st.lists(st.floats(0, 1), max_size=60),
    resolution=st.sampled_from([0.1, 1.0, 2.5, "native"]),
    threshold=st.floats(0.1, 0.9),
)
def test_a_stream_gives_the_timeline_of_the_whole(tagger, rate, length, cuts, resolution, threshold):
    sound = make_sound(12, rate, seed=6)[: int(length * rate)]
    native = tagger.timeline(sound, rate, resolution="native").scores
    assume(np.abs(native - threshold).min() > ROUNDING)
    whole = tagger.timeline(sound, rate, threshold=threshold, resolution=resolution)
    found = list(tagger.stream(split(sound, cuts), rate, threshold=threshold, resolution=resolution))
    cells = [x for x in found if isinstance(x, Second)]
    events = sorted((x for x in found if isinstance(x, Event)), key=lambda event: (event.onset, event.label))
    assert [(x.start, x.end) for x in cells] == [(x.start, x.end) for x in whole.seconds]
    for cell, expected in zip(cells, whole.seconds, strict=True):
        near = {tag.label: pytest.approx(tag.score, abs=ROUNDING) for tag in expected.tags}
        assert {tag.label: tag.score for tag in cell.tags} == near
    assert events == [
        Event(x.onset, x.offset, x.label, x.mid, pytest.approx(x.score, abs=ROUNDING)) for x in whole.events
    ]


@few
@given(rate=st.sampled_from([11_025, 44_100, 48_000, 192_000]), cuts=cuts)
def test_resampling_has_no_seams(rate, cuts):
    sound = make_sound(3, rate, seed=7)
    with open_audio(sound, rate) as stream:
        whole = np.concatenate(list(stream))
    with open_blocks(split(sound, cuts), rate) as stream:
        np.testing.assert_allclose(np.concatenate(list(stream)), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_cells_and_events_keep_the_stated_latency(tagger, rate):
    sound, heard, block = make_sound(20, rate, seed=4), 0.0, 0.02

    def blocks():
        nonlocal heard
        for part in np.split(sound, range(0, len(sound), int(block * rate))):
            heard += len(part) / rate
            yield part

    margin = block + 0.05  # and what the resampler holds back
    for found in tagger.stream(blocks(), rate, threshold=0.4):
        if isinstance(found, Second):
            assert heard <= found.start + 2.12 + margin
        else:
            assert heard <= found.offset + 1.92 + margin


def test_misuse_of_a_stream_is_told_at_once(tagger):
    for arguments in ({"sample_rate": 10}, {"threshold": 2}, {"resolution": 0}, {"classes": ["Dgo"]}):
        with pytest.raises(ArgumentError):
            tagger.stream([np.zeros(10)], **arguments)
    with pytest.raises(AudioError, match="no samples"):
        list(tagger.stream([]))
    with pytest.raises(AudioError, match=r"sample nan at 1\.000 s"):
        list(tagger.stream([np.zeros(16_000), np.full(10, np.nan)]))


def test_threads_can_be_chosen(model_path):
    assert Tagger(model_path, "cpu", threads=1).model.threads == 1
    assert Tagger(model_path, "cpu").model.threads >= 1
    for threads in (0, -1, 1.5, "two"):
        with pytest.raises(ArgumentError, match="threads is a whole number from 1 on"):
            Tagger(model_path, "cpu", threads=threads)
