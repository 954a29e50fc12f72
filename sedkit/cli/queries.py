"""The options of ``tag``, ``timeline`` and ``listen`` as parameters of a URL's query, for ``sedkit serve``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import click

from sedkit.cli import listen, options, shaping, tag, timeline
from sedkit.cli.clock import moment_of, recorded_at
from sedkit.errors import ArgumentError
from sedkit.formats import FORMATS, check_installed
from sedkit.formats.options import FormatOptions
from sedkit.formats.writers import Kind
from sedkit.serve.analyses import LiveQuestion, Pairs, Parameter, Question

if TYPE_CHECKING:
    from sedkit.tagger import Tagger

Asked = TypeVar("Asked")

SELECTING = ("classes", *shaping.SELECTING)
SHAPING = ("threshold", *shaping.SETTINGS, "resolution")
WRITING = ("formats", "bom", "escape_formulas", "absolute_time", "start", "timezone", "caption_style", "audio")
READING = ("track", "channel", "gain")
TEXTS = {  # of parameters that are not quite the options
    "classes": "Only these classes: AudioSet names or MIDs, separated by commas.",
    "format": "Format of the answer; all but json are downloads.",
    "rate": "Sample rate in Hz.",
}
YES, NO = ("1", "true", "yes", "on", ""), ("0", "false", "no", "off")
REMEMBERED = 256  # queries


class Query(Generic[Asked]):
    """Some options of a command as parameters of a query. Queries are remembered, since most clients repeat theirs.

    Parameters
    ----------
    tagger : knows the classes.
    """

    command: ClassVar[click.Command]
    names: ClassVar[tuple[str, ...]]

    def __init__(self, tagger: Tagger) -> None:
        self.tagger = tagger
        chosen = [option for option in self.command.params if option.name in self.names]
        self.options = {_name(option): option for option in chosen if isinstance(option, click.Option)}
        self._command = click.Command(self.command.name, params=list(chosen), add_help_option=False)
        self._remembered: Callable[[tuple[tuple[str, str], ...]], Asked] = lru_cache(REMEMBERED)(self._asked)

    @property
    def parameters(self) -> list[Parameter]:
        """See :class:`sedkit.serve.analyses.Analysis`."""
        return [Parameter(name, _schema(option), _text(name, option)) for name, option in self.options.items()]

    def read(self, query: Pairs) -> Asked:
        """See :class:`sedkit.serve.analyses.Analysis`."""
        return self._remembered(tuple(query))

    def ask(self, values: dict[str, Any]) -> Asked:
        """What is asked, from the values of the options by name."""
        raise NotImplementedError

    def _asked(self, query: tuple[tuple[str, str], ...]) -> Asked:
        try:
            values = self._command.make_context(self.command.name, list(self._arguments(query))).params
        except click.BadParameter as error:
            name = _name(error.param) if isinstance(error.param, click.Option) else "query"
            raise ArgumentError(f"{name}: {error.message}") from None
        except click.UsageError as error:
            raise ArgumentError(error.format_message()) from None
        try:
            return self.ask(values)
        except ArgumentError as error:  # names the model's file, which a client does not have
            command = f"sedkit info {self.tagger.model.path} lists"
            raise ArgumentError(str(error).replace(command, "/v1/models lists")) from None

    def _arguments(self, query: tuple[tuple[str, str], ...]) -> Iterator[str]:
        seen = set[str]()
        for given, value in query:
            name = given.replace("-", "_")
            option = self.options.get(name)
            if option is None:
                near = get_close_matches(name, self.options, 1)
                raise ArgumentError(
                    f"{given}: there is no such parameter; {f'is it {near[0]}?' if near else '/docs lists them all'}"
                )
            if name in seen and (not option.multiple or name == "format"):
                raise ArgumentError(f"{given}: is given twice; give it once")
            seen.add(name)
            if option.name in SELECTING and value.startswith("@"):
                raise ArgumentError(f"{given}: a file of the server cannot be named; give the classes themselves")
            if not option.is_flag:
                yield f"{option.opts[0]}={value}"
            elif value.lower() in YES:
                yield option.opts[0]
            elif value.lower() not in NO:
                raise ArgumentError(f"{given}: {value!r} is neither true nor false")

    def _classes(self, values: Mapping[str, Any]) -> list[str] | None:
        return options.split_classes(values["classes"], self.tagger.labels)


class RecordingQuery(Query[Question]):
    """What is asked about a recording."""

    kind: ClassVar[Kind]

    def ask(self, values: dict[str, Any]) -> Question:
        (format_name,) = values["formats"] or ("json",)
        writer = FORMATS[format_name]
        if self.kind not in writer.kinds:
            other = "/v1/timeline" if self.kind == "tags" else "/v1/tag"
            raise ArgumentError(f"{format_name} holds {writer.kinds[0]}, not {self.kind}; use {other}")
        if values["channel"] == "each" and self.kind in writer.single:
            raise ArgumentError(
                f"{format_name} holds one result, and channel=each gives several; choose another format"
            )
        check_installed(format_name, writer)
        choices = {option.name: values[option.name] for option in fields(FormatOptions) if option.name in values}
        for name, value in choices.items():
            if name not in writer.takes and value != getattr(FormatOptions, name):
                raise ArgumentError(f"{name}: {format_name} does not have it; leave it out, or choose another format")
        if choices["audio"] == "link":
            raise ArgumentError("audio: a recording that was sent has no address to link to; choose embed or none")
        if values["start"] is not None:
            moment_of(values["start"], values["timezone"])  # refuses a time that does not exist
        classes = self._classes(values)
        return Question(
            kind=self.kind,
            format=format_name,
            reading={name: values[name] for name in READING},
            options=FormatOptions(**choices),
            settings={f"--{name.replace('_', '-')}": value for name, value in values.items()} | {"--classes": classes},
            make_views=self.view_maker(values, classes),
            recorded_at=lambda file, name: recorded_at(name, values["start"], values["timezone"], file),
        )

    def view_maker(self, values: dict[str, Any], classes: list[str] | None) -> Callable[[frozenset[str]], Any]:
        """See :attr:`Question.make_views`. Wrong values are refused at once."""
        raise NotImplementedError


class TagQuery(RecordingQuery):
    """``POST /v1/tag``"""

    command, kind = tag.command, "tags"
    names = ("top_k", "threshold", *SELECTING, *READING, *WRITING)

    def view_maker(self, values: dict[str, Any], classes: list[str] | None) -> Callable[[frozenset[str]], Any]:
        views = tag.make_views(self.tagger, classes, values["top_k"], values["threshold"], values)
        return lambda keeps: views


class TimelineQuery(RecordingQuery):
    """``POST /v1/timeline``"""

    command, kind = timeline.command, "events"
    names = (*SHAPING, *SELECTING, *READING, *WRITING)

    def view_maker(self, values: dict[str, Any], classes: list[str] | None) -> Callable[[frozenset[str]], Any]:
        @lru_cache
        def views(keeps: frozenset[str]) -> Any:
            own = {**values, "postprocess": None}
            return timeline.make_views(self.tagger, classes, values["resolution"], own, keeps)

        views(frozenset())
        return views


class ListenQuery(Query[LiveQuestion]):
    """WebSocket ``/v1/listen``"""

    command = listen.command
    names = ("rate", "channels", "encoding", *SHAPING, *SELECTING, "channel", "gain")

    def ask(self, values: dict[str, Any]) -> LiveQuestion:
        if values["rate"] is None:
            raise ArgumentError("rate: is missing; it is the sample rate in Hz, such as rate=48000")
        own = {**values, "postprocess": None}
        stream = {
            "postprocessing": shaping.settings_of(own, self.tagger),
            "resolution": values["resolution"],
            "classes": self._classes(values),
            **shaping.selection_of(own, self.tagger),
            "channel": values["channel"],
            "gain": values["gain"],
        }
        self.tagger.stream([], values["rate"], **stream)  # refuses wrong values at once
        return LiveQuestion(
            rate=values["rate"],
            channels=values["channels"],
            encoding=values["encoding"],
            resolution=values["resolution"],
            options=stream,
        )


def _name(option: click.Option) -> str:
    """The name of an option's parameter: its long name without hyphens."""
    return option.opts[0].removeprefix("--").replace("-", "_")


def _text(name: str, option: click.Option) -> str:
    """What a parameter means: what the option does, with the names of parameters for those of options."""
    return TEXTS.get(name) or re.sub(r"--([a-z][a-z-]*)", lambda found: found[1].replace("-", "_"), option.help or "")


def _schema(option: click.Option) -> dict[str, Any]:
    """The values of an option, as a schema of OpenAPI."""
    kind = option.type
    schema: dict[str, Any]
    if option.is_flag:
        schema = {"type": "boolean"}
    elif isinstance(kind, click.Choice):
        schema = {"type": "string", "enum": [choice for choice in kind.choices if choice != "link"]}
    elif isinstance(kind, click.IntRange | click.FloatRange):
        schema = {"type": "integer" if isinstance(kind, click.IntRange) else "number"}
        schema |= {"minimum": kind.min} if kind.min is not None else {}
        schema |= {"maximum": kind.max} if kind.max is not None else {}
    else:
        schema = {"type": "string"}
    default = option.to_info_dict()["default"]
    if option.multiple and option.name != "formats":
        return {"type": "array", "items": schema}
    if option.name == "formats":
        return {**schema, "default": "json"}
    return schema if default is None or option.is_flag else {**schema, "default": default}
