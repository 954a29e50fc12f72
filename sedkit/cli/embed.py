"""``sedkit embed``: embeddings of recordings, as arrays."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from sedkit.cli import options, parameters
from sedkit.cli.inputs import stdin_is_piped

if TYPE_CHECKING:
    from sedkit.formats.embeddings import EmbeddingWriter
    from sedkit.inference.embedding import Per


@click.command("embed")
@options.files
@click.option(
    "--output",
    "-o",
    type=parameters.PathEndingIn(".npz", ".parquet"),
    required=True,
    metavar="FILE",
    help="Write to FILE, by its ending: .npz for NumPy, .parquet for tables. It appears when it is complete.",
)
@click.option(
    "--per",
    type=click.Choice(["segment", "clip"]),
    default="segment",
    show_default=True,
    help="One row per segment (wels-secost: 0.96 s, every 0.32 s); or one per recording, their mean without silence.",
)
@options.analysing
@click.pass_context
def command(ctx: click.Context, /, files: tuple[str, ...], output: str, per: Per, **reading: Any) -> None:
    """Compute embeddings: 1024 numbers (wels-secost) for each segment of a recording, or for each recording.

    Recordings that sound alike have embeddings that are near to each other, whatever their classes. Use them to search
    and cluster recordings, or to train a classifier on few examples.

    FILES are recordings in any format, folders, globs, or - for standard input.

    \b
    Examples:
      sedkit embed recordings/ --recursive --output embeddings.parquet
      sedkit embed *.wav --per clip --output clips.npz
      python -c "import numpy; print(numpy.load('clips.npz')['embedding'].shape)"
    """
    if not files and not stdin_is_piped():
        raise options.no_files_error(ctx)
    from sedkit.cli.atomic import check_writable, replacing
    from sedkit.cli.recordings import Recordings
    from sedkit.errors import OutputError
    from sedkit.formats.embeddings import NpzWriter, ParquetWriter
    from sedkit.inference.embedding import EmbeddingModel, EmbeddingView
    from sedkit.install import install_remedy

    parquet = output.lower().endswith(".parquet")
    if parquet and find_spec("pyarrow") is None:
        raise OutputError(f"{output}: Parquet needs pyarrow: {install_remedy('formats')}; or choose .npz")
    check_writable(output, files)
    kind: type[EmbeddingWriter] = ParquetWriter if parquet else NpzWriter
    with Recordings(files or ["-"], pipes=True, **reading) as recordings:
        if recordings.names:
            model = EmbeddingModel(recordings.tagger.model)
            name, make_view = model.contract.name, partial(EmbeddingView, per, model.geometry)
            with replacing(output) as temporary, kind(temporary, name, model.embedding_size) as writer:
                for _, embedding in recordings.analyse(make_view, model):
                    writer.write(embedding)
                recordings.check_any(writer.recordings)
    ctx.exit(recordings.exit_code)
