"""sedkit.timeline.edges, on sounds whose level changes are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sedkit.geometry import HOP, SAMPLE_RATE, SEGMENT_HOP, WELS_NET, Geometry, segment_count
from sedkit.inference.model import pieces
from sedkit.timeline.edges import level_changes
from tests.conftest import make_sound


def burst(onset: float, offset: float, seconds: float = 6.0, behind: float = 0.003) -> np.ndarray:
    """Loud noise from onset to offset, and quiet noise of amplitude `behind` throughout."""
    random = np.random.default_rng(0)
    sound = behind * random.standard_normal(round(seconds * SAMPLE_RATE))
    loud = slice(round(onset * SAMPLE_RATE), round(offset * SAMPLE_RATE))
    sound[loud] += 0.1 * random.standard_normal(loud.stop - loud.start)
    return sound.astype(np.float32)


def tile_times(seconds: float) -> np.ndarray:
    """The edges of tiles, in seconds."""
    segments = segment_count(round(seconds * SAMPLE_RATE))
    return np.array([0, *(0.32 * np.arange(1, segments) + 0.32), seconds])


@pytest.mark.parametrize(("onset", "offset"), [(2.0, 4.0), (2.05, 3.7), (2.24, 2.75), (1.93, 4.31)])
def test_edges_near_a_change_point_to_it(onset, offset):
    edges, tiles = level_changes(burst(onset, offset)), tile_times(6)
    for time, moved in zip((onset, offset), edges.T, strict=True):
        near = abs(tiles - time) < 0.3
        assert near.any()
        np.testing.assert_allclose(tiles[near] + 0.01 * moved[near], time, atol=0.011)
        assert not moved[abs(tiles - time) > 0.7].any()


def test_change_in_high_frequencies():
    """A loud hum masks a faint hiss in the level of the samples, but not in that of their differences."""
    hum = 0.3 * np.sin(2 * np.pi * 60 * np.arange(6 * SAMPLE_RATE) / SAMPLE_RATE)
    edges = level_changes((hum + burst(2.05, 4.0, behind=1e-4) / 10).astype(np.float32))
    assert tile_times(6)[5] + 0.01 * edges[5, 0] == pytest.approx(2.05, abs=0.02)


def test_nearer_of_two_equal_changes_counts():
    sound = burst(2.0, 2.05) + burst(2.4, 2.45)
    edges, tiles = level_changes(sound), tile_times(6)
    assert tiles[5] + 0.01 * edges[5, 0] == pytest.approx(2.0, abs=0.02)  # 2.24 s is only slightly nearer to 2.4 s
    assert tiles[6] + 0.01 * edges[6, 0] == pytest.approx(2.4, abs=0.02)


@pytest.mark.parametrize("seconds", [0.4, 0.96, 1.28, 6.0, 6.001])
def test_onset_in_the_first_tile_and_offset_in_the_last(seconds):
    edges = level_changes(burst(0.1, seconds - 0.15, seconds))
    assert edges[0].tolist() == [pytest.approx(10, abs=1), 0]
    assert edges[-1].tolist() == [0, pytest.approx(-15, abs=1)]
    assert not level_changes(burst(0, seconds, seconds))[[0, -1]].any()
    assert not level_changes(burst(0.1, seconds - 0.15, seconds, behind=0.08))[[0, -1]].any()  # a change of 4 dB


def test_sound_before_the_largest_rise_begins_with_the_recording():
    knocks = burst(0, 0.05, 6.0) + burst(0.3, 0.35, 6.0)
    assert level_changes(knocks)[0, 0] == 0
    assert level_changes(np.flip(knocks))[-1, 1] == 0
    assert level_changes(burst(0.01, 0.05, 6.0) / 10 + burst(0.3, 0.35, 6.0))[0, 0] == pytest.approx(30, abs=1)


def test_no_changes_in_silence_and_in_steady_noise():
    assert not level_changes(np.zeros(5 * SAMPLE_RATE, np.float32)).any()
    assert not level_changes(burst(0, 6)).any()


@pytest.mark.parametrize("samples", [0, 1, HOP, SEGMENT_HOP, 3 * SEGMENT_HOP, 3 * SEGMENT_HOP + 1, 5 * SAMPLE_RATE])
def test_number_of_edges(samples):
    edges = level_changes(make_sound(5)[:samples])
    assert edges.shape == (segment_count(samples) + 1, 2)
    assert abs(edges[1:-1]).max(initial=0) <= 32
    assert 0 <= edges[0, 0] <= (64 if len(edges) > 2 else 96)
    assert 0 >= edges[-1, 1] >= -96


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    cuts=st.lists(st.floats(0, 1), max_size=30),
    prompt=st.booleans(),
    geometry=st.sampled_from(
        [
            WELS_NET,
            Geometry(16_000, 7_680, 15_360, 15_840),
            Geometry(16_000, 16_000, 32_000, 32_000),
            Geometry(16_000, 4_800, 5_120, 5_120),
        ]
    ),
)
@example(seed=395, cuts=[], prompt=True, geometry=Geometry(16_000, 16_000, 32_000, 32_000))  # no segment in the last
def test_edges_of_pieces_equal_those_of_the_whole_recording(seed, cuts, prompt, geometry):
    sound = make_sound(25, seed=seed)
    blocks = np.split(sound, sorted(round(cut * len(sound)) for cut in cuts))
    parts = [level_changes(samples, geometry)[kept] for samples, kept in pieces(blocks, prompt, geometry)]
    np.testing.assert_array_equal(np.concatenate(parts), level_changes(sound, geometry))


def test_edges_at_another_sample_rate():
    geometry = Geometry(32_000, 2 * SEGMENT_HOP, 6 * SEGMENT_HOP, 6 * SEGMENT_HOP)
    sound = np.repeat(burst(1.05, 2.0), 2)
    np.testing.assert_allclose(level_changes(sound, geometry), level_changes(burst(1.05, 2.0)), atol=1)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), change=st.floats(0.001, 0.3))
def test_edges_keep_the_order_of_tiles(seed, change):
    random = np.random.default_rng(seed)
    level = np.repeat(np.exp(np.cumsum(change * random.standard_normal(200))), 8 * HOP)
    edges = level_changes((0.01 * level * random.standard_normal(len(level))).clip(-1, 1).astype(np.float32))[1:-1]
    assert (np.diff(32 * np.arange(len(edges))[:, None] + edges, axis=0) >= 0).all()


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(0, 5 * SAMPLE_RATE), seed=st.integers(0, 1000))
def test_edges_equal_the_reference(samples, seed):
    sound = make_sound(5, seed=seed)[:samples]
    np.testing.assert_array_equal(level_changes(sound), reference_edges(sound))


def reference_edges(sound: np.ndarray) -> np.ndarray:
    """The rules of docs/timeline.md, edge by edge and frame by frame."""
    levels = [level_of(sound, frame) for frame in range(len(sound) // HOP)]
    changes = [change_at(levels, frame) for frame in range(len(levels) + 1)]
    segments = segment_count(len(sound))
    inner = [32 * k + 32 for k in range(1, segments)]  # frames
    rows = [[first_sound(levels, changes[: [*inner, len(levels)][0] + 1]), 0]]
    for edge in inner:
        near = [(frame - edge, changes[frame]) for frame in range(edge - 32, edge + 33) if 0 <= frame <= len(levels)]
        rows.append([largest(near), largest([(distance, -change) for distance, change in near])])
    backwards = [-change for change in changes[[0, *inner][-1] :]][::-1]
    return np.array([*rows, [0, -first_sound(levels[::-1], backwards)]])


def level_of(sound: np.ndarray, frame: int) -> int:
    """Level of a frame plus that of its differences, in hundredths of a dB."""
    part = slice(frame * HOP, (frame + 1) * HOP)
    signals = sound[part], np.diff(sound, prepend=sound[:1])[part]
    return sum(round(1000 * np.log10(float(np.einsum("s,s", x, x)) / HOP + 1e-7)) for x in signals)


def change_at(levels: list[int], frame: int) -> float:
    """Weighted mean level of the 32 frames from here on minus that of the 32 frames before, in dB."""
    after, before = levels[frame : frame + 32], levels[max(0, frame - 32) : frame][::-1]
    if not after or not before:
        return 0.0
    means = [
        sum((32 - k) * x for k, x in enumerate(part)) / sum(32 - k for k in range(len(part)))
        for part in (after, before)
    ]
    return (means[0] - means[1]) / 200


def largest(near: list[tuple[int, float]]) -> int:
    """Distance to the largest change, weighted by nearness; 0 if it is below 1 dB."""
    distance, change = max(near, key=lambda each: each[1] * (64 - abs(each[0])), default=(0, 0.0))
    return distance if change >= 1 else 0


def first_sound(levels: list[int], changes: list[float]) -> int:
    """Frame of the largest change, if all before it is 6 dB quieter than the loudest after it."""
    frame = changes.index(max(changes))
    quiet = changes[frame] >= 1 and frame > 0 and max(levels[frame : frame + 32]) - max(levels[:frame]) >= 1200
    return frame if quiet else 0
