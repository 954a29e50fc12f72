"""The options of ``sedkit listen`` about alerts, and what they do."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click
from click.decorators import FC

from sedkit.cli.messages import print_notice
from sedkit.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sedkit.alerts.alert import Alert
    from sedkit.alerts.dispatch import Dispatcher
    from sedkit.alerts.reading import Action
    from sedkit.alerts.rules import Rule
    from sedkit.alerts.watch import Watch
    from sedkit.audio.live import LiveAudio
    from sedkit.tagger import Tagger
    from sedkit.timeline.settings import PostProcessing

Block = TypeVar("Block")

OPTIONS = (
    click.option("--alerts", "alerts_file", metavar="FILE", help="Rules and actions of alerts (TOML, docs/alerts.md)."),
    click.option(
        "--on",
        "rules",
        metavar="RULE",
        multiple=True,
        help='A rule, such as "Dog>0.5 for 1s every 60s". All but the class can be left out. Repeatable.',
    ),
    click.option(
        "--run",
        metavar="COMMAND",
        help="On an alert, run this command, without a shell; it gets the alert as JSON on its standard input.",
    ),
    click.option("--webhook", metavar="URL", help="On an alert, send it as JSON by HTTP POST."),
)


def alerts(function: FC) -> FC:
    """Add the options about alerts."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


class Alerts:
    """The alerts of a run: rules and the actions that answer them. A context manager, in which the actions run.

    Attributes
    ----------
    on_alert : called when an alert begins and when it ends.
    """

    def __init__(
        self, rules: Sequence[Rule], actions: Mapping[str, Action], tagger: Tagger, postprocessing: PostProcessing
    ) -> None:
        self.rules, self.actions, self.tagger, self.postprocessing = rules, actions, tagger, postprocessing
        self.on_alert: Callable[[Alert], None] = lambda alert: None
        self._dispatcher: Dispatcher | None = None
        self._delay = 0.0
        if rules:  # refuses classes that the model does not have
            self._delay = self._watch("", lambda seconds: datetime.now(UTC)).delay

    @classmethod
    def of(cls, options: Mapping[str, Any], tagger: Tagger, postprocessing: PostProcessing) -> Self:
        """What the options ask for.

        Raises
        ------
        ArgumentError
            If a rule or an action is invalid.
        """
        file, short, run, webhook = (options[name] for name in ("alerts_file", "rules", "run", "webhook"))
        if not (file or short or run or webhook):
            return cls((), {}, tagger, postprocessing)
        from sedkit.alerts.reading import Action, Configuration, address, read_alerts
        from sedkit.alerts.rules import numbered, parse_rule

        given = read_alerts(file) if file else Configuration()
        rules = numbered([*given.rules, *map(parse_rule, short)])
        if not rules:
            where = f"{file}: has no rules; add [[rules]]" if file else "an action needs a rule; add one"
            raise ArgumentError(f'{where}, for example --on "Dog>0.5"')
        actions = dict(given.actions)
        if run is not None:
            actions["--run"] = Action("run", {"arguments": _arguments(run)})
        if webhook is not None:
            try:
                actions["--webhook"] = Action("webhook", {"url": address(webhook)})
            except ArgumentError as error:
                raise ArgumentError(f"--webhook: {error}") from None
        _check_programs(actions, file)
        try:
            return cls(rules, actions, tagger, postprocessing)
        except ArgumentError as error:
            where = f"{file}: " if file and not short else ""
            raise ArgumentError(f"{where}{error}") from None

    def views(self, source: str, clock: Callable[[float], datetime]) -> list[Watch]:
        """The views of the scores of a source that find the alerts in it; its clock is that of :func:`clock_of`."""
        return [self._watch(source, clock)] if self.rules else []

    def heard(self, blocks: Iterator[NDArray[Any]], rate: float) -> Iterator[NDArray[Any]]:
        """The blocks of a source, of which clips may be saved."""
        for block in blocks:
            if self._dispatcher:
                self._dispatcher.hear(block, rate)
            yield block

    def _watch(self, source: str, moment: Callable[[float], datetime]) -> Watch:
        from sedkit.alerts.watch import Watch

        contract, geometry = self.tagger.contract, self.tagger.model.geometry
        thresholds = contract.timeline_thresholds
        return Watch(self.rules, contract.labels, thresholds, self.postprocessing, geometry, source, moment, self._tell)

    def _tell(self, alert: Alert) -> None:
        self.on_alert(self._dispatcher.tell(alert) if self._dispatcher else alert)

    def __enter__(self) -> Self:
        if self.rules:
            from sedkit.alerts.dispatch import Dispatcher

            self._dispatcher = Dispatcher(self.rules, self.actions, print_notice, self._delay)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._dispatcher:
            self._dispatcher.close()


def clock_of(live: LiveAudio) -> Callable[[float], datetime]:
    """The time of a position in a source, in UTC.

    A recording begins when its metadata or its name says, otherwise now. Live audio arrives as it is recorded, so its
    clock is the computer's, even if it stalls.
    """
    from sedkit.audio.live import Recording
    from sedkit.audio.recording_time import recording_start

    if not isinstance(live, Recording):
        return lambda seconds: datetime.now(UTC) - timedelta(seconds=live.received - seconds)
    start = recording_start(live.name) or datetime.now(UTC)
    return lambda seconds: start + timedelta(seconds=seconds)


def _check_programs(actions: Mapping[str, Action], file: str | None) -> None:
    """Refuse commands that cannot be run; `file` has all of the actions but ``--run``."""
    from sedkit.alerts.command import check_program

    for name, action in actions.items():
        if action.kind == "run":
            try:
                check_program(action.values["arguments"][0])
            except ArgumentError as error:
                where = name if name == "--run" else f"{file}: actions.{name}: run"
                raise ArgumentError(f"{where}: {error}") from None


def _arguments(command: str) -> list[str]:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise ArgumentError(f"--run: {command}: {error}; check the quotes") from None
    if not arguments:
        raise ArgumentError('--run: names no command; write for example --run "notify-send Dog"')
    return arguments
