"""The action ``mqtt`` with a real broker: states, discovery, availability, a broker that dies and comes back."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from paho.mqtt import client as mqtt

from sedkit.alerts import mqtt as module
from sedkit.alerts.mqtt import Mqtt
from tests.sedkit.alerts.receiving import alert, wait_until

MOSQUITTO = shutil.which("mosquitto", path=os.environ["PATH"] + os.pathsep + "/usr/sbin")
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto (apt install mosquitto)")


class Broker:
    """A broker on a free port, which can be stopped and started again, and a subscriber to all of its topics."""

    def __init__(self, folder: Path, config: str) -> None:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.config = folder / "mosquitto.conf"
        self.config.write_text(f"listener {self.port} 127.0.0.1\n{config}\n")
        self.latest, self.order = dict[str, str](), list[tuple[str, str]]()
        self.start()

    def start(self) -> None:
        assert MOSQUITTO is not None
        self.process = subprocess.Popen([MOSQUITTO, "-c", self.config], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while True:
            with closing(socket.socket()) as trying:
                if trying.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            assert time.monotonic() < end
            time.sleep(0.01)
        self.subscriber = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.subscriber.username_pw_set("me", "secret")
        self.subscriber.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.subscriber.on_message = self.receive
        self.subscriber.connect("127.0.0.1", self.port)
        self.subscriber.loop_start()

    def receive(self, client: object, userdata: object, message: mqtt.MQTTMessage) -> None:
        self.latest[message.topic] = message.payload.decode()
        self.order.append((message.topic, message.payload.decode()))

    def stop(self) -> None:
        self.subscriber.disconnect()
        self.subscriber.loop_stop()
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path, "allow_anonymous true")
    yield made
    made.stop()


@pytest.fixture
def connect(broker, monkeypatch):
    monkeypatch.setattr(module, "FIRST_WAIT", 1)
    notices, sinks = [], []

    def make(*rules: str, **options) -> tuple[Mqtt, list[str]]:
        sinks.append(Mqtt("home", notices.append, rules or ("Dog",), "127.0.0.1", broker.port, **options))
        return sinks[-1], notices

    yield make
    for sink in sinks:
        sink.close()


def test_states_of_a_rule(broker, connect):
    sink, notices = connect()
    wait_until(lambda: broker.latest.get("sedkit/dog/state") == "OFF")
    assert broker.latest["sedkit/availability"] == "online"
    sink.begin(alert())
    wait_until(lambda: broker.latest["sedkit/dog/state"] == "ON")
    assert json.loads(broker.latest["sedkit/dog/alert"]) == alert().to_dict()
    sink.end(alert(offset=5.0))
    wait_until(lambda: broker.latest["sedkit/dog/state"] == "OFF")
    assert json.loads(broker.latest["sedkit/dog/alert"])["offset"] == 5.0
    sink.close()
    wait_until(lambda: broker.latest["sedkit/availability"] == "offline")
    assert notices == []


def test_home_assistant_finds_each_rule(broker, connect):
    connect("Dog", "Glass, breaking", topic="house/garden", discovery="ha")
    topic = "ha/binary_sensor/house_garden/glass_breaking/config"
    wait_until(lambda: topic in broker.latest and "house/garden/glass_breaking/state" in broker.latest)
    sensor = json.loads(broker.latest[topic])
    assert sensor["name"] == "Glass, breaking"
    assert sensor["device_class"] == "sound"
    assert broker.latest[sensor["state_topic"]] == "OFF"
    assert broker.latest[sensor["availability_topic"]] == "online"
    assert sensor["json_attributes_topic"] == "house/garden/glass_breaking/alert"
    other = json.loads(broker.latest["ha/binary_sensor/house_garden/dog/config"])
    assert other["unique_id"] != sensor["unique_id"]
    assert other["device"] == sensor["device"]


def test_without_discovery_nothing_is_announced(broker, connect):
    connect(discovery=None)
    wait_until(lambda: "sedkit/dog/state" in broker.latest)
    assert not any("config" in topic for topic in broker.latest)


def test_broker_that_dies_and_comes_back_is_told_once_each_and_gets_the_state(broker, connect):
    sink, notices = connect()
    wait_until(lambda: broker.latest.get("sedkit/dog/state") == "OFF")
    broker.stop()
    wait_until(lambda: notices)
    sink.begin(alert())  # waits for the broker
    broker.latest.clear()
    broker.start()
    wait_until(lambda: broker.latest.get("sedkit/dog/state") == "ON")
    wait_until(lambda: len(notices) == 2)
    assert "the connection was lost; listening goes on" in notices[0]
    assert notices[1] == "action home: works again"
    wait_until(lambda: "sedkit/dog/alert" in broker.latest)
    assert json.loads(broker.latest["sedkit/dog/alert"]) == alert().to_dict()


def test_client_that_vanishes_is_offline(broker, connect):
    sink, _ = connect()
    wait_until(lambda: broker.latest.get("sedkit/availability") == "online")
    sink.client.reconnect_delay_set(60, 60)
    sink.client.socket().shutdown(socket.SHUT_RDWR)
    wait_until(lambda: broker.latest["sedkit/availability"] == "offline")


def test_no_broker_is_told_once_and_listening_goes_on(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    notices = []
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        sink = Mqtt("home", notices.append, ["Dog"], "127.0.0.1", free.getsockname()[1])
        wait_until(lambda: notices)
        sink.begin(alert())
        sink.end(alert(offset=4.0))
        sink.close()
    assert len(notices) == 2
    assert "cannot be reached; listening goes on" in notices[0]
    assert notices[1] == "action home: ended before the broker had all alerts; 1 alert was lost"


def test_password_is_checked(tmp_path):
    passwords = tmp_path / "passwords"
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("needs mosquitto_passwd")
    subprocess.run([tool, "-b", "-c", passwords, "me", "secret"], check=True, stderr=subprocess.DEVNULL)
    broker = Broker(tmp_path, f"allow_anonymous false\npassword_file {passwords}\nuser root")
    notices = []
    wrong = Mqtt("home", notices.append, ["Dog"], "127.0.0.1", broker.port, username="me", password="guess")
    wait_until(lambda: notices)
    assert "refuses the connection (Not authorized); check user name and password" in notices[0]
    wrong.close()
    right = Mqtt("home", notices.append, ["Dog"], "127.0.0.1", broker.port, username="me", password="secret")
    wait_until(lambda: broker.latest.get("sedkit/availability") == "online")
    right.close()
    broker.stop()
    assert len(notices) == 1
