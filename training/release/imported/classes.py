"""AudioSet's 527 classes: those of its ontology, in the ontology's order, without the 105 that its labels leave out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from sedkit import ontology
from sedkit.contract import Label
from sedkit.errors import SedkitError

LEFT_OUT = {
    "/m/0dgw9r", "/m/09l8g", "/m/01j423", "/m/079vc8", "/m/09hlz4", "/m/0bpl036", "/m/0160x5", "/m/04xp5v",
    "/m/0pv6y", "/t/dd00012", "/m/04v5dt", "/m/07srf8z", "/m/0f25s6", "/t/dd00139", "/t/dd00140", "/m/0ffhf",
    "/m/01hhp3", "/m/01dwxx", "/m/02021", "/m/025cbm", "/m/0bxl5", "/m/0gkd1", "/m/0bm0k", "/m/020w2", "/m/0y64j",
    "/m/02pprs", "/m/03t22m", "/m/05kms", "/m/01c3q", "/m/05229", "/m/01vj9c", "/m/0kpv1t", "/m/04j_h4",
    "/m/0n8zsc8", "/m/0190y4", "/m/029h7y", "/m/01f9gb", "/m/052smk", "/m/0m0fw", "/m/0bmfpc", "/m/02ccj9",
    "/m/0kpck", "/m/080nby", "/m/05q7ms", "/m/022dgg", "/t/dd00027", "/m/09dsr", "/m/05jcn", "/m/022c7z",
    "/m/05xp3j", "/m/01gp74", "/m/0b128", "/m/021wwz", "/m/0kc2j", "/m/03w6d1", "/t/dd00028", "/t/dd00029",
    "/t/dd00030", "/m/059j3w", "/m/07q8f3b", "/m/0fjy1", "/t/dd00041", "/t/dd00061", "/t/dd00071", "/g/11b630rrvh",
    "/m/0zmy2j9", "/m/05mxj0q", "/m/01sb50", "/m/0193bn", "/m/07pc8l3", "/t/dd00089", "/m/04179zz", "/t/dd00108",
    "/m/07pk7mg", "/t/dd00091", "/m/0hg7b", "/m/01vfsf", "/t/dd00133", "/t/dd00098", "/t/dd00099", "/t/dd00109",
    "/m/07pt6mm", "/t/dd00110", "/m/05n1m", "/t/dd000138", "/m/07rpk1c", "/m/07q8k13", "/m/07r_r9m", "/t/dd00118",
    "/m/07q34h3", "/t/dd00122", "/m/01fhw5", "/m/017gp", "/m/05szwhw", "/t/dd00123", "/t/dd00093", "/m/093_4n",
    "/m/09d1b1", "/m/07bm98", "/m/0cfpc", "/m/01b7fy", "/m/025l19", "/m/0174nj", "/m/01www", "/m/04zc0",
}  # fmt: skip


@cache
def audioset_labels() -> tuple[Label, ...]:
    """The 527 classes in the order of AudioSet's ``class_labels_indices.csv``."""
    names = ontology.load().names
    kept = (mid for mid in names if mid not in LEFT_OUT)
    return tuple(Label(names[mid], mid, index) for index, mid in enumerate(kept))


def named_labels(names: Iterable[str]) -> tuple[Label, ...]:
    """AudioSet's classes of these names.

    Raises
    ------
    SedkitError
        If AudioSet has no class of a name.
    """
    known = {label.name: label for label in audioset_labels()}
    found = []
    for name in names:
        if name not in known:
            raise SedkitError(f"{name}: AudioSet has no class of this name; give the file as it was published")
        found.append(known[name])
    return tuple(found)
