"""What the actions share: a thread of their own, a bounded queue, and one notice when they fail and one when they work.

An action that is slow or dead never delays listening. While it fails, the newest alerts wait for it; older ones are
lost, and counted.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from sedkit.alerts.alert import Alert

Job = TypeVar("Job")

WAITING = 100  # jobs that may wait for an action
PATIENCE = 10.0  # seconds at the end in which an action may deliver what waits


class SinkError(Exception):
    """An action failed; the message says why."""


class Sink(ABC):
    """An action.

    Parameters
    ----------
    name : of the action.
    on_notice : called with notices, by any thread.
    """

    def __init__(self, name: str, on_notice: Callable[[str], None]) -> None:
        self.name, self.on_notice = name, on_notice
        self.failing, self.lost = False, 0

    @abstractmethod
    def begin(self, alert: Alert) -> None:
        """An alert begins. Returns at once."""

    def end(self, alert: Alert) -> None:  # noqa: B027 - most actions do nothing then
        """An alert that began has ended. Returns at once."""

    @abstractmethod
    def close(self) -> None:
        """Finish what is under way, for a limited time."""

    def failed(self, cause: str) -> None:
        """Say that the action fails, unless that was said."""
        if not self.failing:
            self.on_notice(f"action {self.name}: {cause}; listening goes on, and you are told when it works again")
        self.failing = True

    def worked(self) -> None:
        """Say that the action works again, if it failed, and how many alerts were lost."""
        said = ["works again"] * self.failing + [lost_alerts(self.lost)] * (self.lost > 0)
        if said:
            self.on_notice(f"action {self.name}: {'; '.join(said)}")
        self.failing, self.lost = False, 0


def lost_alerts(number: int) -> str:
    """How many alerts were lost, in words."""
    return f"{number} {'alert was' if number == 1 else 'alerts were'} lost"


class QueuedSink(Sink, Generic[Job]):
    """An action that a thread of its own runs, job by job; a job is what one alert asks for.

    Parameters
    ----------
    name, on_notice : as for :class:`Sink`.
    most : number of jobs that may wait; beyond it, the oldest is dropped.
    """

    def __init__(self, name: str, on_notice: Callable[[str], None], most: int = WAITING) -> None:
        super().__init__(name, on_notice)
        self.most = most
        self._waiting = deque[Job]()
        self._changed = threading.Condition()
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sedkit-action-{name}", daemon=True)
        self._thread.start()

    @abstractmethod
    def deliver(self, job: Job) -> None:
        """Do a job; called by the thread.

        Raises
        ------
        SinkError
            If it fails.
        """

    def put(self, job: Job) -> None:
        """Let the thread do a job. Returns at once."""
        with self._changed:
            if len(self._waiting) == self.most:
                self._waiting.popleft()
                self.lost += 1
            self._waiting.append(job)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self.closing.set()
            self._changed.notify()
        self._thread.join(PATIENCE)
        with self._changed:
            left = len(self._waiting) + self._thread.is_alive() + (0 if self.failing else self.lost)
            self._waiting.clear()
        if left:
            self.on_notice(f"action {self.name}: ended before it was done with {left} alert{'s' * (left > 1)}")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self.closing.is_set())
                if not self._waiting:
                    return
                job = self._waiting.popleft()
            try:
                self.deliver(job)
            except SinkError as error:
                self.lost += 1
                self.failed(str(error))
            except Exception as error:  # an action must never end the others
                self.lost += 1
                self.failed(f"{type(error).__name__}: {error}")
            else:
                if self.failing or len(self._waiting) < self.most:  # otherwise more alerts are about to be lost
                    self.worked()
