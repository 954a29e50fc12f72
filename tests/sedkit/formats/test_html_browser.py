"""Pages in headless Chromium: what their controls do. Skipped where Playwright or Chromium is missing."""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.contract import Label
from sedkit.formats.html import tags_page, timeline_page
from sedkit.formats.html.audio import PageAudio
from sedkit.formats.html.data import timeline_data
from sedkit.formats.options import FormatOptions
from sedkit.formats.writers import Run
from sedkit.geometry import SAMPLE_RATE, segment_count
from sedkit.results import Tag, Tagging, Timeline
from sedkit.timeline.overview import with_overview
from sedkit.timeline.settings import ColumnSettings, PostProcessing
from sedkit.timeline.timelines import TimelineView
from tests.sedkit.formats.html_fixtures import make_timeline, write_sound

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium (apt install chromium, or set CHROMIUM)")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
NAME = 'rain & "dogs" <b>.wav'


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, "--disable-component-update"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    sound = write_sound(folder / NAME)
    path = folder / "page.html"
    path.write_text(timeline_page(make_timeline(sound), Run("events", [str(sound)], path, "test")), "utf-8")
    return path


@pytest.fixture
def opened(browser):
    """A function that opens a page; at the end, nothing must have been logged or fetched from the network."""
    contexts, problems = [], []

    def open_page(path, **options):
        context = browser.new_context(viewport={"width": 1100, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith(("file:", "blob:", "data:")) or problems.append(request.url),
        )
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def settle(page):
    """Wait until the table, which follows an edit after a moment, is drawn."""
    page.wait_for_timeout(50)


def rows(page) -> list[list[str]]:
    """Onset, offset and class of each row of the table, once it is up to date."""
    settle(page)
    return page.eval_on_selector_all("#rows tr", "rows => rows.map(row => [1, 2, 4].map(i => row.cells[i].innerText))")


def until(page, condition: str) -> None:
    """Wait until a condition holds; the page's policy forbids Playwright's own wait_for_function."""
    for _ in range(300):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never: {condition}")


def place(page, time: float, label: str) -> tuple[float, float]:
    """Where a time is on the screen, in the lane of a class."""
    return tuple(page.evaluate(
        """([time, label]) => {
          const page = sedkit.page, box = page.stage.getBoundingClientRect();
          const row = page.lanes.findIndex((lane) => page.labels[lane.label][0] === label);
          const top = document.getElementById("lanes-inner").getBoundingClientRect().top;
          return [box.left + page.stage.clientLeft + page.axis.x(time), top + (row + 0.5) * page.view.lane];
        }""",
        [time, label],
    ))  # fmt: skip


def drag(page, start, end) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, end[1])
    page.mouse.move(*end)
    page.mouse.up()


def downloaded(page, button: str) -> tuple[str, str]:
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_text("utf-8")


def test_it_shows_the_events(opened, page_file):
    page = opened(page_file)
    assert page.inner_text("#name") == NAME
    assert rows(page) == [["0.96", "2.88", "Speech"], ["3.52", "4.80", "Dog"], ["5.12", "7.04", "Speech"]]
    assert page.inner_text("#summary") == "3 events in 2 classes"
    assert page.inner_text("#gutter") == "Speech\n2\nDog\n1"


def test_the_slider_refilters_and_as_analysed_returns(opened, page_file):
    page = opened(page_file)
    before = rows(page)
    assert not page.is_visible("#threshold-note")
    page.fill("#threshold", "0.6")
    assert [row[2] for row in rows(page)] == ["Speech", "Dog"]
    assert page.inner_text("#threshold-value") == "0.60"
    page.fill("#threshold", "0.3")
    assert rows(page) == [*before, ["7.36", "8.96", 'Our "kettle" <i>']]  # tiles of segments 22 to 26
    page.click("#threshold-reset")
    assert rows(page) == before


def test_the_slider_finds_the_events_that_sedkit_finds(opened, page_file):
    """For any settings: those of the page's own run do not matter, its tracks are replaced."""
    page = opened(page_file)
    labels = tuple(Label(name) for name in ("Animal", "Dog", "Rain", "Bell"))
    exact = {name: {"median": 0.0} for name in ("Animal", "Dog")}  # a median may make "Dog" exactly 0.75 x "Animal"

    @settings(max_examples=30, deadline=None, derandomize=True, database=None)
    @given(
        st.integers(0, 1000),
        st.integers(26, 200),
        st.fixed_dictionaries(
            {
                "leave": st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0]),
                "hold": st.sampled_from([0.0, 0.64, 2.88, math.inf]),
                "median": st.sampled_from([0.0, 0.96, 1.6]),
                "min_duration": st.sampled_from([0.0, 0.5, 0.9]),
                "merge_gap": st.sampled_from([0.0, 0.5, 1.5]),
                "max_duration": st.sampled_from([2.0, 5.0, math.inf]),
                "max_classes": st.sampled_from([None, 1, 2]),
            }
        ),
    )
    def agree(seed: int, level: int, chosen: dict) -> None:
        threshold = (level + 0.5) / 255  # no score is equal to it
        shared = PostProcessing(threshold=threshold, classes=exact, **chosen).columns(labels, [threshold] * 4)
        own = replace(shared, below=((1,), (), (), ()))
        timeline = timeline_of(random_scores(seed), labels, own)
        tracks = timeline_data(timeline, Run("events"), PageAudio())["tracks"]
        found = page.evaluate(
            """async ([data, threshold]) => {
              const tracks = new sedkit.Tracks(data, await sedkit.inflate(data.scores), 64.5);
              const events = (track) => tracks.events(track, threshold).map((event) => [track.label, ...event]);
              return tracks.classes.flatMap(events);
            }""",
            [tracks, threshold],
        )
        expected = [(labels.index(Label(e.label)), e.onset, e.offset, e.score) for e in timeline.events]
        assert len(found) == len(expected)
        np.testing.assert_allclose(sorted(map(tuple, found)), sorted(expected), atol=2e-3)
        numbers.append(len(expected))

    numbers = list[int]()
    agree()
    assert sum(numbers) > 150


def random_scores(seed: int) -> np.ndarray:
    """Scores that rise and fall, [200 segments, 4 classes]: of 255, numbers whose means and shares are not equal."""
    noise = np.random.default_rng(seed).standard_normal((204, 4))
    smooth = np.apply_along_axis(np.convolve, 0, noise, np.ones(5) / 5, "valid")
    return ((4 * np.rint(63 / (1 + np.exp(1 - 5 * smooth))) + 2) / 255).astype(np.float32)


def timeline_of(scores: np.ndarray, labels: tuple[Label, ...], own: ColumnSettings) -> Timeline:
    """The timeline of 64.5 s of silence with these scores: the level does not move onsets and offsets."""
    columns = list(range(len(labels)))
    view = with_overview(lambda: TimelineView(labels, columns, own, "native"), columns, own)()
    silence = np.zeros(round(64.5 * SAMPLE_RATE), np.float32)
    assert segment_count(len(silence)) == len(scores)
    view.add(silence, slice(0, None), scores)
    return view.finish("-", 64.5)


def test_the_slider_stands_still_where_change_points_made_the_events(opened, tmp_path):
    path = tmp_path / "page.html"
    timeline = make_timeline("-")
    timeline = replace(timeline, overview=replace(timeline.overview, method="change-points"))
    path.write_text(timeline_page(timeline, Run("events")), "utf-8")
    page = opened(path)
    assert page.is_disabled("#threshold")
    assert page.is_visible("#threshold-note")
    page.click("#edit")
    page.click("#discard", force=True)
    assert page.is_disabled("#threshold")


def test_a_press_on_an_event_selects_and_plays_it(opened, page_file):
    page = opened(page_file)
    until(page, "sedkit.page.player.playable")
    page.mouse.click(*place(page, 4, "Dog"))
    until(page, "sedkit.page.player.time > 3.52")
    assert page.get_attribute("#rows tr:nth-child(2)", "aria-current") == "true"
    until(page, "!sedkit.page.player.playing")  # stops where the event ends
    assert page.evaluate("sedkit.page.player.time") == pytest.approx(4.8, abs=0.4)


def test_a_class_is_hidden_and_shown_again(opened, page_file):
    page = opened(page_file)
    page.click("#gutter label:has-text('Speech')")
    assert [row[2] for row in rows(page)] == ["Dog"]
    page.click("#all-classes")
    assert len(rows(page)) == 3


def test_keys(opened, page_file):
    page = opened(page_file)
    until(page, "sedkit.page.player.playable")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("sedkit.page.selected.onset") == 3.52
    page.keyboard.press("+")
    assert page.evaluate("sedkit.page.axis.span") == pytest.approx(5)
    page.keyboard.press("0")
    assert page.evaluate("sedkit.page.axis.span") == pytest.approx(10)
    page.keyboard.press("ArrowRight")
    assert page.evaluate("sedkit.page.player.time") == pytest.approx(1, abs=0.01)
    page.keyboard.press("Space")
    until(page, "sedkit.page.player.playing")
    page.keyboard.press("Space")
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.keyboard.press("Escape")
    assert not page.is_visible("#keys")


def test_edits_download_as_tsv_and_audacity_labels(opened, page_file):
    page = opened(page_file)
    page.keyboard.press("e")
    page.click("#rows tr:nth-child(1)")
    drag(page, place(page, 2.88, "Speech"), place(page, 2.5, "Speech"))  # the offset
    page.click("#rows tr:nth-child(2)")
    page.keyboard.press("c")
    page.click("#rows tr:nth-child(3)")
    page.keyboard.press("x")
    drag(page, place(page, 8, "Dog"), place(page, 9, "Dog"))
    page.keyboard.press("r")
    page.fill("#label-input", "Tea\tpot")
    page.keyboard.press("Enter")
    name, text = downloaded(page, "#download-tsv")
    lines = [line.split("\t") for line in text.splitlines()]
    assert name.endswith(".tsv")
    assert lines[0] == ["file", "onset", "offset", "label", "mid", "score", "status"]
    assert [(line[3], line[-1]) for line in lines[1:3]] == [("Speech", "changed"), ("Dog", "confirmed")]
    assert float(lines[1][2]) == pytest.approx(2.5, abs=0.02)
    assert lines[2][1:3] == ["3.520", "4.800"]
    assert len(lines) == 4  # the rejected event is left out
    assert text.splitlines()[3].endswith('"Tea\tpot"\t\t\tadded')
    name, text = downloaded(page, "#download-audacity")
    assert name.endswith(".labels.txt")
    onset, offset, label = text.splitlines()[-1].split("\t")
    assert (float(onset), float(offset)) == (pytest.approx(8, abs=0.03), pytest.approx(9, abs=0.03))
    assert label == "Tea pot"


def test_edits_can_be_undone_and_discarded(opened, page_file):
    page = opened(page_file)
    before = rows(page)
    page.click("#edit")
    assert page.is_disabled("#threshold")
    page.click("#rows tr:nth-child(1)")
    page.click("#relabel")
    page.fill("#label-input", "siren")
    page.keyboard.press("Enter")
    assert rows(page)[0] == ["0.96", "2.88", "Siren"]
    page.keyboard.press("Control+z")
    assert rows(page) == before
    page.keyboard.press("x")
    settle(page)
    assert page.inner_text("#rows tr:nth-child(1) td.status") == "rejected"
    page.click("#discard")
    assert rows(page) == before
    assert not page.is_disabled("#threshold")


def test_the_theme_follows_the_system_and_the_button(opened, page_file):
    page = opened(page_file, color_scheme="dark")
    background = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(background) == "rgb(15, 19, 24)"
    page.click("#theme")
    assert page.evaluate(background) == "rgb(255, 255, 255)"


def test_every_control_has_a_name_and_the_table_has_headings(opened, page_file):
    page = opened(page_file)
    unnamed = """nodes => nodes.filter((node) => node.offsetParent && !node.ariaLabel && !node.innerText?.trim()
      && !node.labels?.[0]?.innerText.trim()).map((node) => node.outerHTML)"""
    assert page.eval_on_selector_all("button, input, select", unnamed) == []
    assert page.eval_on_selector_all("#events th", "nodes => nodes.every((node) => node.scope === 'col')")
    assert page.get_attribute("#rows tr button", "aria-label") == "Play Speech at 0.96"


def test_it_fits_a_phone(opened, page_file):
    page = opened(page_file)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_linked_recording_plays(opened, tmp_path):
    sound = write_sound(tmp_path / "a#1.wav")
    path = tmp_path / "page.html"
    run = Run("events", [str(sound)], path, options=FormatOptions(audio="link"))
    path.write_text(timeline_page(make_timeline(sound), run), "utf-8")
    page = opened(path)
    until(page, "sedkit.page.player.playable")
    assert page.evaluate("document.getElementById('audio').duration") == pytest.approx(10, abs=0.01)


def test_a_recording_without_events_or_audio(opened, tmp_path):
    path = tmp_path / "page.html"
    timeline = replace(make_timeline("-"), events=(), overview=None)
    path.write_text(timeline_page(timeline, Run("events")), "utf-8")
    page = opened(path)
    assert page.inner_text("#summary") == "no class reaches its threshold"
    assert page.is_disabled("#play")


def test_the_heat_map_sorts_searches_and_links(opened, tmp_path):
    files = [str(write_sound(tmp_path / name, 0.1)) for name in ("a.wav", "<b>.wav", "c.wav")]
    scores = [{"Dog": 0.9, "Rain": 0.1}, {"Rain": 0.8}, {"Dog": 0.2}]
    taggings = [
        Tagging(file, 0.1, tuple(Tag(label, None, score) for label, score in own.items()))
        for file, own in zip(files, scores, strict=True)
    ]
    path = tmp_path / "tags.html"
    path.write_text(tags_page(taggings, Run("tags", files, path)), "utf-8")
    page = opened(path)
    names = "nodes => nodes.map((node) => node.innerText)"
    assert page.eval_on_selector_all("#rows th", names) == ["a.wav", "<b>.wav", "c.wav"]
    page.click("#head button:has-text('Rain')")
    assert page.eval_on_selector_all("#rows th", names) == ["<b>.wav", "a.wav", "c.wav"]
    page.fill("#threshold", "0.5")
    assert page.eval_on_selector_all("#rows td.scored", names) == [".80", ".90"]
    page.fill("#search", "dog")
    assert page.eval_on_selector_all("#rows th", names) == ["a.wav"]
    assert page.get_attribute("#rows a", "href") == "a.wav"
    assert json.loads(page.inner_text("#data"))["folder"] == f"{tmp_path}/"
