"""What sedkit chose or left out: warnings of the API, and lines on standard error of the commands."""

from __future__ import annotations

import io
import json
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import sedkit
from sedkit.cli import main
from sedkit.tagger import Tagger
from tests.conftest import make_sound
from tests.sedkit.audio.encoding import Audio, write

SOUND, OTHER = make_sound(4, seed=1), make_sound(4, seed=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film with two audio tracks, a recording whose channels cancel each other, and an ordinary one."""
    folder = tmp_path_factory.mktemp("notices")
    write(folder / "film.mkv", [Audio(SOUND, 16_000, "flac"), Audio(OTHER, 16_000, "flac", default=True)], video=4)
    soundfile.write(folder / "antiphase.wav", np.stack([SOUND, -SOUND], axis=1), 16_000)
    soundfile.write(folder / "plain.wav", SOUND, 16_000)
    return folder


@pytest.fixture
def run(model_path: Path):
    def run(*arguments: str | Path, code: int = 0, piped: bytes | None = None):
        result = CliRunner().invoke(main, [*map(str, arguments)], input=piped)
        assert result.exit_code == code, result.output
        return result

    return run


def test_warnings_of_the_api(tagger: Tagger, folder: Path):
    for method in (tagger.tag, tagger.timeline):
        with pytest.warns(sedkit.AudioWarning, match="has 2 audio tracks; sedkit analyses track 2") as caught:
            method(folder / "film.mkv")
        assert caught[0].filename == __file__
        with pytest.warns(sedkit.AudioWarning, match="the channels cancel each other at 0.0 s"):
            method(folder / "antiphase.wav")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tagger.tag(folder / "plain.wav")
        first = tagger.tag(folder / "film.mkv", track=1)
        left = tagger.tag(folder / "antiphase.wav", channel="left")
    assert [tag.score for tag in first.tags] == pytest.approx([tag.score for tag in left.tags], abs=0.01)


def test_warning_of_a_stream(tagger: Tagger):
    blocks = np.split(np.stack([SOUND, -SOUND], axis=1), 8)
    with pytest.warns(sedkit.AudioWarning, match="<stream>: the channels cancel"):
        list(tagger.stream(blocks, 16_000))


@pytest.mark.parametrize("command", ["tag", "timeline"])
def test_notices_of_the_commands(run, folder: Path, model_path: Path, command: str):
    result = run(command, folder, "--model", model_path, "--format", "json")
    assert sorted(line for line in result.stderr.splitlines() if line.startswith("sedkit: ")) == [
        f"sedkit: {folder}/antiphase.wav: the channels cancel each other at 0.0 s; sedkit takes the left channel "
        "there; choose one with --channel",
        f"sedkit: {folder}/film.mkv: has 2 audio tracks; sedkit analyses track 2; choose another one with --track",
    ]
    assert len(result.stdout.splitlines()) == 3
    piped = (folder / "antiphase.wav").read_bytes()
    assert "sedkit: -: the channels cancel" in run(command, "--model", model_path, piped=piped).stderr


def test_track_and_channel(run, folder: Path, model_path: Path):
    def tags(*options: str):
        result = run("tag", *options, "--model", model_path, "--format", "json")
        assert result.stderr == ""
        return {tag["label"]: tag["score"] for tag in json.loads(result.stdout)["tags"]}

    plain = pytest.approx(tags(f"{folder}/plain.wav"), abs=0.01)
    assert tags(f"{folder}/film.mkv", "--track", "1") == plain
    assert tags(f"{folder}/film.mkv", "--track", "2") != plain
    assert tags(f"{folder}/antiphase.wav", "--channel", "left") == plain
    assert tags(f"{folder}/antiphase.wav", "--channel", "1") == plain
    error = run("tag", f"{folder}/film.mkv", "--track", "3", "--model", model_path, code=1).stderr
    assert "has 2 audio tracks, no track 3; sedkit info lists them" in error
    error = run("tag", f"{folder}/plain.wav", "--channel", "right", "--model", model_path, code=1).stderr
    assert "has one channel, no channel 2; choose another --channel" in error
    assert "neither mix, left, right" in run("tag", "a.wav", "--channel", "both", code=2).stderr


def test_info_lists_the_tracks(run, folder: Path):
    text = run("info", folder / "film.mkv").stdout
    assert "track 1" in text
    assert "flac, 16000 Hz, 1 channel, default" in text
    (first, second) = json.loads(run("info", folder / "film.mkv", "--format", "json").stdout)["tracks"]
    assert (first["number"], first["default"], second["number"], second["default"]) == (1, False, 2, True)
    assert json.loads(run("info", folder / "plain.wav", "--format", "json").stdout)["tracks"] == []


def test_tagger_can_be_pickled(tagger: Tagger, model_path: Path):
    copy = pickle.loads(pickle.dumps(Tagger(model_path, "cpu", threads=1)))
    assert copy.model.path == model_path
    assert copy.model.threads == 1
    assert copy.tag(SOUND, 16_000) == tagger.tag(SOUND, 16_000)


def test_bytes_of_a_file(tagger: Tagger, folder: Path):
    content = (folder / "plain.wav").read_bytes()
    assert tagger.tag(content).tags == tagger.tag(folder / "plain.wav").tags
    with pytest.raises(sedkit.ArgumentError, match=r"numpy\.frombuffer"):
        tagger.tag(content, 16_000)
    assert tagger.tag(io.BytesIO(content)).tags == tagger.tag(folder / "plain.wav").tags
