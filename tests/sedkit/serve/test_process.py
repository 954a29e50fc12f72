"""``sedkit serve`` as a process: options, messages, shutdown; the examples for systemd and Docker."""

from __future__ import annotations

import builtins
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from sedkit.cli import main, serve
from sedkit.inference.installed import find_model
from sedkit.serve.hosts import is_loopback
from tests.sedkit.serve.conftest import MODEL, wav

COMMAND = [sys.executable, "-m", "sedkit", "serve", "--model", MODEL, "--device", "cpu", "--port", "0"]
EXAMPLES = Path(__file__).parents[3] / "examples"


@contextmanager
def started(*arguments: str, folder: Path | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address."""
    pipes: dict[str, Any] = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*COMMAND, *arguments], cwd=folder, **pipes)
    try:
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stderr.read()
        yield process, found[0]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_shutdown_lets_requests_under_way_finish(number):
    with started() as (process, url):
        answers: list[Any] = []
        content = wav(600)
        thread = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{url}/v1/tag?name=a.wav", content=content, timeout=120))
        )
        thread.start()
        with httpx.Client(base_url=url, timeout=60) as client:
            while "sedkit_recordings 1.0" not in client.get("/metrics").text:
                assert not answers, "answered before it could be seen"
            process.send_signal(number)
            thread.join(120)
        assert answers[0].status_code == 200
        assert answers[0].json()["duration"] == 600
        assert process.wait(60) == 0
        output, messages = process.communicate()
        assert output == ""
        assert messages == "sedkit: all requests are answered\n"
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz")


def test_a_model_with_a_relative_path(tmp_path):
    shutil.copy(find_model(MODEL, "auto", "cpu"), tmp_path / "mine.onnx")
    with started("--model", "mine.onnx", folder=tmp_path) as (_, url):
        assert httpx.get(f"{url}/v1/models", timeout=60).json()["models"][0]["name"] == "mine"
        assert httpx.post(f"{url}/v1/tag", content=wav(1), timeout=60).status_code == 200


def test_a_second_interruption_answers_all_at_once():
    with started() as (process, url):
        answers: list[Any] = []
        content = wav(600)
        post = partial(httpx.post, f"{url}/v1/tag?name=a.wav", content=content, timeout=120)
        threads = [threading.Thread(target=lambda: answers.append(post())) for _ in range(4)]
        for thread in threads:
            thread.start()
        with httpx.Client(base_url=url, timeout=60) as client:
            while "sedkit_recordings 4.0" not in client.get("/metrics").text:
                assert not answers, "answered before it could be seen"
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        for thread in threads:
            thread.join(60)
        assert len(answers) == 4
        assert {answer.status_code for answer in answers} <= {200, 503}
        assert all("error" in answer.json() for answer in answers if answer.status_code == 503)
        assert process.wait(60) == 130
        assert process.communicate() == ("", "sedkit: interrupted\n")


def test_malformed_requests_leave_nothing_on_standard_error():
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with started() as (process, url):
        host, port = url.removeprefix("http://").split(":")

        def last_answer(*parts: bytes) -> bytes:
            with socket.create_connection((host, int(port)), timeout=30) as raw:
                for part in parts[:-1]:
                    raw.sendall(part)
                    assert raw.recv(65536).startswith(b"HTTP/1.1 200")
                raw.sendall(parts[-1])
                return b"".join(iter(partial(raw.recv, 65536), b""))

        for content in (b"x" * 100, b"--b\r\n\0: x\r\n\r\n", b"--b\r\n: x\r\n\r\n"):
            answer = httpx.post(f"{url}/v1/tag", content=content, headers=form)
            assert (answer.status_code, answer.json()) == (400, {"error": "the form is damaged; send it again"})
        assert httpx.get(f"{url}/healthz", headers={"Connection": "Upgrade", "Upgrade": "h2c"}).status_code == 200
        for request in (b"GARBAGE\r\n\r\n", head + b"x\r\n"):
            answered = last_answer(request)
            assert answered.startswith(b"HTTP/1.1 400")
            assert "no valid HTTP" in json.loads(answered.partition(b"\r\n\r\n")[2])["error"]
        assert b"HTTP" not in last_answer(head, b"x\r\n")  # it has been answered
        process.terminate()
        assert process.wait(60) == 0
        assert process.communicate() == ("", "sedkit: all requests are answered\n")


def test_a_port_that_is_taken():
    with started() as (_, url):
        port = url.rpartition(":")[2]
        result = subprocess.run([*COMMAND[:-1], port], capture_output=True, text=True)
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert "choose another --host or --port" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "protect it with --token"),
        (["--host", "::"], "protect it with --token"),
        (["--host", "example.org"], "protect it with --token"),
        (["--token", "a", "--no-auth"], "contradict"),
        (["--token", ""], "the token must be"),
        (["--token", "sécret"], "the token must be"),
        (["--queue", "0"], "--queue"),
        (["--max-size", "0"], "--max-size"),
    ],
)
def test_wrong_options(arguments, words):
    result = CliRunner().invoke(main, ["serve", *arguments])
    assert result.exit_code == 2
    assert words in result.stderr


def test_addresses_of_this_machine():
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.2", "localhost.example.org"))


def test_without_the_extra(monkeypatch):
    monkeypatch.setattr(serve, "find_spec", lambda module: None if module == "uvicorn" else True)
    result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "needs uvicorn" in result.stderr
    assert "sedkit-audio[serve]" in result.stderr


def test_help_needs_no_extra(monkeypatch):
    imported = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        assert name.split(".")[0] not in serve.MODULES
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    result = CliRunner().invoke(main, ["serve", "--help"])
    assert result.exit_code == 0
    assert "sedkit serve --model small" in result.stdout


def test_the_systemd_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    unit = (EXAMPLES / "sedkit-serve.service").read_text("utf-8")
    path = tmp_path / "sedkit-serve.service"
    path.write_text(unit.replace("/opt/sedkit/bin/sedkit", sys.executable), "utf-8")
    checked = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
    problems = [line for line in checked.stderr.splitlines() if path.name in line]
    assert checked.returncode == 0, checked.stderr
    assert problems == []


def test_the_dockerfile_runs_a_command_that_exists():
    text = (EXAMPLES / "Dockerfile").read_text("utf-8")
    command = json.loads(re.findall(r"^(?:CMD|ENTRYPOINT) (\[.*\])$", text, re.MULTILINE)[0])
    assert command[:2] == ["sedkit", "serve"]
    options = {name for option in serve.command.params for name in option.opts}
    assert {word for word in command if word.startswith("--")} <= options
    assert re.search(r"^USER \d+", text, re.MULTILINE)
    copied = (EXAMPLES / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    names = {line[1:] for line in copied if line.startswith("!")}
    assert {"sedkit", "training", "models", "pyproject.toml"} <= names
    assert all((EXAMPLES.parent / name).exists() for name in names)
