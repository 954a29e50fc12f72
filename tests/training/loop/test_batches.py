"""A batch is a function of (seed, generation, epoch, batch), whoever computes it and however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sedkit.contract import Label
from sedkit.errors import SedkitError
from training.data.augment.augmentation import Augmentation
from training.data.clips import Clips
from training.loop.batches import Epoch
from training.loop.objective import Batch
from training.loop.settings import Execution, Settings
from training.runtime import distributed
from training.runtime.prefetch import prefetch
from training.supervision.equations import LABELS
from training.supervision.online import Asked
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


def viewed(number: int, supervision: dict[str, float]) -> list[torch.Tensor]:
    """An epoch whose views come again after two, if there are teachers that hear them."""
    made = clips()
    asked = {"ear": Asked(torch.nn.Identity(), np.zeros(20, int))} if "ear" in supervision else {}
    augmentation = Augmentation(mixed=1, response=6, style=1, noise=0.5, speed=0.1, overlay=0.3)
    settings = Settings(batch_size=8, crop=1.0, augmentation=augmentation, teachers_hear="view", views=2)
    return tensors(
        Epoch(made, Targets(supervision, made, asked=asked), settings, (0, 0, number), Execution(CPU)).batches()
    )


def tensors(batches) -> list[torch.Tensor]:
    """Every argument of the objective over whole batches, part after part."""
    return [
        torch.cat(column) for column in zip(*(part.batch.tensors() for batch in batches for part in batch), strict=True)
    ]


def test_an_epoch_goes_through_every_clip_once_but_those_of_a_last_smaller_batch() -> None:
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
def test_workers_and_parts_do_not_change_what_a_batch_holds(execution: dict[str, int], overlay: float) -> None:
    whole, parts = epoch(overlay=overlay), epoch(overlay=overlay, **execution)
    for one, other in zip(tensors(whole.batches()), tensors(parts.batches()), strict=True):
        assert torch.equal(one, other)


def test_ranks_together_hold_what_one_does_also_of_clips_that_others_read(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_going_on_within_an_epoch_gives_the_same_batches(overlay: float) -> None:
    whole = list(epoch(overlay=overlay).batches())
    rest = list(epoch(overlay=overlay).batches(1))
    assert len(rest) == len(whole) - 1
    for one, other in zip(tensors(whole[1:]), tensors(rest), strict=True):
        assert torch.equal(one, other)
    assert [part.seed for batch in whole[1:] for part in batch] == [part.seed for batch in rest for part in batch]


def test_every_batch_and_every_epoch_draws_anew() -> None:
    draws = [tensors([batch])[2] for number in (1, 2) for batch in epoch(number=number).batches()]
    assert len({tuple(levels.tolist()) for levels in draws}) == 4
    seeds = [part.seed for number in (1, 2) for batch in epoch(number=number, accumulate=2).batches() for part in batch]
    assert len(set(seeds)) == 8


def test_views_come_again_and_what_no_teacher_hears_is_new() -> None:
    first, second, third = (viewed(number, {LABELS: 0.5, "ear": 0.5}) for number in (1, 2, 3))
    again = {name for name, one, other in zip(Batch._fields, first, third, strict=True) if torch.equal(one, other)}
    assert again == {"waveform", "targets", "levels", "shares", "speeds", "known", "parts"}
    assert not torch.equal(first[0], second[0])


def test_without_a_teacher_that_hears_them_views_are_new() -> None:
    first, third = viewed(1, {LABELS: 1.0}), viewed(3, {LABELS: 1.0})
    assert not any(torch.equal(one, other) for one, other in zip(first, third, strict=True))


def test_clips_that_are_heard_at_once_have_the_labels_of_all() -> None:
    several = 0
    for batch in epoch(overlay=0.5).batches():
        for part in batch:
            waveform, targets, *_ = part.batch
            for heard, samples, labels in zip(part.rows, waveform.numpy(), targets.numpy(), strict=True):
                rows = heard[heard >= 0]
                assert set(np.flatnonzero(labels)) == {row % 3 for row in rows}
                assert (samples == rows[0]).all() == (len(rows) == 1)
                several += len(rows) > 1
    assert 3 < several < 13


@pytest.mark.parametrize(("size", "parts"), [(8, 3), (7, 2), (9, 4), (20, 1)])
def test_parts_are_whole_pairs_so_that_neighbours_mix(size: int, parts: int) -> None:
    cut = epoch(size=size, accumulate=parts)
    lengths = [part.stop - part.start for part in cut.slices]
    assert sum(lengths) == size
    assert all(length % 2 == 0 for length in lengths[:-1])
    assert min(lengths) > 0
    (batch, *_) = cut.batches()
    assert sum(part.share for part in batch) == pytest.approx(1)


def test_a_batch_that_cannot_be_parted_is_an_error() -> None:
    with pytest.raises(SedkitError, match="larger --batch-size"):
        epoch(size=8, accumulate=5)


def test_fewer_clips_than_a_batch_are_one_batch() -> None:
    (batch,) = epoch(count=5, size=8).batches()
    assert sorted(batch[0].rows) == list(range(5))


@pytest.mark.parametrize("workers", [1, 3])
def test_ahead_keeps_the_order_and_passes_errors_on(workers: int) -> None:
    assert list(prefetch(lambda x: x * x, range(50), workers)) == [x * x for x in range(50)]
    made = prefetch(lambda x: 1 // (3 - x), range(50), workers)
    assert [next(made) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(made)


def test_ahead_is_bounded() -> None:
    begun: list[int] = []
    made = prefetch(begun.append, range(1000), workers=2)
    next(made)
    made.close()
    assert len(begun) < 8


def test_drawing_from_many_clips_holds_one_number_a_clip(tmp_path) -> None:
    """Waveforms and labels of clips that are not drawn are not touched."""

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
