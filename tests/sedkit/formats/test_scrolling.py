"""sedkit.formats.scrolling: the lines that a terminal shows."""

from __future__ import annotations

import io

from rich.console import Console

from sedkit.formats.scrolling import MAX_EVENTS, ScrollingLanes
from sedkit.results import Event, Onset, Second, Tag


def drawn(view: ScrollingLanes, width: int = 60, height: int = 24, encoding: str = "utf-8") -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=stream, width=width, height=height).print(view)
    stream.seek(0)
    return stream.read().splitlines()


def second(start: int, *labels: str, score: float = 0.93) -> Second:
    return Second(float(start), start + 1.0, tuple(Tag(label, None, score) for label in labels))


def test_without_cells():
    assert drawn(ScrollingLanes("Built-in microphone")) == ["Built-in microphone  0.0 s"]


def test_lanes_and_latest_events():
    view = ScrollingLanes("-")
    for start in range(10):
        view.add(second(start, *(["Siren"] if start < 4 else []), *(["Clock alarm"] if start > 5 else []), score=0.95))
    view.add(Event(0.0, 4.16, "Siren", None, 0.95))
    assert drawn(view, width=35) == [
        "standard input  10.0 s",
        "Siren        ████······",
        "Clock alarm  ······████",
        "             ┬────┬────┬────┬────",
        "             0    5    10   15 s",
        "   0.00 -  4.16  ■ Siren  0.95",
    ]
    assert drawn(view, width=35, encoding="ascii")[1].rstrip() == "Siren        @@@@"


def test_old_cells_scroll_out():
    view = ScrollingLanes("-")
    for start in range(300):
        view.add(second(start, "Siren") if start % 100 == 50 else second(start))
    lines = drawn(view, width=60)
    assert lines[0] == "standard input  5:00"
    assert lines[1].count("█") == 1  # the one at 2:30 has scrolled out
    assert "4:10" in lines[3]
    view.notice = "sound was lost at 4:55"
    assert drawn(view)[-1] == "  sound was lost at 4:55"


def test_onset_is_listed_until_its_event_takes_its_place():
    view = ScrollingLanes("-")
    view.add(second(0, "Siren"))
    view.add(Onset(0.5, "Siren", None, 0.7))
    view.add(Onset(0.7, "Dog", None, 0.8))
    assert [line.split("■")[0].split() for line in drawn(view) if "■" in line] == [["0.50", "-"], ["0.70", "-"]]
    view.add(Event(0.5, 1.5, "Siren", None, 0.9))
    lines = [line.split() for line in drawn(view) if "■" in line]
    assert lines == [["0.50", "-", "1.50", "■", "Siren", "0.90"], ["0.70", "-", "■", "Dog", "0.80"]]


def test_no_class_present():
    view = ScrollingLanes("-")
    view.add(second(0))
    assert "  no class reaches its threshold" in drawn(view)


def test_fits_the_terminal():
    view = ScrollingLanes("-")
    for start in range(40):
        view.add(second(start, f"Class {start}", f"A class with a rather long name {start}"))
        view.add(Event(start, start + 1.0, f"Class {start}", None, 0.9))
    for width, height in ((20, 12), (60, 24), (200, 60)):
        lines = drawn(view, width, height)
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        assert len([line for line in lines if "■" in line]) == MAX_EVENTS
        assert lines[1].startswith("Class")
