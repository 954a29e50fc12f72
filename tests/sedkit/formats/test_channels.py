"""Results of the channels of a recording, as other programs get them: the real file, and the number of the channel."""

from __future__ import annotations

import copy
import csv
import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sedkit.audio.prefetch import ChannelName, channel_of, parsed_name, path_of
from sedkit.audio.reading import open_audio
from sedkit.formats.html import tags_page
from sedkit.formats.reading import read_annotations
from sedkit.formats.writers import Run
from sedkit.results import Tag
from tests.conftest import make_sound
from tests.sedkit.formats.results import BABIES, DOG, MINE, tagging, timeline, write
from tests.sedkit.formats.test_html import Page, embedded, page_of


@pytest.fixture
def talk(tmp_path: Path) -> str:
    path = tmp_path / "talk.wav"
    soundfile.write(path, np.stack([0.01 * make_sound(2, seed=1), make_sound(2, seed=2)], axis=1), 16_000)
    return str(path)


def both(talk: str):
    """The timelines of both channels."""
    return timeline(ChannelName(talk, 1), DOG, MINE), timeline(ChannelName(talk, 2), BABIES)


def rows(path: Path, delimiter: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text()), delimiter=delimiter))


def test_names(talk: str, tmp_path: Path):
    name = parsed_name(f"{talk}#2")
    assert (name, path_of(name), channel_of(name)) == (f"{talk}#2", talk, 2)
    for same in (pickle.loads(pickle.dumps(name)), copy.deepcopy(name)):
        assert (same, path_of(same), channel_of(same)) == (name, talk, 2)
    assert path_of(parsed_name("else\nwhere.wav#12")) == "else\nwhere.wav"
    Path(f"{talk}#1").touch()
    for whole in (f"{talk}#1", talk, "take#2", "a.wav#0", "a.wav#02", "a.wav#x", "#1"):
        assert (path_of(parsed_name(whole)), channel_of(parsed_name(whole))) == (whole, None)
    (tmp_path / "raw").touch()
    assert channel_of(parsed_name(str(tmp_path / "raw#1"))) == 1


def test_raven(talk: str, tmp_path: Path):
    last = timeline(str(tmp_path / "z.wav"), DOG)
    table = rows(write(tmp_path / "a.selections.txt", "raven", *both(talk), last), "\t")
    assert [row["Channel"] for row in table] == ["1", "1", "2", "1"]
    assert {row["Begin Path"] for row in table[:3]} == {talk}
    assert {row["Begin File"] for row in table[:3]} == {"talk.wav"}
    assert [float(row["Begin Time (s)"]) for row in table] == [0.25, 4.5, 1.0, 5.25]
    assert [float(row["File Offset (s)"]) for row in table] == [0.25, 4.5, 1.0, 0.25]


def test_kaleidoscope(talk: str, tmp_path: Path):
    table = rows(write(tmp_path / "a.kaleidoscope.csv", "kaleidoscope", *both(talk)), ",")
    assert [row["CHANNEL"] for row in table] == ["0", "0", "1"]
    assert {os.path.join(row["INDIR"], row["FOLDER"], row["IN FILE"]) for row in table} == {talk}


def test_elan(talk: str, tmp_path: Path):
    text = write(tmp_path / "a.eaf", "elan", both(talk)[1]).read_text()
    assert 'MIME_TYPE="audio/x-wav"' in text
    (found,) = read_annotations(tmp_path / "a.eaf")
    assert found.file == talk


def test_rttm(talk: str, tmp_path: Path):
    lines = write(tmp_path / "a.rttm", "rttm", *both(talk)).read_text().splitlines()
    assert [line.split()[1:3] for line in lines] == [[talk, "1"], [talk, "1"], [talk, "2"]]


def test_jams(talk: str, tmp_path: Path):
    path = write(tmp_path / "a.jams", "jams", both(talk)[1])
    about = json.loads(path.read_text())["file_metadata"]
    assert (about["title"], about["identifiers"]) == (talk, {"channel": 2})
    (found,) = read_annotations(path)
    assert (found.file, found.events[0].label) == (f"{talk}#2", BABIES.label)


def test_label_studio(talk: str, tmp_path: Path):
    path = write(tmp_path / "a.json", "label-studio", *both(talk))
    tasks = json.loads(path.read_text())
    assert {task["data"]["audio"] for task in tasks} == {f"/data/local-files/?d={talk.lstrip('/')}"}
    assert [task["predictions"][0]["result"][0]["value"]["channel"] for task in tasks] == [0, 1]
    assert [found.file for found in read_annotations(path)] == [f"{talk}#1", f"{talk}#2"]


def test_page_plays_the_channel_or_links_to_the_recording(talk: str, tmp_path: Path):
    levels = []
    channels = [timeline(ChannelName(talk, number), DOG) for number in (1, 2)]
    for one in channels:
        page = page_of(one)
        assert page.data["recording"]["name"] == page.data["recording"]["stem"] == os.path.basename(one.file)
        assert page.data["audio"] == {"url": None, "type": "audio/webm", "note": ""}
        with open_audio(io.BytesIO(embedded(page))) as stream:
            levels.append(np.sqrt(np.mean(np.concatenate(list(stream)) ** 2)))
    assert levels[1] > 50 * levels[0]
    page = page_of(channels[1], tmp_path / "a.html", audio="link")
    assert page.data["audio"]["url"] == "talk.wav"


def test_page_of_tags_leads_to_the_page_of_the_channel_or_to_the_recording(talk: str, tmp_path: Path):
    taggings = [tagging(ChannelName(talk, number), Tag("Dog", None, 0.8)) for number in (1, 2)]
    Path(f"{talk}#2.html").touch()
    page = Page(tags_page(taggings, Run("tags", path=tmp_path / "tags.html")))
    assert [row["link"] for row in page.data["recordings"]] == ["talk.wav", "talk.wav%232.html"]
    assert [row["name"] for row in page.data["recordings"]] == ["talk.wav#1", "talk.wav#2"]


@pytest.mark.parametrize("name", ["json", "csv", "tsv", "parquet", "arrow", "dcase"])
def test_names_stay_where_nothing_opens_the_file(talk: str, tmp_path: Path, name: str):
    ending = {"arrow": "arrow", "parquet": "parquet", "json": "json"}.get(name, "tsv" if name != "csv" else "csv")
    found = [each.file for each in read_annotations(write(tmp_path / f"a.{ending}", name, *both(talk)))]
    assert [os.path.basename(file) for file in found] == ["talk.wav#1", "talk.wav#2"]
