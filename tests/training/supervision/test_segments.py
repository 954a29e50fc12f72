"""Students that hear clips over each other, and teachers that heard each of them alone; runs that go on from others."""

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
from tests.training.conftest import SMALL, begin, cascade, metrics, weights
from training.data.augment.augmentation import Augmentation, at_speed
from training.data.augment.soundscapes import Placed, scattered
from training.data.clips import FULL_SCALE, Clips
from training.loop.batches import Epoch
from training.loop.settings import Execution, Settings
from training.networks.wels import Network
from training.release.card.lineage import chosen, external_teachers, place
from training.release.card.sections import generations, rebuild_section
from training.release.publish import publish
from training.runs.config import read_config
from training.runs.generations import description
from training.runs.reports import read_generation, write_report
from training.runs.run import Run
from training.runtime.checkpoint import load, save
from training.runtime.deadline import Deadline, Stopped
from training.runtime.progress import CascadeProgress
from training.secost import main, targets_of
from training.supervision.segments import MARGIN, Alone, forget, heard_alone, presence
from training.supervision.targets import Targets

ON = [*SMALL[2:], "--stages", "0"]  # SMALL without its width
SOUNDS = ["--teachers-hear", "sounds", "--overlay", "0.75"]
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


def test_scattered_clips_are_heard_where_it_says() -> None:
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


def test_a_segment_holds_what_is_heard_in_half_of_it() -> None:
    whole = presence(Placed(0, 10 * SEGMENT_HOP, 4 * SEGMENT_HOP), 1.0, 16)
    np.testing.assert_allclose(whole, [0, 0, 2 / 3, *[1.0] * 10, 2 / 3, 0, 0][: len(whole)])
    short = presence(Placed(500, 600, SEGMENT_SPAN), 1.0, 6)  # 100 samples from the end of segment 0 on
    np.testing.assert_array_equal(short, [0, 1, 1, 1, 0, 0])
    assert presence(Placed(0, SEGMENT_SPAN, -SEGMENT_SPAN // 2), 1.0, 2).tolist() == [1.0, pytest.approx(1 / 3)]
    fast = presence(Placed(0, 2 * SEGMENT_SPAN, 0), 2.0, 4)  # it is over in half of the time
    np.testing.assert_allclose(fast, [1, 1, 2 / 3, 0], atol=1e-6)


def test_of_each_segment_it_is_said_what_the_teacher_says_of_it(network: Network, tmp_path: Path) -> None:
    some = clips(30_000, 3 * SEGMENT_HOP)
    alone = heard_alone(network, some, tmp_path, 4)
    samples, onset = 10 * SEGMENT_HOP, 3 * SEGMENT_HOP
    segments = segment_count(samples)
    for clip, waveform in enumerate(some.waveforms):
        recording = np.zeros((1, samples), np.float32)
        recording[0, onset : onset + len(waveform)] = waveform / FULL_SCALE
        with torch.no_grad():
            said = network(torch.from_numpy(recording)).segments[0].numpy()
        place = Placed(0, len(waveform), onset)
        holds = presence(place, 1.0, segments) > 0
        assert holds.sum() > 4
        told = alone.at(clip, place, 1.0, segments)
        off = [np.abs(np.roll(told, by, 0)[holds] - said[holds]).mean() for by in (0, 1, -1)]
        assert off[0] < 0.03, "but for what it sees beyond its span, at the ends"
        assert min(off[1:]) > 2 * off[0]
        late = Placed(SEGMENT_HOP, len(waveform), onset + SEGMENT_HOP)  # without its beginning: the others are the same
        np.testing.assert_array_equal(alone.at(clip, late, 1.0, segments), told)


def test_of_what_is_played_faster_the_segments_are_nearer_together() -> None:
    numbered = Alone(np.arange(100, dtype=np.float16)[:, None], np.array([0, 40, 100]))
    place = Placed(0, 30 * SEGMENT_HOP, 0)
    assert numbered.at(0, place, 1.0, 5)[:, 0].tolist() == [MARGIN + k for k in range(5)]
    assert numbered.at(1, place, 2.0, 5)[:, 0].tolist() == [
        pytest.approx(40 + MARGIN + 1.5 + 2 * k, abs=0.5) for k in range(5)
    ]
    assert numbered.at(0, Placed(0, 100, 90 * SEGMENT_HOP), 1.0, 2)[:, 0].tolist() == [0, 0]  # never beyond the clip
    assert numbered.at(0, Placed(0, 100, -90 * SEGMENT_HOP), 1.0, 2)[:, 0].tolist() == [39, 39]


def test_hearing_clips_alone_goes_on_where_it_was_stopped(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.supervision.segments.CHUNK", 2)
    some, student = clips(20_000, 30_000, 16_000, 50_000, 8_000), tmp_path / "student"
    whole = heard_alone(network, some, tmp_path / "whole", 2)
    asked = []

    def step(done: int, seconds: float) -> None:
        asked.append(done)
        if len(asked) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        heard_alone(network, some, student, 2, step=step)
    (partial,) = student.glob("alone-*.f16.partial")
    assert 0 < partial.stat().st_size < whole.segments.nbytes
    with partial.open("ab") as file:
        file.write(bytes(7))  # a writer that was killed
    again = heard_alone(network, some, student, 2, step=step)
    assert asked == [0, 2, 2, 4]
    heard_alone(network, some, student, 2, step=step)
    assert asked == [0, 2, 2, 4], "it lies there"
    np.testing.assert_array_equal(again.segments, whole.segments)
    assert not partial.exists()
    torch.nn.init.normal_(network.wels.L4.weight)
    assert (heard_alone(network, some, student, 2).segments != whole.segments).any(), "of another teacher"
    forget(student)
    assert not list(student.iterdir())


def test_targets_are_of_segments(network: Network, tmp_path: Path) -> None:
    some = clips(60_000, 60_000)
    some.labels[1] = np.nan  # what is in it only the teacher says
    alone = heard_alone(network, some, tmp_path, 2)
    targets = Targets({"labels": 0.4, 0: 0.6}, some, alone={0: alone})
    one, other = Placed(0, 60_000, 0), Placed(0, 60_000, 40_000)
    (made,) = targets.placed([{0: one, 1: other}], np.ones(1), 14)
    of_one = 0.4 * some.labels[0] + 0.6 * alone.at(0, one, 1.0, 14).astype(float)
    of_other = alone.at(1, other, 1.0, 14).astype(float)
    there = presence(one, 1.0, 14)[:, None], presence(other, 1.0, 14)[:, None]
    np.testing.assert_allclose(made, np.maximum(of_one * there[0], of_other * there[1]), atol=1e-6)
    by_labels = Targets({"labels": 1}, clips(60_000))
    np.testing.assert_allclose(by_labels.placed([{0: one}], np.ones(1), 14)[0], there[0] * [[1, 0, 0]])


def test_a_recording_sounds_where_its_targets_say(tmp_path: Path) -> None:
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


def test_a_run_goes_on_from_another(
    run: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--manifest", str(small_manifest), "--fine-tune", f"wels={run}", "--teacher", f"was={run}"]
    given += ["--first", "labels=0.5,was=0.5", "--stage", "labels=0.5,0=0.5", *SOUNDS, "--freeze", "2"]
    given += ["--noise", "0.5", "--speed", "0.1", "--gain", "3", "--ema", "0.5", "--validate-every", "3", *ON[:-2]]

    def begun(directory: Path) -> None:
        result = CliRunner().invoke(main, [*given, "--run", str(directory), "--stop-after", "0s"])
        assert "stopped in time" in result.output, result.output

    once, twice = tmp_path / "once", tmp_path / "twice"
    begun(once)
    cascade(once)
    began, ended = weights(run, 2), weights(once, 0)
    for name, value in began.items():
        same = torch.equal(value, ended[name])
        assert same == name.startswith(("wels.B1.", "wels.B2.", "frontend.")), name
        if name.endswith("weight"):
            assert (value - ended[name]).abs().max() < 0.1, "it goes on from there"
    assert not list(once.glob("generation-*/alone-*")), "when a student is trained, it is forgotten"
    assert metrics(once, 1, "epoch") == [1, 2, 3]

    begun(twice)
    stopped = Run.open(twice)
    train = stopped.clips("train")
    progress = CascadeProgress(2, 3)
    targets_of(stopped, 0, train, Execution(torch.device("cpu")), progress, Deadline())  # else it is stopped before
    assert f"  scoring with was  0 of {len(train)} clips" in capsys.readouterr().err
    with pytest.raises(Stopped):
        cascade(twice, 0)
    assert load(twice / "generation-0" / "checkpoint.pt")["progress"]["batch"] == 1
    cascade(twice)
    for generation in (0, 1):
        assert all(map(torch.equal, weights(once, generation).values(), weights(twice, generation).values()))

    half = tmp_path / "half"
    result = CliRunner().invoke(main, [*given, "--between", "0.5", "--run", str(half), "--stop-after", "0s"])
    assert "stopped in time" in result.output, result.output
    cascade(half)
    for name, value in weights(half, 0).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (began[name] + ended[name]) / 2)

    made = Run.open(once)
    config = read_config(once)
    assert config["begun_with"]["network"] == "generation 2, width 0.0625"
    rows = [read_generation(made.generation(number)) for number in (0, 1)]
    about = description(made, rows)
    assert about.lineage["begun_with"]["run"] == run.name
    before = "going on from an earlier run's generation 2, width 0.0625"
    assert place(made, rows) == f"student 1 of a SeCoST cascade, each of its networks {before}"
    write_report(once, rows[:1])
    assert f"What ships is a network {before}." in " ".join(generations(made, rows[:1]))
    assert not made.warnings()
    assert chosen(made), "there"
    told = external_teachers(made, "those")
    assert told[0].startswith("An external teacher has 0.5 of the say beside the labels: was (generation 2")
    assert told[1].startswith("It learnt segment by segment")
    config["command"], config["begun_with"]["command"] = "now", "before"
    (once / "config.json").write_text(json.dumps(config))
    rebuilt = rebuild_section(once, about)
    assert rebuilt.index("before") + 1 == rebuilt.index("now")

    config["begun_with"]["teachers"] = {"yamnet": {"teacher": "YAMNet", "metrics": {}}}
    config["begun_with"]["supervision"] = [{"labels": 0.4, "yamnet": 0.6}]
    config["begun_with"]["settings"]["validate_every"] = 3
    config["begun_with"]["manifest_sha256"] = "of others"
    (once / "config.json").write_text(json.dumps(config))
    assert external_teachers(made, "those")[0] == (
        "In an earlier run, an external teacher had 0.6 of the say beside the labels: yamnet (YAMNet)."
    )
    assert not chosen(made)
    assert any(f"go on from {run.name}, which had another manifest" in line for line in made.warnings())
    (once / "model.onnx").touch()
    with pytest.raises(SedkitError, match="which learnt from another manifest"):
        publish(once, tmp_path / "models", None, None, None, torch.device("cpu"))
    assert not (tmp_path / "models").exists()


def test_what_cannot_go_on_or_be_heard_alone_is_one_line(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    def refused(*options: str | Path) -> str:
        given = ["--manifest", small_manifest, "--run", tmp_path / "run", *ON, *options]
        result = CliRunner().invoke(main, [str(option) for option in given])
        assert result.exit_code
        assert not (tmp_path / "run" / "config.json").exists()
        assert "Traceback" not in result.output
        return " ".join(result.output.split())

    assert "is no run; with --teachers-hear sounds" in refused(*SOUNDS, "--teacher", "big=none", "--first", "big=1")
    on = f"wels={run}"
    assert "not a run directory" in refused("--fine-tune", f"wels={tmp_path}")
    assert "nor wels=RUN" in refused("--fine-tune", "wels=")
    begin(small_manifest, tmp_path / "begun", "--stages", "0")
    assert "begun: is no finished run; go on with" in refused("--fine-tune", f"wels={tmp_path / 'begun'}")
    assert "leave it out beside --fine-tune" in refused("--fine-tune", on, "--width", "0.5")
    assert "--pooling" in refused("--fine-tune", on, "--pooling", "attention")
    assert "add --fine-tune wels=RUN" in refused("--freeze", "1")
    assert "add --fine-tune wels=RUN" in refused("--between", "0.5")
    assert "add --overlay" in refused("--teachers-hear", "sounds")
    assert "not what they weigh" in refused(*SOUNDS, "--pooling", "attention")
    assert "leave it out" in refused(*SOUNDS, "--targets", "live")
    said = tmp_path / "said.npz"
    said.write_bytes(b"")
    assert "said.npz: is no run" in refused(*SOUNDS, "--teacher", f"big={said}", "--first", "big=1")

    other = shutil.copytree(run, tmp_path / "other")
    config = read_config(other)
    config["settings"]["network"] = "yamnet"
    (other / "config.json").write_text(json.dumps(config))
    assert "no WELS-Nets" in refused("--fine-tune", f"wels={other}")
    broken = other / "generation-2" / "network.pt"
    state = load(broken)
    broken.write_bytes(broken.read_bytes()[:100])
    assert "network.pt: cannot be read" in refused("--fine-tune", f"wels={other}")
    save(state, broken)
