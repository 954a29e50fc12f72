"""Requests that are refused: one line of JSON, the right status, and the server goes on."""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import random
import socket
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from sedkit.serve import connections, guard, uploads
from sedkit.serve.engine import Job
from sedkit.serve.uploads import shown
from sedkit.timeline.views import TagsView
from tests.sedkit.serve.conftest import running, wav

LINUX = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    error = answer.json()["error"]
    assert answer.status_code == status, error
    assert "\n" not in error
    assert all(word in error for word in words), error


def until(condition, seconds: float = 30) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "never"
        time.sleep(0.02)


@cache
def endless() -> bytes:
    """A small FLAC file of two hours of near silence."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 16000, 1, format="FLAC") as sound:
        for _ in range(120):
            sound.write(np.full(16000 * 60, 1 << 5, np.int16))
    return file.getvalue()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("treshold=0.3", "is it threshold?"),
        ("threshold=1.5", "threshold: '1.5'"),
        ("threshold=0.2&leave=x", "leave:"),
        ("classes=Nonesuch", "Nonesuch"),
        ("classes=@/etc/passwd", "a file of the server"),
        ("rollup=@/etc/passwd", "a file of the server"),
        ("postprocess=/etc/passwd", "no such parameter"),
        ("merge=/etc/passwd&format=srt", "no such parameter"),
        ("output=x", "no such parameter"),
        ("format=exe", "format: 'exe'"),
        ("format=rttm&bom=1", "rttm does not have it"),
        ("format=csv&bom=maybe", "neither true nor false"),
        ("format=html&audio=link", "embed or none"),
        ("channel=each&format=elan", "several"),
        ("channel=0", "channel:"),
        ("start=2024-03-31T02:30&timezone=Europe/Berlin", "no such time in Europe/Berlin"),
        ("gain=1&gain=2", "twice"),
        ("format=csv&format=tsv", "twice"),
    ],
)
def test_wrong_parameters(client, query, words):
    answer = client.post(f"/v1/timeline?{query}", content=wav(1))
    refused(answer, 400, words)
    assert "passwd" not in answer.text or "such" in answer.text or "file of the server" in answer.text
    assert "/models/" not in answer.text


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 400, "empty"),
        (b"no audio at all", 422, "x.wav: not audio"),
        (wav(1)[:20], 422, "x.wav:"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), 422, "x.wav:"),
        (b"PK\x03\x04" + bytes(5000), 422, "x.wav:"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 422, "x.wav:"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", 422, "x.wav:"),
        (random.Random(0).randbytes(2_000_000), 422, "x.wav:"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_is_no_recording(client, content, status, words):
    refused(client.post("/v1/tag?name=x.wav", content=content), status, words)
    assert client.post("/v1/tag", content=wav(1)).status_code == 200


def test_a_truncated_recording_is_analysed_and_says_so(client):
    answer = client.post("/v1/tag", content=wav(4)[:64044])
    assert answer.json()["truncated"] == 2


def test_damaged_forms(client):
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + wav(0.5) + b"\r\n"
    assert client.post("/v1/tag", content=part + b"--b--\r\n", headers=kind).status_code == 200
    for header, name in (
        (b"filename*=utf-8''caf%C3%A9%20%22x%22.wav", 'caf\u00e9 "x".wav'),
        (b"filename*=nonsense''a%20b.wav", "a b.wav"),
        (b'filename="a%22b %20.wav"', 'a"b %20.wav'),
    ):
        named = part.replace(b'filename="a.wav"', header) + b"--b--\r\n"
        assert client.post("/v1/tag", content=named, headers=kind).json()["file"] == name
    refused(client.post("/v1/tag", content=part, headers=kind), 400, "last boundary")
    refused(client.post("/v1/tag", content=part + part + b"--b--\r\n", headers=kind), 400, "2 files")
    refused(client.post("/v1/tag", content=b"--b--\r\n", headers=kind), 400)
    refused(client.post("/v1/tag", content=b"x" * 1000, headers=kind), 400, "damaged")
    refused(client.post("/v1/tag", content=part, headers={"Content-Type": "multipart/form-data"}), 400, "boundary")
    refused(client.post("/v1/tag", files={"file": ("a.wav", b"")}), 400, "empty")
    fields = {"threshold": "0.3"}
    refused(client.post("/v1/tag", data=fields, files={"file": ("a.wav", wav(1))}), 400, "?threshold=...")
    many = b"".join(b"X-%d: y\r\n" % number for number in range(1000))
    refused(client.post("/v1/tag", content=part[:5] + many + part[5:], headers=kind), 400, "damaged")


def test_names_are_only_names():
    assert shown("../../etc/passwd") == "passwd"
    assert shown("C:\\music\\a.wav") == "a.wav"
    assert shown("a\x00\r\n\u2028b.wav") == "ab.wav"
    assert shown("..") == shown("") == shown("a/") == "-"
    assert len(shown("x" * 5000 + ".wav")) == 255
    assert shown("x" * 5000 + ".wav").endswith(".wav")


def test_compressed_requests(client):
    answer = client.post("/v1/tag", content=wav(1), headers={"Content-Encoding": "gzip"})
    refused(answer, 415, "gzip")


@pytest.mark.parametrize(
    "path",
    [
        "/assets/", "/assets", "/assets/../serve.css", "/assets/%2e%2e/%2e%2e/limits.py", "/assets/..%2fserve.css",
        "/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/assets/serve.css/", "//etc/passwd", "/v1",
        "/assets/serve.css%00.js", "/static/..\\..\\x",
    ],
)  # fmt: skip
def test_no_other_file_is_served(server, path):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 404"), answer[:200]
    assert b"root:" not in answer


def test_other_methods(client):
    assert client.get("/v1/tag").status_code == 405
    assert client.post("/").status_code == 405


def test_every_response_has_the_headers(client):
    for path in ("/", "/assets/serve.js", "/docs", "/healthz", "/nothing", "/v1/models"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/v1/tag", headers=preflight)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_other_sites_and_other_names_are_refused(client, server):
    refused(client.post("/v1/tag", content=wav(1), headers={"Origin": "http://evil.example"}), 403, "other sites")
    refused(client.get("/", headers={"Host": "evil.example"}), 421, "localhost only")
    port = server.url.rpartition(":")[2]
    assert client.get("/healthz", headers={"Host": f"localhost:{port}"}).status_code == 200
    own = {"Origin": server.url}
    assert client.post("/v1/tag", content=wav(1), headers=own).status_code == 200


def test_a_token(small):
    with (
        running(small, token="secret", loopback=False) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        for path in ("/", "/docs", "/healthz", "/openapi.json", "/assets/serve.js"):
            assert client.get(path).status_code == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic c2VjcmV0"}):
            answer = client.post("/v1/tag", content=wav(1), headers=headers)
            refused(answer, 401, "token")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/metrics").status_code == 401
        assert client.get("/page/about").status_code == 401
        right = {"Authorization": "Bearer secret"}
        assert client.get("/v1/models", headers=right).status_code == 200
        assert client.get("/v1/models", headers={**right, "Host": "sounds.example"}).status_code == 200


def test_size_and_duration(small):
    with running(small, max_size=100_000, max_duration=5) as server, httpx.Client(base_url=server.url) as client:
        refused(client.post("/v1/tag", content=bytes(200_000)), 413, "100000 bytes")
        parts = (bytes(10_000) for _ in range(50))  # of unknown length
        refused(client.post("/v1/tag", content=parts), 413, "100000 bytes")
        refused(client.post("/v1/tag", files={"file": ("a.wav", wav(10))}), 413, "bytes")
        assert client.post("/v1/tag", content=wav(3)).status_code == 200
    with running(small, max_duration=5) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        refused(client.post("/v1/timeline?name=a.wav", content=wav(30)), 413, "a.wav: is longer than the 5 s")
        refused(client.post("/v1/timeline", content=endless()), 413, "5 s")
        assert server.service.engine.pending == 0


@LINUX
def test_nothing_is_left_when_a_client_leaves_or_time_is_up(small):
    def files() -> list[str]:
        found = []
        for number in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{number}"))
            except FileNotFoundError:
                continue
        return [name for name in found if "(deleted)" in name]

    content = endless() + bytes(8_000_000)  # takes the lane of long recordings
    gc.collect()
    before = len(files())
    with running(small, timeout=1) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        answer = client.post("/v1/timeline?name=a.flac", content=content)
        refused(answer, 503, "a.flac: not analysed within 1 s")
        assert answer.headers["retry-after"]
        until(lambda: len(files()) == before)
        assert server.service.engine.pending == 0
    with running(small) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/v1/timeline", content=content, timeout=0.5)
        until(lambda: len(files()) == before)
        assert server.service.engine.pending == 0
        assert server.service.engine.seconds == 0
        assert httpx.post(f"{server.url}/v1/tag", content=wav(1), timeout=60).status_code == 200


def test_a_full_queue(small, server):
    del server
    with running(small, queue=1) as full, httpx.Client(base_url=full.url, timeout=60) as client:
        host, port = full.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(f"POST /v1/tag HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\nx".encode())
            until(lambda: full.service.engine.pending == 1)
            answer = client.post("/v1/tag", content=wav(1))
            refused(answer, 429, "try again")
            assert int(answer.headers["retry-after"]) > 0
            assert client.get("/healthz").status_code == 200
        until(lambda: full.service.engine.pending == 0)
        assert client.post("/v1/tag", content=wav(1)).status_code == 200


def test_slow_senders_lose_their_place(small, monkeypatch):
    monkeypatch.setattr(uploads, "GRACE", 0.5)
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    with running(small) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as silent, socket.create_connection((host, int(port))) as body:
            silent.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
            body.sendall(f"POST /v1/tag HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\nx".encode())
            body.settimeout(30)
            answer = body.recv(65536)
            assert answer.startswith(b"HTTP/1.1 408")
            silent.settimeout(30)
            with suppress(ConnectionResetError):
                assert silent.recv(65536) == b""
        until(lambda: server.service.engine.pending == 0)


@pytest.mark.slow
def test_clients_that_do_not_read_are_cut_off(small, monkeypatch):
    monkeypatch.setattr(guard, "WRITE_SECONDS", 0.3)
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.3)
    with running(small) as server:
        host, port = server.url.removeprefix("http://").split(":")
        content = wav(150)
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect((host, int(port)))
            head = f"POST /v1/timeline?format=html HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}\r\n\r\n"
            reader.sendall(head.encode() + content)
            until(lambda: server.service.engine.seconds == 150)
            until(lambda: not server.server_state.connections)


def test_small_requests_do_not_wait_for_long_recordings(server, client):
    answered = threading.Event()
    content = endless() + bytes(8_000_000)

    def long() -> None:
        try:
            httpx.post(f"{server.url}/v1/tag", content=content, timeout=60)
        finally:
            answered.set()

    thread = threading.Thread(target=long)
    thread.start()
    until(lambda: server.service.engine.pending == 1)
    for _ in range(5):
        assert client.post("/v1/tag", content=wav(1)).status_code == 200
    assert not answered.is_set()
    server.service.engine.cancel()
    thread.join(60)


def test_all_recordings_are_given_up_while_they_leave(server):
    engine = server.service.engine
    jobs = [Job(io.BytesIO(), f"{number}.wav", TagsView((), (), None, 1, None, 0.5), 60) for number in range(3)]
    for job in jobs:
        engine._jobs.add(job)
        job.result.add_done_callback(lambda _, job=job: engine._jobs.discard(job))
    engine.cancel()
    assert all("shutting down" in str(job.result.exception()) for job in jobs)


def test_requests_that_wait_when_the_server_ends_are_refused(small):
    with running(small) as server, ExitStack() as stack:
        host, port = server.url.removeprefix("http://").split(":")
        until(lambda: server.started)
        server.servers[0].get_loop().call_soon_threadsafe(time.sleep, 0.5)  # it accepts and reads nothing
        waiting = [stack.enter_context(socket.create_connection((host, int(port)), timeout=60)) for _ in range(20)]
        for one in waiting:
            one.sendall(f"POST /v1/tag HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n\r\nx".encode())
        server.should_exit = True
        for one in waiting:
            assert one.recv(65536).startswith(b"HTTP/1.1 503")


def test_a_full_disk(server, client, monkeypatch):
    def full(file: object, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "write", full)
    refused(client.post("/v1/tag", content=wav(1)), 507, "No space left")
    assert server.service.engine.pending == 0


def test_a_pipeline_that_has_ended(small):
    with running(small) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        assert client.get("/healthz").status_code == 200
        server.service.engine._small.put(object())  # no job: a fault of sedkit itself
        until(lambda: client.get("/healthz").status_code == 503)
        assert client.get("/healthz").json() == {"status": "failed"}
        refused(client.post("/v1/tag?name=a.wav", content=wav(1)), 500, "a.wav", "restart the server")


def burst(client: httpx.Client, count: int) -> list[int]:
    contents = [wav(0.2), b"x", b"", b"RIFF", wav(0.05)]
    statuses = []
    for number in range(count):
        answer = client.post("/v1/tag", content=contents[number % len(contents)])
        assert len(answer.text.strip().splitlines()) == 1
        assert json.loads(answer.text)
        statuses.append(answer.status_code)
    return statuses


def test_200_tiny_requests(client):
    assert burst(client, 200) == [200, 422, 400, 422, 200] * 40


@pytest.mark.slow
def test_10_000_tiny_requests(client, server):
    assert burst(client, 10_000) == [200, 422, 400, 422, 200] * 2_000
    assert server.service.engine.pending == 0
