"""Scores of the shipped models on real audio do not depend on blocks, threads or live mode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sedkit.audio.reading import open_audio
from sedkit.inference.installed import INT8, installed_models
from sedkit.inference.model import Model


@pytest.fixture(scope="module")
def sound(data: Path) -> np.ndarray:
    """Seven clips joined, float32 [samples]."""
    blocks = []
    for path in sorted((data / "esc50" / "audio").iterdir())[::200][:7]:
        with open_audio(path) as stream:
            blocks += list(stream)
    return np.concatenate(blocks)


@pytest.mark.parametrize(
    "path",
    [  # float32 is what a CPU runs only if it is asked to
        pytest.param(path, id=path.stem, marks=[] if path.stem.endswith(INT8) else [pytest.mark.slow])
        for path in installed_models()
    ],
)
def test_streamed_scores_equal_those_of_one_pass(path: Path, sound: np.ndarray) -> None:
    expected = Model(path, "cpu", threads=1).batch(sound[None])[0]
    assert len(sound) > 30 * 16_000
    assert expected.max() > 0.5
    for threads, prompt, blocks in ((1, False, 7), (2, True, 100), (3, False, 100)):
        model = Model(path, "cpu", threads=threads)
        scores = np.concatenate(list(model.segments(np.array_split(sound, blocks), prompt)))
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)
