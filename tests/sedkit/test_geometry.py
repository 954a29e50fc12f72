"""sedkit.geometry: segment arithmetic. tests/training/networks/test_wels.py checks the receptive field itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedkit import geometry
from sedkit.geometry import SEGMENT_HOP, SEGMENT_SPAN, WELS_NET, Geometry, padded_samples, segment_count


def test_numbers_of_the_paper():
    assert segment_count(10 * geometry.SAMPLE_RATE) == 30
    assert (SEGMENT_HOP / geometry.SAMPLE_RATE, SEGMENT_SPAN / geometry.SAMPLE_RATE) == (0.32, 0.96)
    assert geometry.RECEPTIVE_FRAMES == 212
    assert (geometry.WINDOW - geometry.HOP) == 2 * geometry.WINDOW_MARGIN


@pytest.mark.parametrize(
    ("samples", "padded", "segments"),
    [
        (0, 15_360, 1),
        (1, 15_360, 1),
        (15_360, 15_360, 1),
        (15_361, 20_480, 2),
        (20_480, 20_480, 2),
        (80_000, 81_920, 14),
    ],
)
def test_padded_samples_and_segment_count(samples, padded, segments):
    assert padded_samples(samples) == padded
    assert segment_count(samples) == segments


@given(st.integers(0, 10**10))
def test_padding_is_minimal_and_a_multiple_of_the_hop(samples):
    padded = padded_samples(samples)
    assert padded % SEGMENT_HOP == 0
    assert samples <= padded < max(samples + SEGMENT_HOP, SEGMENT_SPAN + 1)
    last = (segment_count(samples) - 1) * SEGMENT_HOP
    assert last + SEGMENT_SPAN == padded  # the last segment ends where the padding ends
    assert samples <= SEGMENT_SPAN or samples > last + SEGMENT_SPAN - SEGMENT_HOP  # its last hop contains samples


YAMNET = Geometry(16_000, 7_680, 15_360, 15_840)
FRAMEWISE = Geometry(32_000, 10_240, 30_720, 112_384)
WINDOWS = Geometry(32_000, 32_000, 64_000, 64_000)


def test_other_geometries():
    assert [g.segment_count(10 * g.sample_rate) for g in (WELS_NET, YAMNET, FRAMEWISE, WINDOWS)] == [30, 20, 30, 9]
    assert [(g.context, g.lookahead, g.overlap) for g in (WELS_NET, YAMNET, FRAMEWISE, WINDOWS)] == [
        (2, 4, 3), (2, 2, 2), (4, 6, 3), (2, 1, 2),
    ]  # fmt: skip
    assert [g.tile_start(3) for g in (WELS_NET, YAMNET, FRAMEWISE, WINDOWS)] == [1.28, 1.68, 1.28, 3.5]


@given(st.sampled_from([WELS_NET, YAMNET, FRAMEWISE, WINDOWS]), st.integers(0, 10**9))
def test_last_segment_ends_with_the_padding(geometry, samples):
    padded, last = geometry.padded_samples(samples), (geometry.segment_count(samples) - 1) * geometry.segment_hop
    assert last + geometry.segment_span == padded >= samples
    assert samples <= geometry.segment_span or samples > padded - geometry.segment_hop  # no shorter padding would do


@pytest.mark.parametrize("geometry", [WELS_NET, YAMNET, FRAMEWISE, WINDOWS])
def test_context_holds_the_receptive_field_and_the_levels_around_a_tile(geometry):
    margin = (geometry.receptive_field - geometry.segment_span) // 2
    start, levels = geometry.context * geometry.segment_hop, 65 * geometry.frame  # of a segment after its context
    end = start + (1 + geometry.lookahead) * geometry.segment_hop
    assert start - margin >= 0
    assert start + geometry.segment_span + margin <= end
    assert start + geometry.first_tile - levels >= 0
    assert start + geometry.first_tile + levels <= end


def test_negative_number_of_samples():
    with pytest.raises(ValueError, match="-1 samples"):
        padded_samples(-1)
