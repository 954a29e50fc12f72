"""Classes of several sources, matched by MID or by name: tables, models and people name them differently."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from sedkit.contract import Label
from sedkit.formats.reading import Annotations
from sedkit.results import Event, Tag


class Vocabulary:
    """The classes seen so far. A name or MID in any case and source leads to the same class.

    Parameters
    ----------
    labels : of the model, if there is one.
    """

    def __init__(self, labels: Iterable[Label] = ()) -> None:
        self.by_mid: dict[str, Label] = {}
        self.by_name: dict[str, Label] = {}
        for label in labels:
            self.add(label)

    def add(self, label: Label) -> None:
        """Add a class, unless its MID or its name is known."""
        known = self.find(label.name, label.mid)
        if known is None or (known.mid is None and label.mid is not None):
            self.by_name[label.name.casefold()] = label
            if label.mid:
                self.by_mid[label.mid.casefold()] = label

    def learn(self, items: Iterable[Event | Tag]) -> None:
        """Add the classes of events and tags."""
        for item in items:
            self.add(Label(item.label, item.mid))

    def learn_all(self, annotations: Iterable[Annotations]) -> None:
        """Add the classes of recordings."""
        for each in annotations:
            self.learn([*each.events, *each.tags])

    def find(self, name: str, mid: str | None = None) -> Label | None:
        """The class with this MID, otherwise with this name, which may be a MID itself; None if there is none."""
        for key, known in ((mid, self.by_mid), (name, self.by_name), (name, self.by_mid)):
            if key and (label := known.get(key.strip().casefold())):
                return label
        return None

    def of(self, item: Event | Tag) -> Label:
        """The class of an event or tag that was learnt."""
        label = self.find(item.label, item.mid)
        assert label is not None
        return label

    def near(self, name: str) -> list[str]:
        """Up to three names that are like this one."""
        found = difflib.get_close_matches(name.casefold(), self.by_name, 3, 0.6)
        return [self.by_name[each].name for each in found]
