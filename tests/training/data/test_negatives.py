"""Negative recordings: their sound, and that networks are trained towards no class on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from training.data.augment.negatives import LEVELS, background_noise, hum, low_passed
from training.data.clips import Clips, Subset, WeakLabels
from training.data.commands import main
from training.data.manifest.problems import ManifestError
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.store.pack import Packing, pack
from training.data.store.source import open_audio
from training.loop.objective import cross_entropy
from training.networks.wels import Segments
from training.supervision.targets import Targets

RATE = 16_000


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Path of a manifest with four clips of two classes."""
    rows = []
    for number, name in enumerate(("Cat", "Dog", "Cat", "Dog")):
        soundfile.write(tmp_path / f"{number}.wav", np.full(4000, 0.1 * (number + 1)), RATE)
        rows.append(Row(f"{number}.wav", labels=name, split="train" if number < 2 else "validation"))
    Manifest.from_rows(rows, Vocabulary.of(["Cat", "Dog"]), tmp_path).save(tmp_path / "set.csv")
    return tmp_path / "set.csv"


def test_negatives_merge_with_a_set_and_have_zero_targets(manifest: Path, tmp_path: Path) -> None:
    output = run("negatives", manifest, "--count", 3, "--seconds", 0.5, "--output", tmp_path / "noise")
    assert "of no class: 3" in output
    run("merge", manifest, tmp_path / "noise" / "manifest.csv", "--output", tmp_path / "all.csv")
    run("check", tmp_path / "all.csv")
    packing = Packing(shard_clips=4)
    pack(Manifest.load(tmp_path / "all.csv"), tmp_path / "packed", packing)
    for place in (tmp_path / "all.csv", tmp_path / "packed"):
        audio = open_audio(place)
        rows = audio.manifest.indices("train")
        assert sorted(audio.manifest.labels.take(rows)) == [(), (), (), (0,), (1,)]
        clips = Clips(Subset(audio, rows), WeakLabels(audio.manifest, rows), audio.manifest.vocabulary.labels)
        negatives = np.flatnonzero(clips.multi_hot().sum(1) == 0)
        assert {len(clips.waveforms[row]) for row in negatives} == {RATE // 2}
        targets = torch.from_numpy(Targets({"labels": 1.0}, clips).of_clips(negatives))
        assert not targets.any()
        ones = torch.ones(3, 1, 1)
        logits = torch.full((3, 1, 2), -0.8, requires_grad=True)
        cross_entropy(Segments(logits, ones, ones, ones), targets).backward()
        assert (logits.grad > 0).all()  # a step lowers the score of every class


def test_clips_of_no_class_round_trip_and_empty_labels_are_faults(manifest: Path, tmp_path: Path) -> None:
    """``-`` labels a clip as none of the classes; empty labels remain a fault."""
    (tmp_path / "x.csv").write_text("path,labels,split\n0.wav,-,train\n1.wav,Dog,train\n2.wav, - ,test\n")
    found = Manifest.load(tmp_path / "x.csv", tmp_path / "set.labels.csv")
    assert found.labels == [(), (1,), ()]
    found.save(tmp_path / "y.csv")
    again = Manifest.load(tmp_path / "y.csv")
    assert again.labels == found.labels
    assert again.sha256() == found.sha256()
    for labels, message in (("", "clip without a label"), ("-;Dog", "unknown label .'-' of"), ("--", "unknown label")):
        (tmp_path / "x.csv").write_text(f"path,labels,split\n0.wav,{labels},train\n1.wav,Dog,train\n")
        with pytest.raises(ManifestError, match=message):
            Manifest.load(tmp_path / "x.csv", tmp_path / "set.labels.csv")
    with pytest.raises(ManifestError, match="rename it"):
        Vocabulary.of(["Cat"]).union([Vocabulary.load(_vocabulary(tmp_path, "-"))])


def _vocabulary(folder: Path, name: str) -> Path:
    (folder / "odd.csv").write_text(f"index,mid,display_name\n,,{name}\n")
    return folder / "odd.csv"


def test_plain_csv_and_folders_accept_clips_of_no_class(tmp_path: Path) -> None:
    for name in ("Cat", "-"):
        (tmp_path / "clips" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "clips" / name / "a.wav", np.full(4000, 0.1), RATE)
    run("folders", tmp_path / "clips", "--output", tmp_path / "set.csv")
    assert sorted(Manifest.load(tmp_path / "set.csv").labels) == [(), (0,)]
    (tmp_path / "table.csv").write_text("path,labels\nclips/Cat/a.wav,Cat\nclips/-/a.wav,-\n")
    run("csv", tmp_path / "table.csv", "--output", tmp_path / "made.csv")
    assert Manifest.load(tmp_path / "made.csv").labels == [(0,), ()]


def test_negatives_depend_on_the_seed_and_resume(manifest: Path, tmp_path: Path) -> None:
    arguments = ("negatives", manifest, "--seconds", 0.3, "--split", "test", "--level", -40, -30)
    run(*arguments, "--count", 2, "--output", tmp_path / "a")
    run(*arguments, "--count", 4, "--output", tmp_path / "a")
    run(*arguments, "--count", 4, "--output", tmp_path / "b")
    run(*arguments, "--count", 4, "--output", tmp_path / "c", "--seed", 1)
    files = {name: [path.read_bytes() for path in sorted((tmp_path / name / "audio").iterdir())] for name in "abc"}
    assert files["a"] == files["b"]
    assert len({*files["a"], *files["c"]}) == 8
    made = Manifest.load(tmp_path / "a" / "manifest.csv")
    assert (made.splits, made.labels) == (["test"] * 4, [()] * 4)


def test_levels_cover_their_range() -> None:
    random = np.random.default_rng(0)
    made = np.stack([background_noise(RATE // 2, LEVELS, random) for _ in range(100)]).astype(float)
    levels = 10 * np.log10(made.var(1) + 1e-9) - 20 * np.log10(32768)
    assert levels.min() < -65
    assert levels.max() == pytest.approx(-15, abs=4)
    assert 0.02 < (np.abs(made.mean(1)) > 3 * made.std(1)).mean() < 0.25  # constant offsets


def test_hum_contains_only_harmonics_of_the_mains() -> None:
    power = np.abs(np.fft.rfft(hum(RATE, np.random.default_rng(1)))) ** 2
    loud = np.flatnonzero(power > power.max() / 10)
    off = [min(abs(place / mains - round(place / mains)) for mains in (50, 60)) for place in loud]
    assert max(off) < 0.05
    assert power[2000:].sum() < power.sum() / 100


def test_low_pass_removes_power_above_its_corner() -> None:
    power = np.abs(np.fft.rfft(low_passed(np.random.default_rng(0).standard_normal(RATE), 2000))) ** 2
    octave = power[500:1500].mean(), power[3950:4050].mean()
    assert 10 * np.log10(octave[1] / octave[0]) == pytest.approx(-24, abs=2)


def test_the_last_recordings_are_hum_and_tones(tmp_path: Path) -> None:
    """The energy of hum and tones lies in few of their spectra's bins, and that of hum at low frequencies."""
    (tmp_path / "set.csv").write_text("path,labels\na.wav,Dog\n")
    _vocabulary(tmp_path, "Dog").rename(tmp_path / "set.labels.csv")
    arguments = ("--count", 6, "--hums", 2, "--tones", 2, "--level", -30, -20, "--output", tmp_path / "none")
    run("negatives", tmp_path / "set.csv", *arguments)
    concentration, low = [], []
    for path in sorted((tmp_path / "none" / "audio").iterdir()):
        spectrum = np.abs(np.fft.rfft(soundfile.read(path)[0])) ** 2
        low.append(spectrum[: len(spectrum) // 5].sum() / spectrum.sum())
        concentration.append(np.sort(spectrum)[-len(spectrum) // 50 :].sum() / spectrum.sum())
    assert min(concentration[2:]) > 0.6
    assert min(low[2:4]) > 0.8
