"""Fixtures of the tests of runs: ESC-50's layout with clips of 10 ms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sedkit.geometry import SAMPLE_RATE


@pytest.fixture(scope="module")
def esc50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 silent clips in five folds, of 38 sources. Two sources lie in two folds each."""
    folder = tmp_path_factory.mktemp("data") / "esc50"
    (folder / "audio").mkdir(parents=True)
    rows = ["filename,fold,target,category,esc10,src_file,take,license,author,url"]
    for number in range(40):
        source = number // 2 if number < 4 else number
        category = ("dog", "rooster", "pig", "cow")[number // 5 % 4]
        rows.append(f"{number}.wav,{1 + number % 5},0,{category},True,{source},A,CC0,author,url")
        soundfile.write(folder / "audio" / f"{number}.wav", np.zeros(160), SAMPLE_RATE)
    (folder / "esc50.csv").write_text("\n".join(rows) + "\n")
    return folder
