"""Pictures of results: what is drawn, in which files, and HTML for notebooks."""

from __future__ import annotations

import io
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from sedkit.errors import SedkitError
from sedkit.formats import FORMATS
from sedkit.formats.lanes import lanes_of, segment_edges, time_step
from sedkit.formats.writers import Run
from sedkit.results import Event, Second, Tag, Tagging
from tests.sedkit.formats.html_fixtures import make_timeline

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
TAGGING = Tagging("a.wav", 5.0, (Tag("Dog", "/m/0bt9lr", 0.9), Tag("Rain <i>", None, 0.2)))


def texts(axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_a_timeline_is_a_spectrogram_above_lanes_on_one_time_axis():
    spectrogram, lanes = make_timeline("a.wav").plot().axes
    assert spectrogram.images[0].get_array().shape == (48, 500)
    assert texts(lanes) == ["Speech", "Dog"]
    assert spectrogram.get_xlim() == lanes.get_xlim() == (0, 10)
    boxes = [box.get_extents() for group in lanes.collections for box in group.get_paths() if len(box.vertices) == 5]
    assert {(round(box.x0, 2), round(box.x1, 2)) for box in boxes} >= {(0.96, 2.88), (3.52, 4.8), (5.12, 7.04)}
    assert spectrogram.get_title(loc="left") == "a.wav   10.0 s"


def test_without_an_overview_lanes_are_drawn_from_the_grid():
    timeline = make_timeline("a.wav", overview=False)
    cells = tuple(
        Second(float(start), start + 1.0, (Tag("Dog", None, 0.7),) if start in (3, 4) else ()) for start in range(10)
    )
    (lanes,) = replace(timeline, seconds=cells).plot().axes
    assert texts(lanes) == ["Speech", "Dog"]
    dog = lanes_of(replace(timeline, seconds=cells), 5)[1]
    np.testing.assert_allclose(dog.scores, [0, 0, 0, 0.7, 0.7, 0, 0, 0, 0, 0])


def test_the_height_follows_the_number_of_classes_and_the_width_the_length():
    timeline = make_timeline("a.wav")
    one = replace(timeline, events=timeline.events[:1]).plot().get_size_inches()
    two = timeline.plot().get_size_inches()
    long = replace(timeline, duration=10_800.0).plot().get_size_inches()
    assert two[1] == pytest.approx(one[1] + 0.34)
    assert one[0] == pytest.approx(9.0, abs=0.1)
    assert long[0] == pytest.approx(14.0)


@pytest.mark.parametrize(("duration", "step"), [(1, 0.1), (10, 1), (60, 5), (600, 60), (10_800, 900), (86_400, 7200)])
def test_there_are_about_twelve_ticks(duration, step):
    assert time_step(duration, 12) == step


def test_many_classes_show_those_that_are_present_longest():
    events = [Event(n, n + 0.1 + 0.01 * n, name, None, 0.5) for n, name in enumerate(("Siren", "Dog", "Speech"))]
    lanes = lanes_of(replace(make_timeline("a.wav", overview=False), events=tuple(events)), 2)
    assert [lane.label for lane in lanes] == ["Dog", "Speech"]


def test_a_long_lane_keeps_its_peaks():
    lane = lanes_of(make_timeline("a.wav"), 9)[0]
    edges, scores = lane.at_most(7)
    assert len(scores) <= 7
    assert scores.max() == pytest.approx(0.9, abs=0.002)
    assert (edges[0], edges[-1]) == (0, 10)


def test_edges_of_segments_end_with_the_recording():
    np.testing.assert_allclose(segment_edges(3, 1.5), [0, 0.64, 0.96, 1.5])


def file_of(name: str, kind: str) -> bytes:
    stream = io.BytesIO()
    writer = FORMATS[name](stream, Run(kind, ["a.wav"]))
    writer.write(make_timeline("a.wav") if kind == "events" else TAGGING)
    writer.finish()
    return stream.getvalue()


@pytest.mark.parametrize(("name", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_files(name, start):
    assert file_of(name, "events").startswith(start)
    assert file_of(name, "tags").startswith(start)


def test_equal_results_give_equal_files():
    assert file_of("svg", "tags") == file_of("svg", "tags")
    assert file_of("pdf", "tags") == file_of("pdf", "tags")


@pytest.mark.parametrize("name", ["$x$ \\frac", "音\U0001f436.wav", "a\udce9\n<b>.wav", "x" * 300])
def test_odd_names(name):
    stream = io.BytesIO()
    FORMATS["svg"](stream, Run("events", [name])).write(make_timeline(name))
    ElementTree.fromstring(stream.getvalue())


def test_nothing_present():
    figure = replace(make_timeline("a.wav"), events=()).plot()
    assert "no class reaches its threshold" in [text.get_text() for text in figure.axes[1].texts]
    assert "nothing heard" in Tagging("a.wav", 1.0, ()).plot().axes[0].texts[0].get_text()


def test_tags_are_bars():
    (axes,) = TAGGING.plot().axes
    assert texts(axes) == ["Dog", "Rain <i>"]
    assert [bar.get_width() for bar in axes.patches] == [0.9, 0.2]


def test_pyplot_is_not_used():
    code = """import io, sys
from sedkit.results import Tag, Tagging
from sedkit.formats.plot import save
save(Tagging("a", 1.0, (Tag("Dog", None, 0.5),)).plot(), io.BytesIO(), "png")
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SedkitError, match=r"pip install 'sedkit-audio\[plot\]'"):
        TAGGING.plot()


def test_notebooks_show_tags_and_timelines():
    text = TAGGING._repr_html_()
    assert "Rain &lt;i&gt;" in text
    assert "0.90" in text
    svg = make_timeline("<a>.wav")._repr_html_()
    root = ElementTree.fromstring(svg.replace("&nbsp;", " "))
    assert len(list(root.iter("rect"))) == 3
    assert "no class" in replace(make_timeline("a.wav"), events=())._repr_html_()
