"""``sedkit extract`` and ``sedkit embed``, run in this process on a model with random weights."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from sedkit.cli import main
from sedkit.tagger import Tagger
from tests.conftest import make_sound
from tests.sedkit.audio.encoding import Audio, write

RATE = 22_050
COLUMNS = ["clip", "source", "onset", "offset", "label", "mid", "score", "start", "end", "track"]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two recordings of the same name in two folders, and one that is not audio."""
    folder = tmp_path / "recordings"
    for number, below in enumerate(("a", "b")):
        (folder / below).mkdir(parents=True)
        soundfile.write(folder / below / "x.wav", make_sound(6, RATE, seed=number), RATE, "PCM_24")
    return folder


@pytest.fixture
def sedkit(model_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEDKIT_DEBUG", "1")

    def run(*arguments: str | Path) -> Result:
        result = CliRunner().invoke(main, [*map(str, arguments), "--model", str(model_path), "--device", "cpu"])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def extract(sedkit, tmp_path: Path):
    def run(*arguments: str | Path) -> Result:
        return sedkit("extract", "--output", tmp_path / "clips", *arguments)

    return run


def table(tmp_path: Path) -> list[dict[str, str]]:
    with (tmp_path / "clips" / "clips.tsv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        assert reader.fieldnames == COLUMNS
        return list(reader)


def events(path: Path, *rows: tuple) -> Path:
    """A result file of sedkit timeline."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["file", "onset", "offset", "label", "mid", "score"])
        writer.writerows(rows)
    return path


def test_the_events_of_the_timeline_become_clips(extract, recordings: Path, tmp_path: Path, tagger: Tagger):
    result = extract(recordings, "--recursive", "--pad", "0.25")
    assert result.exit_code == 0
    assert result.stdout == ""
    rows = table(tmp_path)
    assert len({row["clip"].casefold() for row in rows}) == len(rows)
    for folder in ("a", "b"):
        name = str(recordings / folder / "x.wav")
        found = [row for row in rows if row["source"] == name]
        expected = tagger.timeline(name).events
        assert [(row["label"], float(row["onset"])) for row in found] == [
            (event.label, round(event.onset, 3)) for event in sorted(expected, key=lambda each: each.onset)
        ]
        samples = soundfile.read(name, dtype="int32")[0]
        for row in found:
            start, end = max(0, float(row["onset"]) - 0.25), min(6, float(row["offset"]) + 0.25)
            assert (float(row["start"]), float(row["end"])) == pytest.approx((start, end), abs=1e-3)
            clip, rate = soundfile.read(tmp_path / "clips" / row["clip"], dtype="int32")
            assert rate == RATE
            first = round(float(row["start"]) * RATE)
            assert len(clip) == pytest.approx((end - start) * RATE, abs=25)
            at = next(shift for shift in range(-25, 26) if np.array_equal(clip, samples[first + shift :][: len(clip)]))
            assert abs(at) <= 25  # half a millisecond: the table has three decimals


def test_running_it_again_cuts_only_what_is_missing_or_old(extract, recordings: Path, tmp_path: Path):
    rows = [(recordings / "a/x.wav", 1, 2, "Dog", "", 0.9), (recordings / "a/x.wav", 3, 4, "Dog", "", 0.8)]
    rows += [(recordings / "b/x.wav", 1, 2, "Dog", "", 0.7)]
    given = events(tmp_path / "events.tsv", *rows)
    assert "3 clips written" in extract("--from", given).stderr
    first = table(tmp_path)
    assert [row["clip"] for row in first] == [
        "Dog/x_1.000-2.000.wav",
        "Dog/x_3.000-4.000.wav",
        "Dog/x_1.000-2.000_2.wav",
    ]
    clip = tmp_path / "clips" / first[0]["clip"]
    written = clip.stat().st_mtime_ns
    clip.with_name("x_3.000-4.000.wav").unlink()
    os.utime(recordings / "b/x.wav", (2e9, 2e9))  # changed since it was cut
    assert "2 clips written to" in extract("--from", given).stderr
    assert table(tmp_path) == first
    assert clip.stat().st_mtime_ns == written
    assert not list((tmp_path / "clips").glob("clips.tsv.*"))
    assert "1 clips written" in extract("--from", given, "--pad", "0.5", "--limit", "1").stderr  # another clip
    assert len(table(tmp_path)) == 4


def test_a_kept_clip_has_the_score_of_this_run(extract, recordings: Path, tmp_path: Path):
    for score in (0.9, 0.4):
        given = events(tmp_path / "events.tsv", (recordings / "a/x.wav", 1, 2, "Dog", "", score))
        result = extract("--from", given)
        assert [float(row["score"]) for row in table(tmp_path)] == [score]
    assert "0 clips written" in result.stderr
    assert "1 kept" in result.stderr


def test_each_track_has_clips_of_its_own(extract, tmp_path: Path):
    film = tmp_path / "film.mka"
    sounds = [make_sound(5, seed=seed) for seed in range(2)]
    write(film, [Audio(sound, RATE, "flac") for sound in sounds])
    given = events(tmp_path / "events.tsv", (film, 1, 2, "Dog", "", 0.9))
    for track in ("1", "2", "2"):
        extract("--from", given, "--track", track)
    first, second = table(tmp_path)
    assert (first["track"], second["track"]) == ("1", "2")
    for row, sound in zip((first, second), sounds, strict=True):
        clip, _ = soundfile.read(tmp_path / "clips" / row["clip"], dtype="float32")
        np.testing.assert_allclose(clip, sound[RATE : 2 * RATE], atol=1e-4)


def test_scores_limits_and_classes_choose_events(extract, recordings: Path, tmp_path: Path):
    name = recordings / "a/x.wav"
    rows = [(name, n / 2, n / 2 + 0.25, label, "", score) for n, (label, score) in enumerate(SCORED)]
    given = events(tmp_path / "events.tsv", *rows)
    extract("--from", given, "--min-score", "0.3", "--limit", "2", "--classes", "dog,Baby cry, infant cry")
    assert [(row["label"], float(row["score"])) for row in table(tmp_path)] == [
        ("Dog", 0.9), ("Baby cry, infant cry", 0.4), ("Dog", 0.9)
    ]  # fmt: skip


SCORED = [("Dog", 0.9), ("Dog", 0.5), ("Siren", 0.9), ("Baby cry, infant cry", 0.4), ("Dog", 0.2), ("Dog", 0.9)]


def test_odd_names_are_kept_apart(extract, recordings: Path, tmp_path: Path):
    name = recordings / "a/x.wav"
    rows = [
        (name, 1, 2, label, "", 1)
        for label in ("../up", "a/b", "a:b", "..", "A:B", "=1+1", "tab\tand\nline", "and\rCR")
    ]
    assert extract("--from", events(tmp_path / "events.tsv", *rows)).exit_code == 0
    found = table(tmp_path)
    assert len(found) == len(rows)
    assert len({row["clip"].casefold() for row in found}) == len(rows)
    inside = (tmp_path / "clips").resolve()
    assert all((inside / row["clip"]).resolve().parent.parent == inside for row in found)
    assert {row["label"] for row in found} == {row[3] for row in rows}


@pytest.mark.parametrize("place", ["clips", "."])
def test_clips_are_not_cut_out_of_clips(sedkit, recordings: Path, place: str):
    arguments = "extract", recordings, "-r", "--output", recordings / place
    clips = re.match(r"sedkit: (\d+) clips written", sedkit(*arguments).stderr)[1]
    assert int(clips) > 0
    again = sedkit(*arguments)
    assert again.exit_code == 0
    assert f"{recordings / place}: {clips} recordings in it are left out" in again.stderr
    assert f"0 clips written to {recordings / place}, {clips} kept" in again.stderr
    clip = next((recordings / place).rglob("x_*.wav"))
    assert "0 clips written" not in sedkit("extract", clip, "--output", recordings / place).stderr  # it was named


def test_a_foreign_file_is_never_overwritten(extract, recordings: Path, tmp_path: Path):
    given = events(tmp_path / "events.tsv", (recordings / "a/x.wav", 1, 2, "Dog", "", 1))
    foreign = tmp_path / "clips" / "Dog" / "x_1.000-2.000.wav"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    assert extract("--from", given).exit_code == 0
    assert foreign.read_text() == "mine"
    assert table(tmp_path)[0]["clip"] == "Dog/x_1.000-2.000_2.wav"
    (tmp_path / "clips" / "clips.tsv").write_text("my own table\n")
    result = extract("--from", given)
    assert (result.exit_code, (tmp_path / "clips" / "clips.tsv").read_text()) == (1, "my own table\n")
    assert "is not a table of sedkit extract" in result.stderr


def test_failures_do_not_stop_the_others(extract, recordings: Path, tmp_path: Path):
    broken = recordings / "broken.wav"
    broken.write_bytes(b"RIFF but no audio")
    rows = [(broken, 1, 2, "Dog", "", 1), (recordings / "a/x.wav", 1, 2, "Dog", "", 1)]
    rows += [(recordings / "b/x.wav", 7, 8, "Dog", "", 1)]
    result = extract("--from", events(tmp_path / "events.tsv", *rows))
    assert result.exit_code == 1
    assert "broken.wav: not audio" in result.stderr
    assert "b/x.wav: has no sound at 7.000 s (Dog): the recording ends at 6.000 s" in result.stderr
    assert "2 of 3 failed" in result.stderr
    assert [row["source"] for row in table(tmp_path)] == [str(recordings / "a/x.wav")]


def test_long_names_are_cut_by_their_bytes(extract, recordings: Path, tmp_path: Path):
    long = (recordings / "a/x.wav").rename(recordings / f"{'録' * 80}.wav")
    rows = [(name, 1, 2, "犬" * 100, "", 1) for name in (long, recordings / "b/x.wav")]
    result = extract("--from", events(tmp_path / "events.tsv", *rows))
    assert result.exit_code == 0, result.stderr
    clips = [tmp_path / "clips" / row["clip"] for row in table(tmp_path)]
    assert [len(soundfile.read(clip)[0]) for clip in clips] == [RATE, RATE]
    assert any(clip.name.startswith("録" * 60) for clip in clips)


@pytest.mark.parametrize("taken", ["Dog", "Dog/.x_1.000-2.000.wav.tmp/y"])
def test_a_clip_that_cannot_be_written_does_not_stop_the_others(extract, recordings: Path, tmp_path: Path, taken: str):
    foreign = tmp_path / "clips" / taken
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    rows = [(recordings / "a/x.wav", 1, 2, "Dog", "", 1), (recordings / "b/x.wav", 1, 2, "Siren", "", 1)]
    result = extract("--from", events(tmp_path / "events.tsv", *rows))
    assert result.exit_code == 1
    assert f"a/x.wav: {tmp_path / 'clips/Dog/x_1.000-2.000.wav'}: cannot be written: " in result.stderr
    assert "1 of 2 failed" in result.stderr
    assert [row["label"] for row in table(tmp_path)] == ["Siren"]


def test_an_event_without_length_needs_a_pad(extract, recordings: Path, tmp_path: Path):
    given = events(tmp_path / "events.tsv", (recordings / "a/x.wav", 1, 1, "Dog", "", 1))
    result = extract("--from", given)
    assert result.exit_code == 1
    assert "a/x.wav: the event at 1.000 s (Dog) has no length; give --pad" in result.stderr
    assert extract("--from", given, "--pad", "0.5").exit_code == 0
    assert [(row["start"], row["end"]) for row in table(tmp_path)] == [("0.500", "1.500")]


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ([], "no RECORDINGS given", 2),
        (["--from", "nowhere.tsv"], "nowhere.tsv: does not exist", 1),
        (["-"], "cannot be read twice", 2),
        (["nothing.wav"], "nothing.wav: no such file or folder", 1),
        (["{a}", "--from", "{events}"], "names none of these recordings; it names other.wav", 2),
        (["--from", "{events}", "--classes", "Cat"], "has no event of Cat; it has Dog", 2),
        (["{a}", "--classes", "Cat"], "Cat: the model test has no such class", 2),
        (["{a}", "--output", "{a}"], "is a file", 2),
        (["{a}", "--output", "/proc/clips"], "cannot be written", 1),
    ],
)
def test_wrong_input_is_explained(extract, recordings: Path, tmp_path: Path, arguments, message, code):
    given = events(tmp_path / "events.tsv", ("other.wav", 1, 2, "Dog", "", 1))
    places = {"a": recordings / "a/x.wav", "events": given}
    result = extract(*(argument.format(**places) for argument in arguments))
    assert message in result.stderr
    assert result.exit_code == code


@pytest.mark.parametrize("per", ["segment", "clip"])
def test_embed_writes_the_embeddings_of_the_api(sedkit, recordings: Path, tmp_path: Path, tagger: Tagger, per):
    import pyarrow.parquet

    names = [str(recordings / folder / "x.wav") for folder in ("a", "b")]
    expected = [tagger.embed(name, per=per) for name in names]
    values = np.concatenate([each.values for each in expected])
    odd = tmp_path / os.fsdecode(b"bad\xff.wav")
    os.link(names[0], odd)
    assert sedkit("embed", odd, "-o", tmp_path / "odd.parquet").exit_code == 0
    found = pyarrow.parquet.read_table(tmp_path / "odd.parquet")["file"].to_pylist()
    assert set(found) == {rf"{tmp_path}/bad\udcff.wav"}
    result = sedkit("embed", *names, "--per", per, "-o", tmp_path / "x.npz")
    assert (result.exit_code, result.output) == (0, "")
    with np.load(tmp_path / "x.npz") as found:
        np.testing.assert_array_equal(found["embedding"], values)
        np.testing.assert_array_equal(found["onset"], np.concatenate([each.onsets for each in expected]))
        np.testing.assert_array_equal(found["offset"], np.concatenate([each.offsets for each in expected]))
        assert found["files"][found["recording"]].tolist() == [
            name for name, each in zip(names, expected, strict=True) for _ in each.values
        ]
        assert found["model"] == "test"
    assert sedkit("embed", *names, "--per", per, "-o", tmp_path / "x.parquet").exit_code == 0
    rows = pyarrow.parquet.read_table(tmp_path / "x.parquet")
    assert rows.schema.names == ["file", "onset", "offset", "embedding"]
    np.testing.assert_array_equal(np.array(rows["embedding"].to_pylist(), np.float32), values)


def test_embed_explains_wrong_input(sedkit, recordings: Path, tmp_path: Path):
    name, broken = recordings / "a/x.wav", recordings / "broken.wav"
    broken.write_bytes(b"RIFF but no audio")
    assert "must end in .npz or .parquet" in sedkit("embed", name, "-o", tmp_path / "x.csv").stderr
    assert "does not exist; create it first" in sedkit("embed", name, "-o", tmp_path / "no/x.npz").stderr
    result = sedkit("embed", broken, "-o", tmp_path / "x.npz")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"sedkit: error: {broken}: not audio")
    assert result.stderr.count("\n") == 1
    result = sedkit("embed", broken, name, "-o", tmp_path / "y.npz")
    assert (result.exit_code, "broken.wav: not audio" in result.stderr) == (1, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recordings", "y.npz"]
    recording = name.rename(tmp_path / "recording.npz")  # the content decides
    before = recording.read_bytes()
    assert "recording.npz: is read by this command" in sedkit("embed", recording, "-o", recording).stderr
    assert recording.read_bytes() == before


def test_classes_that_differ_only_in_case_have_files_of_their_own(extract, recordings: Path, tmp_path: Path):
    """Also where the file system does not tell their folders apart."""
    source = recordings / "a/x.wav"
    spans = [(1, 2, "Dog"), (1, 2, "dog"), (3, 4, "DOG"), (3, 4, "Dog"), (1, 2, "D?g"), (1, 2, "D*g")]
    given = events(tmp_path / "events.tsv", *((source, start, end, label, "", 0.9) for start, end, label in spans))
    assert extract("--from", given).exit_code == 0
    rows = table(tmp_path)
    assert len({row["clip"].casefold() for row in rows}) == len(spans)
    assert {row["label"] for row in rows} == {label for _, _, label in spans}
    samples = soundfile.read(source, dtype="int32")[0]
    for row in rows:
        first, last = (round(float(row[name]) * RATE) for name in ("start", "end"))
        np.testing.assert_array_equal(
            soundfile.read(tmp_path / "clips" / row["clip"], dtype="int32")[0], samples[first:last]
        )
    assert "6 kept" in extract("--from", given).stderr


def test_events_in_a_channel_that_is_not_there_are_refused(extract, recordings: Path, tmp_path: Path):
    path = recordings / "a" / "x.wav"
    listed = events(tmp_path / "events.tsv", (f"{path}#1", 0.0, 1.0, "Dog"), (f"{path}#3", 0.0, 1.0, "Dog"))
    result = extract("--from", listed)
    assert result.exit_code == 1
    assert f"{path}#3: the recording has one channel; check that the events are those of it" in result.output
    assert [row["source"] for row in table(tmp_path)] == [f"{path}#1"]
