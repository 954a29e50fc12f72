"""Pages as text: escaping, data, audio, links. ``test_html_browser.py`` uses them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sedkit.formats import FORMATS, format_of
from sedkit.formats.html import audio, tags_page, timeline_page
from sedkit.formats.html.data import common_folder
from sedkit.formats.options import FormatOptions
from sedkit.formats.writers import Run
from sedkit.results import Tag, Tagging
from tests.conftest import make_sound
from tests.sedkit.formats.html_fixtures import LABELS, make_timeline, write_sound

EVIL = "</script><script>alert(1)</script>\"'&\t<b>.wav"


class Page(HTMLParser):
    """The elements of a page: their tags with attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}  # by id, or by tag where there is none
        self.open = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open = dict(attrs).get("id") or tag

    def handle_endtag(self, tag):
        self.open = ""

    def handle_data(self, data):
        self.text[self.open] = self.text.get(self.open, "") + data

    @property
    def data(self):
        return json.loads(self.text["data"])


def page_of(timeline, path: Path | None = None, **options) -> Page:
    run = Run("events", [timeline.file], path=path, model="test", options=FormatOptions(**options))
    return Page(timeline_page(timeline, run))


def test_names_cannot_end_the_element_that_they_are_in():
    page = page_of(make_timeline(EVIL))
    assert [tag for tag, _ in page.elements].count("script") == 3
    assert not any(tag == "b" for tag, _ in page.elements)
    assert page.data["recording"]["file"] == EVIL
    assert page.data["labels"] == [[label.name, label.mid] for label in LABELS]


def test_an_undecodable_name_is_shown(tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    text = timeline_page(make_timeline(name), Run("events", [name]))
    assert "caf\\ufffd.wav" in text
    text.encode("utf-8")


def test_the_policy_allows_the_own_script_and_style_only():
    page = page_of(make_timeline("a.wav"))
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"https?:|unsafe|\*", policy)
    for name in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.text[name].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy


@pytest.mark.parametrize("name", ["timeline", "tags"])
def test_a_page_refers_to_nothing_outside(name):
    text = timeline_page(make_timeline("a.wav"), Run("events")) if name == "timeline" else tags_page([], Run("tags"))
    page = Page(text)
    assert not [(tag, a) for tag, a in page.elements if {"src", "href", "srcset", "action"} & set(a)]
    assert not re.search(r"@import|url\(", page.text["style"])
    assert not re.search(r"https?://|\bimport\b", page.text["script"])


def test_the_data_hold_events_scores_and_spectrogram():
    timeline = make_timeline("a.wav")
    data = page_of(timeline).data
    assert data["events"] == [[0.96, 2.88, 0, 0.9], [3.52, 4.8, 1, 0.7], [5.12, 7.04, 0, 0.55]]
    tracks = data["tracks"]
    scores = np.frombuffer(zlib.decompress(base64.b64decode(tracks["scores"])), np.uint8)
    np.testing.assert_array_equal(scores.reshape(len(tracks["classes"]), tracks["segments"]), timeline.overview.tracks)
    levels = zlib.decompress(base64.b64decode(data["spectrogram"]["levels"]))
    assert levels == timeline.overview.levels.tobytes()


def test_a_timeline_without_overview_or_events_has_a_page():
    data = page_of(make_timeline("a.wav", overview=False)).data
    assert data["tracks"]["classes"] == []
    assert len(data["events"]) == 3


def embedded(page: Page) -> bytes:
    return base64.b64decode(page.text.get("audio-data", ""))


def test_a_small_recording_is_embedded_and_a_large_one_linked(tmp_path, monkeypatch):
    sound = write_sound(tmp_path / "a b#.wav")
    (tmp_path / "pages").mkdir()
    path = tmp_path / "pages" / "a.html"
    page = page_of(make_timeline(sound), path)
    assert embedded(page) == sound.read_bytes()
    assert page.data["audio"] == {"url": None, "type": "audio/wav", "note": ""}
    monkeypatch.setattr(audio, "MOST_EMBEDDED", 1000)
    page = page_of(make_timeline(sound), path)
    assert page.data["audio"]["url"] == "../a%20b%23.wav"
    assert embedded(page) == b""


def test_audio_none_and_audio_link(tmp_path):
    sound = write_sound(tmp_path / "a.wav")
    assert page_of(make_timeline(sound), audio="none").data["audio"]["url"] is None
    assert embedded(page_of(make_timeline(sound), audio="none")) == b""
    assert page_of(make_timeline(sound), audio="link").data["audio"]["url"] == f"file://{sound}"


@pytest.mark.parametrize("choice", ["auto", "embed"])
def test_what_browsers_do_not_play_is_embedded_as_a_small_copy(tmp_path, choice):
    sound = tmp_path / "a.aiff"
    soundfile.write(sound, make_sound(3), 16_000)
    page = page_of(make_timeline(sound), audio=choice)
    assert page.data["audio"]["type"] == "audio/webm"
    copied = embedded(page)
    assert len(copied) < 20_000
    (tmp_path / "copy.webm").write_bytes(copied)
    import av

    with av.open(str(tmp_path / "copy.webm")) as container:
        assert container.duration / av.time_base == pytest.approx(3, abs=0.05)


def test_a_recording_that_cannot_be_read_again_has_a_page_without_audio(tmp_path):
    broken = tmp_path / "a.aiff"
    broken.write_bytes(b"FORM")
    assert page_of(make_timeline(broken)).data["audio"]["note"].startswith("The page has no audio: ")
    assert page_of(make_timeline("-")).data["audio"] == {"url": None, "type": "", "note": ""}


def test_tags_link_to_pages_of_timelines_and_otherwise_to_recordings(tmp_path):
    for name in ("x/a.wav", "x/b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_sound(tmp_path / name, 0.1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.html").write_text("")
    files = [str(tmp_path / "x" / name) for name in ("a.wav", "b.wav")] + ["-"]
    taggings = [Tagging(file, 0.1, (Tag("Dog", None, 0.5), Tag("Cat", None, 0.25 * n))) for n, file in enumerate(files)]
    run = Run("tags", files, path=tmp_path / "out" / "tags.html")
    rows = Page(tags_page(taggings[:2], run)).data["recordings"]
    assert [(row["name"], row["link"]) for row in rows] == [("a.wav", "a.html"), ("b.wav", "../x/b.wav")]
    data = Page(tags_page(taggings, run)).data
    assert data["classes"] == ["Dog", "Cat"]
    assert data["recordings"][2] == {
        "name": "standard input",
        "link": None,
        "duration": 0.1,
        "scores": [[0, 0.5], [1, 0.5]],
    }


def test_the_folder_of_all_recordings():
    assert common_folder(["x/y/a.wav", "x/y/z/b.wav"]) == os.path.join("x", "y", "")
    assert common_folder(["x/a.wav", "xy/b.wav"]) == ""
    assert common_folder(["/x/a.wav", "b.wav"]) == ""
    assert common_folder(["a.wav"]) == ""


def test_html_is_a_format():
    assert format_of("page.HTML") == "html"
    assert FORMATS["html"].single == ("events",)
