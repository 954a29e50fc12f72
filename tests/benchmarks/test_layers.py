"""benchmarks.layers, on a shipped model."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.layers import AFTER, BEFORE, LAYERS, rows
from tests.conftest import make_sound

MODEL = Path(__file__).parents[2] / "models" / "wels-secost-small.onnx"


def test_every_layer_has_a_row():
    *layers, (_, name, arithmetic, *_) = rows(MODEL, [make_sound(3, seed=seed) for seed in range(2)])
    assert [row[1] for row in layers] == list(dict.fromkeys([BEFORE, *LAYERS, AFTER]))
    assert sum(float(row[2].rstrip("%")) for row in layers if row[2]) == pytest.approx(100, abs=0.5)
    assert (name, arithmetic.endswith(" G")) == ("all", True)
    assert all(float(row[column]) >= 0 for row in layers for column in (3, 5))
    assert layers[0][2] == layers[-1][2] == ""
    b1, b2 = (float(layers[position][2].rstrip("%")) for position in (1, 2))
    # B1: patches of 2 x 2, and 3 x 3 at half the resolution, both ways; B2: 3 x 3 at a quarter
    assert b2 / b1 == pytest.approx((9 * (16 * 40 + 40 * 40) / 16) / ((4 * 16 + 9 * 16 * 16) / 4), rel=0.05)
