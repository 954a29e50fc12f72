"""A real server on a free port, with the small model, in a thread of the test process."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sedkit.tagger import Tagger
from tests.conftest import make_sound

for module in ("starlette", "uvicorn", "websockets", "python_multipart", "prometheus_client", "httpx"):
    pytest.importorskip(module, reason=f"needs {module}, of the serve extra")

MODEL = "small"


@pytest.fixture(scope="session")
def small() -> Tagger:
    return Tagger(MODEL, "cpu", threads=1)


@contextmanager
def running(tagger: Tagger, token: str | None = None, loopback: bool = True, **limits: Any) -> Iterator[Any]:
    """A server; it has the attributes ``url`` and ``service``."""
    from sedkit.cli.serve import make_server
    from sedkit.serve.limits import Limits
    from sedkit.serve.server import address, bind

    with bind("127.0.0.1", 0) as listening:
        server = make_server(tagger, Limits(**limits), token, loopback)
        server.url, server.thread = address(listening), threading.Thread(target=server.run_on, args=[listening])
        server.thread.start()
        try:
            yield server
        finally:
            server.should_exit = True
            server.thread.join(60)
            assert not server.thread.is_alive()


@pytest.fixture(scope="module")
def server(small: Tagger) -> Iterator[Any]:
    with running(small) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[Any]:
    import httpx

    with httpx.Client(base_url=server.url, timeout=60) as started:
        yield started


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of bursts and tones."""
    path = tmp_path_factory.mktemp("serve") / "clip.wav"
    soundfile.write(path, make_sound(6), 16000)
    return path


def wav(seconds: float, channels: int = 1, rate: int = 16000) -> bytes:
    """The bytes of a WAV file; what is longer than ten seconds repeats them."""
    file = io.BytesIO()
    sound = np.resize(make_sound(min(seconds, 10), rate), round(seconds * rate))
    soundfile.write(file, sound.repeat(channels).reshape(-1, channels), rate, format="WAV")
    return file.getvalue()


def printed(monkeypatch: pytest.MonkeyPatch, path: Path) -> Callable[..., str]:
    """A function that returns what the command line prints about a recording, named without its folder."""
    from click.testing import CliRunner

    from sedkit.cli import main

    monkeypatch.chdir(path.parent)

    def run(command: str, *arguments: str) -> str:
        result = CliRunner().invoke(main, [command, path.name, "--model", MODEL, "--device", "cpu", *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def events_of(text: str) -> list[dict[str, Any]]:
    """The events in the JSON of a timeline."""
    events: list[dict[str, Any]] = json.loads(text)["events"]
    return events
