"""The front end agrees with librosa's float64 mel spectrogram to 5e-4 dB."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from sedkit.geometry import HOP, SAMPLE_RATE, WINDOW, WINDOW_MARGIN, padded_samples
from training.networks.logmel import BANDS, FLOOR, POINTS, LogMel, mel_filters


def reference(waveform: np.ndarray) -> np.ndarray:
    """Log-mel in dB [frames, 64] from librosa in float64, with the window centred in 512 points."""
    before = WINDOW_MARGIN + (POINTS - WINDOW) // 2
    padded = padded_samples(len(waveform))
    signal = np.pad(waveform.astype(np.float64), (before, padded - len(waveform) + before))
    power = librosa.feature.melspectrogram(
        y=signal, sr=SAMPLE_RATE, n_fft=POINTS, hop_length=HOP, win_length=WINDOW, center=False, n_mels=BANDS
    )
    return 10 * np.log10(power.T + FLOOR)


def difference(waveform: np.ndarray) -> float:
    """Largest difference from librosa in dB."""
    decibels = LogMel().decibels(torch.from_numpy(waveform)[None])[0].numpy()
    expected = reference(waveform)
    assert decibels.shape == expected.shape
    return float(np.abs(decibels - expected).max())


def test_mel_filters_equal_librosa() -> None:
    expected = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=POINTS, n_mels=BANDS, dtype=np.float64)
    np.testing.assert_allclose(mel_filters(), expected.T, rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(mel_filters().astype(np.float32), expected.T.astype(np.float32))


@pytest.mark.slow  # librosa compiles for half a minute
@pytest.mark.parametrize("samples", [1, 4_000, 15_360, 40_001])
def test_logmel_agrees_with_librosa(samples: int) -> None:
    random = np.random.default_rng(samples)
    time = np.arange(samples) / SAMPLE_RATE
    waveform = 0.5 * np.sin(2 * np.pi * 440 * time) + 0.01 * random.standard_normal(samples)
    assert difference(waveform.astype(np.float32)) < 5e-4


def test_silence_is_the_floor() -> None:
    assert torch.allclose(LogMel().decibels(torch.zeros(1, 16_000)), torch.tensor(10 * np.log10(FLOOR)).float())


def test_mel_filters_have_full_rank() -> None:
    assert np.linalg.matrix_rank(LogMel().mel.numpy().astype(np.float64)) == BANDS


def test_click_peaks_in_the_frame_centred_on_it() -> None:
    waveform = torch.zeros(1, 15_360)
    waveform[0, HOP * 40 + HOP // 2] = 1.0
    assert int(LogMel().decibels(waveform)[0].sum(1).argmax()) == 40


def test_normalisation_is_part_of_the_state_dict() -> None:
    frontend = LogMel()
    assert set(frontend.state_dict()) == {"mean", "std"}
    frontend.mean.fill_(-30)
    frontend.std.fill_(10)
    silence = torch.zeros(1, 15_360)
    torch.testing.assert_close(frontend(silence), torch.full((1, 1, 96, BANDS), -3.0))
