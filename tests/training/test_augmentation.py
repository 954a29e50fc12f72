"""Augmentation does what it says, and the same generator gives the same result."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.data.augmentation import crop, gain, mixup, spec_augment, without_padding


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_crop_is_a_stretch_of_the_clip() -> None:
    clip = np.arange(1000, dtype=np.int16)
    starts = {int(crop(clip, 100, random(seed))[0]) for seed in range(50)}
    assert len(starts) > 20
    assert all(np.all(np.diff(crop(clip, 100, random(seed))) == 1) for seed in range(10))


def test_a_short_clip_is_rolled_and_repeated() -> None:
    clip = np.arange(1, 8, dtype=np.int16)
    made = crop(clip, 20, random(3))
    assert len(made) == 20
    assert set(made) == set(clip)
    np.testing.assert_array_equal(made[:7], made[7:14])


def test_padding_goes_silence_inside_stays() -> None:
    clip = np.array([0, 0, 5, 0, 0, 7, 0], np.int16)
    np.testing.assert_array_equal(without_padding(clip), [5, 0, 0, 7])
    assert len(without_padding(np.zeros(4, np.int16))) == 4


def test_gain_changes_the_level_of_each_clip_within_bounds() -> None:
    louder = gain(torch.ones(200, 3), 6.0, random())
    decibels = 20 * torch.log10(louder[:, 0])
    assert decibels.abs().max() <= 6
    assert decibels.std() > 2
    assert torch.equal(louder[:, 0], louder[:, 2])


def test_mixup_mixes_waveforms_and_targets_with_the_same_weights() -> None:
    # Each clip is constant at its number and its target is that number: mixing alike keeps them equal.
    numbers = torch.linspace(0, 1, 16)[:, None]
    waveform, targets = mixup(numbers.repeat(1, 50), numbers.repeat(1, 4), 0.4, random())
    torch.testing.assert_close(waveform[:, :4], targets)
    assert not torch.allclose(targets, numbers.repeat(1, 4))


def test_spec_augment_masks_stretches_of_frames_and_bands() -> None:
    masked = spec_augment(torch.ones(8, 1, 96, 64), 24, 8, random())
    assert masked.shape == (8, 1, 96, 64)
    for clip in masked[:, 0]:
        frames, bands = (clip.amax(1) == 0).sum(), (clip.amax(0) == 0).sum()
        assert frames <= 48
        assert bands <= 16
    assert 0 < masked.mean() < 1
    assert torch.equal(spec_augment(torch.ones(8, 1, 96, 64), 0, 0, random()), torch.ones(8, 1, 96, 64))


@pytest.mark.parametrize("step", [lambda r: crop(np.arange(99, dtype=np.int16), 9, r), lambda r: r.random(3)])
def test_a_seed_fixes_the_draw(step) -> None:
    np.testing.assert_array_equal(step(random(5)), step(random(5)))
