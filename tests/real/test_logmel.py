"""The front end agrees with float64 librosa on real clips, including padding with zeros."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from tests.training.networks.test_logmel import difference


@pytest.mark.slow  # librosa compiles for half a minute
@pytest.mark.parametrize("part", ["esc50", "music", "speech"])
def test_logmel_agrees_with_librosa_on_real_clips(data: Path, part: str) -> None:
    files = sorted((data / part / "audio").glob("*.ogg"))
    worst = max(difference(soundfile.read(file, dtype="float32")[0]) for file in files[:: len(files) // 20])
    assert worst < 5e-4
