"""``sedkit timeline``: what is in a recording, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import click

from sedkit.cli import options
from sedkit.cli.inputs import stdin_is_piped

if TYPE_CHECKING:
    from sedkit.tagger import Tagger
    from sedkit.timeline.views import TimelineView


class Resolution(click.ParamType[Any]):
    """Seconds, or ``native``."""

    name = "resolution"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value == "native" or isinstance(value, float):
            return value  # type: ignore[no-any-return]
        from sedkit.timeline.events import FINEST

        try:
            seconds = float(value)
        except ValueError:
            seconds = 0.0
        if not FINEST <= seconds < float("inf"):
            self.fail(f"{value!r} is neither 'native' nor a number of seconds, {FINEST} or more.", param, ctx)
        return seconds


@click.command("timeline")
@options.files
@click.option(
    "--threshold",
    "-t",
    type=click.FloatRange(0, 1),
    metavar="SCORE",
    help="A class is present where it scores SCORE (0 to 1) or more; an event, where the three highest of its segments "
    "do in the mean. Default: what the model holds for each class.",
)
@click.option(
    "--resolution",
    type=Resolution(),
    default=1.0,
    show_default=True,
    metavar="SECONDS|native",
    help="Length of a cell of the timeline; native is the model's own, 0.32 s.",
)
@options.shared
@click.pass_context
def command(
    ctx: click.Context,
    /,
    files: tuple[str, ...],
    threshold: float | None,
    resolution: float | Literal["native"],
    **shared: Any,
) -> None:
    """Show what sounds when, and list the events.

    FILES are recordings in any format, folders, globs, or - for standard input, which is also read if there are no
    FILES and audio is piped in.

    \b
    Examples:
      sedkit timeline clip.wav --threshold 0.3
      sedkit timeline clip.wav --resolution native --classes "Siren,Dog"
      sedkit timeline recordings/ --output events.tsv
      ffmpeg -i film.mkv -f wav - | sedkit timeline --threshold 0.3
      sedkit timeline film.mkv --format json | jq '.events[] | select(.label == "Dog")'
    """
    if not files and not stdin_is_piped():
        raise options.explained(ctx)
    from sedkit.cli.engine import run

    def view(tagger: Tagger, classes: list[str] | None) -> Callable[[], TimelineView]:
        return tagger.timeline_view(threshold=threshold, resolution=resolution, classes=classes)

    ctx.exit(run("events", view, {"--threshold": threshold, "--resolution": resolution}, files, **shared))
