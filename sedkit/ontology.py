"""AudioSet's ontology: which classes lie below which others.

``ontology.tsv`` holds ids (MIDs), names and children of its 632 classes. It is derived from Google's ontology and,
unlike the code, under CC BY-SA 4.0; ``docs/ontology.py`` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Ontology:
    """Names and children of every class, by MID. A class may have several parents."""

    names: Mapping[str, str]
    children: Mapping[str, tuple[str, ...]]

    def find(self, name: str) -> str | None:
        """The MID of a class by its name or MID, in any case; None if there is no such class.

        >>> load().find("bird")
        '/m/015p6'
        """
        wanted = name.strip().casefold()
        return next((mid for mid, known in self.names.items() if wanted in (known.casefold(), mid.casefold())), None)

    def below(self, mid: str) -> set[str]:
        """The MIDs of a class and of all classes below it.

        >>> sorted(load().names[mid] for mid in load().below("/m/07r_k2n"))
        ['Yip']
        """
        found, open_ = set[str](), [mid]
        while open_:
            if (each := open_.pop()) not in found:
                found.add(each)
                open_ += self.children.get(each, ())
        return found

    def above(self, mid: str) -> set[str]:
        """The MIDs of a class and of all classes above it.

        >>> sorted(load().names[mid] for mid in load().above("/m/0bt9lr"))
        ['Animal', 'Dog', 'Domestic animals, pets']
        """
        found, open_ = set[str](), [mid]
        while open_:
            if (each := open_.pop()) not in found:
                found.add(each)
                open_ += self.parents(each)
        return found

    def parents(self, mid: str) -> list[str]:
        """The MIDs of the classes directly above a class."""
        return [parent for parent, children in self.children.items() if mid in children]

    def distances(self, mid: str) -> dict[str, int]:
        """Steps from a class to the others: below it first, then those below its parents, and so on."""
        found: dict[str, int] = {}
        level, steps = [mid], 0
        while level:
            for each in level:
                for near in self.below(each):
                    found.setdefault(near, steps)
            level, steps = [parent for each in level for parent in self.parents(each)], steps + 1
        return found


@cache
def load() -> Ontology:
    """The ontology, read once."""
    lines = Path(__file__).with_suffix(".tsv").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")][1:]
    return Ontology({mid: name for mid, name, _ in rows}, {mid: tuple(ids.split()) for mid, _, ids in rows})
