"""Any CSV file of paths and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from training.data.manifest.delimited import read_table
from training.data.manifest.problems import ManifestError, OnError, Tally
from training.data.manifest.rows import HEADER, Row, number
from training.data.manifest.splits import NO_FOLD, Splitting, complete_splits
from training.data.manifest.table import SPLITS, Manifest
from training.data.manifest.vocabulary import UNKNOWN, Vocabulary

COLUMN_NAMES = {  # column of a manifest → names that it may have in a plain CSV
    "path": ("path", "filename", "file", "filepath", "file_name"),
    "labels": ("labels", "label", "category", "categories", "class"),
    "start": ("start", "onset", "start_s"),
    "duration": ("duration", "duration_s"),
    "end": ("end", "offset", "stop", "end_s"),  # in place of a duration
    "split": ("split", "subset"),
    "group": ("group",),
    "license": ("license", "licence"),
    "attribution": ("attribution",),
    "fold": ("fold",),
}
TOLERANCE = 0.001  # seconds, between a duration and the end in the same row
CONFLICTS = {"split": "file in two splits", "fold": "clip in two folds", "group": "clip in two groups"}

Fields = dict[str, str]  # every column in COLUMN_NAMES → text


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
    other columns of a manifest, and the columns ``end`` and ``fold``. ``COLUMN_NAMES`` lists the names that are
    recognised. A clip in several rows gets the labels of all of them. Unlabelled clips (``?``) without a split go to
    ``train``, other clips without one to that of their group or file.

    Parameters
    ----------
    table : the file; ``.tsv`` is read as tab-separated.
    vocabulary : the classes; the labels that occur in the table if None.
    audio : the folder that paths are relative to; the table's folder if None.
    look : open every file and check that its header can be read.

    Raises
    ------
    ManifestError
        If the table cannot be read or lacks a column, has test clips beside a share for them, or for faults in the
        data with ``on_error="stop"``.
    """
    table, problems = Path(table), Tally()
    clips = [_merged(rows, splitting, problems) for rows in _rows_of_clips(table, splitting, problems)]
    problems.raise_on_stop(on_error, str(table))
    rows = [_row(clip, splitting) for clip in clips if clip]
    if not rows:
        raise ManifestError(f"{table}: no clip remains: {problems}")
    if vocabulary is None:
        labels = (label.strip() for row in rows for label in row.labels.split(";"))
        vocabulary = Vocabulary.of(label for label in labels if label)
    manifest = Manifest.from_rows(rows, vocabulary, Path(audio or table.parent), on_error, str(table))
    manifest.dropped.update(problems)
    if splitting.test_share and "test" in manifest.splits:
        raise ManifestError(f"{table}: has test clips in its column split; leave --test-share or the column out")
    if splitting.test_fold is None:
        manifest = complete_splits(manifest).check_splits(on_error, str(table))
    if look:
        manifest = manifest.check_audio(on_error, str(table))
    return splitting.apply(manifest)


def _rows_of_clips(table: Path, splitting: Splitting, problems: Tally) -> list[list[Fields]]:
    """The rows of each clip of a table, without those whose times are faulty."""
    rows = read_table(table, ())
    names = {column: next((name for name in COLUMN_NAMES[column] if name in rows[0]), "") for column in COLUMN_NAMES}
    for column in ("path", "labels", *(["fold"] if splitting.test_fold is not None else [])):
        if not names[column]:
            raise ManifestError(
                f"{table}: no column for {column}; call it {' or '.join(COLUMN_NAMES[column])}{_columns_of(rows[0])}"
            )
    clips: dict[tuple[str, float | str, float | str], list[Fields]] = {}
    for row in rows:
        fields = {column: row[name] if name else "" for column, name in names.items()}
        fields["fold"] = fields["fold"].removesuffix(".0")  # pandas writes 1.0 where a fold is missing in other rows
        duration = _duration(fields, names["end"], problems)
        if duration is not None:
            clip = (fields["path"], _seconds(fields["start"] or "0"), _seconds(duration))
            clips.setdefault(clip, []).append(fields | {"duration": duration})
    return list(clips.values())


def _seconds(text: str) -> float | str:
    """The number that ``text`` is, so that ``0`` and ``0.0`` are equal; the text itself if it is none."""
    seconds = number(text)
    return seconds if seconds >= 0 else text


def _columns_of(row: Fields) -> str:
    """What the columns of a table are called, for a message; a single one with the separator of others has a remedy."""
    heading = next(iter(row), "")
    if len(row) == 1 and ("\t" in heading or ";" in heading):
        mark = "tabs; give it the ending .tsv" if "\t" in heading else "semicolons; separate them by commas"
        return f" (its columns are separated by {mark})"
    return f" (its columns are {', '.join(row)})"


def _duration(row: Fields, end: str, problems: Tally) -> str | None:
    """The duration of a row, from its end where it has one; None if that is faulty. ``end`` names the column."""
    if not row["end"]:
        return row["duration"]
    times = f"start {row['start']!r}, {end} {row['end']!r} of {row['path']}"
    start, stop = number(row["start"] or "0"), number(row["end"])
    seconds = round(stop - start, 9)
    if min(start, stop) < 0 or math.inf in (start, stop):
        problems.add("bad number", times)
    elif seconds <= 0:
        problems.add("end that is not after the start", times)
    elif not row["duration"]:
        return repr(seconds).removesuffix(".0")
    elif abs(number(row["duration"]) - seconds) <= TOLERANCE:
        return row["duration"]
    else:
        problems.add("duration that contradicts the end", f"duration {row['duration']!r}, {times}")
    return None


def _merged(rows: Sequence[Fields], splitting: Splitting, problems: Tally) -> Fields | None:
    """The rows of one clip as one, with the labels of all of them; None if they contradict each other."""
    for column, kind in CONFLICTS.items():
        given = list(dict.fromkeys(row[column] for row in rows if row[column]))
        if len(given) < 2 or (column == "fold" and splitting.test_fold in (None, NO_FOLD)):
            continue
        problems.add(kind, f"{rows[0]['path']} in {' and '.join(given)}")
        kept = _kept(column, given, splitting)
        if not kept:
            return None
        rows = [row for row in rows if row[column] in ("", kept)]
    merged = {column: next(filter(None, (row[column] for row in rows)), "") for column in COLUMN_NAMES}
    return merged | {"labels": ";".join(row["labels"] for row in rows)}


def _kept(column: str, given: Sequence[str], splitting: Splitting) -> str:
    """Which of several splits or folds of a clip is kept, so that no test clip is trained on; empty: none of them."""
    if column == "split":
        return next(split for split in (*reversed(SPLITS), *given) if split in given)
    return next((fold for fold in given if column == "fold" and fold == splitting.test_fold), "")


def _row(clip: Fields, splitting: Splitting) -> Row:
    split = clip["split"] or splitting.split_of(clip["fold"]) or ("train" if clip["labels"] == UNKNOWN else "")
    return Row(**{column: clip[column] for column in HEADER} | {"split": split})
