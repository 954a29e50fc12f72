"""The demo data set (``sedkit-train data demo``): folders of synthetic sounds, reproducible, and easy to tell apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sedkit.geometry import SAMPLE_RATE
from training.data.commands import main
from training.data.demo import CLASSES, SECONDS, make_clip, make_demo
from training.data.manifest.table import Manifest


def data(*arguments: object) -> str:
    """Run ``sedkit-train data``; returns the output."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def contents(folder: Path) -> dict[str, bytes]:
    """Files below a folder, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    assert data("demo", "--output", folder, "--count", "5") == f"{folder}: 30 clips, 6 classes\n"
    return folder


def test_demo_writes_a_folder_of_clips_for_each_class(demo: Path) -> None:
    assert sorted(path.name for path in demo.iterdir()) == list(CLASSES) == sorted(CLASSES)
    assert contents(demo).keys() == {f"{name}/{clip:02}.flac" for name in CLASSES for clip in range(5)}
    for path in demo.rglob("*.flac"):
        about = soundfile.info(path)
        assert (about.samplerate, about.channels, about.frames) == (SAMPLE_RATE, 1, round(SECONDS * SAMPLE_RATE))


def test_demo_depends_on_the_seed_only(demo: Path, tmp_path: Path) -> None:
    data("demo", "--output", tmp_path / "same", "--count", "5")
    assert contents(tmp_path / "same") == contents(demo)
    data("demo", "--output", tmp_path / "other", "--count", "5", "--seed", "1")
    assert contents(tmp_path / "other").keys() == contents(demo).keys()
    assert not set(contents(tmp_path / "other").values()) & set(contents(demo).values())
    assert len(set(contents(demo).values())) == 30, "no two clips are equal"


def test_more_clips_leave_the_first_ones_as_they_are(demo: Path, tmp_path: Path) -> None:
    make_demo(tmp_path, 6)
    assert contents(demo).items() <= contents(tmp_path).items()


def test_demo_is_readable_as_folders(demo: Path, tmp_path: Path) -> None:
    data("folders", demo, "--output", tmp_path / "manifest.csv", "--validation-share", "0.2")
    manifest = Manifest.load(tmp_path / "manifest.csv")
    assert [label.name for label in manifest.vocabulary.labels] == list(CLASSES)
    assert Counter(manifest.splits) == {"train": 24, "validation": 6}
    assert all(Path(row.path).parent.name == row.labels for row in manifest.rows())
    assert "30 clips" in data("check", tmp_path / "manifest.csv")


def test_clips_are_events_above_noise_within_full_scale() -> None:
    for name, sound in CLASSES.items():
        for seed in range(5):
            clip = make_clip(sound, np.random.default_rng(seed))
            assert clip.shape == (round(SECONDS * SAMPLE_RATE),), name
            assert np.abs(clip).max() <= 1, name
            seconds = np.sqrt(np.square(clip.reshape(-1, SAMPLE_RATE // 4)).mean(1))
            assert seconds.min() > 0, "there is noise everywhere"
            assert seconds.max() > 1.5 * seconds.min(), f"{name}: the event is louder than the noise"


def test_classes_differ() -> None:
    """The nearest mean of log spectra tells the class of most clips."""

    def features(name: str, seed: int) -> np.ndarray:
        clip = make_clip(CLASSES[name], np.random.default_rng(seed))
        power = np.abs(np.fft.rfft(clip.reshape(-1, 400), axis=1)) ** 2
        return np.log(np.sort(power, axis=0)[-30:].mean(0) + 1e-4)  # the loudest quarter of the frames

    means = np.stack([np.mean([features(name, seed) for seed in range(20)], 0) for name in CLASSES])
    right = [
        np.square(means - features(name, seed)).sum(1).argmin() == number
        for number, name in enumerate(CLASSES)
        for seed in range(20, 30)
    ]
    assert np.mean(right) > 0.6, "chance is a sixth"


def test_second_demo_replaces_the_first(tmp_path: Path) -> None:
    data("demo", "--output", tmp_path, "--count", "5", "--seed", "1")
    (tmp_path / "Beep" / "mine.flac").write_bytes(b"kept")
    data("demo", "--output", tmp_path, "--count", "5")
    written = contents(tmp_path)
    assert written.pop("Beep/mine.flac") == b"kept"
    make_demo(tmp_path / "again", 5)
    assert written == contents(tmp_path / "again")


def test_unwritable_output_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(main, ["demo", "--output", str(tmp_path / "file" / "demo")])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.output.count("\n") == 1
    assert result.output.startswith(f"Error: {tmp_path / 'file' / 'demo'}/Beep/00.flac: cannot be written (")


def test_too_few_clips_are_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["demo", "--output", str(tmp_path / "demo"), "--count", "4"])
    assert result.exit_code == 2
    assert "4 is not in the range x>=5" in result.output
    assert not (tmp_path / "demo").exists()
