"""A folder of folders: one folder for each class."""

from __future__ import annotations

from pathlib import Path

from training.data.manifest.problems import ManifestError, OnError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.splits import Splitting
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import NONE, UNKNOWN, Vocabulary
from training.data.readers.building import audio_below, build_manifest

OTHER = (NONE, "_noise")  # names of folders whose clips are none of the classes


def folders(
    folder: str | Path,
    splitting: Splitting,
    vocabulary: Vocabulary | None = None,
    on_error: OnError = "stop",
    look: bool = True,
) -> Manifest:
    """Read a folder of folders: the name of each is the class of the audio below it, at any depth; ``OTHER`` are none.

    Parameters
    ----------
    folder : holds the folders of the classes; files directly in it are left out.
    vocabulary : the classes; the names of the folders if None.
    look : open every file and check that its header can be read.

    Raises
    ------
    ManifestError
        If there is no audio in folders below ``folder``, a class cannot have the name of its folder, or for faults in
        the data with ``on_error="stop"``.
    """
    folder, left_out, problems = Path(folder), Tally(), Tally()
    rows = []
    for path in audio_below(folder, left_out, problems):
        label, *below = path.split("/")
        if below:
            rows.append(Row(path, labels=NONE if label in OTHER else class_of(folder / label)))
        else:
            left_out.add("file outside the class folders", str(folder / path))
    problems.raise_on_stop(on_error, str(folder))
    if not rows:
        raise ManifestError(f"{folder}: no audio in folders below it; it must hold one folder per class")
    left_out.update(problems)
    vocabulary = vocabulary or Vocabulary.of(row.labels for row in rows)
    return splitting.apply(build_manifest(rows, vocabulary, folder, on_error, left_out, look))


def class_of(folder: Path) -> str:
    """The name of the class of the clips in ``folder``.

    Raises
    ------
    ManifestError
        If the folder's name means something else where labels are written: ``a;b``, ``?a``, ``-``.
    """
    name = folder.name.strip()
    if name in ("", NONE) or name.startswith(UNKNOWN) or ";" in name:
        raise ManifestError(f"{folder}: a class cannot have this name: rename the folder")
    return name
