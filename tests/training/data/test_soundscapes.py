"""Soundscapes: labels match the audio, sources stay in their split, results depend on the seed; overlay; events."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from training.data.augment.soundscapes import Recipe, Sources, coloured_noise, overlay, rms, sounding
from training.data.commands import main
from training.data.manifest.problems import ManifestError
from training.data.manifest.rows import Row
from training.data.manifest.strong_labels import Event, read_events, write_events
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary

RATE = 16_000
TONES = {"low": 300.0, "mid": 1100.0, "high": 3700.0}  # class → frequency in Hz
DRONE = 2100.0


def tone(frequency, seconds):
    return (8000 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.int16)


def burst(frequency, seconds, before, after):
    return np.concatenate(
        [np.zeros(round(before * RATE), np.int16), tone(frequency, seconds), np.zeros(round(after * RATE), np.int16)]
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Path of a manifest: six clips per class, bursts of 0.4 to 1.4 s or a drone, and one clip with two labels."""
    folder = tmp_path_factory.mktemp("source")
    rows = []
    for name, frequency in (*TONES.items(), ("drone", DRONE)):
        for take in range(6):
            samples = burst(frequency, 0.4 + 0.2 * take, 0.5, 1) if name != "drone" else tone(frequency, 3)
            soundfile.write(folder / f"{name}-{take}.wav", samples, RATE)
            split = "train" if take < 4 else "test"
            rows.append(
                Row(f"{name}-{take}.wav", labels=name, split=split, license="CC0", attribution=f"{name} {take}")
            )
    soundfile.write(folder / "both.wav", tone(500, 1), RATE)
    rows.append(Row("both.wav", labels="low;high", split="train"))
    Manifest.from_rows(rows, Vocabulary.of([*TONES, "drone"]), folder).save(folder / "set.csv")
    return folder / "set.csv"


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


OPTIONS = ("--seconds", "6", "--level", "-60", "-55", "--snr", "15", "25", "--background", "drone", "--seed", "3")


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    """Directory of 40 soundscapes."""
    directory = tmp_path_factory.mktemp("made") / "set"
    result = run("soundscapes", source, "-o", directory, "--count", "40", *OPTIONS)
    assert result.exit_code == 0, result.output
    assert "left out: 1 x clip with several labels" in result.stderr
    return directory


def contents(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def loudness(samples, frequency, frame=320):
    """Level [frames] of the samples at a frequency, in dB."""
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame) * np.hanning(frame)
    wave = np.exp(-2j * np.pi * frequency * np.arange(frame) / RATE)
    return 20 * np.log10(np.abs(frames @ wave) + 1e-9)


def test_strong_labels_match_the_audio(made):
    """Each class's frequency is loud between onset and offset, and nowhere else."""
    checked = 0
    for split in ("train", "test"):
        events, left_out = read_events(made / f"{split}.tsv")
        assert not left_out
        by_clip = defaultdict(list)
        for event in events:
            by_clip[event.clip].append(event)
        for clip, held in by_clip.items():
            samples, rate = soundfile.read(made / "audio" / split / clip)
            assert (rate, len(samples)) == (RATE, 6 * RATE)
            times = np.arange(len(samples) // 320) * 0.02 + 0.01
            for name, frequency in TONES.items():
                level = loudness(samples, frequency)
                inside, outside = np.zeros(len(times), bool), np.ones(len(times), bool)
                for event in held:
                    if event.label == name:
                        inside |= (times > event.onset + 0.03) & (times < event.offset - 0.03)
                        outside &= (times < event.onset - 0.03) | (times > event.offset + 0.03)
                if inside.any():
                    assert level[inside].min() > level[outside].max() + 3, (clip, name)
                    checked += 1
    assert checked > 40


def test_weak_labels_match_the_strong_labels(made):
    manifest = Manifest.load(made / "manifest.csv")
    assert {split: manifest.splits.count(split) for split in ("train", "test")} == {"train": 27, "test": 13}
    for split in ("train", "test"):
        part, strong = manifest.select(split), defaultdict(set)
        for event in read_events(made / f"{split}.tsv")[0]:
            strong[event.clip].add(manifest.vocabulary.find(event.label))
        assert {Path(path).name: set(labels) for path, labels in zip(part.paths, part.labels, strict=True)} == strong
    assert len(manifest.check_audio()) == 40


def test_classes_that_nobody_checked_are_marked(source, tmp_path):
    manifest = Manifest.load(source)
    rows = [row._replace(labels="low;?high" if row.labels == "low" else row.labels) for row in manifest.rows()]
    Manifest.from_rows(rows, manifest.vocabulary, tmp_path).save(tmp_path / "set.csv")
    result = run("soundscapes", tmp_path / "set.csv", "-o", tmp_path / "made", "--count", "12", "--seconds", "3")
    assert result.exit_code == 0, result.output
    found = [row.labels.split(";") for row in Manifest.load(tmp_path / "made" / "manifest.csv").rows()]
    assert any("?high" in labels for labels in found)
    for labels in found:
        assert ("?high" in labels) == ("low" in labels and "high" not in labels)


def test_sources_stay_in_their_split_and_are_credited(made):
    manifest = Manifest.load(made / "manifest.csv")
    credit = dict(zip(manifest.names(), manifest.attributions, strict=True))
    with (made / "sources.csv").open() as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        name, take = line["source"].removesuffix(".wav").split("-")
        path = line["path"].removeprefix("audio/")
        assert path.startswith("train" if int(take) < 4 else "test")
        assert f"{name} {take}" in credit[path].split(" | ")
    assert "both.wav" not in {line["source"] for line in lines}
    assert {line["source"].split("-")[0] for line in lines if not line["onset"]} == {"drone"}


def test_soundscapes_depend_on_the_seed_and_lost_files_are_rebuilt(source, made, tmp_path):
    directory = tmp_path / "again"
    assert run("soundscapes", source, "-o", directory, "--count", "40", *OPTIONS).exit_code == 0
    assert contents(directory) == contents(made)
    for name in ("manifest.csv", "train.tsv", "audio/train/00005.flac", "audio/test/00000.flac"):
        (directory / name).unlink()
    kept = (directory / "audio/train/00006.flac").stat().st_mtime_ns
    assert run("soundscapes", source, "-o", directory, "--count", "40", *OPTIONS).exit_code == 0
    assert contents(directory) == contents(made)
    assert (directory / "audio/train/00006.flac").stat().st_mtime_ns == kept

    other = run("soundscapes", source, "-o", directory, "--count", "40", *OPTIONS[:-1], "4")
    assert other.exit_code == 1
    assert "made with another seed; name another directory" in other.stderr
    assert json.loads((directory / "recipe.json").read_text())["seed"] == 3


def test_soundscapes_of_one_split(source, made, tmp_path):
    """``--split`` gives the same soundscapes of that split as without it, and no others."""
    arguments = ["soundscapes", source, "-o", tmp_path / "x", "--count", "13", *OPTIONS]
    result = run(*arguments, "--split", "test")
    assert result.exit_code == 0, result.output
    all_splits, one_split = contents(made), contents(tmp_path / "x")
    audio = {name for name in all_splits if name.startswith("audio/test/")}
    assert audio == {name for name in one_split if name.endswith(".flac")}
    assert all(one_split[name] == all_splits[name] for name in (*audio, "test.tsv"))
    other = run(*arguments)
    assert (other.exit_code, "made with another split" in other.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "validation"], "no clip in the split 'validation' has a single label"),
        (["--background", "bell"], "background 'bell' is not a class"),
        (["--events", "3", "2"], "the lower bound comes first"),
        ([word for name in (*TONES, "drone") for word in ("--background", name)], "all their classes are backgrounds"),
    ],
)
def test_invalid_soundscape_options(source, tmp_path, arguments, message):
    result = run("soundscapes", source, "-o", tmp_path / "x", "--count", "3", *arguments)
    assert result.exit_code
    assert message in result.stderr


def test_silent_clips_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    rows = [Row("a.wav", labels="low", split="train")]
    Manifest.from_rows(rows, Vocabulary.of(["low"]), tmp_path).save(tmp_path / "set.csv")
    result = run("soundscapes", tmp_path / "set.csv", "-o", tmp_path / "x", "--count", "1")
    assert result.exit_code
    assert "no clips for events in the split 'train': all of them are silent" in str(result.exception) + result.stderr


def test_soundscapes_refuse_a_directory_that_is_not_empty(source, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    result = run("soundscapes", source, "-o", tmp_path, "--count", "3")
    assert "not empty; name another directory" in result.stderr


def random(seed=0):
    return np.random.default_rng(seed)


def sources(**keywords):
    clips = [burst(frequency, 1, 0.2, 0.2) for frequency in TONES.values()]
    return Sources(clips, np.arange(3), np.arange(3), **keywords)


@pytest.mark.parametrize("overlap", [1, 2, 4])
def test_plans_follow_the_recipe(overlap):
    recipe = Recipe(seconds=4, events=(2, 6), longest=0.8, overlap=overlap, snr=(0, 10))
    most = 0
    for seed in range(60):
        plan = sources().plan(recipe, random(seed))
        assert 1 <= len(plan.sounds) <= 6
        assert all(0 <= sound.onset < sound.offset <= 64_000 for sound in plan.sounds)
        assert all(sound.stop - sound.start <= 12_800 and 0 <= sound.snr <= 10 for sound in plan.sounds)
        sounding_at = np.zeros(64_000, int)
        for sound in plan.sounds:
            sounding_at[sound.onset : sound.offset] += 1
        most = max(most, sounding_at.max())
    assert most == overlap


def test_sounds_have_the_planned_snr():
    recipe = Recipe(seconds=3, events=(1, 1), snr=(10, 10), background=(-40, -40))
    for seed in range(5):
        draw = random(seed)
        made = sources()
        plan = made.plan(recipe, draw)
        (sound,) = plan.sounds
        mix = made.render(plan, recipe, draw) / 32768
        outside = np.concatenate([mix[: sound.onset], mix[sound.offset :]])
        assert 20 * np.log10(rms(outside)) == pytest.approx(-40, abs=3)
        within = np.sqrt(rms(mix[sound.onset : sound.offset]) ** 2 - 1e-4)
        assert 20 * np.log10(within) == pytest.approx(-30, abs=1)


def test_render_does_not_clip():
    recipe = Recipe(seconds=3, events=(5, 5), overlap=5, snr=(40, 40), background=(-20, -20))
    made = sources()
    plan = made.plan(recipe, random(1))
    assert np.abs(made.render(plan, recipe, random(1)).astype(int)).max() == 32767


def test_sounding_parts_of_a_clip():
    quiet = np.zeros(4800, np.int16)
    assert sounding(np.concatenate([quiet, tone(440, 0.5), quiet, quiet, tone(440, 0.2), quiet])) == [
        (4800, 12_800),
        (22_400, 25_600),
    ]
    near = np.concatenate([quiet, tone(440, 0.5), quiet[:3200], tone(440, 0.2), quiet])
    assert sounding(near) == [(4800, 19_200)]  # the gap of 0.2 s is closed
    noise = (300 * random().standard_normal(32_000)).astype(np.int16)
    assert sounding(noise) == [(0, 32_000)]  # steady noise is sounding throughout
    noise[8000:12_800] += tone(440, 0.3)
    assert sounding(noise) == [(8000, 12_800)]  # a tone above a noise floor
    click = np.concatenate([quiet, tone(440, 0.04), quiet])
    assert sounding(click) == [(4800, 5440)]
    assert sounding(quiet) == []
    assert sounding(quiet[:0]) == []


def test_coloured_noise_has_its_slope():
    for slope in (0, 1, 2):
        power = np.abs(np.fft.rfft(coloured_noise(1 << 16, slope, random()))) ** 2
        low, high = power[64:128].mean(), power[64 * 64 : 64 * 128].mean()
        assert np.log(low / high) / np.log(64) == pytest.approx(slope, abs=0.1)


def test_overlay_contains_every_clip():
    clips = [burst(frequency, 1, 0.3, 0.3) for frequency in TONES.values()]
    mix = overlay(clips, 2 * RATE, random(2))
    assert (mix.dtype, len(mix)) == (np.int16, 2 * RATE)
    for frequency in TONES.values():
        level = loudness(mix.astype(float), frequency)
        assert np.percentile(level, 90) > np.percentile(level, 5) + 20  # it sounds for a part of the time
    np.testing.assert_array_equal(mix, overlay(clips, 2 * RATE, random(2)))
    assert not np.array_equal(mix, overlay(clips, 2 * RATE, random(3)))


def test_overlay_level_differences():
    one, other = burst(440, 1, 0, 0), (burst(1760, 1, 0, 0) / 50).astype(np.int16)
    differences = []
    for seed in range(30):
        mix = overlay([one, other], RATE, random(seed)).astype(float)
        differences.append(np.median(loudness(mix, 1760)) - np.median(loudness(mix, 440)))
    assert np.abs(differences).max() < 11
    assert np.std(differences) > 3


def test_overlay_of_one_clip_keeps_it():
    clip = burst(440, 1, 0.3, 0.3)
    np.testing.assert_allclose(overlay([clip], RATE, random())[200:-200], tone(440, 1)[200:-200], atol=1)
    assert len(overlay([tone(440, 3)], RATE, random())) == RATE
    silent = np.zeros(RATE, np.int16)
    assert overlay([silent, clip], RATE, random()).any(), "a silent clip does not mute the others"
    assert not overlay([silent, silent], RATE, random()).any()


def test_events_round_trip(tmp_path):
    events = [Event("a.wav", 0.1234, 2, "Dog"), Event("a.wav", 1, 1.5, "/m/01yrx"), Event("b.wav")]
    write_events(tmp_path / "e.tsv", events)
    assert (tmp_path / "e.tsv").read_text().splitlines() == [
        "filename\tonset\toffset\tevent_label",
        "a.wav\t0.123\t2.000\tDog",
        "a.wav\t1.000\t1.500\t/m/01yrx",
        "b.wav\t\t\t",
    ]
    read, left_out = read_events(tmp_path / "e.tsv")
    assert read[:2] == [Event("a.wav", 0.123, 2, "Dog"), events[1]]
    assert (read[2].clip, read[2].label) == ("b.wav", "")
    assert not left_out


def test_events_in_audioset_format(tmp_path):
    (tmp_path / "e.tsv").write_text(
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n-8f7cs92z7Y_30000\t0.000\t6.172\t/m/04rlf\n"
    )
    assert read_events(tmp_path / "e.tsv")[0] == [Event("-8f7cs92z7Y_30000", 0, 6.172, "/m/04rlf")]


@pytest.mark.parametrize(
    "row", ["a.wav\t2\t1\tDog", "a.wav\t-1\t1\tDog", "a.wav\tx\t1\tDog", "a.wav\t0\t1\t", "\t0\t1\tDog"]
)
def test_invalid_events(tmp_path, row):
    (tmp_path / "e.tsv").write_text(f"filename\tonset\toffset\tevent_label\n{row}\nb.wav\t0\t1\tDog\n")
    with pytest.raises(ManifestError, match="1 x event without name, times or label"):
        read_events(tmp_path / "e.tsv")
    events, left_out = read_events(tmp_path / "e.tsv", "skip")
    assert (events, len(left_out.lines())) == ([Event("b.wav", 0, 1, "Dog")], 1)


def test_table_without_event_columns(tmp_path):
    (tmp_path / "e.tsv").write_text("filename\tevent_labels\na.wav\tDog\n")
    with pytest.raises(ManifestError, match="no column 'onset'"):
        read_events(tmp_path / "e.tsv")
