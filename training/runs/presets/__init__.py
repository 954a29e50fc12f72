"""Presets: experiments as files, ``training/presets/NAME.toml``.

A preset holds options of ``python -m training.secost`` by their names. With seeds or runs it stands for several
trainings, which ``sedkit-train experiments`` goes through::

    preset = "audioset"        # options of another preset, before its own
    stages = 1
    seeds = [0, 1, 2]          # every run once a seed

    [runs.labels]              # what is this run's own
    alpha = 1

    [runs.half]
    alpha = 0.5
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from sedkit.errors import SedkitError

PRESETS = Path(__file__).parent
NOT_HELD = {"preset", "resume", "directory", "reuse"}  # options that are one training's own
Options = dict[str, Any]  # by the name of the parameter: batch_size


class PresetError(SedkitError):
    """A preset is not there, or is none."""


@dataclass(frozen=True)
class Preset:
    """An experiment.

    Attributes
    ----------
    options : of every run.
    runs : options of each run, by its name; none: there is one run, of ``options`` alone.
    seeds : of each run; none: the run's own.
    """

    name: str
    options: Options
    runs: dict[str, Options]
    seeds: tuple[int, ...]

    @property
    def single(self) -> bool:
        """Is it one training?"""
        return not self.runs and len(self.seeds) < 2

    def trainings(self, seeds: tuple[int, ...] = ()) -> Iterator[tuple[str, Options]]:
        """Name and options of every training, seed after seed. ``seeds``: in place of the preset's own."""
        seeds = seeds or self.seeds
        for seed in seeds or (None,):
            for run, own in (self.runs or {"": {}}).items():
                parts = (self.name, run, f"seed{seed}" if len(seeds) > 1 else "")
                drawn = {} if seed is None else {"seed": seed}
                yield "-".join(part for part in parts if part), {**self.options, **own, **drawn}


def presets() -> list[str]:
    """Names of the presets there are."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load(name: str) -> Preset:
    """The preset of that name, or in that file (``*.toml``).

    Raises
    ------
    PresetError
        If there is none, or it cannot be read.
    """
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    if path.parent == PRESETS and not path.is_file():
        raise PresetError(f"no preset {name!r}; there are {', '.join(presets())}, or name a file ending in .toml")
    try:
        held = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise PresetError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise PresetError(f"{path}: is not TOML ({error})") from None
    runs, seeds, base = held.pop("runs", {}), held.pop("seeds", []), held.pop("preset", None)
    if not isinstance(runs, dict) or not all(isinstance(own, dict) for own in runs.values()):
        raise PresetError(f"{path}: runs are tables: [runs.NAME]")
    if not isinstance(seeds, list) or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise PresetError(f"{path}: seeds are a list of whole numbers from 0 on")
    options = _named(held)
    if base is not None:
        other = load(str(base))
        if not other.single:
            raise PresetError(f"{path}: builds on {base}, which holds several runs")
        options = other.options | options
    return Preset(path.stem, options, {run: _named(own) for run, own in runs.items()}, tuple(seeds))


def _named(options: Options) -> Options:
    return {name.replace("-", "_"): value for name, value in options.items()}


def apply(context: click.Context, name: str | None) -> str | None:
    """Make a preset's options the defaults of a command that is about to read its own; returns ``name``.

    Raises
    ------
    click.BadParameter
        If there is no such preset, or it holds several runs, or an option that the command does not have.
    """
    if name:
        try:
            preset = load(name)
            if not preset.single:
                raise PresetError(f"{name} holds several runs: sedkit-train experiments {name}")
            ((_, options),) = preset.trainings()
            check(options, context.command)
        except PresetError as error:
            raise click.BadParameter(str(error)) from None
        context.default_map = options
    return name


def check(options: Options, command: click.Command) -> None:
    """Are all of these options of the command?

    Raises
    ------
    PresetError
        If not.
    """
    known = {parameter.name for parameter in command.params} - NOT_HELD
    if unknown := [name.replace("_", "-") for name in options if name not in known]:
        raise PresetError(f"a preset cannot hold {', '.join(unknown)}: training.secost --help lists what it can")
