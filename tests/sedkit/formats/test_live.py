"""The timeline that rolls by, as a person sees it."""

from __future__ import annotations

import io

from rich.console import Console

from sedkit.formats.live import MOST_EVENTS, Rolling
from sedkit.results import Event, Second, Tag


def drawn(view: Rolling, width: int = 60, height: int = 24, encoding: str = "utf-8") -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=stream, width=width, height=height).print(view)
    stream.seek(0)
    return stream.read().splitlines()


def second(start: int, *labels: str, score: float = 0.93) -> Second:
    return Second(float(start), start + 1.0, tuple(Tag(label, None, score) for label in labels))


def test_before_anything_is_known():
    assert drawn(Rolling("Built-in microphone")) == ["Built-in microphone  0.0 s"]


def test_a_lane_a_class_and_the_latest_events():
    view = Rolling("-")
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


def test_it_rolls():
    view = Rolling("-")
    for start in range(300):
        view.add(second(start, "Siren") if start % 100 == 50 else second(start))
    lines = drawn(view, width=60)
    assert lines[0] == "standard input  5:00"
    assert lines[1].count("█") == 1  # that of 2:30 has gone
    assert "4:10" in lines[3]
    view.notice = "sound was lost at 4:55"
    assert drawn(view)[-1] == "  sound was lost at 4:55"


def test_silence_says_so():
    view = Rolling("-")
    view.add(second(0))
    assert "  no class reaches its threshold" in drawn(view)


def test_it_fits_the_terminal():
    view = Rolling("-")
    for start in range(40):
        view.add(second(start, f"Class {start}", f"A class with a rather long name {start}"))
        view.add(Event(start, start + 1.0, f"Class {start}", None, 0.9))
    for width, height in ((20, 12), (60, 24), (200, 60)):
        lines = drawn(view, width, height)
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        assert len([line for line in lines if "■" in line]) == MOST_EVENTS
        assert lines[1].startswith("Class")
