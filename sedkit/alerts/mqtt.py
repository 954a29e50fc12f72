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
from collections.abc import Callable, Sequence
from typing import Any

from sedkit.alerts.alert import Alert, slug, slugs
from sedkit.alerts.sink import PATIENCE, Sink
from sedkit.errors import SedkitError
from sedkit.install import version

PORT, TLS_PORT = 1883, 8883
FIRST_WAIT, LONGEST_WAIT = 1, 60  # seconds between attempts to connect
KEEP_ALIVE = 30  # seconds
ON, OFF = "ON", "OFF"


class Mqtt(Sink):
    """Publishes the state of the rules. The client's own thread connects, and connects again.

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
        self.states[alert.rule] = ON
        self._publish(f"{self._base(alert.rule)}/alert", json.dumps(alert.to_dict(), ensure_ascii=False))
        self._publish(f"{self._base(alert.rule)}/state", ON)

    def end(self, alert: Alert) -> None:
        self.states[alert.rule] = OFF
        self._publish(f"{self._base(alert.rule)}/alert", json.dumps(alert.to_dict(), ensure_ascii=False))
        self._publish(f"{self._base(alert.rule)}/state", OFF)

    def close(self) -> None:
        if self.client.is_connected():
            self.client.publish(self.availability, "offline", qos=1, retain=True).wait_for_publish(PATIENCE)
        self.client.disconnect()
        self.client.loop_stop()

    def _publish(self, topic: str, payload: str) -> None:
        """Publish, or leave it to the next connection, which publishes the states anew."""
        if self.client.is_connected():
            self.client.publish(topic, payload, qos=1, retain=True)
        else:
            self.lost += topic.endswith("/alert")

    def _connected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self.failed(f"{self.host}:{self.port} refuses the connection ({reason}); check user name and password")
            return
        client.publish(self.availability, "online", qos=1, retain=True)
        for rule, state in list(self.states.items()):
            if self.discovery is not None:
                client.publish(self._discovery_topic(rule), json.dumps(self._sensor(rule)), qos=1, retain=True)
            client.publish(f"{self._base(rule)}/state", state, qos=1, retain=True)
        self.worked()

    def _disconnected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
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
