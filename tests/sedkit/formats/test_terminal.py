"""sedkit.formats.terminal: the lines that a terminal shows."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from sedkit.formats import terminal
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
    assert drawn(terminal.Lanes(STREET), width=55) == [
        "street.wav  10.0 s",
        "Siren        ████████████████" + "·" * 24,  # 0.93 has the highest of eight levels
        "Clock alarm  ························" + "▄" * 16,
        "             ┬───────┬───────┬───────┬───────┬───────" ,
        "             0       2       4       6       8 s",
        "",
        "   0.00 -  4.00  ■ Siren        0.93",
        "   6.00 - 10.00  ■ Clock alarm  0.40",
    ]  # fmt: skip


def test_lanes_in_ascii():
    lines = drawn(terminal.Lanes(STREET), width=55, encoding="ascii")
    assert lines[1].rstrip() == "Siren        @@@@@@@@@@@@@@@@"
    assert lines[2] == "Clock alarm                          ================"
    assert lines[-1] == "   6.00 - 10.00  # Clock alarm  0.40"


def test_colours_of_classes():
    lines = drawn(terminal.Lanes(STREET), colour=True)
    assert "\x1b[36mSiren" in lines[1]
    assert "\x1b[33mClock alarm" in lines[2]


def test_no_class_present():
    assert drawn(terminal.Lanes(timeline(3.0, []))) == ["street.wav  3.0 s", "  no class reaches its threshold"]


def test_long_recording_wraps():
    lines = drawn(terminal.Lanes(timeline(180.0, [(0, 10, "Siren", 0.9), (170, 180, "Rain", 0.9)])), width=80)
    assert sum("┬" in line for line in lines) == 3
    assert [line.split()[0] for line in lines if "█" in line] == ["Siren", "Rain"]
    assert any("1:00" in line.split() for line in lines)


def test_very_long_recording_is_compressed_and_shows_every_event():
    events = [(3600.0 * hour, 3600.0 * hour + 1, f"Class {hour}", 0.9) for hour in range(9)]
    lines = drawn(terminal.Lanes(timeline(9 * 3600.0, events)), width=80)
    assert sum("┬" in line for line in lines) == terminal.MAX_SYSTEMS
    lanes = [line for line in lines if line.startswith("Class")]
    assert [line.count("█") for line in lanes] == [1] * 9
    assert "  8:00:00.00 - 8:00:01.00  ■ Class 8  0.90" in lines


@pytest.mark.parametrize("cell", [0.32, 1.0, 7.0, 60.0])
@pytest.mark.parametrize("width", [10, 61, 120])
def test_every_cell_is_in_a_column(cell: float, width: int):
    line = timeline(100.0, [], cell)
    cells = [Second(x.start, x.end, (Tag(str(i), None, 0.5),)) for i, x in enumerate(line.seconds)]
    columns = terminal.columns(cells, 0.0, 50.0, width) + terminal.columns(cells, 50.0, 50.0, width)
    assert all(columns)
    assert set().union(*columns) == {str(i) for i in range(len(cells))}


def test_list_of_events_is_limited():
    lines = drawn(terminal.Lanes(timeline(100.0, [(x, x + 0.5, "Dog", 0.9) for x in range(100)])), width=100)
    assert sum("■" in line for line in lines) == terminal.MAX_EVENTS
    assert lines[-1] == "  and 60 more events: --format tsv lists them all"


@pytest.mark.parametrize("width", [30, 40, 60, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_fits_the_width_of_the_terminal(width: int, encoding: str):
    label = "A class with quite a long name, or two"
    tagging = Tagging("some/where/deep/below/recording.wav", 5.0, (Tag(label, None, 0.9), Tag("Dog", None, 0.2)))
    for what in (
        terminal.Lanes(timeline(4000.0, [(0, 3999, label, 0.9), (100, 200, "Dog", 0.3)])),
        terminal.TagBars(tagging),
        terminal.TagLine(tagging, [tagging.file] * 2),
    ):
        assert max(cell_len(line) for line in drawn(what, width, encoding)) <= width


def test_bars():
    tagging = Tagging("dog.wav", 5.0, (Tag("Dog", None, 1.0), Tag("Rain", None, 0.5), Tag("Siren", None, 0.0)))
    assert drawn(terminal.TagBars(tagging)) == [
        "dog.wav  5.0 s",
        "  Dog    ████████████████████  1.00",
        "  Rain   ██████████            0.50",
        "  Siren                        0.00",
    ]
    assert drawn(terminal.TagBars(Tagging("dog.wav", 61.0, ()))) == [
        "dog.wav  1:01",
        "  nothing heard: no class scores high enough",
    ]


def test_tag_lines_align_and_keep_the_end_of_long_names():
    tags = (Tag("Dog", None, 0.97), Tag("Baby cry, infant cry", None, 0.5), Tag("Siren", None, 0.1))
    names = ["a.wav", "a/very/long/path/of/folders/to/b.wav"]
    first, second = (drawn(terminal.TagLine(Tagging(name, 5.0, tags), names), width=60)[0] for name in names)
    assert second.startswith("…")
    assert first.index("Dog") == second.index("Dog")
    assert "b.wav  Dog 0.97" in second


def test_control_characters_in_file_names_are_replaced():
    (line,) = drawn(terminal.TagLine(Tagging("a\x1b[31m\nb.wav", 1.0, ()), ["x"] * 20))
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
    assert terminal.clock(seconds, reach, digits) == text
