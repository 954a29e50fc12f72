"""``sedkit tag``: which sounds occur in a recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import click

from sedkit.cli import options
from sedkit.cli.inputs import stdin_is_piped

if TYPE_CHECKING:
    from sedkit.tagger import Tagger
    from sedkit.timeline.views import TagsView

TOP_K = 5
LOWEST_SCORE = 0.01  # of a tag, unless --threshold or --classes asks for more


class Threshold(click.FloatRange):
    """Parameter type: a score from 0 to 1, or ``model``."""

    name = "threshold"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "model" else super().convert(value, param, ctx)


@click.command("tag")
@options.files
@click.option(
    "--top-k",
    "-k",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"At most N tags per recording. Default: {TOP_K}; with --threshold or --classes, all.",
)
@click.option(
    "--threshold",
    "-t",
    type=Threshold(0, 1),
    metavar="SCORE|model",
    help="Only tags with a score of SCORE (0 to 1) or more. model uses the model's own threshold for each class. "
    f"Default: {LOWEST_SCORE}; with --classes, 0.",
)
@options.shared
@click.pass_context
def command(
    ctx: click.Context,
    /,
    files: tuple[str, ...],
    top_k: int | None,
    threshold: float | Literal["model"] | None,
    **shared: Any,
) -> None:
    """Name the sounds in recordings, highest score first.

    A score is the mean over a window as long as the clips that the model was trained on. For a longer recording, it is
    the maximum over a sliding window.

    FILES are recordings in any format, folders, globs, or - for standard input. Without FILES, audio is read from
    standard input if it is piped in.

    \b
    Examples:
      sedkit tag clip.wav
      sedkit tag recordings/ --recursive --output tags.csv
      sedkit tag "*.flac" --threshold 0.2 --format json
      sedkit tag recordings/ --threshold model
      sedkit tag clip.wav --classes "Dog,Baby cry, infant cry,/m/03kmc9"
      ffmpeg -i film.mkv -f wav - | sedkit tag
    """
    if not files and not stdin_is_piped():
        raise options.no_files_error(ctx)
    from sedkit.cli.engine import run
    from sedkit.cli.run_options import RunOptions

    def make_view_factory(tagger: Tagger, classes: list[str] | None, keeps: frozenset[str]) -> Callable[[], TagsView]:
        if threshold is None and classes is None:
            return tagger.tags_view(top_k=top_k or TOP_K, threshold=LOWEST_SCORE)
        return tagger.tags_view(top_k=top_k, threshold=threshold, classes=classes)

    ctx.exit(run("tags", make_view_factory, {"--top-k": top_k, "--threshold": threshold}, files, RunOptions(**shared)))
