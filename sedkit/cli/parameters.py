"""Types of the values of options: what is more than a number or a choice, and checks that click does not make."""

from __future__ import annotations

import math
import os
from typing import Any

import click

OTHERS = "*"  # in place of a class: all that are not named
PATH = click.Path(readable=False)  # a file that cannot be read fails when it is opened, and stops no others


class Number(click.FloatRange):
    """Parameter type: a number in a range; neither NaN, which no range excludes, nor infinite."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class ThresholdParameter(click.ParamType[Any]):
    """Parameter type: ``SCORE``, or ``CLASS=SCORE``; as a pair of class (``*`` for all others) and score.

    Parameters
    ----------
    words : other values that a score may have.
    """

    name = "threshold"

    def __init__(self, *words: str) -> None:
        self.words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float | str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).rpartition("=")
        if text in self.words and not equals:
            return OTHERS, text
        try:
            score = float(text)
        except ValueError:
            score = -1.0
        if not 0 <= score <= 1 or (equals and not name.strip()):
            words = "".join(f", {word!r}" for word in self.words)
            self.fail(f"{value!r} is neither a score from 0 to 1{words}, nor CLASS=SCORE.", param, ctx)
        return name.strip() or OTHERS, score


class ChannelParameter(click.ParamType[Any]):
    """Parameter type: ``mix``, ``left``, ``right``, or the number of a channel, from 1 on.

    Parameters
    ----------
    each : whether ``each`` is a value too.
    """

    name = "channel"

    def __init__(self, each: bool = False) -> None:
        self.names = ("mix", "left", "right", "each") if each else ("mix", "left", "right")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        if value in self.names or isinstance(value, int):
            return value  # type: ignore[no-any-return]
        if not str(value).isdecimal() or int(value) < 1:
            names = ", ".join(self.names)
            self.fail(f"{value!r} is neither {names} nor the number of a channel, from 1 on.", param, ctx)
        return int(value)


class GainParameter(click.ParamType[Any]):
    """Parameter type: a number of dB, or ``auto``.

    Parameters
    ----------
    auto : whether ``auto`` is a value.
    """

    name = "gain"

    def __init__(self, auto: bool) -> None:
        self.auto = auto

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | float:
        if value == "auto" and self.auto:
            return "auto"
        try:
            decibels = float(value)
        except ValueError:
            decibels = float("nan")
        if not -100 <= decibels <= 100:
            other = "neither auto nor" if self.auto else "not"
            self.fail(f"{value!r} is {other} a number of dB from -100 to 100.", param, ctx)
        return decibels


class PathEndingIn(click.Path):
    """Parameter type: a path that ends in one of these."""

    def __init__(self, *endings: str) -> None:
        super().__init__(readable=False)
        self.endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        if not os.fsdecode(path).lower().endswith(self.endings):
            endings = f"{', '.join(self.endings[:-1])} or {self.endings[-1]}"
            self.fail(f"{os.fsdecode(path)!r} must end in {endings}.", param, ctx)
        return path


class CaptionStyle(click.ParamType[str]):
    """Parameter type: a text with ``{}`` in it."""

    name = "caption style"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if "{}" not in value:
            self.fail(f"{value!r} has no {{}} for the sounds, as in '({{}})'.", param, ctx)
        return str(value)
