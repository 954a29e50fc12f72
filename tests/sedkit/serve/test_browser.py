"""The page of the server in headless Chromium. Skipped where Playwright or Chromium is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import soundfile

from tests.conftest import make_sound
from tests.sedkit.serve.conftest import running, wav

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium (apt install chromium, or set CHROMIUM)")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
EXPECTED = ("the server responded with a status of 4", "net::ERR_CONNECTION_REFUSED")  # Chromium logs every error


@pytest.fixture(scope="module")
def heard(tmp_path_factory) -> Path:
    """What Chromium takes for the sound of its microphone."""
    path = tmp_path_factory.mktemp("heard") / "heard.wav"
    soundfile.write(path, make_sound(8, 48000), 48000, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def browser(heard: Path):
    microphone = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=[*FLAGS, *microphone, f"--use-file-for-fake-audio-capture={heard}", "--disable-component-update"],
        )
        yield started
        started.close()


@pytest.fixture
def opened(browser, server):
    """A function that opens the page; at the end, nothing must have been logged or fetched from elsewhere."""
    contexts, problems = [], []

    def open_page(url: str = server.url, **options):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda message: any(map(message.text.__contains__, EXPECTED)) or problems.append(message.text)
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        own = (url, "blob:", "data:", url.replace("http", "ws"))
        page.on("request", lambda request: request.url.startswith(own) or problems.append(request.url))
        page.goto(url)
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / 'rain & "dogs" <b>.wav'
    path.write_bytes(wav(8))
    return path


def until(page, condition: str) -> None:
    """Wait until a condition holds; the page's policy forbids Playwright's own wait_for_function."""
    for _ in range(600):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never: {condition}")


def dropped(page, *paths: Path) -> None:
    """Drop files on the page, as a person does with a mouse."""
    import base64

    files = [{"name": path.name, "bytes": base64.b64encode(path.read_bytes()).decode()} for path in paths]
    page.evaluate(
        """files => {
          const transfer = new DataTransfer();
          for (const { name, bytes } of files) transfer.items.add(new File([sedkit.bytes(bytes)], name));
          for (const type of ["dragenter", "dragover", "drop"]) {
            const event = new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true });
            document.getElementById("drop").dispatchEvent(event);
          }
        }""",
        files,
    )


def rows(page) -> list[str]:
    page.wait_for_timeout(50)  # the table follows a change after a moment
    return page.eval_on_selector_all("#view #rows tr", "rows => rows.map(row => row.innerText)")


def downloaded(page, button: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_drop_see_change_the_threshold_play_edit_and_download(opened, recording, client):
    page = opened()
    dropped(page, recording)
    page.wait_for_selector("#view #rows tr")
    answer = client.post("/v1/timeline", params={"name": recording.name}, content=recording.read_bytes()).json()
    assert len(rows(page)) == len(answer["events"])
    assert page.inner_text("#view #name") == recording.name
    before = rows(page)
    page.fill("#threshold", "0.05")
    assert len(rows(page)) > len(before)
    many = rows(page)
    name, content = downloaded(page, "#download-as")
    assert name.endswith(".csv")
    assert content.count(b"\n") == len(many) + 1  # what is shown, with the header
    page.select_option("#download-format", "png")
    assert downloaded(page, "#download-as")[1].startswith(b"\x89PNG")
    until(page, "sedkit.page.player.playable")
    page.click("#play")
    until(page, "sedkit.page.player.time > 0.2")
    page.click("#play")
    page.click("#edit")
    page.click("#view #rows tr:nth-child(1)")
    page.click("#relabel")
    page.fill("#label-input", "Kettle")
    page.keyboard.press("Enter")
    page.select_option("#download-format", "audacity")
    assert b"Kettle" in downloaded(page, "#download-as")[1]


@pytest.mark.slow
def test_many_files_and_a_broken_one(opened, recording, tmp_path):
    page = opened()
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"no audio")
    others = [tmp_path / f"{number}.wav" for number in range(4)]
    for number, path in enumerate(others):
        path.write_bytes(wav(2 + number))
    page.set_input_files("#file", [recording, broken, *others])
    until(page, "sedkit.app.recordings.every(({state}) => ['done', 'failed'].includes(state))")
    texts = page.eval_on_selector_all("#recordings li", "items => items.map(item => item.innerText)")
    assert len(texts) == 6
    assert "not audio that sedkit can decode" in texts[1]
    page.click("#recordings li:nth-child(3) .open")
    assert page.inner_text("#view #name") == "0.wav"
    page.click("#edit")
    page.click("#recordings li:nth-child(4) .open")
    assert page.inner_text("#view #name") == "1.wav"
    assert page.get_attribute("#edit", "aria-pressed") == "false"
    page.click("#recordings li:nth-child(3) .open")
    assert page.get_attribute("#edit", "aria-pressed") == "true"  # each recording keeps its state
    for _ in range(6):
        page.click("#recordings li .plain")
    assert page.locator("#view > *").count() == 0


def test_what_the_browser_does_not_play_comes_as_a_copy(opened, tmp_path):
    page = opened()
    path = tmp_path / "apple.aiff"
    soundfile.write(path, make_sound(3), 16000)
    page.set_input_files("#file", path)
    page.wait_for_selector("#view #name")
    until(page, "sedkit.page.player?.playable")
    assert page.evaluate("document.getElementById('audio').duration") == pytest.approx(3, abs=0.1)
    assert page.is_hidden("#view #notice")


def test_the_microphone(opened):
    page = opened()
    page.click("#microphone")
    page.wait_for_selector("#live:not([hidden])")
    until(page, "document.querySelectorAll('#live-now li').length > 0 && sedkit.app.microphone.seconds > 3")
    assert page.get_attribute("#microphone", "aria-pressed") == "true"
    page.click("#live-stop")
    page.wait_for_selector("#view #name")
    assert page.inner_text("#view #name").startswith("microphone ")
    assert page.evaluate("sedkit.page.duration") > 3
    assert page.is_hidden("#live")
    until(page, "sedkit.page.player.playable")
    loudest = page.evaluate("Math.max(...sedkit.page.tracks.classes.map((track) => Math.max(...track.scores)))")
    assert loudest > 50  # the sound of the fake microphone, not silence
    assert page.is_hidden("#problem")


def test_a_token(opened, small, recording):
    with running(small, token="secret") as server:
        page = opened(server.url)
        page.wait_for_selector("#token-dialog[open]", timeout=30_000)
        page.fill("#token", "secret")
        page.keyboard.press("Enter")
        until(page, "document.getElementById('server').textContent.includes('model')")
        page.set_input_files("#file", recording)
        page.wait_for_selector("#view #rows tr")
        page.click("#microphone")
        until(page, "sedkit.app.microphone?.seconds > 0.5")
        page.click("#live-stop")
        until(page, "!sedkit.app.microphone")
        assert page.is_hidden("#problem")


@pytest.mark.slow
def test_busy_servers_are_asked_again(opened, small, tmp_path):
    paths = [tmp_path / f"{number}.wav" for number in range(4)]
    for path in paths:
        path.write_bytes(wav(20))
    with running(small, queue=1) as server:
        page = opened(server.url)
        page.set_input_files("#file", paths)
        until(page, "sedkit.app.recordings.every(({state}) => state === 'done')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_theme_phone_and_names(opened, recording, scheme):
    page = opened(color_scheme=scheme, viewport={"width": 360, "height": 740})
    background = "getComputedStyle(document.documentElement).backgroundColor"
    first = page.evaluate(background)
    assert first == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(15, 19, 24)")
    page.set_input_files("#file", recording)
    page.wait_for_selector("#view #rows tr")
    assert page.evaluate(background) == first
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.click("#site-theme")
    assert page.evaluate(background) != first
    page.set_input_files("#file", recording)
    until(page, "sedkit.app.recordings.every(({state}) => state === 'done')")
    assert page.evaluate(background) != first
    unnamed = """nodes => nodes.filter((node) => node.offsetParent && !node.ariaLabel && !node.innerText?.trim()
      && !node.labels?.[0]?.innerText.trim()).map((node) => node.outerHTML)"""
    assert page.eval_on_selector_all("button, input, select, a, progress, meter", unnamed) == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))


def test_the_keyboard(opened, recording):
    page = opened()
    page.set_input_files("#file", recording)
    page.wait_for_selector("#view #rows tr")
    page.locator("#choose").focus()
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert reached == ["microphone", "open", "plain", "keys-button", "play"]
    page.keyboard.press("ArrowDown")
    assert page.evaluate("sedkit.page.selected !== null")


def test_a_server_that_has_ended(opened, small, recording):
    with running(small) as server:
        page = opened(server.url)
    page.set_input_files("#file", recording)
    page.wait_for_selector("#recordings li.failed")
    assert "the server does not answer" in page.inner_text("#recordings li")
