"""Any CSV file of paths and labels."""

from __future__ import annotations

from pathlib import Path

from training.data.manifest.delimited import read_table
from training.data.manifest.problems import ManifestError, OnError
from training.data.manifest.rows import Row
from training.data.manifest.splits import Splitting
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import UNKNOWN, Vocabulary

COLUMN_NAMES = {  # column of a manifest → names that it may have in a plain CSV
    "path": ("path", "filename", "file", "filepath", "file_name"),
    "labels": ("labels", "label", "category", "categories", "class"),
    "start": ("start", "onset", "start_s"),
    "duration": ("duration", "duration_s"),
    "split": ("split", "subset"),
    "group": ("group",),
    "license": ("license", "licence"),
    "attribution": ("attribution",),
    "fold": ("fold",),
}


def plain_csv(
    table: str | Path,
    splitting: Splitting,
    vocabulary: Vocabulary | None = None,
    audio: str | Path | None = None,
    on_error: OnError = "stop",
    look: bool = True,
) -> Manifest:
    """Read a CSV file of paths and labels.

    The file needs a column for paths and one for labels, several of which are separated by ``;``. It may have the
    other columns of a manifest and a column ``fold``. ``COLUMN_NAMES`` lists the names that are recognised. A clip
    in several rows gets the labels of all of them. Unlabelled clips (``?``) without a split go to ``train``.

    Parameters
    ----------
    table : the file; ``.tsv`` is read as tab-separated.
    vocabulary : the classes; the labels that occur in the table if None.
    audio : the folder that paths are relative to; the table's folder if None.
    look : open every file and check that its header can be read.

    Raises
    ------
    ManifestError
        If the table cannot be read or lacks a column, or for faults in the data with ``on_error="stop"``.
    """
    table = Path(table)
    clips = read_table(table, ())
    names = {column: next((name for name in COLUMN_NAMES[column] if name in clips[0]), "") for column in COLUMN_NAMES}
    for column in ("path", "labels", *(["fold"] if splitting.test_fold is not None else [])):
        if not names[column]:
            raise ManifestError(f"{table}: no column for {column}; call it {' or '.join(COLUMN_NAMES[column])}")
    rows: dict[tuple[str, str, str], Row] = {}
    for clip in clips:
        fields = {column: clip[name] for column, name in names.items() if name}
        fold = fields.pop("fold", "")
        unlabelled = fields["labels"] == UNKNOWN
        fields["split"] = fields.get("split") or splitting.split_of(fold) or ("train" if unlabelled else "")
        row = Row(**fields)
        first = rows.setdefault((row.path, row.start, row.duration), row)
        if first is not row:
            rows[row.path, row.start, row.duration] = first._replace(labels=f"{first.labels};{row.labels}")
    if vocabulary is None:
        labels = (label.strip() for row in rows.values() for label in row.labels.split(";"))
        vocabulary = Vocabulary.of(label for label in labels if label)
    manifest = Manifest.from_rows(rows.values(), vocabulary, Path(audio or table.parent), on_error, str(table))
    if splitting.test_fold is None:
        manifest = manifest.check_splits(on_error, str(table))
    if look:
        manifest = manifest.check_audio(on_error, str(table))
    return splitting.apply(manifest)
