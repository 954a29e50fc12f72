"""``sedkit tag``: which sounds occur in a recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from sedkit.cli import options, parameters, shaping
from sedkit.cli.inputs import stdin_is_piped

if TYPE_CHECKING:
    from sedkit.tagger import Tagger
    from sedkit.timeline.views import TagsView

TOP_K = 5
LOWEST_SCORE = 0.01  # sedkit.inference.model_views has it, but is not imported for --help


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
    type=parameters.ThresholdParameter("model"),
    multiple=True,
    metavar="[CLASS=]SCORE|model",
    help="Only tags with a score of SCORE (0 to 1) or more. CLASS=SCORE is for one class; repeatable. model uses the "
    f"model's own threshold for each class. Default: {LOWEST_SCORE}; with --classes, 0.",
)
@shaping.selecting
@options.shared
@click.pass_context
def command(
    ctx: click.Context,
    /,
    files: tuple[str, ...],
    top_k: int | None,
    threshold: tuple[tuple[str, float | str], ...],
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
      sedkit tag recordings/ --threshold model --threshold Dog=0.5
      sedkit tag garden.flac --rollup Bird --exclude Wind
      sedkit tag clip.wav --classes "Dog,Baby cry, infant cry,/m/03kmc9"
      ffmpeg -i film.mkv -f wav - | sedkit tag
    """
    if not files and not stdin_is_piped():
        raise options.no_files_error(ctx)
    from sedkit.cli.engine import run
    from sedkit.cli.run_options import RunOptions

    def make_view_factory(tagger: Tagger, classes: list[str] | None, keeps: frozenset[str]) -> Callable[[], TagsView]:
        return make_views(tagger, classes, top_k, threshold, selecting)

    selecting = shaping.take(shared, *shaping.SELECTING)
    own_options = {"--top-k": top_k, "--threshold": threshold, **shaping.as_given(selecting)}
    ctx.exit(run("tags", make_view_factory, own_options, files, RunOptions(**shared)))


def make_views(
    tagger: Tagger,
    classes: list[str] | None,
    top_k: int | None,
    threshold: Sequence[tuple[str, float | str]],
    selecting: Mapping[str, Any],
) -> Callable[[], TagsView]:
    """What makes the view of a recording, from the values of the options; `classes` as they were split."""
    return tagger.tags_view(
        top_k=top_k or (None if threshold or classes else TOP_K),
        threshold=shaping.thresholds_of(threshold),
        classes=classes,
        **shaping.selection_of(selecting, tagger),
    )
