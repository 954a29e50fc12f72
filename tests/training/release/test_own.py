"""``sedkit-train own``: classes of one's own, added to those of the small model or in their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from sedkit.contract import Contract, Label, metadata_of
from sedkit.errors import OutputError
from sedkit.geometry import SAMPLE_RATE
from sedkit.inference.model import Model
from sedkit.tagger import Tagger
from training.__main__ import main
from training.release.own import command
from training.release.own.background import FILE, Background, read_background, small_model
from training.release.own.clips import Clip, folds_of, read_clips, read_others, targets_of
from training.release.own.crossfit import Sounds, learn
from training.release.own.embeddings import embedding_model, stored_embeddings
from training.release.own.head import Rows, clip_scores, padded
from training.release.own.model_file import OwnClasses, known_rows, with_own_classes

TRILL, CROAKER = Label("Trill"), Label("Croaker")
DOG, BARK, ANIMAL = Label("Dog", "/m/0bt9lr"), Label("Bark", "/m/05tny_"), Label("Animal", "/m/0jbk")


def sound(name: str, seed: int, seconds: float = 1.5) -> np.ndarray:
    """A trill, a croaker, or noise."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    low = random.uniform(0.9, 1.1)
    if name == "Trill":
        wave = np.sin(2 * np.pi * 2500 * low * time + 80 * np.sin(2 * np.pi * 9 * low * time))
    elif name == "Croaker":
        wave = np.sign(np.sin(2 * np.pi * 110 * low * time)) * ((time * 11 * low) % 1 < 0.5)
    else:
        wave = random.standard_normal(len(time)) / 3
    return 0.3 * wave + 0.001 * random.standard_normal(len(time))


def write(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, SAMPLE_RATE)


def own(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["own", *map(str, arguments)])


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "recordings"
    for name, count in (("Trill", 4), ("Croaker", 4), ("_noise", 2)):
        for number in range(count):
            write(folder / name / f"{number}.wav", sound(name, number))
    return folder


@pytest.fixture(scope="module")
def made(recordings: Path) -> tuple[Path, Result]:
    """A model with two classes of its own beside the small model's, and what the command printed."""
    output = recordings.parent / "mine.onnx"
    return output, own(recordings, "--output", output, "--run", recordings.parent / "run")


def test_new_classes_are_found_and_the_others_keep_their_scores(made: tuple[Path, Result]) -> None:
    output, result = made
    assert result.exit_code == 0, result.output
    small, mine = Model(small_model()[0], "cpu", threads=1), Model(output, "cpu", threads=1)
    assert mine.contract.labels == (*small.contract.labels, CROAKER, TRILL)
    waveforms = np.stack([sound(name, 9) for name in ("Trill", "Croaker", "noise")]).astype(np.float32)
    assert np.array_equal(mine.batch(waveforms)[..., :-2], small.batch(waveforms))
    tags = [Tagger(output, "cpu", threads=1).tag(wave, SAMPLE_RATE, top_k=60) for wave in waveforms]
    scores = [{tag.label: tag.score for tag in each.tags} for each in tags]
    assert scores[0]["Trill"] > 0.5 > scores[0].get("Croaker", 0)
    assert scores[1]["Croaker"] > 0.5 > scores[1].get("Trill", 0)
    assert max(scores[2].get("Trill", 0), scores[2].get("Croaker", 0)) < 0.1


def test_few_clips_are_not_calibrated(made: tuple[Path, Result], recordings: Path) -> None:
    output, result = made
    assert "not calibrated: 8 clips are fewer than 20" in result.output
    about, small = (Contract.from_metadata(metadata_of(path)) for path in (output, small_model()[0]))
    for name, plain in (("slope", 1.0), ("offset", 0.0)):
        assert about.calibration[name] == [*small.calibration[name], plain, plain]
    figures = json.loads((recordings.parent / "run" / "report.json").read_text("utf-8"))
    assert figures == about.lineage["own_classes"]
    assert figures["Trill"]["clips"] == 4


def test_embeddings_are_computed_once(recordings: Path, made: tuple[Path, Result]) -> None:
    stored = recordings.parent / "run" / "embeddings"
    path = str(recordings / "Trill" / "0.wav")
    assert len(list(stored.iterdir())) == 10
    no_model: Any = None
    assert len(stored_embeddings(no_model, path, stored, small_model()[1]))


def test_damaged_embeddings_are_named(recordings: Path, made: tuple[Path, Result], tmp_path: Path) -> None:
    clip, model = str(recordings / "Trill" / "0.wav"), embedding_model(made[0])
    stored_embeddings(model, clip, tmp_path, "digest")
    (damaged,) = tmp_path.iterdir()
    damaged.write_bytes(b"")
    with pytest.raises(OutputError, match="damaged: remove it"):
        stored_embeddings(model, clip, tmp_path, "digest")


def test_interruption_tells_how_to_continue(
    recordings: Path, made: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "learn", interrupt)
    result = own(recordings, "--output", recordings.parent / "other.onnx", "--run", recordings.parent / "run")
    assert result.exit_code == 130
    assert "the same command continues" in result.output
    assert not (recordings.parent / "other.onnx").exists()


def embedded(seed: int, clips: int, place: int) -> list[np.ndarray]:
    """Embeddings of clips of a class whose sounds excite the 20 dimensions from ``place`` on."""
    random = np.random.default_rng(seed)
    rows = np.abs(random.normal(0, 0.1, (clips, 3, 1024))).astype(np.float32)
    rows[..., place : place + 20] += 1
    return list(rows)


def test_twenty_clips_are_calibrated() -> None:
    other = np.concatenate(embedded(1, 100, 500))
    background = Background(other, np.repeat(np.arange(100), 3), np.full(100, 5.0), (frozenset(),) * 100)
    labels = [CROAKER] * 12 + [TRILL] * 12
    clips = [Clip(f"{number}.wav", label, f"{number}") for number, label in enumerate(labels)]
    sounds = Sounds(clips, [*embedded(2, 12, 0), *embedded(3, 12, 100)], np.full(24, 2.0), background)
    result = learn(sounds, [CROAKER, TRILL], Rows.new(2))
    assert result.calibration is not None
    assert result.found.tolist() == result.clips.tolist() == [12, 12]
    assert not result.false_alarms.any()
    assert result.background_hours == pytest.approx([500 / 3600] * 2)
    calibrated = result.calibration(clip_scores(result.rows, padded(embedded(4, 5, 100))))
    assert (calibrated[:, 1] > 0.5).all()
    assert (calibrated[:, 0] < 0.1).all()


def test_only_replaces_the_classes(tmp_path: Path) -> None:
    path, _ = small_model()
    about = Contract.from_metadata(metadata_of(path))
    rows = known_rows(path, about.labels, [about.labels[3], TRILL])
    assert rows.weights[0].any()
    assert not rows.weights[1].any()
    classes = OwnClasses((about.labels[3], TRILL), rows, None, np.full(2, 0.4), np.full(2, 0.3))
    (tmp_path / "only.onnx").write_bytes(with_own_classes(path, about, classes, "only", {}, True))
    model, waveform = Model(tmp_path / "only.onnx", "cpu", threads=1), sound("Croaker", 0)[None].astype(np.float32)
    small = Model(path, "cpu", threads=1).batch(waveform)
    np.testing.assert_allclose(model.batch(waveform)[..., 0], small[..., 3], atol=1e-6)
    assert model.contract.thresholds == (0.4, 0.4)
    assert model.contract.calibration == {"kind": "none"}
    assert not model.contract.lineage.keys() & {"metrics", "calibrated_on"}


def test_targets_follow_the_ontology() -> None:
    targets = targets_of([{DOG.mid or ""}, {BARK.mid or ""}, {"grouse"}, set()], [DOG, BARK, ANIMAL, Label("Grouse")])
    unknown = np.nan
    expected = [[1, unknown, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    np.testing.assert_array_equal(targets, expected)


def test_groups_are_held_out_together() -> None:
    clips = [Clip(f"{number}.wav", TRILL, f"Trill/{number // 2}") for number in range(8)]
    assert folds_of(clips, 5).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_folders_of_known_classes_are_these(tmp_path: Path) -> None:
    for name in ("dog", "-"):
        for number in range(2):
            write(tmp_path / name / f"{number}.wav", sound("Croaker", number))
    assert [clip.label for clip in read_clips(tmp_path, [DOG])] == [None, None, DOG, DOG]


def test_other_sounds_of_one_recording_are_held_out_together(tmp_path: Path) -> None:
    for name in ("Trill/0", "Trill/1", "_noise/tape/0", "_noise/tape/1", "_noise/2"):
        write(tmp_path / f"{name}.wav", sound("Croaker", 0))
    groups = [clip.group for clip in read_clips(tmp_path, []) if clip.label is None]
    assert len(groups) == 3
    assert len(set(groups)) == 2
    others = read_others(tmp_path / "_noise")
    assert sorted(Path(clip.group).name for clip in others) == ["2.wav", "tape", "tape"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no audio in folders below it"),
        (["loose.wav"], "no audio in folders below it"),
        (["Trill/0.wav"], "one recording only"),
        (["Trill/tape/0.wav", "Trill/tape/1.wav"], "one recording only"),
        (["Trill/0.wav", "Trill/1.wav", "trill/0.wav", "trill/1.wav"], "name one class"),
        (["Trill/0.wav", "Trill/1.wav", "?x/1.wav"], "cannot have this name"),
        (["Trill/0.wav", "Trill/1.wav", " ?x/0.wav", " ?x/1.wav"], "cannot have this name"),
        (["Trill/0.wav", "Trill/1.wav", "Trill/broken.wav"], "broken.wav: unreadable audio"),
        (["Trill/0.wav", "Trill/1.wav", "Trill/silent.wav"], "silent.wav: silent"),
    ],
)
def test_bad_recordings_are_refused_on_one_line(tmp_path: Path, files: list[str], message: str) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for file in files:
        write(folder / file, sound("Trill", 0) * ("silent" not in file))
        if "broken" in file:
            (folder / file).write_bytes(b"broken")
    result = own(folder, "--output", tmp_path / "mine.onnx", "--run", tmp_path / "run")
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "mine.onnx").exists()


@pytest.mark.parametrize(("name", "message"), [("mine.txt", "name it NAME.onnx"), ("file/mine.onnx", "cannot be")])
def test_bad_outputs_are_refused_before_the_work(tmp_path: Path, recordings: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    result = own(recordings, "--output", tmp_path / name, "--run", tmp_path / "run")
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "run").exists()


def test_the_background_is_that_of_the_installed_model() -> None:
    background = read_background()
    assert FILE.stat().st_size < 3e6
    assert len(background.labels) == len(background.seconds) == background.clips.max() + 1 > 2000
    assert "/m/04rlf" not in frozenset.union(*background.labels)  # music: its licences ask for more than a name
