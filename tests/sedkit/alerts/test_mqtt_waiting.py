"""The action ``mqtt`` while there is no connection yet, with a small broker that answers late or never."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

import pytest

from sedkit.alerts import mqtt as module
from sedkit.alerts.mqtt import Mqtt
from tests.sedkit.alerts.receiving import alert, wait_until

CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4


class LateBroker:
    """A minimal broker (MQTT 3.1.1), which accepts connections only while `open` is set.

    Attributes
    ----------
    published : topic and payload of each message.
    confirms : whether it confirms messages.
    """

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.open, self.published, self.confirms = threading.Event(), list[tuple[str, str]](), True
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.server.accept()
                threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader, suppress(OSError):
            while packet := read_packet(reader):
                kind, body = packet
                if kind == CONNECT:
                    self.open.wait(60)
                    connection.sendall(bytes([CONNACK << 4, 2, 0, 0]))
                elif kind == PUBLISH:
                    (length,) = struct.unpack(">H", body[:2])
                    self.published.append((body[2 : 2 + length].decode(), body[4 + length :].decode()))
                    if self.confirms:
                        connection.sendall(bytes([PUBACK << 4, 2]) + body[2 + length : 4 + length])

    def of(self, topic: str) -> list[str]:
        return [payload for each, payload in list(self.published) if each == topic]


def read_packet(reader: BinaryIO) -> tuple[int, bytes] | None:
    """Kind and content of the next packet; None at the end."""
    if not (first := reader.read(1)):
        return None
    length = shift = 0
    while True:
        digit = reader.read(1)[0]
        length |= (digit & 127) << shift
        shift += 7
        if digit < 128:
            return first[0] >> 4, reader.read(length)


@pytest.fixture
def broker() -> Iterator[LateBroker]:
    made = LateBroker()
    yield made
    made.open.set()
    made.server.close()


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def sink(broker, notices) -> Mqtt:
    return Mqtt("home", notices.append, ["Dog"], "127.0.0.1", broker.port)


def test_alerts_before_the_connection_are_published_with_it(broker, sink, notices):
    told = [alert(1.0), alert(1.0, offset=2.0), alert(3.0)]
    sink.begin(told[0])
    sink.end(told[1])
    sink.begin(told[2])
    assert broker.published == []
    broker.open.set()
    wait_until(lambda: broker.of("sedkit/dog/state"))
    assert [json.loads(record) for record in broker.of("sedkit/dog/alert")] == [each.to_dict() for each in told]
    assert broker.of("sedkit/dog/state") == ["ON"]
    sink.close()
    assert broker.of("sedkit/availability") == ["online", "offline"]
    assert notices == []


def test_end_waits_for_a_connection(broker, sink, notices):
    sink.begin(alert())
    threading.Timer(0.5, broker.open.set).start()
    sink.close()
    assert [json.loads(record) for record in broker.of("sedkit/dog/alert")] == [alert().to_dict()]
    assert notices == []


def test_end_does_not_wait_without_alerts(sink, notices):
    start = time.monotonic()
    sink.close()
    assert time.monotonic() - start < module.PATIENCE / 2
    assert notices == []


def test_alerts_that_nobody_got_are_told_at_the_end(sink, notices, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    for onset in (1.0, 3.0):
        sink.begin(alert(onset))
        sink.end(alert(onset, offset=onset + 1))
    sink.close()
    assert notices == ["action home: ended before the broker had all alerts; 2 alerts were lost"]


def test_alerts_that_the_broker_does_not_confirm_are_told_at_the_end(broker, sink, notices, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    broker.confirms = False
    broker.open.set()
    wait_until(lambda: broker.of("sedkit/dog/state"))
    sink.begin(alert())
    sink.close()
    assert notices == ["action home: ended before the broker had all alerts; 1 alert was lost"]


def test_oldest_alerts_are_lost_and_told(broker, sink, notices):
    for onset in range(105):
        sink.begin(alert(float(onset)))
        sink.end(alert(float(onset), offset=onset + 0.5))
    broker.open.set()
    wait_until(lambda: notices)
    sink.close()
    assert notices == ["action home: 5 alerts were lost"]
    records = [json.loads(record) for record in broker.of("sedkit/dog/alert")]
    assert [record["onset"] for record in records if "offset" not in record] == list(range(5, 105))
