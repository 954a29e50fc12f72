"""Options of ``tag``, ``timeline`` and ``listen``: which classes are reported, and how scores become events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sedkit.cli import parameters
from sedkit.cli.options import split_classes

if TYPE_CHECKING:
    from sedkit.tagger import Tagger
    from sedkit.timeline.settings import PostProcessing

Function = TypeVar("Function", bound=Callable[..., object])


EXCLUDE = click.option(
    "--exclude",
    "--skip",
    multiple=True,
    metavar="NAMES",
    help="Not these classes; as --classes.",
)
ROLLUP = click.option(
    "--rollup",
    multiple=True,
    metavar="NAMES",
    help="Also these classes of AudioSet's ontology, such as Bird. The score of each is the highest of the model's "
    "classes below it.",
)
PARENTS = click.option(
    "--parents",
    is_flag=True,
    help="Also classes that a more specific one explains: Animal and Dog beside Bark. Default: only the most specific "
    "of the classes that are present.",
)
SHAPING = (
    click.option(
        "--threshold",
        "--enter",
        "-t",
        "threshold",
        type=parameters.ThresholdParameter(),
        multiple=True,
        metavar="[CLASS=]SCORE",
        help="A class is present where its score is at least SCORE (0 to 1). An event also needs a mean of at least "
        "SCORE over its three highest segments. CLASS=SCORE is for one class; repeatable. Default: the model's own "
        "threshold for each class.",
    ),
    click.option(
        "--leave",
        type=click.FloatRange(0, 1),
        metavar="SHARE",
        help="An event ends where the score drops below this share of the threshold (hysteresis). Default: 0.05.",
    ),
    click.option(
        "--hold",
        type=click.FloatRange(0),
        metavar="SECONDS",
        help="An event goes on for at most so long without a score that reaches the threshold; inf for no limit. "
        "Default: 2.88.",
    ),
    click.option(
        "--median",
        type=click.FloatRange(0, 60),
        metavar="SECONDS",
        help="Smooth the scores by a median filter of this length. Default: 0, none.",
    ),
    click.option(
        "--min-duration",
        type=click.FloatRange(0, 3600),
        metavar="SECONDS",
        help="Leave out shorter events. Default: 0.",
    ),
    click.option(
        "--merge-gap",
        type=click.FloatRange(0, 3600),
        metavar="SECONDS",
        help="Join events of one class that are no further apart. Default: 0.",
    ),
    click.option(
        "--max-duration",
        type=click.FloatRange(0.1),
        metavar="SECONDS",
        help="Divide longer events into equal parts. Default: inf.",
    ),
    click.option(
        "--max-classes",
        type=click.IntRange(min=1),
        metavar="N",
        help="At most N classes at a time, those with the highest scores. Default: all.",
    ),
    click.option(
        "--method",
        type=click.Choice(["hysteresis", "change-points"]),
        help="How events are found: by hysteresis, or as boxes between changes of the score (cSEBBs). "
        "Default: hysteresis.",
    ),
    click.option(
        "--postprocess",
        metavar="FILE",
        type=parameters.PATH,
        help="Take these settings, also by class, from a TOML file (docs/timeline.md). Options take precedence.",
    ),
)
SELECTING = ("exclude", "rollup", "parents")
SETTINGS = ("leave", "hold", "median", "min_duration", "merge_gap", "max_duration", "max_classes", "method")


def selecting(function: Function) -> Function:
    """Add the options of :data:`SELECTING`."""
    return EXCLUDE(ROLLUP(PARENTS(function)))


def shaping(function: Function) -> Function:
    """Add the options of the post-processing."""
    for option in reversed(SHAPING):
        function = option(function)
    return function


def given(options: Mapping[str, Any]) -> str | None:
    """The first option of the post-processing that was given; None if there is none."""
    named = (name for name in NAMES if options[name] not in (None, ()))
    return next((f"--{name.replace('_', '-')}" for name in named), None)


def take(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Remove these options, and return them."""
    return {name: options.pop(name) for name in names}


def selection_of(options: Mapping[str, Any], tagger: Tagger) -> dict[str, Any]:
    """The arguments ``exclude``, ``rollup`` and ``parents`` of a :class:`~sedkit.tagger.Tagger`'s methods."""
    from sedkit import ontology
    from sedkit.contract import Label

    known = [Label(name, mid) for mid, name in ontology.load().names.items()] if options["rollup"] else []
    return {
        "exclude": split_classes(options["exclude"], [*tagger.labels, *known]) or [],
        "rollup": split_classes(options["rollup"], known) or [],
        "parents": options["parents"],
    }


def settings_of(options: Mapping[str, Any], tagger: Tagger) -> PostProcessing:
    """The post-processing: that of the model, under that of the TOML file, under the options."""
    settings = tagger.post_processing(options["postprocess"])
    given = {name: options[name] for name in SETTINGS if options[name] is not None}
    return settings.for_all(**given).with_thresholds(dict(options["threshold"]))


def as_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options by name, for the settings of a run; the TOML file by its content.

    Raises
    ------
    ArgumentError
        If the TOML file is faulty.
    """
    given = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
    if options.get("postprocess") is not None:
        from sedkit.timeline.settings import PostProcessing

        given["--postprocess"] = PostProcessing.read_toml(options["postprocess"]).to_mapping()
    return given


def thresholds_of(values: Sequence[tuple[str, float | str]]) -> Any:
    """The argument ``threshold`` of :meth:`~sedkit.tagger.Tagger.tag`; None if the option was not given."""
    by_class = dict(values)
    if not by_class:
        return None
    return by_class[parameters.OTHERS] if set(by_class) == {parameters.OTHERS} else by_class


NAMES = ("threshold", *SETTINGS, "postprocess")
