"""Segment-level targets from isolated clips for students on overlaid clips; warm starts from other runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from sedkit.contract import Label
from sedkit.errors import SedkitError
from sedkit.geometry import SAMPLE_RATE, SEGMENT_HOP, SEGMENT_SPAN, segment_count
from tests.training.conftest import SMALL, continue_run, metrics, start_run, weights
from training.data.audio import FULL_SCALE
from training.data.augment.augmentation import Augmentation, at_speed
from training.data.augment.soundscapes import Placed, scattered
from training.data.clips import Clips
from training.loop.batches import Epoch
from training.loop.settings import Execution, Settings
from training.networks.wels import Network
from training.release.card.lineage import epoch_was_chosen, origin, supervision_lines
from training.release.card.sections import generations, rebuild_section
from training.release.publish import publish
from training.runs.config import read_config
from training.runs.lineage import model_contract
from training.runs.notices import warnings
from training.runs.reports import read_generation, write_report
from training.runs.run import Run
from training.runs.teachers import read_teachers
from training.runtime.checkpoint import load, save
from training.runtime.deadline import Stopped
from training.secost import main
from training.supervision.segments import MARGIN, SegmentScores, overlap, remove_segment_scores, score_segments
from training.supervision.targets import Targets

ON = [*SMALL[2:], "--stages", "0"]  # SMALL without its width
SOUNDS = ["--teachers-hear", "sounds", "--set", "overlay=0.75"]
LABELS = (Label("dog"), Label("cat"), Label("siren"))


def clips(*lengths: int) -> Clips:
    random = np.random.default_rng(0)
    waveforms = [(3000 * random.standard_normal(length)).astype(np.int16) for length in lengths]
    return Clips(waveforms, np.eye(3, dtype=np.float32)[np.arange(len(lengths)) % 3], LABELS)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    made = Network(3, 0.0625).eval()
    torch.nn.init.normal_(made.wels.L4.weight, std=20)  # scores that differ
    return made


def test_scattered_clips_lie_at_their_places() -> None:
    tones = [(8000 * np.sin(np.arange(length) * f)).astype(np.int16) for length, f in ((9_000, 0.1), (60_000, 0.3))]
    quiet = np.zeros(20_000, np.int16)
    sounds = [tones[0], np.concatenate([tones[0], quiet, tones[1]])]
    parts, cut, whole = set(), 0, {9_000: 0, 89_000: 0}
    for seed in range(40):
        mix, places = scattered(sounds, 3 * SAMPLE_RATE, np.random.default_rng(seed))
        heard = np.zeros(len(mix), bool)
        for sound, (start, stop, onset) in zip(sounds, places, strict=True):
            assert 0 <= start < stop <= len(sound)
            assert 0 <= onset < onset + stop - start <= len(mix)
            assert stop - start >= 8_960  # as long as the short one sounds
            heard[onset : onset + stop - start] = True
            cut += onset == 0 or onset + stop - start == len(mix)
            whole[len(sound)] += stop - start == len(sound)
        assert not mix[~heard].any()
        assert np.abs(mix).max() > 1000
        parts.add((places[1].start, places[1].stop))
    assert {start for start, _ in parts} > {0, 28_800}, "from its beginning, from where it sounds again, or cut"
    assert 9_280 in {stop for _, stop in parts}, "no further than it sounds"
    assert 5 < cut < 75
    assert whole[9_000] > 10
    assert not whole[89_000], "it is longer than the recording"


def test_overlap_is_full_when_a_sound_fills_half_a_segment() -> None:
    whole = overlap(Placed(0, 10 * SEGMENT_HOP, 4 * SEGMENT_HOP), 1.0, 16)
    np.testing.assert_allclose(whole, [0, 0, 2 / 3, *[1.0] * 10, 2 / 3, 0, 0][: len(whole)])
    short = overlap(Placed(500, 600, SEGMENT_SPAN), 1.0, 6)  # 100 samples from the end of segment 0 on
    np.testing.assert_array_equal(short, [0, 1, 1, 1, 0, 0])
    assert overlap(Placed(0, SEGMENT_SPAN, -SEGMENT_SPAN // 2), 1.0, 2).tolist() == [1.0, pytest.approx(1 / 3)]
    fast = overlap(Placed(0, 2 * SEGMENT_SPAN, 0), 2.0, 4)  # it is over in half of the time
    np.testing.assert_allclose(fast, [1, 1, 2 / 3, 0], atol=1e-6)


def test_placed_clips_have_the_teachers_scores_for_the_recording(network: Network, tmp_path: Path) -> None:
    some = clips(30_000, 3 * SEGMENT_HOP)
    alone = score_segments(network, some, tmp_path, 4)
    samples, onset = 10 * SEGMENT_HOP, 3 * SEGMENT_HOP
    segments = segment_count(samples)
    for clip, waveform in enumerate(some.waveforms):
        recording = np.zeros((1, samples), np.float32)
        recording[0, onset : onset + len(waveform)] = waveform / FULL_SCALE
        with torch.no_grad():
            said = network(torch.from_numpy(recording)).segments[0].numpy()
        place = Placed(0, len(waveform), onset)
        holds = overlap(place, 1.0, segments) > 0
        assert holds.sum() > 4
        told = alone.at(clip, place, 1.0, segments)
        off = [np.abs(np.roll(told, by, 0)[holds] - said[holds]).mean() for by in (0, 1, -1)]
        assert off[0] < 0.03, "but for what it sees beyond its span, at the ends"
        assert min(off[1:]) > 2 * off[0]
        late = Placed(SEGMENT_HOP, len(waveform), onset + SEGMENT_HOP)  # without its beginning: the others are the same
        np.testing.assert_array_equal(alone.at(clip, late, 1.0, segments), told)


def test_segments_of_a_faster_recording_lie_closer_together() -> None:
    numbered = SegmentScores(np.arange(100, dtype=np.float16)[:, None], np.array([0, 40, 100]))
    place = Placed(0, 30 * SEGMENT_HOP, 0)
    assert numbered.at(0, place, 1.0, 5)[:, 0].tolist() == [MARGIN + k for k in range(5)]
    assert numbered.at(1, place, 2.0, 5)[:, 0].tolist() == [
        pytest.approx(40 + MARGIN + 1.5 + 2 * k, abs=0.5) for k in range(5)
    ]
    assert numbered.at(0, Placed(0, 100, 90 * SEGMENT_HOP), 1.0, 2)[:, 0].tolist() == [0, 0]  # never beyond the clip
    assert numbered.at(0, Placed(0, 100, -90 * SEGMENT_HOP), 1.0, 2)[:, 0].tolist() == [39, 39]


def test_scoring_isolated_clips_resumes(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.supervision.segments.CHUNK", 2)
    some, student = clips(20_000, 30_000, 16_000, 50_000, 8_000), tmp_path / "student"
    whole = score_segments(network, some, tmp_path / "whole", 2)
    asked = []

    def step(done: int, seconds: float) -> None:
        asked.append(done)
        if len(asked) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        score_segments(network, some, student, 2, step=step)
    (partial,) = student.glob("alone-*.f16.partial")
    assert 0 < partial.stat().st_size < whole.segments.nbytes
    with partial.open("ab") as file:
        file.write(bytes(7))  # a writer that was killed
    again = score_segments(network, some, student, 2, step=step)
    assert asked == [0, 2, 2, 4]
    score_segments(network, some, student, 2, step=step)
    assert asked == [0, 2, 2, 4], "it lies there"
    np.testing.assert_array_equal(again.segments, whole.segments)
    assert not partial.exists()
    torch.nn.init.normal_(network.wels.L4.weight)
    assert (score_segments(network, some, student, 2).segments != whole.segments).any(), "of another teacher"
    remove_segment_scores(student)
    assert not list(student.iterdir())


def test_targets_are_of_segments(network: Network, tmp_path: Path) -> None:
    some = clips(60_000, 60_000)
    some.labels[1] = np.nan  # what is in it only the teacher says
    alone = score_segments(network, some, tmp_path, 2)
    targets = Targets({"labels": 0.4, 0: 0.6}, some, segments={0: alone})
    one, other = Placed(0, 60_000, 0), Placed(0, 60_000, 40_000)
    (made,) = targets.of_segments([{0: one, 1: other}], np.ones(1), 14)
    of_one = 0.4 * some.labels[0] + 0.6 * alone.at(0, one, 1.0, 14).astype(float)
    of_other = alone.at(1, other, 1.0, 14).astype(float)
    there = overlap(one, 1.0, 14)[:, None], overlap(other, 1.0, 14)[:, None]
    np.testing.assert_allclose(made, np.maximum(of_one * there[0], of_other * there[1]), atol=1e-6)
    by_labels = Targets({"labels": 1}, clips(60_000))
    np.testing.assert_allclose(by_labels.of_segments([{0: one}], np.ones(1), 14)[0], there[0] * [[1, 0, 0]])


def test_targets_are_positive_only_where_a_clip_sounds(tmp_path: Path) -> None:
    augmentation = Augmentation(mixup=0, overlay=0.5, speed=0.5, gain=0)
    settings = Settings(batch_size=16, crop=4.0, augmentation=augmentation, teachers_hear="sounds")
    some = clips(*[2_000, 20_000, 90_000, 5_000] * 8)
    epoch = Epoch(some, Targets({"labels": 1}, some), settings, (0, 0, 1), Execution(torch.device("cpu")))
    sounding = silent = 0
    for (part,) in epoch.batches():
        waveform, targets, speeds = part.batch.waveform, part.batch.targets, part.batch.speeds
        assert targets.shape == (16, segment_count(settings.samples), 3)
        loud = at_speed(waveform.float(), speeds, settings.samples).abs() > 300
        for segment in range(targets.shape[1]):
            span = loud[:, segment * SEGMENT_HOP : segment * SEGMENT_HOP + SEGMENT_SPAN].float().mean(1)
            there = targets[:, segment].amax(1)
            assert not span[there == 0].any()
            assert (span[there == 1] > 0.02).all()
            sounding, silent = sounding + int((there == 1).sum()), silent + int((there == 0).sum())
        assert (targets.amax((1, 2)) == 1).all(), "each is of something"
    assert min(sounding, silent) > 20


def test_warm_start_from_another_run(
    run: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--manifest", str(small_manifest), "--fine-tune", f"wels={run}", "--teacher", f"was={run}"]
    given += ["--first", "labels=0.5,was=0.5", "--stage", "labels=0.5,0=0.5", *SOUNDS, "--set", "freeze=2"]
    given += [
        "--noise",
        "0.5",
        "--set",
        "speed=0.1",
        "--gain",
        "3",
        "--set",
        "ema=0.5",
        "--set",
        "validate-every=3",
        *ON[:-2],
    ]

    def untrained_run(directory: Path) -> None:
        result = CliRunner().invoke(main, [*given, "--run", str(directory), "--stop-after", "0s"])
        assert "stopped in time" in result.output, result.output

    once, twice = tmp_path / "once", tmp_path / "twice"
    untrained_run(once)
    continue_run(once)
    began, ended = weights(run, 2), weights(once, 0)
    for name, value in began.items():
        same = torch.equal(value, ended[name])
        assert same == name.startswith(("wels.B1.", "wels.B2.", "frontend.")), name
        if name.endswith("weight"):
            assert (value - ended[name]).abs().max() < 0.1, "it goes on from there"
    assert not list(once.glob("generation-*/alone-*")), "when a student is trained, it is forgotten"
    assert metrics(once, 1, "epoch") == [1, 2, 3]

    untrained_run(twice)
    stopped = Run.open(twice)
    train = stopped.clips("train")
    assert f"  scoring with was  0 of {len(train)} clips" in capsys.readouterr().err  # of the first run
    teachers = read_teachers(stopped, stopped.supervision[0], torch.device("cpu"))
    score_segments(teachers.online["was"].teacher.network, train, stopped.generation(0), 8)  # before the deadline
    with pytest.raises(Stopped):
        continue_run(twice, 0)
    assert load(twice / "generation-0" / "checkpoint.pt")["progress"]["batch"] == 1
    continue_run(twice)
    for generation in (0, 1):
        assert all(map(torch.equal, weights(once, generation).values(), weights(twice, generation).values()))

    half = tmp_path / "half"
    result = CliRunner().invoke(main, [*given, "--set", "between=0.5", "--run", str(half), "--stop-after", "0s"])
    assert "stopped in time" in result.output, result.output
    continue_run(half)
    for name, value in weights(half, 0).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (began[name] + ended[name]) / 2)

    made = Run.open(once)
    config = read_config(once)
    assert config["begun_with"]["network"] == "generation 2, width 0.0625"
    rows = [read_generation(made.generation(number)) for number in (0, 1)]
    about = model_contract(made, rows)
    assert about.lineage["begun_with"]["run"] == run.name
    start = "fine-tuned from an earlier run (generation 2, width 0.0625)"
    assert origin(made, rows) == f"student 1 of a SeCoST cascade, all of whose networks were {start}"
    write_report(once, rows[:1])
    assert f"The file holds a network {start}." in " ".join(generations(made, rows[:1]))
    assert not warnings(made)
    assert epoch_was_chosen(made)
    lines = supervision_lines(made, "those")
    targets = "The targets were 0.5 labels + 0.5 was (Teacher-0), 0.5 labels + 0.5 T0 (Student 1)."
    assert lines[0].startswith(f"{targets} was is generation 2")
    assert lines[1].startswith("The training recordings are mixtures of up to four overlapping clips.")
    config["command"], config["begun_with"]["command"] = "now", "before"
    (once / "config.json").write_text(json.dumps(config))
    rebuilt = rebuild_section(once, about)
    assert rebuilt.index("before") + 1 == rebuilt.index("now")

    config["begun_with"]["teachers"] = {"yamnet": {"teacher": "YAMNet", "metrics": {}}}
    config["begun_with"]["supervision"] = [{"labels": 0.4, "yamnet": 0.6}]
    config["begun_with"]["settings"]["validate_every"] = 3
    config["begun_with"]["manifest_sha256"] = "of others"
    (once / "config.json").write_text(json.dumps(config))
    assert supervision_lines(made, "those")[0] == (
        "In an earlier run, the targets were 0.4 labels + 0.6 yamnet. yamnet is YAMNet."
    )
    assert not epoch_was_chosen(made)
    assert any(f"the warm start {run.name} was trained with another manifest" in line for line in warnings(made))
    (once / "model.onnx").touch()
    with pytest.raises(SedkitError, match="which used another manifest"):
        publish(once, tmp_path / "models", None, None, None, torch.device("cpu"))
    assert not (tmp_path / "models").exists()


def test_unusable_warm_starts_and_segment_teachers_are_refused(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    def refused(*options: str | Path) -> str:
        given = ["--manifest", small_manifest, "--run", tmp_path / "run", *ON, *options]
        result = CliRunner().invoke(main, [str(option) for option in given])
        assert result.exit_code
        assert not (tmp_path / "run" / "config.json").exists()
        assert "Traceback" not in result.output
        return " ".join(result.output.split())

    assert "not a run or a model file; --teachers-hear sounds" in refused(
        *SOUNDS, "--teacher", "big=none", "--first", "big=1"
    )
    on = f"wels={run}"
    assert "not a run directory" in refused("--fine-tune", f"wels={tmp_path}")
    assert "nor wels=RUN" in refused("--fine-tune", "wels=")
    start_run(small_manifest, tmp_path / "begun", "--stages", "0")
    assert "begun: the run is not finished; continue it with" in refused("--fine-tune", f"wels={tmp_path / 'begun'}")
    assert "leave it out beside --fine-tune" in refused("--fine-tune", on, "--width", "0.5")
    assert "--set pooling" in refused("--fine-tune", on, "--set", "pooling=attention")
    assert "add --fine-tune wels=RUN" in refused("--set", "freeze=1")
    assert "add --fine-tune wels=RUN" in refused("--set", "between=0.5")
    assert "needs --set overlay" in refused("--teachers-hear", "sounds")
    assert "do not train the weights" in refused(*SOUNDS, "--set", "pooling=attention")
    said = tmp_path / "said.npz"
    said.write_bytes(b"")
    assert "said.npz: not a run" in refused(*SOUNDS, "--teacher", f"big={said}", "--first", "big=1")

    other = shutil.copytree(run, tmp_path / "other")
    config = read_config(other)
    config["settings"]["network"] = "yamnet"
    (other / "config.json").write_text(json.dumps(config))
    assert "not WELS-Nets" in refused("--fine-tune", f"wels={other}")
    broken = other / "generation-2" / "network.pt"
    state = load(broken)
    broken.write_bytes(broken.read_bytes()[:100])
    assert "network.pt: cannot be read" in refused("--fine-tune", f"wels={other}")
    save(state, broken)
