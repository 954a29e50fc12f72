"""The learning-rate schedules."""

from __future__ import annotations

import pytest

from training.loop.schedule import WARMUP, learning_rate_factor


def test_cosine_peaks_after_a_tenth_of_the_steps_and_falls_to_zero() -> None:
    rates, peak = [learning_rate_factor("cosine", WARMUP["cosine"], step / 100) for step in range(101)], 10
    assert max(rates) == pytest.approx(1)
    assert rates.index(max(rates)) == peak
    assert rates[0] < 0.05
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_constant_stays_at_the_peak_with_or_without_warmup() -> None:
    assert {learning_rate_factor("constant", 0.0, step / 10) for step in range(10)} == {1.0}
    warmed = [learning_rate_factor("constant", 0.5, step / 10) for step in range(10)]
    assert warmed[:5] == sorted(warmed[:5])
    assert warmed[0] < 0.01
    assert warmed[5:] == [1.0] * 5


def test_without_warmup_cosine_starts_at_the_peak() -> None:
    assert learning_rate_factor("cosine", 0.0, 0.0) == 1
