"""Mapping in background threads: order, errors, bound."""

from __future__ import annotations

import pytest

from training.runtime.prefetch import prefetch


@pytest.mark.parametrize("workers", [1, 3])
def test_prefetch_keeps_the_order_and_raises_errors(workers: int) -> None:
    assert list(prefetch(lambda x: x * x, range(50), workers)) == [x * x for x in range(50)]
    made = prefetch(lambda x: 1 // (3 - x), range(50), workers)
    assert [next(made) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(made)


def test_prefetch_is_bounded() -> None:
    started: list[int] = []
    made = prefetch(started.append, range(1000), workers=2)
    next(made)
    made.close()
    assert len(started) < 8
