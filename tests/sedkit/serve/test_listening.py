"""WebSocket ``/v1/listen``: samples in, the records of ``sedkit listen --format jsonl`` out."""

from __future__ import annotations

import base64
import io
import json
import sys
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.conftest import make_sound
from tests.sedkit.serve.conftest import MODEL, running


def address(server: Any, query: str) -> str:
    return f"{server.url.replace('http', 'ws')}/v1/listen?{query}"


def records(socket: Any) -> list[dict[str, Any]]:
    """The records until the server closes the connection."""
    found = []
    try:
        while True:
            found.append(json.loads(socket.recv(timeout=60)))
    except ConnectionClosed:
        return found


def listened(samples: bytes, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[dict[str, Any]]:
    """What ``sedkit listen`` prints about raw samples on standard input."""
    import os
    import subprocess

    command = [sys.executable, "-m", "sedkit", "listen", "-", "--format", "jsonl", "--model", MODEL, *arguments]
    result = subprocess.run(command, input=samples, capture_output=True, check=True, env={**os.environ})
    return [json.loads(line) for line in io.StringIO(result.stdout.decode())]


def test_records_equal_those_of_sedkit_listen(server, monkeypatch):
    samples = (make_sound(9, 22050) * 32767).astype("<i2")
    stereo = samples.repeat(2).tobytes()
    with connect(address(server, "rate=22050&channels=2&threshold=0.05&resolution=native&name=garden")) as socket:
        for start in range(0, len(stereo), 10_001):  # frames are cut, too
            socket.send(stereo[start : start + 10_001])
        socket.send("end")
        found = records(socket)
        assert socket.protocol.close_code == 1000
    arguments = ["--rate", "22050", "--channels", "2", "-t", "0.05", "--resolution", "native"]
    expected = listened(stereo, monkeypatch, *arguments)
    assert {**expected[0], "time": "", "source": "garden"} == {**found[0], "time": ""}

    def content(record: dict[str, Any]) -> str:
        return json.dumps(record, sort_keys=True)

    assert sorted(map(content, found[1:])) == sorted(map(content, expected[1:]))  # the order depends on the blocks
    assert sum(record["type"] == "event" for record in found) > 3


def test_records_come_while_the_audio_plays(server):
    block = make_sound(10).astype("<f4")
    with connect(address(server, "rate=16000&encoding=f32le")) as socket:
        socket.send(block.tobytes())
        assert json.loads(socket.recv(timeout=60))["type"] == "start"
        assert json.loads(socket.recv(timeout=60))["type"] in ("second", "event")
    assert "sedkit_listeners" in metrics(server)


def metrics(server: Any) -> str:
    import httpx

    return httpx.get(f"{server.url}/metrics").text


@pytest.mark.parametrize(
    ("query", "words"),
    [("", "rate:"), ("rate=5", "rate:"), ("rate=16000&x=1", "no such parameter"), ("rate=16000&gain=auto", "gain:"),
     ("rate=16000&method=change-points", "change-points"), ("rate=16000&encoding=mp3", "encoding:")],
)  # fmt: skip
def test_wrong_parameters(server, query, words):
    with connect(address(server, query)) as socket:
        (record,) = records(socket)
        assert record["type"] == "error"
        assert words in record["message"]
        assert socket.protocol.close_code == 1008


def test_invalid_samples_end_the_stream(server):
    with connect(address(server, "rate=16000&encoding=f32le")) as socket:
        socket.send(np.full(16000, np.nan, "<f4").tobytes())
        found = records(socket)
        assert [record["type"] for record in found] == ["start", "error"]
        assert socket.protocol.close_code == 1007
    with connect(address(server, "rate=16000")) as socket:
        socket.send("end")
        assert [record["type"] for record in records(socket)] == ["start", "error"]  # no samples
    with connect(address(server, "rate=16000")) as socket:
        socket.send(bytes((1 << 20) + 2))
        records(socket)
        assert socket.protocol.close_code == 1009


def test_clients_that_leave_make_room_for_others(small):
    with running(small, listeners=1) as server:
        for _ in range(3):
            with connect(address(server, "rate=16000")) as first:
                first.send(bytes(32000))
                assert json.loads(first.recv(timeout=60))["type"] == "start"
                with connect(address(server, "rate=16000")) as second:
                    assert records(second) == []
                    assert second.protocol.close_code == 1013
            for _ in range(1000):
                if "sedkit_listeners 0.0" in metrics(server):
                    break
            assert "sedkit_listeners 0.0" in metrics(server)


def test_handshakes_are_refused_in_json(server, small):
    import httpx

    def refused(url: str, **options: Any) -> tuple[int, str]:
        with pytest.raises(InvalidStatus) as error, connect(url, **options):
            pass
        response = error.value.response
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        return response.status_code, json.loads(response.body)["error"]

    status, message = refused(address(server, "rate=16000"), origin="http://evil.example")
    assert (status, "pages of other sites" in message) == (403, True)
    status, message = refused(address(server, "").replace("listen", "nothing"))
    assert (status, message) == (404, "there is nothing at this address; /docs lists all")
    with running(small, token="secret") as closed:
        status, message = refused(address(closed, "rate=16000"))
        assert (status, "the token is missing" in message) == (401, True)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    for headers, status in (({}, 400), ({"Sec-WebSocket-Key": "x"}, 400)):
        answer = httpx.get(f"{server.url}/v1/listen", headers={**upgrade, **headers})
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
        assert "WebSocket" in answer.json()["error"]


def test_other_sites_and_wrong_tokens_are_refused(server, small):
    with pytest.raises(InvalidStatus) as refused, connect(address(server, "rate=16000"), origin="http://evil.example"):
        pass
    assert refused.value.response.status_code == 403
    with running(small, token="secret") as closed:
        for protocols in (None, ["sedkit"], ["sedkit", "token.!"], ["sedkit", "token.eA"]):
            with pytest.raises(InvalidStatus), connect(address(closed, "rate=16000"), subprotocols=protocols):
                pass
        coded = base64.urlsafe_b64encode(b"secret").decode().rstrip("=")
        with connect(address(closed, "rate=16000"), subprotocols=["sedkit", f"token.{coded}"]) as socket:
            assert socket.subprotocol == "sedkit"
            socket.send("end")
            assert records(socket)
        headers = {"Authorization": "Bearer secret"}
        with connect(address(closed, "rate=16000"), additional_headers=headers) as socket:
            socket.send(bytes(64000))
            socket.send("end")
            assert records(socket)[0]["type"] == "start"
