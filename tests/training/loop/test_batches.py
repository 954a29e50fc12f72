"""Batches depend on (seed, generation, epoch, batch) alone, not on workers, ranks, parts or interruptions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch

from sedkit.contract import Label
from sedkit.errors import SedkitError
from training.data.augment.augmentation import Augmentation
from training.data.clips import Clips
from training.loop.batches import Epoch, Part
from training.loop.objective import Batch
from training.loop.settings import Execution, Settings
from training.runtime import distributed
from training.supervision.equations import LABELS
from training.supervision.online import OnlineTeacher
from training.supervision.targets import Targets

CPU = torch.device("cpu")


def clips(count: int = 20) -> Clips:
    """Clip ``i`` is constant at ``i`` and has the label ``i % 3``."""
    waveforms = [np.full(20_000, i, np.int16) for i in range(count)]
    return Clips(waveforms, np.eye(3, dtype=np.float32)[np.arange(count) % 3], [Label(name) for name in "abc"])


def epoch(count: int = 20, size: int = 8, number: int = 1, overlay: float = 0.0, **execution: int) -> Epoch:
    made = clips(count)
    settings = Settings(batch_size=size, crop=1.0, augmentation=Augmentation(overlay=overlay))
    return Epoch(made, Targets({LABELS: 1.0}, made), settings, (0, 0, number), Execution(CPU, **execution))


def epoch_with_views(number: int, supervision: dict[str, float]) -> list[torch.Tensor]:
    """Epoch ``number``; with the online teacher "ear", crops and mixtures repeat after two epochs."""
    made = clips()
    online = {"ear": OnlineTeacher(torch.nn.Identity(), np.zeros(20, int))} if "ear" in supervision else {}
    augmentation = Augmentation(mixed=1, response=6, style=1, noise=0.5, speed=0.1, overlay=0.3)
    settings = Settings(batch_size=8, crop=1.0, augmentation=augmentation, teachers_hear="view", views=2)
    return tensors(
        Epoch(made, Targets(supervision, made, online=online), settings, (0, 0, number), Execution(CPU)).batches()
    )


def tensors(batches: Iterable[list[Part]]) -> list[torch.Tensor]:
    """Each field of the objective's input, concatenated over all parts of all batches."""
    parts = [part.batch.tensors() for batch in batches for part in batch]
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def test_epoch_contains_every_clip_once_and_drops_the_last_smaller_batch() -> None:
    rows = np.concatenate([part.rows for batch in epoch().batches() for part in batch])
    assert len(rows) == 16
    assert len(set(rows)) == 16


def test_waveforms_and_targets_belong_together() -> None:
    for batch in epoch().batches():
        for part in batch:
            waveform, targets, *_ = part.batch
            assert (waveform[:, 0].numpy() == part.rows).all()
            assert (targets.argmax(1).numpy() == part.rows % 3).all()


@pytest.mark.parametrize("overlay", [0.0, 0.7])
@pytest.mark.parametrize("execution", [{"workers": 4}, {"accumulate": 3}, {"accumulate": 4}])
def test_workers_and_parts_do_not_change_a_batch(execution: dict[str, int], overlay: float) -> None:
    whole, parts = epoch(overlay=overlay), epoch(overlay=overlay, **execution)
    for one, other in zip(tensors(whole.batches()), tensors(parts.batches()), strict=True):
        assert torch.equal(one, other)


def test_ranks_together_have_the_batches_of_a_single_process(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tensors(epoch(overlay=0.7).batches())
    ranks = []
    for rank in range(2):
        for environment in (distributed.ENVIRONMENT, ("LOCAL_RANK", "LOCAL_WORLD_SIZE")):
            for name in environment:
                monkeypatch.setenv(name, "2" if "SIZE" in name else str(rank))
        ranks.append(list(epoch(overlay=0.7).batches()))
    together = tensors([*one, *other] for one, other in zip(*ranks, strict=True))
    for one, other in zip(whole, together, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("overlay", [0.0, 0.7])
def test_resuming_within_an_epoch_gives_the_same_batches(overlay: float) -> None:
    whole = list(epoch(overlay=overlay).batches())
    rest = list(epoch(overlay=overlay).batches(1))
    assert len(rest) == len(whole) - 1
    for one, other in zip(tensors(whole[1:]), tensors(rest), strict=True):
        assert torch.equal(one, other)
    assert [part.seed for batch in whole[1:] for part in batch] == [part.seed for batch in rest for part in batch]


def test_batches_and_epochs_have_different_draws_and_seeds() -> None:
    draws = [tensors([batch])[2] for number in (1, 2) for batch in epoch(number=number).batches()]
    assert len({tuple(levels.tolist()) for levels in draws}) == 4
    seeds = [part.seed for number in (1, 2) for batch in epoch(number=number, accumulate=2).batches() for part in batch]
    assert len(set(seeds)) == 8


def test_views_repeat_crops_and_mixtures_but_not_the_augmentation_of_the_logmel() -> None:
    first, second, third = (epoch_with_views(number, {LABELS: 0.5, "ear": 0.5}) for number in (1, 2, 3))
    again = {name for name, one, other in zip(Batch._fields, first, third, strict=True) if torch.equal(one, other)}
    assert again == {"waveform", "targets", "levels", "shares", "speeds", "known", "parts"}
    assert not torch.equal(first[0], second[0])


def test_views_do_not_repeat_without_an_online_teacher() -> None:
    first, third = epoch_with_views(1, {LABELS: 1.0}), epoch_with_views(3, {LABELS: 1.0})
    assert not any(torch.equal(one, other) for one, other in zip(first, third, strict=True))


def test_overlaid_clips_have_the_union_of_their_labels() -> None:
    several = 0
    for batch in epoch(overlay=0.5).batches():
        for part in batch:
            waveform, targets, *_ = part.batch
            for overlaid, samples, labels in zip(part.rows, waveform.numpy(), targets.numpy(), strict=True):
                rows = overlaid[overlaid >= 0]
                assert set(np.flatnonzero(labels)) == {row % 3 for row in rows}
                assert (samples == rows[0]).all() == (len(rows) == 1)
                several += len(rows) > 1
    assert 3 < several < 13


@pytest.mark.parametrize(("size", "parts"), [(8, 3), (7, 2), (9, 4), (20, 1)])
def test_parts_are_whole_pairs(size: int, parts: int) -> None:
    cut = epoch(size=size, accumulate=parts)
    lengths = [part.stop - part.start for part in cut.slices]
    assert sum(lengths) == size
    assert all(length % 2 == 0 for length in lengths[:-1])
    assert min(lengths) > 0
    (batch, *_) = cut.batches()
    assert sum(part.share for part in batch) == pytest.approx(1)


def test_more_parts_than_pairs_is_an_error() -> None:
    with pytest.raises(SedkitError, match="larger --batch-size"):
        epoch(size=8, accumulate=5)


def test_fewer_clips_than_a_batch_make_one_batch() -> None:
    (batch,) = epoch(count=5, size=8).batches()
    assert sorted(batch[0].rows) == list(range(5))


def test_only_clips_of_the_batches_are_read(tmp_path) -> None:
    class Untouched:
        def __len__(self) -> int:
            return 1_000_000

        def __getitem__(self, row):
            touched.append(row)
            return np.ones((len(row), 3), np.float32) if isinstance(row, np.ndarray) else np.ones(20_000, np.int16)

    touched: list[object] = []
    made = Clips(Untouched(), Untouched(), [Label(name) for name in "abc"])
    settings = Settings(batch_size=8, crop=1.0)
    drawn = Epoch(made, Targets({LABELS: 1.0}, made), settings, (0, 0, 1), Execution(CPU))
    batches = drawn.batches()
    next(batches)
    batches.close()
    assert len(touched) <= 9 * 4  # the batch and those read ahead


def test_epochs_may_have_a_fixed_length() -> None:
    made = clips(40)
    for wanted, batches in ((8, 1), (9, 2), (0, 5), (400, 5)):
        settings = Settings(batch_size=8, crop=1.0, epoch_clips=wanted)
        assert len(Epoch(made, Targets({LABELS: 1.0}, made), settings, (0, 0, 1), Execution(CPU))) == batches
    made = replace(made, weights=np.ones(40))
    orders = []
    for wanted in (0, 8, 400):
        settings = Settings(batch_size=8, crop=1.0, epoch_clips=wanted)
        orders.append(Epoch(made, Targets({LABELS: 1.0}, made), settings, (0, 0, 1), Execution(CPU)).order)
    assert [len(order) for order in orders] == [5, 1, 50]
    assert (orders[2][:5] == orders[0]).all()  # more of the same draws
