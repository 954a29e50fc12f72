"""What teachers said of crops and mixtures that come again (``--views``): they are asked of each once.

On a CPU a teacher of full width takes several times as long over a crop as a small student, which learns as well from
the same views heard again through other responses, bands and masks. The file lies beside the checkpoint::

    views.f16   which batches of which views are there: [views, batches] bool, filled up to two bytes; then their
                targets [views, batches, clips, classes] float16

and goes when the network is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sedkit.errors import OutputError
from training.loop.batches import Part


class Kept:
    """Targets of so many ``views`` of ``batches`` of ``clips``, in the file at ``path``, mapped into memory.

    Raises
    ------
    OutputError
        If the file cannot be made.
    """

    def __init__(self, path: Path, views: int, batches: int, clips: int, classes: int) -> None:
        flags = views * batches + views * batches % 2
        size = flags + 2 * views * batches * clips * classes
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.stat().st_size != size:
                with path.open("wb") as file:  # written, not only as long: what is mapped must not run out of disk
                    file.write(bytes(flags))
                    for _ in range(views):
                        file.write(bytes((size - flags) // views))
            self.there = np.memmap(path, np.bool_, "r+", 0, (views, batches))
            self.said = np.memmap(path, np.float16, "r+", flags, (views, batches, clips, classes))
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be written ({error.strerror}); make room, or leave --views out"
            ) from None

    def told(self, view: int, batch: int, parts: list[Part], ask: Callable[[Part], Tensor]) -> list[Part]:
        """``parts`` of a batch of a view, both counted from 0, with their targets in place of what teachers need.

        ``ask`` : what teachers say of a part, where they were not asked before.
        """
        if not self.there[view, batch]:
            self.said[view, batch] = torch.cat([ask(part) for part in parts]).cpu().numpy()
            self.there[view, batch] = True
        said = self.said[view, batch].astype(np.float32)
        ends = list(accumulate(len(part.rows) for part in parts))
        stored = [torch.from_numpy(said[end - len(part.rows) : end]) for end, part in zip(ends, parts, strict=True)]
        return [
            replace(part, batch=part.batch._replace(targets=of.to(part.batch.targets.device), known=None, parts=None))
            for of, part in zip(stored, parts, strict=True)
        ]
