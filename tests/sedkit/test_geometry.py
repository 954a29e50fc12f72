"""sedkit.geometry: segment arithmetic. tests/training/networks/test_wels.py checks the receptive field itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedkit import geometry
from sedkit.geometry import SEGMENT_HOP, SEGMENT_SPAN, padded_samples, segment_count


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


def test_negative_number_of_samples():
    with pytest.raises(ValueError, match="-1 samples"):
        padded_samples(-1)
