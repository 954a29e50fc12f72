"""``RunOptions``: the options that ``tag`` and ``timeline`` share, as one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

import click

from sedkit.cli.clock import moment_of
from sedkit.formats.options import FormatOptions

if TYPE_CHECKING:
    from sedkit.inference.installed import Precision
    from sedkit.inference.session import Device


def decisive(default: Any) -> Any:
    """A field whose value decides the results: a run resumes only with the same one."""
    return field(default=default, metadata={"decisive": True})


@dataclass(frozen=True, kw_only=True)
class RunOptions(FormatOptions):
    """One field for each shared option (:data:`sedkit.cli.options.SHARED`), under the name that click gives it.

    Options that only change what a format writes are fields of :class:`~sedkit.formats.FormatOptions`.
    """

    classes: tuple[str, ...] = ()  # decisive too, once the model has told which classes they are
    track: int | None = decisive(None)
    channel: str | int = decisive("mix")
    gain: float | Literal["auto"] = decisive(0.0)
    start: str | None = decisive(None)
    timezone: str | None = decisive(None)
    formats: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    output_dir: str | None = None
    plot: tuple[str, ...] = ()
    recordings: str | None = None
    resume: bool = False
    recursive: bool = False
    model: str | None = None
    precision: Precision = "auto"
    device: Device = "auto"
    jobs: int | None = None
    threads: int | None = None
    engine: Literal["local", "ray"] = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.start is not None:
            moment_of(self.start, self.timezone)  # refuses a time that does not exist

    def given_format_options(self) -> list[str]:
        """The names of the format options that have another value than their default."""
        return [option.name for option in fields(FormatOptions) if getattr(self, option.name) != option.default]

    def check_single(self, recordings: int) -> None:
        """Refuse options that are about one recording if there are several.

        Raises
        ------
        click.UsageError
            If one of them is given.
        """
        for name, value in (("--start", self.start), ("--merge", self.merge)):
            if value is not None and recordings > 1:
                raise click.UsageError(f"{name} is for one recording, and {recordings} are given.")

    def reading(self) -> dict[str, Any]:
        """How to read recordings: arguments of :func:`sedkit.audio.reading.open_audio`."""
        return {"track": self.track, "channel": self.channel, "gain": self.gain}

    def decisive(self) -> Mapping[str, Any]:
        """The options that decide the results, by name."""
        return {
            f"--{option.name.replace('_', '-')}": getattr(self, option.name)
            for option in fields(self)
            if option.metadata.get("decisive")
        }
