"""From rules and actions to what runs: the alerts of a watch go to the actions of their rules."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from sedkit.alerts.alert import Alert
from sedkit.alerts.clips import Clips
from sedkit.alerts.command import Command
from sedkit.alerts.mqtt import Mqtt
from sedkit.alerts.reading import Action
from sedkit.alerts.rules import Rule
from sedkit.alerts.sink import Sink
from sedkit.alerts.webhook import Webhook
from sedkit.errors import SedkitError


class Dispatcher:
    """Starts the actions, and hands them alerts and sound. A context manager, which ends them.

    Parameters
    ----------
    rules : with unique names.
    actions : by name.
    on_notice : called with notices about actions, by any thread.
    delay : seconds by which the post-processing delays an alert, at most; clips reach back so much further.

    Raises
    ------
    SedkitError
        If an action cannot be started: a package is missing, or a folder cannot be written to.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        actions: Mapping[str, Action],
        on_notice: Callable[[str], None],
        delay: float = 0.0,
    ) -> None:
        self.sinks = dict[str, Sink]()
        try:
            for name, action in actions.items():
                users = [rule for rule in rules if rule.actions is None or name in rule.actions]
                if users:
                    self.sinks[name] = _sink(name, action, users, on_notice, delay)
        except SedkitError:
            self.close()
            raise
        self.of_rule = {
            rule.name: [sink for name, sink in self.sinks.items() if rule.actions is None or name in rule.actions]
            for rule in rules
        }
        self.clips = [sink for sink in self.sinks.values() if isinstance(sink, Clips)]

    def hear(self, block: NDArray[Any], rate: float) -> None:
        """The next samples of the source."""
        for clips in self.clips:
            with _reported(clips):
                clips.hear(block, rate)

    def tell(self, alert: Alert) -> Alert:
        """Hand an alert to the actions of its rule; returns it with the path of its clip."""
        sinks = self.of_rule[alert.rule]
        clip = next((str(sink.path_of(alert)) for sink in sinks if isinstance(sink, Clips)), None)
        alert = replace(alert, clip=clip)
        for sink in sinks:
            with _reported(sink, lost=alert.offset is None):
                (sink.begin if alert.offset is None else sink.end)(alert)
        return alert

    def close(self) -> None:
        """Let the actions finish what is under way, all at the same time, which is limited."""
        closing = [threading.Thread(target=self._close, args=(sink,), daemon=True) for sink in self.sinks.values()]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    def _close(self, sink: Sink) -> None:
        with _reported(sink):
            sink.close()

    def __enter__(self) -> Dispatcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _reported(sink: Sink, lost: int = 0) -> Iterator[None]:
    """Report any exception as a failure of the action, by which so many alerts are lost: others must go on."""
    try:
        yield
    except Exception as error:
        sink.lost += lost
        sink.failed(f"{type(error).__name__}: {error}")


def _sink(name: str, action: Action, rules: Sequence[Rule], on_notice: Callable[[str], None], delay: float) -> Sink:
    match action.kind:
        case "run":
            return Command(name, on_notice, **action.values)
        case "webhook":
            return Webhook(name, on_notice, **action.values)
        case "mqtt":
            return Mqtt(name, on_notice, rules=[rule.name for rule in rules], **action.values)
    return Clips(name, on_notice, lasting=max(rule.lasting for rule in rules), delay=delay, **action.values)
