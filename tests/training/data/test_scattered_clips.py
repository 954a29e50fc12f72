"""Clips scattered over a mixture: where each lies, and where the ends of the mixture cut it."""

from __future__ import annotations

import numpy as np

from sedkit.geometry import SAMPLE_RATE
from training.data.augment.soundscapes import scattered


def test_scattered_clips_lie_at_their_places() -> None:
    tones = [(8000 * np.sin(np.arange(length) * f)).astype(np.int16) for length, f in ((9_000, 0.1), (60_000, 0.3))]
    quiet = np.zeros(20_000, np.int16)
    sounds = [tones[0], np.concatenate([tones[0], quiet, tones[1]])]
    spans, cut, whole = set(), 0, {9_000: 0, 89_000: 0}
    for seed in range(40):
        mix, places = scattered(sounds, 3 * SAMPLE_RATE, np.random.default_rng(seed))
        covered = np.zeros(len(mix), bool)
        for sound, (start, stop, onset) in zip(sounds, places, strict=True):
            assert 0 <= start < stop <= len(sound)
            assert 0 <= onset < onset + stop - start <= len(mix)
            assert stop - start >= 8_960  # the length of the shorter one up to its last sound
            covered[onset : onset + stop - start] = True
            cut += onset == 0 or onset + stop - start == len(mix)
            whole[len(sound)] += stop - start == len(sound)
        assert not mix[~covered].any()
        assert np.abs(mix).max() > 1000
        spans.add((places[1].start, places[1].stop))
    assert {start for start, _ in spans} > {0, 28_800}, "from its start, from its second sound, or cut"
    assert 9_280 in {stop for _, stop in spans}, "up to the end of its first sound"
    assert 5 < cut < 75
    assert whole[9_000] > 10
    assert not whole[89_000], "a clip longer than the mixture is always cut"
