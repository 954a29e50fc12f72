"""Degradations of clips, and the robustness report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sedkit.audio.reading import open_audio
from training.evaluate.commands import main
from training.evaluate.robustness import CONDITIONS, sounds_without_events
from training.runs.run import Run

RATE = 16_000
TONES = 0.25 * np.sin(2 * np.pi * np.outer((600, 6000), np.arange(2 * RATE)) / RATE)


def degraded(condition: str, sound: np.ndarray) -> np.ndarray:
    with open_audio(CONDITIONS[condition](sound, np.random.default_rng(0))) as stream:
        return np.concatenate(list(stream)).astype(np.float64)


def level(sound: np.ndarray) -> float:
    return 10 * np.log10(np.square(sound).mean())


def power(sound: np.ndarray, frequency: float) -> float:
    """Of a tone, in dB."""
    bins = np.abs(np.fft.rfft(sound[: RATE // 2]))  # bins of 2 Hz
    return 20 * np.log10(bins[round(frequency / 2)] / len(bins) + 1e-9)


def test_noise_has_the_stated_snr() -> None:
    sound = np.concatenate([np.zeros(RATE), TONES[0], np.zeros(RATE)])  # padding does not count
    for name, snr in (("white noise, SNR 10 dB", 10), ("pink noise, SNR 0 dB", 0)):
        mixed = degraded(name, sound)
        scale = mixed @ sound / (sound @ sound)
        assert level(scale * TONES[0]) - level(mixed - scale * sound) == pytest.approx(snr, abs=0.5)


def test_levels_and_clipping() -> None:
    quiet = TONES[0] / 10
    assert level(degraded("20 dB louder, clipped", quiet)) - level(quiet) == pytest.approx(20, abs=0.1)
    assert np.abs(degraded("20 dB louder, clipped", TONES[0])).max() <= 1
    assert level(degraded("20 dB quieter", TONES[0])) - level(TONES[0]) == pytest.approx(-20, abs=0.1)
    assert np.abs(degraded("clipped 12 dB below its peak", TONES[0])).max() == pytest.approx(0.0628, abs=0.001)
    np.testing.assert_allclose(degraded("clean", TONES[0]), TONES[0], atol=1e-4)


@pytest.mark.parametrize("name", ["nothing above 4 kHz", "a file of 8 kHz"])
def test_high_frequencies_are_removed(name: str) -> None:
    made = degraded(name, TONES.sum(0))
    assert len(made) == pytest.approx(2 * RATE, abs=2)
    assert power(made, 600) == pytest.approx(power(TONES.sum(0), 600), abs=0.3)
    assert power(made, 6000) < power(made, 600) - 50


def test_resampling_to_44100_hz_is_lossless() -> None:
    made = degraded("a file of 44.1 kHz", TONES.sum(0))
    assert [power(made, tone) for tone in (600, 6000)] == pytest.approx([power(TONES[0], 600)] * 2, abs=0.3)


def test_mp3_has_the_stated_bit_rate() -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal(4 * RATE)
    file = CONDITIONS["mp3, 32 kbit/s"](sound, np.random.default_rng(0))
    content = file.read()
    assert len(content) * 8 / 4 == pytest.approx(32_000, rel=0.1)
    file.seek(0)
    assert soundfile.info(file).format == "MP3"
    assert len(degraded("mp3, 32 kbit/s", sound)) == pytest.approx(len(sound), abs=2500)
    assert level(degraded("mp3, 32 kbit/s", sound)) == pytest.approx(level(sound), abs=3)


@pytest.mark.parametrize("name", CONDITIONS)
def test_silence_passes_every_condition(name: str) -> None:
    assert level(degraded(name, np.zeros(RATE)) + 1e-9) < -80


def test_signals_without_events_have_the_stated_level() -> None:
    made = sounds_without_events()
    assert len(made) > 15
    for name in ("white noise, -60 dBFS", "pink noise, -20 dBFS", "mains hum, -40 dBFS"):
        assert level(made[name]) == pytest.approx(float(name.split()[2]), abs=0.1)


@pytest.mark.slow
def test_report_on_a_model(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    def command(*options: object) -> str:
        arguments = ["robustness", run / "model.onnx", "--manifest", small_manifest, *options]
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == options.count("--split"), result.output
        return result.output

    output = command("--clips", 4, "--json", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["condition"] for row in report["conditions"]] == list(CONDITIONS)
    assert {row["clips"] for row in report["conditions"]} == {4}
    assert report["manifest_sha256"] == Run.open(run).data
    assert all(f"| {row['condition']} | {row['mAP']:.3f} | " in output for row in report["conditions"])
    silence = report["nothing"][0]
    assert (silence["sound"], silence["score"], silence["tags"], silence["events"]) == ("digital silence", 0, [], {})
    assert "| digital silence | 0 | - | 0 | - |" in output
    assert any(row["score"] > 0.1 for row in report["nothing"])
    assert "no clips in the split 'odd'" in command("--split", "odd")
