"""Results do not depend on the length of a recording, on how it is cut into blocks, on threads, or on live streaming.

Cutting into blocks changes no bit, since the pieces that are run are the same. With other pieces or threads, ONNX
Runtime may sum in another order: scores then differ by rounding, less than 1e-6 in a trained model
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
from sedkit.geometry import SAMPLE_RATE, SEGMENT_HOP, WELS_NET, Geometry, segment_count
from sedkit.inference.model import Model
from sedkit.results import Event, Onset, Second
from tests.conftest import make_sound

ROUNDING = 3e-6  # 1e-6 times 3: the last layer is three times as steep as in a trained model
MINUTES = 20
PIECE = WELS_NET.piece

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


def run(model: Model, *blocks: np.ndarray, low_latency: bool = False) -> np.ndarray:
    return np.concatenate(list(model.segments(iter(blocks), low_latency)))


def one_pass(model: Model, sound: np.ndarray) -> np.ndarray:
    return model.batch(sound[None])[0]


def test_scores_of_the_test_model_vary(model, sound):
    scores = run(model, sound)
    assert scores.dtype == np.float32
    assert scores.std(axis=0).max() > 0.1  # otherwise the other tests would prove nothing


@few
@given(length=seconds, cuts=cuts, piece=st.integers(1, 130), threads=st.integers(1, 3), low_latency=st.booleans())
def test_scores_equal_those_of_one_pass(models, sound, length, cuts, piece, threads, low_latency):
    sound = sound[: max(1, int(length * SAMPLE_RATE))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Geometry, "piece", piece)
        scores = run(models[threads], *split(sound, cuts), low_latency=low_latency)
    assert scores.shape == (segment_count(len(sound)), 5)
    np.testing.assert_allclose(scores, one_pass(models[1], sound), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("hops", [1, 3, 4, PIECE + 4, PIECE + 5, PIECE + 6, 2 * PIECE + 6])
def test_lengths_around_a_seam(model, sound, hops, extra):
    samples = hops * SEGMENT_HOP + extra
    scores = run(model, sound[:samples])
    assert len(scores) == segment_count(samples)
    np.testing.assert_allclose(scores, one_pass(model, sound[:samples]), rtol=0, atol=ROUNDING)


@few
@given(length=seconds, cuts=cuts)
def test_cutting_into_blocks_changes_no_bit(models, sound, length, cuts):
    sound = sound[: max(1, int(length * SAMPLE_RATE))]
    np.testing.assert_array_equal(run(models[2], *split(sound, cuts)), run(models[2], sound))


def test_long_recording(model):
    different = [make_sound(60, seed=seed) for seed in range(3)]
    minutes = [np.roll(different[minute % 3], 777 * minute) for minute in range(MINUTES)]
    scores = run(model, *minutes)
    np.testing.assert_allclose(scores, one_pass(model, np.concatenate(minutes)), rtol=0, atol=ROUNDING)


def test_scores_in_a_batch_equal_those_alone(models, sound):
    batch = sound[: 12 * 30_001].reshape(12, 30_001)
    for model in models.values():
        alone = np.stack([one_pass(model, row) for row in batch])
        np.testing.assert_allclose(model.batch(batch), alone, rtol=0, atol=ROUNDING)


def test_scores_come_before_the_recording_ends(model, sound):
    """Memory is bounded: a piece is run as soon as it is complete."""
    seen = 0

    def blocks():
        nonlocal seen
        for block in np.array_split(sound, 40):
            seen += len(block)
            yield block

    next(model.segments(blocks()))
    assert seen <= (PIECE + 6) * SEGMENT_HOP + len(sound) / 40


def test_low_latency_yields_a_segment_as_soon_as_its_receptive_field_is_known(model, sound):
    received = 0

    def blocks():
        nonlocal received
        for block in np.array_split(sound[: 10 * SAMPLE_RATE], 200):
            received += len(block)
            yield block

    segments = 0
    for scores in model.segments(blocks(), low_latency=True):
        segments += len(scores)
        if received < 10 * SAMPLE_RATE:
            assert segments == received // SEGMENT_HOP - 4  # the receptive field of segment k ends in hop k + 4


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
def test_stream_gives_the_timeline_of_the_whole(tagger, rate, length, cuts, resolution, threshold):
    sound = make_sound(12, rate, seed=6)[: int(length * rate)]
    native = tagger.timeline(sound, rate, resolution="native").scores
    assume(np.abs(native - threshold).min() > ROUNDING)
    whole = tagger.timeline(sound, rate, threshold=threshold, resolution=resolution)
    items = list(tagger.stream(split(sound, cuts), rate, threshold=threshold, resolution=resolution))
    cells = [x for x in items if isinstance(x, Second)]
    events = sorted((x for x in items if isinstance(x, Event)), key=lambda event: (event.onset, event.label))
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
def test_latency_of_cells_and_events(tagger, rate):
    sound, received, block = make_sound(20, rate, seed=4), 0.0, 0.02

    def blocks():
        nonlocal received
        for part in np.split(sound, range(0, len(sound), int(block * rate))):
            received += len(part) / rate
            yield part

    margin = block + 0.05  # plus the delay of the resampler
    hold = tagger.post_processing().hold
    onsets, told = 0, set()
    for item in tagger.stream(blocks(), rate, threshold=0.4, onsets=True):
        if isinstance(item, Second):
            assert received <= item.start + 2.12 + margin
        elif isinstance(item, Onset):
            onsets += 1
            told.add((item.label, item.onset))
        else:
            assert received <= item.offset + 1.92 + hold + margin
            told.discard((item.label, item.onset))
    assert onsets
    assert told == set()


def test_blocks_that_are_lists(tagger):
    sound = make_sound(3)
    blocks = [sound[:20_000].tolist(), tuple(sound[20_000:].tolist())]
    assert list(tagger.stream(blocks, 16_000)) == list(tagger.stream([sound], 16_000))


def test_invalid_arguments_of_stream(tagger):
    invalid = ({"sample_rate": 10}, {"threshold": 2}, {"resolution": 0}, {"classes": ["Dgo"]}, {"channel": 0})
    for arguments in (*invalid, {"channel": "front"}, {"gain": "auto"}, {"gain": 1000}):
        with pytest.raises(ArgumentError):
            tagger.stream([np.zeros(10)], **arguments)
    for block in ([1, 2], None, b"\0\0", "clip.wav", [0.5, "loud"], 0.5):
        with pytest.raises(ArgumentError, match=r"samples must be|an array must be|a list must hold floats"):
            list(tagger.stream([block], 16_000))
    with pytest.raises(AudioError, match="contains no samples"):
        list(tagger.stream([]))
    with pytest.raises(AudioError, match=r"sample nan at 1\.000 s"):
        list(tagger.stream([np.zeros(16_000), np.full(10, np.nan)]))


def test_number_of_threads(model_path):
    assert Tagger(model_path, "cpu", threads=1).model.threads == 1
    assert Tagger(model_path, "cpu").model.threads >= 1
    assert Tagger(model_path, "cpu", threads=np.int64(1)).model.threads == 1
    for threads in (0, -1, 1.5, "two", True, 10**6):
        with pytest.raises(ArgumentError, match="threads must be an integer from 1 to 1024"):
            Tagger(model_path, "cpu", threads=threads)
