"""Rules and actions from TOML; docs/alerts.md describes the file."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from sedkit.alerts.rules import LONGEST, WIDEST, Rule, numbered, seconds_of
from sedkit.alerts.schedule import Schedule, days_of, time_of, zone_of
from sedkit.errors import ArgumentError

Convert: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True)
class Action:
    """An action as the file has it.

    Attributes
    ----------
    kind : ``"run"``, ``"webhook"``, ``"mqtt"`` or ``"save"``.
    values : arguments of its class, by name; secrets from the environment in place of their names.
    """

    kind: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Configuration:
    """Rules, and actions by name."""

    rules: tuple[Rule, ...] = ()
    actions: Mapping[str, Action] = field(default_factory=dict)


def text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ArgumentError(f"must be text in quotes, not {value!r}")
    return value


def texts(value: Any) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not given or not all(isinstance(each, str) and each.strip() for each in given):
        raise ArgumentError(f'must be a text, or a list such as ["a", "b"], not {value!r}')
    return tuple(given)


def arguments(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ArgumentError(f'must be a list of program and arguments, such as ["notify-send", "Dog"], not {value!r}')
    return texts(value)


def number(lowest: float, highest: float) -> Convert:
    def convert(value: Any) -> float:
        possible = isinstance(value, int | float) and not isinstance(value, bool)
        if not possible or not lowest <= value <= highest:
            raise ArgumentError(f"must be a number from {lowest:g} to {highest:g}, not {value!r}")
        return float(value)

    return convert


def whole(lowest: int, highest: int) -> Convert:
    def convert(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            raise ArgumentError(f"must be a whole number from {lowest} to {highest}, not {value!r}")
        return value

    return convert


def duration(lowest: float, highest: float) -> Convert:
    def convert(value: Any) -> float:
        seconds = seconds_of(value) if isinstance(value, str) else value
        possible = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not possible or not lowest <= seconds <= highest:
            raise ArgumentError(f'must be from {lowest:g} s to {highest:g} s, such as 2 or "5min", not {value!r}')
        return float(seconds)

    return convert


def one_of(*choices: str) -> Convert:
    def convert(value: Any) -> str:
        if value not in choices:
            raise ArgumentError(f"must be {' or '.join(map(repr, choices))}, not {value!r}")
        return str(value)

    return convert


def truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ArgumentError(f"must be true or false, not {value!r}")
    return value


def address(value: Any) -> str:
    """A URL with a host."""
    if not text(value).startswith(("http://", "https://")):
        raise ArgumentError(f"must begin with http:// or https://, not {value!r}")
    try:
        parts = urlsplit(value)
        valid = parts.hostname and (parts.port is None or parts.port)
    except ValueError:  # a port that is none, or half of an IPv6 address
        valid = False
    if not valid:
        raise ArgumentError('names no valid host and port; write for example "http://hub.local:8080/alerts"')
    return str(value)


def topic(value: Any) -> str:
    """An MQTT topic to publish to."""
    if any(character in text(value) for character in "+#\0"):
        raise ArgumentError(f'must not contain +, # or NUL, not {value!r}; write for example "home/sedkit"')
    return str(value)


def host(value: Any) -> str:
    """A name or an address of a computer."""
    found = text(value)
    try:
        found.encode("idna")
        possible = found.isprintable() and not set(found) & set(" /")
    except UnicodeError:
        possible = False
    if not possible:
        raise ArgumentError(f'must be the name of a host, not {value!r}; write for example "broker.local"')
    return found


def secret(value: Any) -> str:
    """The value of an environment variable, so that no secret is in the file; without white space around it."""
    found = os.environ.get(text(value), "").strip()
    if not found:
        raise ArgumentError(f"the environment variable {value} is not set; set it before sedkit starts")
    if any("\ud800" <= character <= "\udfff" for character in found):  # what is not UTF-8
        raise ArgumentError(f"the environment variable {value} is not UTF-8 text; set it to another value")
    return found


def token(value: Any) -> str:
    """The value of an environment variable, for a header of HTTP."""
    found = secret(value)
    if not all("!" <= character <= "~" for character in found):
        raise ArgumentError(
            f"the environment variable {value} has characters that a token cannot have; set it to visible ASCII"
        )
    return found


TIMEOUT = duration(0.1, 600)
RULE: dict[str, Convert] = {
    "name": text,
    "class": texts,
    "level": number(0, 1),
    "until": number(0, 1),
    "for": duration(0, LONGEST),
    "every": duration(0, WIDEST),
    "days": lambda value: days_of(text(value)),
    "from": lambda value: time_of(text(value)),
    "to": lambda value: time_of(text(value)),
    "timezone": lambda value: zone_of(text(value)),
    "actions": texts,
}
ARGUMENTS = {  # of the classes, where they are called otherwise
    "run": "arguments",
    "webhook": "url",
    "token_env": "token",
    "secret_env": "secret",
    "mqtt": "host",
    "password_env": "password",
    "save": "folder",
    "format": "kind",
}
SCHEDULE = {"days": "days", "from": "start", "to": "stop", "timezone": "zone"}
ACTIONS: dict[str, dict[str, Convert]] = {  # by the key that makes an action one of its kind
    "run": {"run": arguments, "timeout": TIMEOUT},
    "webhook": {
        "webhook": address,
        "token_env": token,
        "secret_env": secret,
        "timeout": TIMEOUT,
        "retries": whole(0, 20),
    },
    "mqtt": {
        "mqtt": host,
        "port": whole(1, 65_535),
        "tls": truth,
        "username": text,
        "password_env": secret,
        "topic": topic,
        "discovery": lambda value: None if value is False else topic(value),
    },
    "save": {
        "save": text,
        "before": duration(0, 60),
        "after": duration(0.1, 600),
        "format": one_of("wav", "flac"),
        "max_clips": whole(1, 10**9),
        "max_megabytes": number(0.001, 1e9),
    },
}


def read_alerts(path: str | os.PathLike[str]) -> Configuration:
    """Read rules and actions.

    Raises
    ------
    ArgumentError
        If the file cannot be read, or something in it is invalid; names the file, the key and the remedy.
    """
    try:
        tables = tomllib.loads(Path(path).read_text("utf-8"))
        return configuration(tables)
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise ArgumentError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except ArgumentError as error:
        raise ArgumentError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and deep nesting
        raise ArgumentError(f"{path}: not valid TOML: {error}; see docs/alerts.md") from None


def configuration(tables: Mapping[str, Any]) -> Configuration:
    """Rules and actions from the content of a file.

    Raises
    ------
    ArgumentError
        If something in it is invalid.
    """
    _check_keys(tables, ("rules", "actions"), "the file")
    listed, named = tables.get("rules", []), tables.get("actions", {})
    if not isinstance(listed, list) or not all(isinstance(rule, dict) for rule in listed):
        raise ArgumentError("rules must be a list of tables; write [[rules]] above each")
    if not isinstance(named, dict) or not all(isinstance(action, dict) for action in named.values()):
        raise ArgumentError("actions must be tables; write [actions.NAME] above each")
    actions = {name: _action(name, values) for name, values in named.items()}
    rules = [_rule(number, values, actions) for number, values in enumerate(listed, 1)]
    given = [values["name"] for values in listed if "name" in values]
    if twice := [name for name in given if given.count(name) > 1]:
        raise ArgumentError(f"two rules have the name {twice[0]}; give them different ones")
    return Configuration(tuple(numbered(rules)), actions)


def _rule(position: int, values: Mapping[str, Any], actions: Mapping[str, Action]) -> Rule:
    where = f"rule {position}"
    _check_keys(values, RULE, where)
    if "class" not in values:
        raise ArgumentError(f'{where} has no class; add for example class = "Dog"')
    own = _converted(values, RULE, where)
    if ("from" in own) != ("to" in own):
        raise ArgumentError(f'{where} has only one of from and to; add the other, for example to = "06:00"')
    for name in own.get("actions", ()):
        if name not in actions:
            raise ArgumentError(f"{where}: there is no action {name}; {_nearest(name, actions) or 'there is none'}")
    schedule = Schedule(**{field: own[key] for key, field in SCHEDULE.items() if key in own})
    try:
        return Rule(
            own.get("name", " or ".join(own["class"])),
            own["class"],
            own.get("level"),
            own.get("until"),
            own.get("for", 0.0),
            own.get("every", 0.0),
            schedule,
            own.get("actions"),
        )
    except ArgumentError as error:
        raise ArgumentError(f"{where}: {error}") from None


def _action(name: str, values: Mapping[str, Any]) -> Action:
    where = f"actions.{name}"
    kinds = [kind for kind in ACTIONS if kind in values]
    if len(kinds) != 1:
        found = f"has {' and '.join(kinds)}" if kinds else "says not what to do"
        raise ArgumentError(f"{where} {found}; give exactly one of {', '.join(ACTIONS)}")
    _check_keys(values, ACTIONS[kinds[0]], where)
    own = _converted(values, ACTIONS[kinds[0]], where)
    return Action(kinds[0], {ARGUMENTS.get(key, key): value for key, value in own.items()})


def _converted(values: Mapping[str, Any], converters: Mapping[str, Convert], where: str) -> dict[str, Any]:
    own = dict[str, Any]()
    for key, value in values.items():
        try:
            own[key] = converters[key](value)
        except ArgumentError as error:
            raise ArgumentError(f"{where}: {key}: {error}") from None
    return own


def _check_keys(values: Mapping[str, Any], known: Mapping[str, Any] | tuple[str, ...], where: str) -> None:
    for key in values:
        if key not in known:
            raise ArgumentError(f"{where}: unknown key {key}; {_nearest(key, known)}")


def _nearest(name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    listed = ", ".join(known)
    return f"did you mean {close[0]}?" if close else f"choose one of {listed}" if known else ""
