"""Presets: recipes as TOML files beside this module.

A preset holds options and settings of a training by their names. With seeds or runs it stands for several trainings,
which ``sedkit-train experiments`` runs::

    preset = "audioset"        # the options of another preset come first
    stages = 1
    seeds = [0, 1, 2]          # every run once per seed

    [runs.labels]              # options of this run only
    alpha = 1

    [runs.half]
    alpha = 0.5
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from sedkit.errors import SedkitError

PRESETS = Path(__file__).parent
SET = "assignments"  # parameter of --set
NOT_HELD = {"preset", "resume", "directory", "reuse", SET}  # options that belong to one training
Options = dict[str, Any]  # by the name of the parameter: batch_size


class PresetError(SedkitError):
    """A preset is missing or malformed."""


@dataclass(frozen=True)
class Preset:
    """An experiment.

    Attributes
    ----------
    options : of every run.
    runs : options of each run, by its name; empty: one run.
    seeds : one training for each seed and run; empty: the run's own seed.
    """

    name: str
    options: Options
    runs: dict[str, Options]
    seeds: tuple[int, ...]

    @property
    def single(self) -> bool:
        """Whether it stands for one training."""
        return not self.runs and len(self.seeds) < 2

    def trainings(self, seeds: tuple[int, ...] = ()) -> Iterator[tuple[str, Options]]:
        """Name and options of every training, seed by seed; ``seeds`` replace the preset's own.

        Names have the seed unless the preset itself has one or none.
        """
        named = bool(seeds) or len(self.seeds) > 1
        for seed in seeds or self.seeds or (None,):
            for run, own in (self.runs or {"": {}}).items():
                parts = (self.name, run, f"seed{seed}" if named else "")
                drawn = {} if seed is None else {"seed": seed}
                yield "-".join(part for part in parts if part), {**self.options, **own, **drawn}


def presets() -> list[str]:
    """Names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load(name: str) -> Preset:
    """The preset with that name, or in that file (``*.toml``).

    Raises
    ------
    PresetError
        If it is missing or malformed.
    """
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    if path.parent == PRESETS and not path.is_file():
        raise PresetError(f"no preset {name!r}; choose one of {', '.join(presets())}, or name a file ending in .toml")
    try:
        held = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise PresetError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise PresetError(f"{path}: is not TOML ({error})") from None
    runs, seeds, base = held.pop("runs", {}), held.pop("seeds", []), held.pop("preset", None)
    if not isinstance(runs, dict) or not all(isinstance(own, dict) for own in runs.values()):
        raise PresetError(f"{path}: runs must be tables: [runs.NAME]")
    if not isinstance(seeds, list) or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise PresetError(f"{path}: seeds must be a list of whole numbers, at least 0")
    options = _named(held)
    if base is not None:
        other = load(str(base))
        if not other.single:
            raise PresetError(f"{path}: builds on {base}, which holds several runs")
        options = other.options | options
    return Preset(path.stem, options, {run: _named(own) for run, own in runs.items()}, tuple(seeds))


def _named(options: Options) -> Options:
    return {name.replace("-", "_"): value for name, value in options.items()}


def apply(context: click.Context, name: str | None, settings: Collection[str]) -> str | None:
    """Make a preset's values the defaults of a command that has yet to read its own; returns ``name``.

    ``settings`` are the names that a preset may hold besides the command's options.

    Raises
    ------
    click.BadParameter
        If the preset is missing, malformed, holds several runs, or has an unknown option.
    """
    if name:
        try:
            preset = load(name)
            if not preset.single:
                raise PresetError(f"{name} holds several runs: sedkit-train experiments {name}")
            ((_, options),) = preset.trainings()
            check(options, context.command, settings)
        except PresetError as error:
            raise click.BadParameter(str(error)) from None
        context.default_map = options
    return name


def check(options: Options, command: click.Command, settings: Collection[str]) -> None:
    """Check that every option belongs to the command or to ``settings``.

    Raises
    ------
    PresetError
        If one does not.
    """
    known = ({parameter.name for parameter in command.params} | set(settings)) - NOT_HELD
    if unknown := [name.replace("_", "-") for name in options if name not in known]:
        raise PresetError(f"a preset cannot hold {', '.join(unknown)}: sedkit-train secost --help lists what it can")
