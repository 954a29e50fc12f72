"""The batches of an epoch, read ahead of the training. A batch depends on (seed, generation, epoch, batch) alone.

Every rank draws the same global batches. Each is cut into parts of whole pairs (mixup mixes neighbours): one per rank,
or several with ``--set accumulate``. A rank reads only its own parts. Neither the number of ranks nor an interruption
changes what a batch contains.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sedkit.errors import SedkitError
from sedkit.geometry import HOP, padded_samples, segment_count
from sedkit.inference.cpus import usable_cpus
from training.data.augment.augmentation import Draws
from training.data.clips import Clips
from training.data.sampling import Rows
from training.loop.objective import Batch
from training.loop.settings import Execution, Settings
from training.networks.logmel import BANDS
from training.runtime import distributed
from training.runtime.prefetch import prefetch
from training.supervision.targets import Targets

OBJECTIVE_DRAWS = Batch._fields[2:9]  # those the objective applies
LOGMEL_DRAWS = ("frames", "bands", "responses", "styles")  # those of the log-mel, which online teachers do not get


@dataclass(frozen=True)
class Part:
    """The part of a global batch that a rank computes at once.

    Attributes
    ----------
    rows : indices of the clips [clips]; with overlay [clips, n], those that are overlaid, -1: none.
    batch : input of the objective.
    share : share of the global batch, in (0, 1].
    seed : seed of dropout.
    """

    rows: Rows
    batch: Batch
    share: float
    seed: int


class Epoch:
    """One epoch of ``clips``: ``len(epoch)`` global batches.

    Parameters
    ----------
    seed : (seed, generation, epoch). If this epoch repeats the crops and mixtures of an earlier one (``--set views``),
        only the augmentation of the log-mel is drawn from it.

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
        view = settings.view_epoch(self.seed[-1]) if targets.online else self.seed[-1]
        self.view_seed = (*self.seed[:-1], view)
        order = clips.order(settings.batch_size, np.random.default_rng(self.view_seed), settings.epoch_clips)
        self.order = order[: -(-settings.epoch_clips // order.shape[1])] if settings.epoch_clips else order
        self.slices = _cut(self.size, execution.accumulate * distributed.world_size())

    @property
    def size(self) -> int:
        """Clips of a global batch."""
        return int(self.order.shape[1])

    def __len__(self) -> int:
        return len(self.order)

    def batches(self, first: int = 0) -> Generator[list[Part]]:
        """Yield this rank's parts of each batch from index ``first`` on, on the device."""
        batches = prefetch(self._read, range(first, len(self)), self.execution.workers)
        return _on_device(batches, self.execution.device)

    def _read(self, index: int) -> list[Part]:
        """This rank's parts of a batch, in host memory (pinned for CUDA)."""
        key = (*self.seed, index + 1)  # not 0: numpy seeds (1, 2, 3, 0) like (1, 2, 3)
        draws = self._draw((*self.view_seed, index + 1))
        if self.view_seed != self.seed:
            draws = replace(draws, **{name: getattr(self._draw(key), name) for name in LOGMEL_DRAWS})
        parts = []
        for number in range(distributed.rank(), len(self.slices), distributed.world_size()):
            part_draws = draws[self.slices[number]]
            rows = np.where(part_draws.sources < 0, -1, self.order[index][part_draws.sources])
            seed = np.random.SeedSequence((*key, number + 1)).generate_state(1)[0]
            parts.append(Part(rows, self._batch(rows, part_draws), len(rows) / self.size, int(seed)))
        return parts

    def _draw(self, key: tuple[int, ...]) -> Draws:
        frames = padded_samples(self.settings.samples) // HOP
        return self.settings.augmentation.draw(self.size, frames, BANDS, np.random.default_rng(key))

    def _batch(self, rows: Rows, draws: Draws) -> Batch:
        pinned = self.execution.device.type == "cuda"
        waveform = torch.empty((len(rows), self.settings.samples_read), dtype=torch.int16, pin_memory=pinned)
        targets = self._fill(waveform.numpy(), rows, draws)
        drawn = {name: getattr(draws, name) for name in OBJECTIVE_DRAWS}
        arrays = {"targets": targets, **drawn, **self.targets.online_inputs(rows)}
        batch = Batch(waveform, **{name: torch.from_numpy(array) for name, array in arrays.items()})
        return batch.map(Tensor.pin_memory) if pinned else batch

    def _fill(self, waveform: NDArray[np.int16], rows: Rows, draws: Draws) -> NDArray[np.float32]:
        """Fill ``waveform`` with crops of the clips; return their targets."""
        if self.settings.teachers_hear != "sounds":
            self.clips.crops(rows, draws, waveform)
            return self.targets.of_clips(rows)
        places = self.clips.scattered(rows, draws, self.settings.samples, waveform)
        return self.targets.of_segments(places, draws.speeds, segment_count(self.settings.samples))


def _cut(size: int, parts: int) -> list[slice]:
    """Slices that cut a batch of ``size`` clips into ``parts`` of whole pairs (the last of an odd size is single)."""
    pairs = (size + 1) // 2
    if pairs < parts:
        raise distributed.reported_once(
            SedkitError(
                f"a batch of {size} clips cannot be cut into {parts} parts (processes times --set accumulate) of at "
                "least two clips; start with a larger --batch-size"
            )
        )
    edges = [min(size, 2 * (pairs * part // parts)) for part in range(parts)] + [size]
    return [slice(*ends) for ends in pairwise(edges)]


def _on_device(batches: Iterator[list[Part]], device: torch.device) -> Generator[list[Part]]:
    """The batches on ``device``, each as soon as it is read. CUDA copies it while it computes the step before."""
    if device.type != "cuda":
        yield from batches
        return
    stream, to_device = torch.cuda.Stream(device), partial(Tensor.to, device=device, non_blocking=True)
    for batch in batches:
        with torch.cuda.stream(stream):
            copied = [replace(part, batch=part.batch.map(to_device)) for part in batch]
        current = torch.cuda.current_stream()
        current.wait_stream(stream)
        for tensor in (tensor for part in copied for tensor in part.batch.tensors()):
            tensor.record_stream(current)  # the copying stream must not reuse its memory before the step is computed
        yield copied


def default_workers(device: torch.device) -> int:
    """Threads that read ahead: 1 on a CPU, which is busy with the training; up to 8 per process with CUDA."""
    if device.type != "cuda":
        return 1
    return max(1, min(8, usable_cpus() // distributed.local_world_size() - 1))
