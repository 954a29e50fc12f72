"""Augmentation: ranges and shares of the draws, effects on tensors, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.data.audio import crop, without_padding
from training.data.augment.augmentation import Augmentation, Draws, mix, mix_style, spec_augment
from training.data.augment.channel import noisy, reverberant
from training.data.augment.resampling import at_speed
from training.networks.logmel import LogMel


def draw(clips: int = 200, seed: int = 0, **changed: float) -> Draws:
    return Augmentation(**changed).draw(clips, 96, 64, np.random.default_rng(seed))


def test_crop_takes_consecutive_samples() -> None:
    clip = np.arange(1000, dtype=np.int16)
    starts = [int(crop(clip, 100, place)[0]) for place in (0.0, 0.5, 0.9999)]
    assert starts == [0, 450, 900]
    assert all(np.all(np.diff(crop(clip, 100, place)) == 1) for place in np.linspace(0, 0.99, 10))


def test_crop_rolls_and_repeats_a_short_clip() -> None:
    clip = np.arange(1, 8, dtype=np.int16)
    made = crop(clip, 20, 0.3)
    assert len(made) == 20
    assert set(made) == set(clip)
    np.testing.assert_array_equal(made[:7], made[7:14])
    assert len({int(crop(clip, 20, place)[0]) for place in np.linspace(0, 0.99, 50)}) == 7


def test_without_padding_keeps_inner_zeros() -> None:
    clip = np.array([0, 0, 5, 0, 0, 7, 0], np.int16)
    np.testing.assert_array_equal(without_padding(clip), [5, 0, 0, 7])
    assert without_padding(clip[2:6]) is not clip
    assert len(without_padding(np.zeros(4, np.int16))) == 4
    assert len(without_padding(np.zeros(0, np.int16))) == 0


def test_gain_stays_within_its_bounds() -> None:
    decibels = 20 * np.log10(draw(gain=6.0).levels)
    assert np.abs(decibels).max() <= 6.001
    assert decibels.std() > 2
    assert (draw(gain=0.0).levels == 1).all()


def test_mixup_affects_whole_batches() -> None:
    batches = [draw(seed=seed).shares for seed in range(40)]
    mixed = [shares.min() < 1 for shares in batches]
    assert 8 < sum(mixed) < 32
    assert all((shares >= 0.5).all() and (shares <= 1).all() for shares in batches)
    assert (draw(mixed=0.0).shares == 1).all()
    assert (draw(mixup=0.0).shares == 1).all()


def test_mixup_weights_waveforms_and_targets_alike() -> None:
    # The samples and the targets of a clip have the same value, so equal weights keep them equal.
    numbers = torch.linspace(0, 1, 15)[:, None]
    shares = torch.from_numpy(draw(15, mixed=1.0).shares)
    waveform, targets = mix(numbers.repeat(1, 50), shares), mix(numbers.repeat(1, 4), shares)
    torch.testing.assert_close(waveform[:, :4], targets)
    assert not torch.allclose(targets[:14], numbers.repeat(1, 4)[:14])
    assert torch.equal(targets[14], numbers[14].repeat(4)), "the last of an odd number is not mixed"
    assert torch.equal(mix(numbers, torch.ones(15)), numbers)


def test_mixup_of_a_batch_cut_between_pairs_equals_the_whole() -> None:
    batch, shares = torch.rand(8, 5), torch.from_numpy(draw(8, mixed=1.0).shares)
    cut = torch.cat([mix(batch[:4], shares[:4]), mix(batch[4:], shares[4:])])
    assert torch.equal(cut, mix(batch, shares))


def test_spec_augment_masks_frames_and_bands() -> None:
    draws = draw(8)
    masked = spec_augment(torch.ones(8, 1, 96, 64), torch.from_numpy(draws.frames), torch.from_numpy(draws.bands))
    assert masked.shape == (8, 1, 96, 64)
    for clip, frames, bands in zip(masked[:, 0], draws.frames, draws.bands, strict=True):
        hidden = (clip.amax(1) == 0).nonzero().flatten().tolist()
        assert hidden == sorted({frame for first, end in frames for frame in range(first, end)})
        assert len(hidden) <= 48
        assert (clip.amax(0) == 0).sum() <= 16
        assert bands.max() <= 64
    assert 0 < masked.mean() < 1
    none = draw(8, time_mask=0, band_mask=0)
    whole = spec_augment(torch.ones(8, 1, 96, 64), torch.from_numpy(none.frames), torch.from_numpy(none.bands))
    assert torch.equal(whole, torch.ones(8, 1, 96, 64))


def test_draws_depend_on_the_seed_and_can_be_sliced() -> None:
    one, other, part = draw(seed=5, overlay=0.5), draw(seed=5, overlay=0.5), draw(seed=5, overlay=0.5)[10:20]
    for name in ("places", "levels", "shares", "frames", "bands", "sources", "seeds"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_array_equal(getattr(one, name)[10:20], getattr(part, name))


def test_overlay_affects_its_share_of_the_clips() -> None:
    sources = draw(overlay=0.4).sources
    assert sources.shape == (200, 4)
    np.testing.assert_array_equal(sources[:, 0], np.arange(200))
    others = (sources[:, 1:] >= 0).sum(1)
    assert 50 < (others > 0).sum() < 110
    assert set(others) == {0, 1, 2, 3}
    assert sources.max() < 200
    assert not (sources[:, 1:] == sources[:, :1]).any(), "no clip is overlaid with itself"
    assert (draw(overlay=1.0).sources[:, 1] >= 0).all()


def test_overlay_leaves_other_draws_unchanged() -> None:
    one, other = draw(seed=3), draw(seed=3, overlay=1.0)
    np.testing.assert_array_equal(one.sources, np.arange(200))
    for name in ("places", "levels", "shares", "frames", "bands"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_response_curves_and_band_limits() -> None:
    curves = draw(response=6.0).responses
    assert np.abs(curves).max() <= 6
    assert curves.std() > 1.5
    assert np.abs(np.diff(curves, axis=1)).max() < curves.max() - curves.min()
    assert len(np.unique(curves, axis=0)) == 200
    narrow = draw(narrow=0.3).responses < -50
    assert 30 < narrow.any(1).sum() < 90
    assert (np.diff(narrow.astype(int), axis=1) >= 0).all(), "all bands above the limit are removed"
    assert not narrow[:, :24].any()
    assert not draw().responses.any()


def test_response_shifts_the_log_mel_but_not_below_its_floor() -> None:
    frontend, sound = LogMel(), 0.1 * torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    responses = torch.zeros(2, 64)
    responses[1, :32], responses[1, 32:] = 5.0, -100.0
    plain, shaped = frontend.decibels(sound), frontend.decibels(sound, responses)
    torch.testing.assert_close(shaped[0], plain[0])
    sounding = plain[1, 1:99, :32]  # the last frames are padding
    torch.testing.assert_close(shaped[1, 1:99, :32], sounding + 5.0, atol=0.01, rtol=0)
    torch.testing.assert_close(shaped[1, :, 32:], torch.full_like(shaped[1, :, 32:], -60.0), atol=0.01, rtol=0)


def test_noise_has_the_drawn_snr() -> None:
    snrs = draw(noise=0.4).snrs
    assert 50 < np.isfinite(snrs).sum() < 110
    assert snrs[np.isfinite(snrs)].min() >= 0
    assert snrs[np.isfinite(snrs)].max() <= 30
    assert np.isinf(draw().snrs).all()
    clip = (2000 * np.sin(np.arange(16_000) / 7)).astype(np.int16)
    for snr in (0.0, 20.0):
        added = noisy(clip, snr, np.random.default_rng(1)).astype(float) - clip
        assert abs(10 * np.log10(np.square(clip, dtype=float).mean() / np.square(added).mean()) - snr) < 0.2
    np.testing.assert_array_equal(noisy(clip, 9, np.random.default_rng(2)), noisy(clip, 9, np.random.default_rng(2)))


def test_new_augmentations_leave_earlier_draws_unchanged() -> None:
    """Batches of runs without these augmentations stay the same."""
    plain = draw(overlay=0.5)
    more = draw(overlay=0.5, response=3.0, narrow=0.1, speed=0.1, reverb=0.1, noise=0.1, style=0.5)
    for name in ("places", "levels", "shares", "frames", "bands", "sources", "seeds"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(more, name))


def test_speed_changes_pitch_and_length() -> None:
    speeds = draw(speed=0.25).speeds
    assert 0.8 <= speeds.min() < 0.85 < 1.18 < speeds.max() <= 1.25
    assert (draw().speeds == 1).all()
    tone = torch.sin(2 * np.pi * 500 * torch.arange(20_000) / 16_000).expand(3, -1)
    faster, same, slower = at_speed(tone, torch.tensor([1.25, 1.0, 0.8]), 16_000)
    assert np.abs(np.fft.rfft(faster)).argmax() == 625  # Hz: 16,000 samples are a second
    assert np.abs(np.fft.rfft(slower)).argmax() == 400
    inner = slice(100, -100)  # the ends are those of a periodic waveform
    torch.testing.assert_close(same[inner], tone[1, :16_000][inner], atol=1e-4, rtol=0)
    expected = torch.sin(2 * np.pi * 625 * torch.arange(16_000) / 16_000)
    torch.testing.assert_close(faster[inner], expected[inner], atol=0.01, rtol=0)


@pytest.mark.parametrize(("hertz", "speed"), [(7000, 1.2), (6000, 0.85), (3000, 1.15)])
def test_speed_neither_aliases_nor_distorts(hertz: int, speed: float) -> None:
    """A tone that would rise above 8 kHz is removed; any other keeps its level. Nothing else is heard above -45 dB."""
    time = torch.arange(40_000) / 16_000
    played = at_speed(torch.sin(2 * np.pi * hertz * time)[None], torch.tensor([speed]), 32_000)[0, 4000:20_000]
    played = played.numpy()
    spectrum = np.abs(np.fft.rfft(played * np.hanning(len(played)))) / len(played) * 4  # 1 Hz per bin
    pitch = round(hertz * speed)
    assert spectrum.max() == pytest.approx(0 if pitch > 8000 else 1, abs=0.01)
    elsewhere = np.abs(np.arange(len(spectrum)) - pitch) > 3
    assert 20 * np.log10(spectrum[elsewhere].max()) < -45


def test_reverberation_decays_with_t60_and_keeps_the_level() -> None:
    t60s = draw(reverb=0.5).t60s
    assert 60 < (t60s > 0).sum() < 140
    assert t60s[t60s > 0].min() >= 0.1
    assert not draw().t60s.any()
    click = np.zeros(16_000, np.int16)
    click[100:110] = 20_000
    reverberated = reverberant(click, 0.5, np.random.default_rng(0)).astype(float)
    assert np.square(reverberated).sum() == pytest.approx(np.square(click, dtype=float).sum(), rel=0.02)
    assert not reverberated[:100].any()
    early, late = (10 * np.log10(np.square(reverberated[start : start + 800]).mean()) for start in (1000, 5000))
    assert early - late == pytest.approx(30, abs=4), "0.25 s, half of T60, decay by 30 dB"


def test_mix_style_mixes_statistics_of_each_band() -> None:
    torch.manual_seed(0)
    logmel = torch.randn(4, 1, 50, 8) * torch.rand(4, 1, 1, 8).add(0.5) + torch.randn(4, 1, 1, 8)
    styled = mix_style(logmel, torch.tensor([1.0, 0.5, 0.75, 0.5]))
    torch.testing.assert_close(styled[0], logmel[0], atol=0, rtol=0)
    torch.testing.assert_close(styled[1].mean(1), (logmel[0] + logmel[1]).mean(1) / 2)
    spread = logmel.std(2, correction=0)
    torch.testing.assert_close(styled[2].std(1, correction=0), 0.75 * spread[2] + 0.25 * spread[3])
    still = torch.zeros(2, 1, 50, 8)
    assert torch.equal(mix_style(still, torch.tensor([0.5, 0.5])), still)
    styles = [draw(style=0.5, seed=seed).styles for seed in range(40)]
    assert 10 < sum(weights.min() < 1 for weights in styles) < 30
