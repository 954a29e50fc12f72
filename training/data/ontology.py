"""AudioSet's ontology: which classes contain which others.

Google publishes it as ``ontology.json`` (CC BY-SA 4.0): a list of classes, each with its ``id`` (MID) and its
``child_ids``. A class may have several parents.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from training.data.manifest.problems import ManifestError


@dataclass(frozen=True)
class Ontology:
    """Parents and children of every class, by MID."""

    parents: Mapping[str, frozenset[str]]
    children: Mapping[str, frozenset[str]]

    @classmethod
    def load(cls, path: Path) -> Ontology:
        """Read ``ontology.json``.

        Raises
        ------
        ManifestError
            If the file cannot be read or is not the ontology.
        """
        try:
            classes = json.loads(path.read_text("utf-8"))
            children = {one["id"]: frozenset(one["child_ids"]) for one in classes}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ManifestError(f"{path}: not AudioSet's ontology ({error}); give ontology.json") from None
        parents: dict[str, set[str]] = {mid: set() for mid in children}
        for mid, below in children.items():
            for child in below:
                parents.setdefault(child, set()).add(mid)
        return cls({mid: frozenset(above) for mid, above in parents.items()}, children)

    def ancestors(self, mids: Iterable[str]) -> set[str]:
        """All classes that contain one of ``mids``, without ``mids`` themselves."""
        return _reachable(mids, self.parents)

    def descendants(self, mids: Iterable[str]) -> set[str]:
        """All classes that one of ``mids`` contains, without ``mids`` themselves."""
        return _reachable(mids, self.children)


def _reachable(mids: Iterable[str], edges: Mapping[str, frozenset[str]]) -> set[str]:
    start = set(mids)
    found, edge = set(start), set(start)
    while edge:
        edge = {other for mid in edge for other in edges.get(mid, ())} - found
        found |= edge
    return found - start
