"""Make the gallery: ``python docs/gallery.py DATA``, where DATA contains ESC-50 as ``esc50/``. Needs Chromium.

Writes ``docs/gallery.md`` and its pictures in ``docs/gallery/``. The recording is joined from the first CC0 clip of
some classes that the model recognises well.
"""

from __future__ import annotations

import csv
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from sedkit import Tagger, Tagging, Timeline
from sedkit.formats.html import tags_page, timeline_page
from sedkit.formats.writers import Run

DOCS = Path(__file__).resolve().parent
PICTURES = DOCS / "gallery"
SOUNDS = ("rooster", "church_bells", "rain", "cat", "siren", "dog")
CLIPS = ("rooster", "rain", "dog", "siren", "crow", "frog", "train", "helicopter", "clapping", "sneezing")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
MARKDOWN = """# Gallery

What the pictures and pages of sedkit look like. `python docs/gallery.py DATA` makes this page and its pictures again.

## A picture of a timeline

```
sedkit timeline recording.wav --plot recording.png
```

The endings `.png`, `.svg` and `.pdf` choose the format. The spectrogram is above; below it, each class has a lane with
its score in each segment (filled) and its events (outlined). `Timeline.plot()` makes the same figure in Python. Needs
the extra `plot`.

![A spectrogram above one lane per class](gallery/timeline.webp)

## A page of a timeline

```
sedkit timeline recording.wav --output recording.html
```

One file that needs no network. A press on an event plays it, the slider moves the threshold, and events can be
confirmed, rejected, relabelled, moved and added, and then downloaded as TSV or Audacity labels. [Web
pages](formats.md#web-pages) explains the controls.

![The page on a desktop](gallery/page.webp)

On a phone, and in the dark:

![The page on a phone](gallery/phone.webp)

## A page of tags

```
sedkit tag recordings/ --output tags.html
```

A heat map of recordings by classes. A row leads to the page of its timeline if there is one, otherwise to the audio.

![A heat map](gallery/tags.webp)

## A picture of tags

```
sedkit tag recording.wav --plot tags.png
```

![One bar per tag](gallery/tags-plot.webp)
"""


def main(data: Path) -> None:
    PICTURES.mkdir(exist_ok=True)
    tagger = Tagger(device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        data = data.resolve()
        os.chdir(folder)  # so that pictures show short names
        recording = join(data, SOUNDS, Path("recording.wav"))
        timeline = tagger.timeline(recording)
        save_figure(timeline, "timeline")
        clips = [copy_clip(data, sound) for sound in CLIPS]
        taggings = [tagger.tag(clip) for clip in clips]
        save_figure(tagger.tag(recording), "tags-plot")
        name = tagger.contract.name
        page = write(
            Path("recording.html").resolve(), timeline_page(timeline, Run("events", [timeline.file], model=name))
        )
        tags = Path("tags.html").resolve()
        write(tags, tags_page(taggings, Run("tags", clips, tags, name)))
        with browser_page(1180, 760, "light") as shown:
            shown.goto(page.as_uri())
            for _ in range(4):
                shown.keyboard.press("ArrowDown")
            screenshot(shown, "page")
            shown.goto(tags.as_uri())
            screenshot(shown, "tags")
        with browser_page(390, 760, "dark") as shown:
            shown.goto(page.as_uri())
            screenshot(shown, "phone")
    (DOCS / "gallery.md").write_text(MARKDOWN, "utf-8")


def clip_of(data: Path, sound: str) -> Path:
    """The first CC0 clip of a class."""
    with (data / "esc50" / "esc50.csv").open(encoding="utf-8") as file:
        row = next(row for row in csv.DictReader(file) if row["category"] == sound and row["license"] == "CC0")
    return data / "esc50" / "audio" / row["filename"]


def join(data: Path, sounds: tuple[str, ...], path: Path) -> Path:
    soundfile.write(path, np.concatenate([soundfile.read(clip_of(data, sound))[0] for sound in sounds]), 16_000)
    return path


def copy_clip(data: Path, sound: str) -> str:
    return shutil.copy(clip_of(data, sound), f"{sound}.ogg")


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def save_figure(result: Timeline | Tagging, name: str) -> None:
    figure = result.plot()
    figure.axes[0].set_title(Path(result.file).name, loc="left", fontsize=10)
    figure.set_dpi(100)
    figure.canvas.draw()
    Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB").save(PICTURES / f"{name}.webp", quality=70)


@contextmanager
def browser_page(width: int, height: int, scheme: str) -> Iterator[Page]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        browser.close()


def screenshot(page: Page, name: str) -> None:
    page.wait_for_selector("html[data-ready]")
    page.wait_for_timeout(500)
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        page.screenshot(path=file.name)
        Image.open(file.name).convert("RGB").save(PICTURES / f"{name}.webp", quality=70)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
