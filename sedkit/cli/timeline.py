"""``sedkit timeline``: which sounds occur in a recording, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import click

from sedkit.cli import options, shaping
from sedkit.cli.inputs import stdin_is_piped

if TYPE_CHECKING:
    from sedkit.results import Timeline
    from sedkit.tagger import Tagger
    from sedkit.timeline.views import View


class Resolution(click.ParamType[Any]):
    """Parameter type: a number of seconds, or ``native``."""

    name = "resolution"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value == "native" or isinstance(value, float):
            return value  # type: ignore[no-any-return]
        from sedkit.timeline.grid import FINEST_RESOLUTION

        try:
            seconds = float(value)
        except ValueError:
            seconds = 0.0
        if not FINEST_RESOLUTION <= seconds < float("inf"):
            self.fail(
                f"{value!r} is neither 'native' nor a number of seconds, {FINEST_RESOLUTION} or more.", param, ctx
            )
        return seconds


@click.command("timeline")
@options.files
@shaping.shaping
@click.option(
    "--resolution",
    type=Resolution(),
    default=1.0,
    show_default=True,
    metavar="SECONDS|native",
    help="Length of the timeline's cells. native is the model's segment hop, 0.32 s.",
)
@shaping.selecting
@options.shared
@click.pass_context
def command(
    ctx: click.Context,
    /,
    files: tuple[str, ...],
    resolution: float | Literal["native"],
    **shared: Any,
) -> None:
    """Show which sounds occur when, and list the events.

    FILES are recordings in any format, folders, globs, or - for standard input. Without FILES, audio is read from
    standard input if it is piped in.

    \b
    Examples:
      sedkit timeline clip.wav --threshold 0.3 --threshold Dog=0.5
      sedkit timeline clip.wav --resolution native --classes "Siren,Dog"
      sedkit timeline recordings/ --recursive --output events.tsv
      sedkit timeline garden.flac --rollup Bird --classes Bird --merge-gap 2 --min-duration 0.5
      sedkit timeline garden.flac --postprocess birds.toml
      ffmpeg -i film.mkv -f wav - | sedkit timeline --threshold 0.3
      sedkit timeline film.mkv --format json | jq '.events[] | select(.label == "Dog")'
    """
    if not files and not stdin_is_piped():
        raise options.no_files_error(ctx)
    from sedkit.cli.engine import run
    from sedkit.cli.run_options import RunOptions

    def make_view_factory(
        tagger: Tagger, classes: list[str] | None, keeps: frozenset[str]
    ) -> Callable[[], View[Timeline]]:
        return make_views(tagger, classes, resolution, own, keeps)

    own = shaping.take(shared, *shaping.NAMES, *shaping.SELECTING)
    own_options = {**shaping.as_given(own), "--resolution": resolution}
    ctx.exit(run("events", make_view_factory, own_options, files, RunOptions(**shared)))


def make_views(
    tagger: Tagger,
    classes: list[str] | None,
    resolution: float | Literal["native"],
    own: Mapping[str, Any],
    keeps: frozenset[str],
) -> Callable[[], View[Timeline]]:
    """What makes the view of a recording, from the values of the options; `classes` as they were split."""
    kept: dict[str, Any] = dict.fromkeys(keeps, True)
    return tagger.timeline_view(
        postprocessing=shaping.settings_of(own, tagger),
        resolution=resolution,
        classes=classes,
        **shaping.selection_of(own, tagger),
        **kept,
    )
