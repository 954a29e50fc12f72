"""The action ``mqtt``: alerts for a broker, found by Home Assistant by itself.

=============================================  =======================================================================
topic                                          payload (retained)
=============================================  =======================================================================
``TOPIC/availability``                         ``online``; ``offline`` by the broker, when the connection is lost
``TOPIC/RULE/state``                           ``ON`` while the sound goes on, otherwise ``OFF``
``TOPIC/RULE/alert``                           the latest alert as JSON
``DISCOVERY/binary_sensor/TOPIC/RULE/config``  how Home Assistant shows the rule
=============================================  =======================================================================
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sedkit.alerts.alert import Alert, slug, slugs
from sedkit.alerts.sink import PATIENCE, WAITING, Sink, lost_alerts
from sedkit.errors import SedkitError
from sedkit.install import version

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessageInfo

PORT, TLS_PORT = 1883, 8883
FIRST_WAIT, LONGEST_WAIT = 1, 60  # seconds between attempts to connect
KEEP_ALIVE = 30  # seconds
ON, OFF = "ON", "OFF"
MOST = 2 * WAITING  # messages that wait for a connection: that an alert begins, and that it ends


class Mqtt(Sink):
    """Publishes the state of the rules. The client's own thread connects, and connects again.

    Alerts wait for a connection. Then they are published, before the states, which are those of that moment.

    Parameters
    ----------
    name, on_notice : as for :class:`Sink`.
    rules : names of the rules that use this action.
    host, port, tls : of the broker; the port is 1883, with TLS 8883.
    username, password : for the broker.
    topic : of all that is published.
    discovery : first part of the topics that Home Assistant reads; None not to be found.

    Raises
    ------
    SedkitError
        If paho-mqtt is not installed.
    """

    def __init__(
        self,
        name: str,
        on_notice: Callable[[str], None],
        rules: Sequence[str],
        host: str,
        port: int | None = None,
        tls: bool = False,
        username: str | None = None,
        password: str | None = None,
        topic: str = "sedkit",
        discovery: str | None = "homeassistant",
    ) -> None:
        try:
            from paho.mqtt import client as mqtt
            from paho.mqtt.enums import CallbackAPIVersion
        except ModuleNotFoundError:
            from sedkit.install import install_remedy

            raise SedkitError(f"MQTT needs the package paho-mqtt: {install_remedy('alerts')}") from None
        super().__init__(name, on_notice)
        self.host, self.port = host, port or (TLS_PORT if tls else PORT)
        self.topic, self.discovery, self.availability = topic, discovery, f"{topic}/availability"
        self.slugs = slugs(rules)
        self.states = dict.fromkeys(rules, OFF)
        self._waiting = deque[Alert]()
        self._sent: list[tuple[Alert, MQTTMessageInfo]] = []  # that may not have arrived
        self._lock = threading.Lock()  # of what is above; never taken on a disconnection, which can happen within it
        self._online = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.username_pw_set(username, password)
        if tls:
            self.client.tls_set()
        self.client.will_set(self.availability, "offline", qos=1, retain=True)
        self.client.reconnect_delay_set(FIRST_WAIT, LONGEST_WAIT)
        self.client.on_connect, self.client.on_disconnect = self._connected, self._disconnected
        self.client.on_connect_fail = lambda *_: self.failed(f"{self.host}:{self.port} cannot be reached")
        self.client.connect_async(host, self.port, KEEP_ALIVE)
        self.client.loop_start()

    def begin(self, alert: Alert) -> None:
        self._tell(alert, ON)

    def end(self, alert: Alert) -> None:
        self._tell(alert, OFF)

    def close(self) -> None:
        deadline = time.monotonic() + PATIENCE
        if self._waiting:
            self._online.wait(PATIENCE)
        if self._online.is_set():
            with suppress(RuntimeError, ValueError):  # the connection was lost in this moment
                self._publish(self.availability, "offline").wait_for_publish(max(0.0, deadline - time.monotonic()))
        self.client.disconnect()
        self.client.loop_stop()
        left = [*self._waiting, *(alert for alert, message in self._sent if not _has_arrived(message))]
        if lost := self.lost + len({(alert.rule, alert.onset) for alert in left}):
            self.on_notice(f"action {self.name}: ended before the broker had all alerts; {lost_alerts(lost)}")
        self.lost = 0

    def _tell(self, alert: Alert, state: str) -> None:
        """Publish that an alert begins or ends, or leave it to the next connection."""
        with self._lock:
            self.states[alert.rule] = state
            if len(self._waiting) == MOST:
                self.lost += self._waiting.popleft().offset is None
            self._waiting.append(alert)
            if self._online.is_set():
                self._publish_waiting()
                self._publish(f"{self._base(alert.rule)}/state", state)

    def _publish_waiting(self) -> None:
        self._sent = [(alert, message) for alert, message in self._sent if not _has_arrived(message)]
        while self._waiting:
            alert = self._waiting.popleft()
            record = json.dumps(alert.to_dict(), ensure_ascii=False)
            self._sent.append((alert, self._publish(f"{self._base(alert.rule)}/alert", record)))

    def _publish(self, topic: str, payload: str) -> MQTTMessageInfo:
        return self.client.publish(topic, payload, qos=1, retain=True)

    def _connected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self.failed(f"{self.host}:{self.port} refuses the connection ({reason}); check user name and password")
            return
        self._publish(self.availability, "online")
        for rule in self.states if self.discovery is not None else ():
            self._publish(self._discovery_topic(rule), json.dumps(self._sensor(rule)))
        with self._lock:
            self._publish_waiting()
            for rule, state in self.states.items():
                self._publish(f"{self._base(rule)}/state", state)
            self._online.set()
        self.worked()

    def _disconnected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._online.clear()
        if reason.is_failure:
            self.failed(f"{self.host}:{self.port}: the connection was lost")

    def _base(self, rule: str) -> str:
        return f"{self.topic}/{self.slugs[rule]}"

    def _discovery_topic(self, rule: str) -> str:
        return f"{self.discovery}/binary_sensor/{slug(self.topic)}/{self.slugs[rule]}/config"

    def _sensor(self, rule: str) -> dict[str, Any]:
        """How Home Assistant shows a rule (home-assistant.io/integrations/mqtt, "MQTT discovery")."""
        return {
            "name": rule,
            "unique_id": f"{slug(self.topic)}_{self.slugs[rule]}",
            "device_class": "sound",
            "state_topic": f"{self._base(rule)}/state",
            "json_attributes_topic": f"{self._base(rule)}/alert",
            "availability_topic": self.availability,
            "device": {"identifiers": [slug(self.topic)], "name": self.topic, "manufacturer": "sedkit"},
            "origin": {"name": "sedkit", "sw_version": version()},
        }


def _has_arrived(message: MQTTMessageInfo) -> bool:
    """Whether the broker has confirmed a message."""
    try:
        return message.is_published()
    except (RuntimeError, ValueError):  # the connection was lost when it was published
        return False
