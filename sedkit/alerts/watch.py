"""From segment scores to alerts: the events of each rule, its cool-down and its schedule."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from sedkit.alerts.alert import Alert
from sedkit.alerts.rules import Rule, columns_of
from sedkit.contract import Label
from sedkit.errors import ArgumentError
from sedkit.geometry import Geometry
from sedkit.timeline.detection import Detected, EventDetector
from sedkit.timeline.edges import level_changes
from sedkit.timeline.events import DetectedEvent, Found
from sedkit.timeline.settings import ColumnSettings, PostProcessing

RECENT = 8  # segments that decide which class of a rule scores highest
HOLDS = 5  # from an onset to three segments that reach the level, at most: one before the first, two between each
PASSED_ON = ("leave", "hold", "median", "merge_gap")  # settings of the classes that their rules have, too


class Watch:
    """Finds the alerts of one source, a :class:`sedkit.timeline.views.View` of the scores of all classes.

    The score of a rule is the highest of its classes. Its events are found as those of a class, by hysteresis, and an
    alert begins when the onset of one is certain and it is as long as the rule asks.

    Parameters
    ----------
    rules : with unique names.
    labels : of the model.
    thresholds : of the model's classes on the timeline.
    postprocessing : for what the rules leave open.
    geometry : of the model.
    source : name of the source.
    moment : the time of a position in the source, given in seconds; in UTC.
    on_alert : called when an alert begins and, if it began, when it ends.

    Attributes
    ----------
    delay : seconds by which the post-processing of any rule delays an alert, at most.

    Raises
    ------
    ArgumentError
        If the model has none of a rule's classes.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        labels: Sequence[Label],
        thresholds: Sequence[float],
        postprocessing: PostProcessing,
        geometry: Geometry,
        source: str,
        moment: Callable[[float], datetime],
        on_alert: Callable[[Alert], None],
    ) -> None:
        self.rules, self.labels, self.geometry, self.source = rules, labels, geometry, source
        self.moment, self.on_alert = moment, on_alert
        self.columns = [_columns(rule, labels) for rule in rules]
        own = {str(number): _settings(rule, columns, labels, thresholds, postprocessing)
               for number, (rule, columns) in enumerate(zip(rules, self.columns, strict=True))}  # fmt: skip
        names = [Label(number) for number in own]
        settings: ColumnSettings = PostProcessing(classes=own).columns(names, [0.0] * len(own), geometry)
        self.delay = float((HOLDS * settings.hold + settings.median / 2 + settings.merge_gap).max())
        self.detector, self.last_fall = EventDetector(settings, onsets=True), 0
        self.recent = deque[NDArray[np.float32]](maxlen=RECENT)
        self.going = dict[tuple[int, float], Alert | None]()  # by rule and onset; None if the rule gave no alert
        self.latest = dict[int, datetime]()  # time of the latest alert of a rule

    def add(self, samples: NDArray[np.float32], kept: slice, scores: NDArray[np.float32]) -> None:
        """Add a piece; parameters as for :meth:`sedkit.timeline.views.View.add`."""
        changes = level_changes(samples, self.geometry)[kept]
        self.last_fall = int(changes[-1, 1]) if len(changes) else self.last_fall
        for row, change in zip(scores, changes, strict=False):  # the last piece has one change more
            self.recent.append(row)
            ruled = np.array([[row[columns].max() for columns in self.columns]], np.float32)
            self._tell(self.detector.add(ruled, change[None]))

    def finish(self, file: str, duration: float) -> None:
        """End the alerts of a source of `duration` seconds."""
        self._tell(self.detector.finish(duration, self.last_fall))

    def _tell(self, found: Detected) -> None:
        both: list[Found] = [*found.onsets, *found.events]
        for each in sorted(both, key=_known):
            key = each.column, each.onset
            if key not in self.going:
                self._begin(*key, each.score)
            if isinstance(each, DetectedEvent) and (alert := self.going.pop(key)):
                self.on_alert(replace(alert, offset=each.offset, score=each.score))

    def _begin(self, number: int, onset: float, score: float) -> None:
        rule, time = self.rules[number], self.moment(onset)
        resting = number in self.latest and time - self.latest[number] < timedelta(seconds=rule.every)
        self.going[number, onset] = None
        if resting or time not in rule.schedule:
            return
        columns = self.columns[number]
        highest = self.labels[columns[int(np.mean([row[columns] for row in self.recent], axis=0).argmax())]]
        self.latest[number] = time
        alert = Alert(rule.name, self.source, highest.name, highest.mid, onset, time, score)
        self.going[number, onset] = alert
        self.on_alert(alert)


def _known(found: Found) -> float:
    return found.offset if isinstance(found, DetectedEvent) else found.onset


def _columns(rule: Rule, labels: Sequence[Label]) -> list[int]:
    try:
        return sorted({column for name in rule.classes for column in columns_of(name, labels)})
    except ArgumentError as error:
        raise ArgumentError(f"rule {rule.name}: {error}") from None


def _settings(
    rule: Rule,
    columns: list[int],
    labels: Sequence[Label],
    thresholds: Sequence[float],
    postprocessing: PostProcessing,
) -> dict[str, float]:
    """The post-processing of a rule; what it leaves open is that of its classes, the most sensitive one's."""
    of_classes = postprocessing.columns(
        [labels[column] for column in columns], [thresholds[column] for column in columns]
    )
    first = int(of_classes.threshold.argmin())
    settings = {name: float(getattr(of_classes, name)[first]) for name in PASSED_ON}
    settings["threshold"] = float(of_classes.threshold[first]) if rule.level is None else rule.level
    settings["min_duration"] = rule.lasting
    if rule.until is not None and rule.level is not None:
        settings["leave"] = rule.until / rule.level
    return settings
