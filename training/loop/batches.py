"""The batches of an epoch: drawn from (seed, generation, epoch, batch) alone, read ahead of the training.

The global batch is drawn alike on every rank. It is cut into parts of whole pairs (mixup mixes neighbours),
one a rank, or several where a rank goes through its share in turn, and a rank reads its own parts only.
Hence neither the number of ranks nor an interruption changes what a batch holds.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from sedkit.errors import SedkitError
from sedkit.geometry import HOP, padded_samples, segment_count
from sedkit.inference.session import usable_cpus
from training.data.augment.augmentation import Draws
from training.data.clips import Clips
from training.data.sampling import Rows
from training.loop.objective import Batch
from training.loop.settings import Execution, Settings
from training.networks.logmel import BANDS
from training.runtime import distributed
from training.runtime.prefetch import ahead
from training.supervision.targets import Targets

APPLIED = ("levels", "shares", "frames", "bands", "responses", "styles", "speeds")  # of the draws, by the objective
AFTERWARDS = ("frames", "bands", "responses", "styles")  # of these, what is done to the log-mel, which no teacher hears


@dataclass(frozen=True)
class Part:
    """What a rank computes at once.

    Attributes
    ----------
    rows : the clips [clips]; with overlay [clips, n], those that are heard at once, -1: none.
    batch : the objective's input.
    share : of the global batch, in (0, 1].
    seed : for dropout.
    """

    rows: Rows
    batch: Batch
    share: float
    seed: int


class Epoch:
    """One epoch of ``clips``: ``len(epoch)`` global batches.

    ``seed`` is (seed, generation, epoch). Where the crops and mixtures of an earlier epoch come again (``--views``),
    these are drawn as in that one, and what no teacher hears anew.

    Raises
    ------
    SedkitError
        If a batch has fewer than two clips for each part.
    """

    def __init__(
        self, clips: Clips, targets: Targets, settings: Settings, seed: Sequence[int], execution: Execution
    ) -> None:
        self.clips, self.targets, self.settings, self.execution = clips, targets, settings, execution
        self.seed = tuple(seed)
        view = settings.view(self.seed[-1]) if targets.asked else self.seed[-1]
        self.of_view = (*self.seed[:-1], view)
        self.order = clips.order(settings.batch_size, np.random.default_rng(self.of_view))
        parts, pairs = execution.accumulate * distributed.ranks(), (self.size + 1) // 2
        if pairs < parts:
            raise distributed.everywhere(
                SedkitError(
                    f"a batch of {self.size} clips cannot be cut into {parts} parts (processes times --accumulate): "
                    "a part needs two clips; begin with a larger --batch-size"
                )
            )
        edges = [min(self.size, 2 * (pairs * part // parts)) for part in range(parts)] + [self.size]
        self.slices = [slice(*ends) for ends in pairwise(edges)]

    @property
    def size(self) -> int:
        """Clips of a global batch."""
        return self.order.shape[1]

    def __len__(self) -> int:
        return len(self.order)

    def batches(self, first: int = 0) -> Generator[list[Part]]:
        """This rank's parts of each batch from number ``first`` on, on the device."""
        read = ahead(self._read, range(first, len(self)), self.execution.workers)
        return _on_device(read, self.execution.device)

    def _draw(self, key: tuple[int, ...]) -> Draws:
        frames = padded_samples(self.settings.samples) // HOP
        return self.settings.augmentation.draw(self.size, frames, BANDS, np.random.default_rng(key))

    def _read(self, number: int) -> list[Part]:
        """This rank's parts of a batch, in (pinned) memory of the host."""
        key = (*self.seed, number + 1)  # not 0: numpy takes (1, 2, 3, 0) for (1, 2, 3)
        draws = self._draw((*self.of_view, number + 1))
        if self.of_view != self.seed:
            draws = replace(draws, **{name: getattr(self._draw(key), name) for name in AFTERWARDS})
        pinned = self.execution.device.type == "cuda"
        parts = []
        for number_of_part in range(distributed.rank(), len(self.slices), distributed.ranks()):
            inside = self.slices[number_of_part]
            rows, chance = self.order[number], draws[inside]
            rows = np.where(chance.heard < 0, -1, rows[chance.heard])
            waveform = torch.empty((len(rows), self.settings.read), dtype=torch.int16, pin_memory=pinned)
            if self.settings.teachers_hear == "sounds":
                places = self.clips.scattered(rows, chance, self.settings.samples, waveform.numpy())
                said = self.targets.placed(places, chance.speeds, segment_count(self.settings.samples))
            else:
                self.clips.crops(rows, chance, waveform.numpy())
                said = self.targets.read(rows)
            drawn = (getattr(chance, name) for name in APPLIED)
            arrays = (said, *drawn, *self.targets.told(rows))
            batch = Batch(waveform, *(torch.from_numpy(array) for array in arrays))
            if pinned:
                batch = batch.map(torch.Tensor.pin_memory)
            seed = np.random.SeedSequence((*key, number_of_part + 1)).generate_state(1)[0]
            parts.append(Part(rows, batch, len(rows) / self.size, int(seed)))
        return parts


def _on_device(batches: Iterator[list[Part]], device: torch.device) -> Generator[list[Part]]:
    """The batches on ``device``; to CUDA, each is copied while the one before it is computed with."""
    if device.type != "cuda":
        yield from batches
        return
    stream, waiting = torch.cuda.Stream(device), None
    for batch in batches:
        with torch.cuda.stream(stream):
            to_device = partial(Tensor.to, device=device, non_blocking=True)
            copied = [replace(part, batch=part.batch.map(to_device)) for part in batch]
            arrived = stream.record_event()
        if waiting:
            yield _arrived(*waiting)
        waiting = (copied, arrived)
    if waiting:
        yield _arrived(*waiting)


def _arrived(batch: list[Part], event: torch.cuda.Event) -> list[Part]:
    """``batch``, on which the current stream can compute."""
    current = torch.cuda.current_stream()
    current.wait_event(event)
    for part in batch:
        for tensor in part.batch.tensors():
            tensor.record_stream(current)  # its memory is not the copying stream's to reuse before that is done
    return batch


def default_workers(device: torch.device) -> int:
    """Threads that read ahead: on a CPU one, since the others compute; beside CUDA, up to eight a process."""
    if device.type != "cuda":
        return 1
    return max(1, min(8, usable_cpus() // distributed.local_ranks() - 1))
