"""Captions: their words, their length, their place between dialogue, and the two formats."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.errors import OutputError
from sedkit.formats import captions
from sedkit.formats.captions import Caption, between, caption_text, captions_of, read_subtitles, wording
from sedkit.results import Event
from tests.sedkit.formats.results import BABIES, DOG, timeline, write

LABELS = [
    "Dog",
    "Music",
    "Speech",
    "Vehicle horn, car horn, honking",
    "A class that nobody has a short name for at all",
]
CUE = re.compile(r"(?:(\d\d+):)?(\d\d):(\d\d)\.(\d{3}) --> (?:(\d\d+):)?(\d\d):(\d\d)\.(\d{3})$")


def event(onset: float, offset: float, label: str = "Dog", score: float = 0.9) -> Event:
    return Event(onset, offset, label, None, score)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("Dog", "dog barks"),
        ("Baby cry, infant cry", "baby cries"),
        ("Fire engine, fire truck (siren)", "fire engine siren wails"),
        ("Marimba, xylophone", "marimba"),
        ("Christmas music", "Christmas music"),
        ("Kettle (mine)", "kettle"),
        ("(odd)", "(odd)"),
    ],
)
def test_words_for_a_class(label: str, words: str):
    assert wording(label) == words


def test_table_of_words_has_each_class_once_and_only_where_the_rule_says_something_else():
    table = Path(captions.__file__).with_name("caption_wording.tsv").read_text(encoding="utf-8")
    header, *rows = [line.split("\t") for line in table.splitlines()]
    assert header == ["class", "caption"]
    assert len({label for label, _ in rows}) == len(rows)
    for label, words in rows:
        assert 0 < len(f"[{words}]") <= 37
        assert words != captions.plain_name(label)


def test_short_events_last_a_second():
    assert captions_of([event(2.0, 2.1)], 10) == [Caption(2000, 3000, "[dog barks]")]
    assert captions_of([event(9.9, 10.0)], 10) == [Caption(9000, 10000, "[dog barks]")]
    assert captions_of([event(0.0, 0.2)], 0.2) == [Caption(0, 1000, "[dog barks]")]


def test_sounds_at_the_same_time_are_in_one_caption():
    assert captions_of([event(0, 10, "Music"), event(4, 6)], 10) == [
        Caption(0, 4000, "[music plays]"),
        Caption(4000, 6000, "[music plays, dog barks]"),
        Caption(6000, 10000, "[music plays]"),
    ]
    assert captions_of([event(1, 5, "Dog"), event(1.5, 5.5, "Siren")], 10) == [
        Caption(1000, 5500, "[dog barks, siren wails]")
    ]


def test_sounds_with_the_same_words_are_one_caption():
    assert captions_of([event(0, 2, "Dog"), event(2, 4, "Bark")], 10) == [Caption(0, 4000, "[dog barks]")]


def test_long_text_is_broken_and_the_lowest_scores_make_room():
    names = ["Fire engine, fire truck (siren)", "Helicopter", "Children shouting", "Thunder", "Baby cry, infant cry"]
    events = [event(0, 5, name, 0.9 - number / 10) for number, name in enumerate(names)]
    assert caption_text(events) == "[fire engine siren wails, helicopter\nflies over, children shout]"
    assert caption_text([event(0, 1, "x" * 100)]) == "[" + "x" * 36 + "\n" + "x" * 37


def test_style():
    assert captions_of([event(0, 2)], 10, "({})")[0].text == "(dog barks)"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda onset, length, label, score: event(onset / 100, (onset + length) / 100, label, score),
            st.integers(0, 3000),
            st.integers(0, 1500),
            st.sampled_from(LABELS),
            st.floats(0, 1),
        ),
        max_size=12,
    )
)
def test_captions_are_long_enough_in_order_and_short_lines(events: list[Event]):
    captions = captions_of(events, 45.0)
    assert all(caption.end - caption.start >= 1000 for caption in captions)
    assert all(first.end <= second.start for first, second in pairwise(captions))
    for caption in captions:
        lines = caption.text.split("\n")
        assert len(lines) <= 2
        assert max(map(len, lines)) <= 37
    for sound in events:  # every event has a caption at about its time
        assert any(c.start < sound.offset * 1000 + 1000 and c.end > sound.onset * 1000 - 1000 for c in captions)


HELLO, BYE = Caption(1000, 3000, "Hello."), Caption(5000, 7000, "Good\nbye.")


def test_captions_go_between_the_lines():
    assert between([Caption(2000, 6000, "[x]")], [HELLO, BYE]) == [HELLO, Caption(3000, 5000, "[x]"), BYE]
    assert between([Caption(0, 9000, "[x]")], [HELLO, BYE]) == [Caption(0, 1000, "[x]"), HELLO, BYE]
    assert between([Caption(8000, 9500, "[x]")], [BYE, HELLO]) == [HELLO, BYE, Caption(8000, 9500, "[x]")]


def test_captions_without_a_free_second_go_above_a_line():
    assert between([Caption(1500, 2500, "[x]")], [HELLO]) == [Caption(1000, 3000, "[x]\nHello.")]
    assert between([Caption(5500, 6500, "[x]")], [BYE]) == [BYE, Caption(5500, 6500, "[x]")]
    both = [Caption(1500, 2500, "[x]"), Caption(2000, 3100, "[y]")]
    assert between(both, [HELLO]) == [Caption(1000, 3000, "[x]\nHello."), Caption(2000, 3100, "[y]")]


DIALOGUE = "1\n00:00:00,500 --> 00:00:00,900\n<i>Hi</i> {you} & me\n\n2\n00:01:00,000 --> 00:01:02,000\nA\n\nB\n\n"


def test_dialogue_stays_as_it_is(tmp_path: Path):
    dialogue = tmp_path / "dialogue.srt"
    dialogue.write_bytes(DIALOGUE.encode() + b"3\n00:02:00,000 --> 00:02:01,000\ncaf\xe9\n")
    path = write(tmp_path / "film.srt", "srt", timeline("film.mkv", BABIES), merge=str(dialogue))
    assert path.read_bytes().decode("latin-1") == (
        "1\n00:00:00,500 --> 00:00:00,900\n<i>Hi</i> {you} & me\n\n"
        "2\n00:00:01,000 --> 00:00:04,125\n[baby cries]\n\n"
        "3\n00:01:00,000 --> 00:01:02,000\nA\nB\n\n"
        "4\n00:02:00,000 --> 00:02:01,000\ncaf\xe9\n\n"
    )
    path = write(tmp_path / "film.vtt", "vtt", timeline("film.mkv", BABIES), merge=str(dialogue))
    assert "<i>Hi</i> {you} &amp; me\n" in path.read_text(errors="surrogateescape")


MARKED = r'<font color="#ff0000">Red</font> {\an8}top <I>it</I> <laughs>'


def test_markup_of_srt_is_no_text_in_webvtt(tmp_path: Path):
    dialogue = tmp_path / "dialogue.srt"
    dialogue.write_text(f"1\n00:00:00,500 --> 00:00:00,900\n{MARKED}\n")
    path = write(tmp_path / "film.vtt", "vtt", timeline("film.mkv"), merge=str(dialogue))
    assert path.read_text().endswith("\nRed top <i>it</i> &lt;laughs&gt;\n\n")
    path = write(tmp_path / "film.srt", "srt", timeline("film.mkv"), merge=str(dialogue))
    assert path.read_text().endswith(f"\n{MARKED}\n\n")


ASS = r"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\i1}Hello{\i0} there{\pos(10,20)}\hfriend{a note}
Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\p1}m 0 0 l 100 0{\p0}
Dialogue: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,{\b700\bord2}A{\i1}B{\b0}\NC{\r}D & E
"""


@pytest.mark.parametrize(("form", "ampersand"), [("srt", "&"), ("vtt", "&amp;")])
def test_markup_of_ass_becomes_tags(tmp_path: Path, form: str, ampersand: str):
    dialogue = tmp_path / "dialogue.ass"
    dialogue.write_text(ASS)
    path = write(tmp_path / f"film.{form}", form, timeline("film.mkv"), merge=str(dialogue))
    texts = re.findall(r"-->.*\n((?:.+\n)+)", path.read_text())
    assert texts == ["<i>Hello</i> there friend\n", f"<b>A</b><b><i>B</i></b><i>\nC</i>D {ampersand} E\n"]


WEBVTT = """WEBVTT a title

STYLE
::cue(v) { color: red }

NOTE for the editor

intro
00:00.000 --> 00:02.500 align:start line:0
<v Bob>Hi &amp; <i.loud>bye</i></v>
caf\udce9

1
01:00:00.000 --> 01:00:01.000
<00:19.000>1 &lt; 2

noon --> 01:00:02.000
times that no browser reads
"""


def test_webvtt_keeps_its_formatting_in_webvtt(tmp_path: Path):
    dialogue = tmp_path / "dialogue.vtt"
    dialogue.write_text(WEBVTT, errors="surrogateescape")
    path = write(tmp_path / "film.vtt", "vtt", timeline("film.mkv", event(4, 6, "A & b")), merge=str(dialogue))
    head, note, style, *blocks = path.read_text(errors="surrogateescape").rstrip().split("\n\n")
    assert (head, style) == ("WEBVTT", "STYLE\n::cue(v) { color: red }")
    assert note.startswith("NOTE Sounds found by")
    assert blocks == [
        "intro\n00:00:00.000 --> 00:00:02.500 align:start line:0\n<v Bob>Hi &amp; <i.loud>bye</i></v>\ncaf\udce9",
        "00:00:04.000 --> 00:00:06.000\n[a &amp; b]",
        "1\n01:00:00.000 --> 01:00:01.000\n<00:19.000>1 &lt; 2",
    ]


def test_webvtt_is_plain_text_in_srt(tmp_path: Path):
    dialogue = tmp_path / "dialogue.vtt"
    dialogue.write_text(WEBVTT, errors="surrogateescape")
    path = write(tmp_path / "film.srt", "srt", timeline("film.mkv", event(4, 6)), merge=str(dialogue))
    assert path.read_text(errors="surrogateescape").split("\n\n")[:-1] == [
        "1\n00:00:00,000 --> 00:00:02,500\nHi & <i>bye</i>\ncaf\udce9",
        "2\n00:00:04,000 --> 00:00:06,000\n[dog barks]",
        "3\n01:00:00,000 --> 01:00:01,000\n1 < 2",
    ]


def test_what_is_no_subtitle_file_is_named(tmp_path: Path):
    with pytest.raises(OutputError, match=r"none\.srt: cannot be read: No such file"):
        read_subtitles(tmp_path / "none.srt")
    (tmp_path / "notes.txt").write_text("no subtitles")
    with pytest.raises(OutputError, match=r"notes\.txt: not readable as subtitles .*; convert it to SRT"):
        read_subtitles(tmp_path / "notes.txt")
    (tmp_path / "empty.srt").touch()
    assert read_subtitles(tmp_path / "empty.srt") == []


def test_srt_in_pysubs2(tmp_path: Path):
    import pysubs2

    path = write(tmp_path / "a.srt", "srt", timeline("a.wav", DOG, BABIES, duration=4000.0))
    lines = pysubs2.load(str(path))
    assert [(line.start, line.end, line.plaintext) for line in lines] == [
        (250, 1500, "[dog barks, baby cries]"),
        (1500, 4125, "[baby cries]"),
    ]


def cues(text: str) -> list[tuple[float, float, str]]:
    """Parse WebVTT as far as https://www.w3.org/TR/webvtt1/#file-parsing asks for files without styles."""
    header, *blocks = re.split(r"\n\n+", text.strip("\n"))
    assert header == "WEBVTT"
    found = []
    for block in blocks:
        first, *rest = block.split("\n")
        if first.startswith("NOTE"):
            assert "-->" not in block
            continue
        match = CUE.match(first)
        assert match, block
        start, end = (
            int(h or 0) * 3600 + int(m) * 60 + int(s) + int(ms) / 1000
            for h, m, s, ms in (match.groups()[:4], match.groups()[4:])
        )
        assert start < end
        assert not re.search(r"-->|&(?!amp;|lt;|gt;)|<(?!/?[biu]>)", "\n".join(rest))
        found.append((start, end, "\n".join(rest)))
    return found


def test_webvtt(tmp_path: Path):
    sounds = event(3601.5, 3605.0, "Mine & <yours> --> x")
    text = write(tmp_path / "a.vtt", "vtt", timeline("a.wav", sounds, duration=4000.0)).read_text()
    assert cues(text) == [(3601.5, 3605.0, "[mine &amp; &lt;yours&gt; --&gt; x]")]
    assert "NOTE Sounds found by demo, sedkit " in text
    assert cues(write(tmp_path / "b.vtt", "vtt", timeline("b.wav")).read_text()) == []


def test_a_caption_starts_with_its_sound_after_a_short_pause():
    captions = captions_of([event(0.64, 2.18, "Knock"), event(3.14, 7.04, "Siren")], 8.0)
    assert [(caption.start, caption.end) for caption in captions] == [(640, 2180), (3140, 7040)]


def test_a_sound_that_joins_at_the_end_of_another_starts_its_own_caption():
    captions = captions_of([event(0, 3.4, "Rain"), event(3, 6, "Dog")], 8.0)
    assert [(caption.start, caption.end) for caption in captions] == [(0, 3000), (3000, 6000)]
