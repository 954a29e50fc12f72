"""Data sets under AudioSet's class names: mapping tables, and labels filtered to a vocabulary.

A mapping table (``esc50_audioset.csv``, ``urbansound8k_audioset.csv``, ``desed_audioset.csv``) is a CSV file
``category,mid,name,index,relation,note``. ``relation`` says whether the AudioSet class is the ``exact`` counterpart
of the category, ``broader``, ``narrower`` or the ``nearest`` that exists; ``note`` explains any but ``exact``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sedkit.contract import Label
from training.data.manifest.delimited import read_table
from training.data.manifest.problems import Tally
from training.data.manifest.vocabulary import Vocabulary


@cache
def audioset_labels(table: Path) -> dict[str, Label]:
    """Category → AudioSet class, in the order of a mapping table."""
    rows = read_table(table, ("category", "mid", "name", "index"))
    return {row["category"]: Label(row["name"], row["mid"], int(row["index"])) for row in rows}


def audioset_index(label: Label) -> int:
    """Position of a class in AudioSet's order; 0 for a class that is not AudioSet's."""
    return label.index or 0


def audioset_vocabulary(labels: Sequence[Label]) -> Vocabulary:
    """The classes ``labels`` in AudioSet's order."""
    return Vocabulary(sorted(labels, key=audioset_index))


def mid_of(category: str, labels: dict[str, Label]) -> str:
    """The MID of ``category``, or ``category`` itself where ``labels`` does not map it to one."""
    label = labels.get(category)
    return (label and label.mid) or category


def labels_in(vocabulary: Vocabulary, labels: Sequence[str], left_out: Tally) -> str:
    """The ``labels`` that ``vocabulary`` contains, joined by ``;``. ``left_out`` counts the others.

    An empty result is counted as a clip without a label in the vocabulary.
    """
    known = [label for label in labels if vocabulary.find(label) is not None]
    for label in labels:
        if label not in known:
            left_out.add("label outside the vocabulary", label)
    if not known:
        left_out.add("clip without a label in the vocabulary", ";".join(labels))
    return ";".join(known)
