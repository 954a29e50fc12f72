"""Drawing: what a person sees in a terminal."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from sedkit.formats import terminal as draw
from sedkit.results import Event, Second, Tag, Tagging, Timeline


def timeline(duration: float, events: list[tuple[float, float, str, float]], cell: float = 1.0) -> Timeline:
    edges = np.append(np.arange(0, duration, cell), duration)
    seconds = tuple(
        Second(
            start, end, tuple(Tag(label, None, score) for on, off, label, score in events if on < end and off > start)
        )
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    )
    found = tuple(Event(on, off, label, None, score) for on, off, label, score in events)
    return Timeline("street.wav", duration, cell, seconds, found, np.zeros((len(seconds), 0), np.float32), ())


def drawn(what: RenderableType, width: int = 60, encoding: str = "utf-8", colour: bool = False) -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    system = "standard" if colour else None
    Console(file=stream, width=width, force_terminal=colour, color_system=system, no_color=False).print(what)
    stream.seek(0)
    return stream.read().splitlines()


STREET = timeline(10.0, [(0, 4, "Siren", 0.93), (6, 10, "Clock alarm", 0.4)])


def test_lanes():
    assert drawn(draw.Lanes(STREET), width=55) == [
        "street.wav  10.0 s",
        "Siren        ████████████████" + "·" * 24,  # 0.93 is in the highest eighth
        "Clock alarm  ························" + "▄" * 16,
        "             ┬───────┬───────┬───────┬───────┬───────" ,
        "             0       2       4       6       8 s",
        "",
        "   0.00 -  4.00  ■ Siren        0.93",
        "   6.00 - 10.00  ■ Clock alarm  0.40",
    ]  # fmt: skip


def test_lanes_in_ascii():
    lines = drawn(draw.Lanes(STREET), width=55, encoding="ascii")
    assert lines[1].rstrip() == "Siren        @@@@@@@@@@@@@@@@"
    assert lines[2] == "Clock alarm                          ================"
    assert lines[-1] == "   6.00 - 10.00  # Clock alarm  0.40"


def test_every_class_has_a_colour_of_its_own():
    lines = drawn(draw.Lanes(STREET), colour=True)
    assert "\x1b[36mSiren" in lines[1]
    assert "\x1b[33mClock alarm" in lines[2]


def test_nothing_above_the_threshold():
    assert drawn(draw.Lanes(timeline(3.0, []))) == ["street.wav  3.0 s", "  no class reaches its threshold"]


def test_a_long_recording_wraps_and_shows_in_each_system_what_is_there():
    lines = drawn(draw.Lanes(timeline(180.0, [(0, 10, "Siren", 0.9), (170, 180, "Rain", 0.9)])), width=80)
    assert sum("┬" in line for line in lines) == 3
    assert [line.split()[0] for line in lines if "█" in line] == ["Siren", "Rain"]
    assert any("1:00" in line.split() for line in lines)


def test_a_very_long_recording_is_compressed_and_loses_no_event():
    events = [(3600.0 * hour, 3600.0 * hour + 1, f"Class {hour}", 0.9) for hour in range(9)]
    lines = drawn(draw.Lanes(timeline(9 * 3600.0, events)), width=80)
    assert sum("┬" in line for line in lines) == draw.SYSTEMS
    lanes = [line for line in lines if line.startswith("Class")]
    assert [line.count("█") for line in lanes] == [1] * 9
    assert "  8:00:00.00 - 8:00:01.00  ■ Class 8  0.90" in lines


@pytest.mark.parametrize("cell", [0.32, 1.0, 7.0, 60.0])
@pytest.mark.parametrize("width", [10, 61, 120])
def test_every_cell_is_seen_in_some_column(cell: float, width: int):
    line = timeline(100.0, [], cell)
    cells = [Second(x.start, x.end, (Tag(str(i), None, 0.5),)) for i, x in enumerate(line.seconds)]
    columns = draw.columns(cells, 0.0, 50.0, width) + draw.columns(cells, 50.0, 50.0, width)
    assert all(columns)
    assert set().union(*columns) == {str(i) for i in range(len(cells))}


def test_many_events_are_cut_short_and_counted():
    lines = drawn(draw.Lanes(timeline(100.0, [(x, x + 0.5, "Dog", 0.9) for x in range(100)])), width=100)
    assert sum("■" in line for line in lines) == draw.MOST_EVENTS
    assert lines[-1] == "  and 60 more events: --format tsv lists them all"


@pytest.mark.parametrize("width", [30, 40, 60, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_nothing_is_wider_than_the_terminal(width: int, encoding: str):
    label = "A class with quite a long name, or two"
    tagging = Tagging("some/where/deep/below/recording.wav", 5.0, (Tag(label, None, 0.9), Tag("Dog", None, 0.2)))
    for what in (
        draw.Lanes(timeline(4000.0, [(0, 3999, label, 0.9), (100, 200, "Dog", 0.3)])),
        draw.TagBars(tagging),
        draw.TagLine(tagging, [tagging.file] * 2),
    ):
        assert max(cell_len(line) for line in drawn(what, width, encoding)) <= width


def test_bars():
    tagging = Tagging("dog.wav", 5.0, (Tag("Dog", None, 1.0), Tag("Rain", None, 0.5), Tag("Siren", None, 0.0)))
    assert drawn(draw.TagBars(tagging)) == [
        "dog.wav  5.0 s",
        "  Dog    ████████████████████  1.00",
        "  Rain   ██████████            0.50",
        "  Siren                        0.00",
    ]
    assert drawn(draw.TagBars(Tagging("dog.wav", 61.0, ()))) == ["dog.wav  1:01", "  no class scores high enough"]


def test_lines_align_and_keep_the_end_of_long_names():
    tags = (Tag("Dog", None, 0.97), Tag("Baby cry, infant cry", None, 0.5), Tag("Siren", None, 0.1))
    names = ["a.wav", "a/very/long/path/of/folders/to/b.wav"]
    first, second = (drawn(draw.TagLine(Tagging(name, 5.0, tags), names), width=60)[0] for name in names)
    assert second.startswith("…")
    assert first.index("Dog") == second.index("Dog")
    assert "b.wav  Dog 0.97" in second


def test_control_characters_of_a_file_name_do_not_reach_the_terminal():
    (line,) = drawn(draw.TagLine(Tagging("a\x1b[31m\nb.wav", 1.0, ()), ["x"] * 20))
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("seconds", "reach", "digits", "text"),
    [
        (7, 59, 0, "7"),
        (59.99, 70, 0, "1:00"),
        (67.5, 3599, 2, "1:07.50"),
        (3661, 7200, 0, "1:01:01"),
        (0.5, 3, 1, "0.5"),
    ],
)
def test_clock(seconds: float, reach: float, digits: int, text: str):
    assert draw.clock(seconds, reach, digits) == text
