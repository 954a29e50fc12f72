"""What an alert says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Alert:
    """A sound of a rule has begun or, with an offset, ended.

    Attributes
    ----------
    rule : its name.
    source : where the sound comes from.
    label, mid : the class that scores highest, of those of the rule.
    onset, offset : seconds from the start of the source; `offset` is None while the sound goes on.
    time : of the onset, in UTC.
    score : of the event, so far.
    clip : path of the file that holds the sound, or soon will; None if the rule saves none.
    """

    rule: str
    source: str
    label: str
    mid: str | None
    onset: float
    time: datetime
    score: float
    offset: float | None = None
    clip: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """``{"rule", "source", "label", "mid", "onset", "time", "score"}``, ``"offset"`` and ``"clip"`` if known.

        Seconds and time to 1 ms, the score to 1e-4.
        """
        record = {
            "rule": self.rule,
            "source": self.source,
            "label": self.label,
            "mid": self.mid,
            "onset": round(self.onset, 3),
            "time": self.time.isoformat(timespec="milliseconds"),
            "score": round(self.score, 4),
        }
        if self.offset is not None:
            record["offset"] = round(self.offset, 3)
        return record if self.clip is None else {**record, "clip": self.clip}


def slug(name: str) -> str:
    """A name in the characters that files, topics and ids may have.

    >>> slug("Glass, breaking!")
    'glass_breaking'
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "rule"


def slugs(names: Iterable[str]) -> dict[str, str]:
    """A different slug for each name."""
    made = dict[str, str]()
    for name in names:
        own, number = slug(name), 2
        while own in made.values():
            own, number = f"{slug(name)}_{number}", number + 1
        made[name] = own
    return made
