"""The learning rate rises, then does what its name says."""

from __future__ import annotations

import pytest
import torch

from training.loop.schedule import RISE, learning_rate_factor


@pytest.mark.parametrize(("name", "peak"), [("cosine", 10), ("one-cycle", 30)])
def test_it_rises_then_falls_to_nothing(name: str, peak: int) -> None:
    rates = [learning_rate_factor(name, RISE[name], step / 100) for step in range(101)]
    assert max(rates) == pytest.approx(1)
    assert rates.index(max(rates)) == peak
    assert rates[0] < 0.05
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_constant_stays_and_may_be_warmed_up() -> None:
    assert {learning_rate_factor("constant", 0.0, step / 10) for step in range(10)} == {1.0}
    warmed = [learning_rate_factor("constant", 0.5, step / 10) for step in range(10)]
    assert warmed[:5] == sorted(warmed[:5])
    assert warmed[0] < 0.01
    assert warmed[5:] == [1.0] * 5


def test_one_cycle_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=101, cycle_momentum=False)
    for step in range(100):
        # torch counts to the last step of a phase, we to the first of the next: a step apart at most
        assert learning_rate_factor("one-cycle", 0.3, step / 100) == pytest.approx(theirs.get_last_lr()[0], abs=0.03)
        optimizer.step()
        theirs.step()


def test_no_warmup_begins_at_the_peak() -> None:
    assert learning_rate_factor("cosine", 0.0, 0.0) == 1
