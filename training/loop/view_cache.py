"""Cache of online teachers' scores for crops and mixtures that repeat (``--set views``).

On a CPU, a full-width teacher takes several times as long as a small student to process a crop. With the cache it
scores each crop once. When the crop repeats, the student gets it with other responses, bands, styles and masks. The
file lies beside the checkpoint and is removed when the network is trained::

    views.f16   flags [views, batches] bool: whether a batch of a view is filled; padded to an even number of bytes
                targets [views, batches, clips, classes] float16

A view is the set of crops and mixtures of one epoch.
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


class ViewCache:
    """Targets of ``views`` x ``batches`` batches of ``clips``, memory-mapped from the file at ``path``.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """

    def __init__(self, path: Path, views: int, batches: int, clips: int, classes: int) -> None:
        flags = views * batches + views * batches % 2
        size = flags + 2 * views * batches * clips * classes
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.stat().st_size != size:
                with path.open("wb") as file:  # not sparse: writing to a map on a full disk would crash the process
                    file.write(bytes(flags))
                    for _ in range(views):
                        file.write(bytes((size - flags) // views))
            self.filled = np.memmap(path, np.bool_, "r+", 0, (views, batches))
            self.targets = np.memmap(path, np.float16, "r+", flags, (views, batches, clips, classes))
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be written ({error.strerror}); make room, or leave out --set views"
            ) from None

    def with_targets(
        self, view: int, batch: int, parts: list[Part], online_targets: Callable[[Part], Tensor]
    ) -> list[Part]:
        """``parts`` with final targets in place of the online teachers' inputs.

        Parameters
        ----------
        view, batch : which batch ``parts`` make up, both counted from 0.
        online_targets : computes the targets of a part; called only for a batch that is not in the cache.
        """
        if not self.filled[view, batch]:
            self.targets[view, batch] = torch.cat([online_targets(part) for part in parts]).cpu().numpy()
            self.filled[view, batch] = True
        targets = torch.from_numpy(self.targets[view, batch].astype(np.float32))
        ends = accumulate(len(part.rows) for part in parts)
        return [
            replace(part, batch=part.batch._replace(targets=part_targets, known=None, parts=None))
            for end, part in zip(ends, parts, strict=True)
            for part_targets in [targets[end - len(part.rows) : end].to(part.batch.targets.device)]
        ]
