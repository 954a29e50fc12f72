"""Online distillation: teachers that score the student's augmented input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from sedkit.errors import OutputError
from tests.training.conftest import SMALL, continue_run, full_disk, metrics, start_run, untrained_run, weights
from training.data.clips import Clips
from training.loop.objective import Batch, Objective
from training.loop.trainer import Trainer
from training.loop.view_cache import ViewCache
from training.networks.wels import Network
from training.runs.config import read_config
from training.runs.generations import trained_network
from training.runs.run import Run
from training.runs.teacher_files import read_teachers
from training.secost import main
from training.supervision.equations import LABELS
from training.supervision.online import SILENT, ClipScorer, OnlineTargets, OnlineTeacher
from training.supervision.targets import Targets

SAMPLES = 16_000


class Loudness(nn.Module):
    """Scores every class with the mean absolute sample plus the clip's part."""

    def forward(self, waveform: Tensor, part: Tensor) -> Tensor:
        return (waveform.abs().mean(1) + part).clamp(0, 1)[:, None].expand(-1, 3)


def clips(labels: np.ndarray) -> Clips:
    random = np.random.default_rng(0)
    return Clips([random.integers(-9000, 9000, SAMPLES, np.int16) for _ in labels], labels.astype(np.float32), "abc")


def targets_and_inputs(weights: dict, parts: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> tuple[Targets, tuple]:
    targets = Targets(weights, clips(labels), online={"loud": OnlineTeacher(Loudness(), parts)})
    return targets, (targets.of_clips(rows), *targets.online_inputs(rows).values())


def test_online_targets_are_eq_6() -> None:
    labels, rows = np.eye(3), np.array([2, 0])
    targets, (weighted, weight, parts) = targets_and_inputs(
        {LABELS: 0.3, "loud": 0.7}, np.array([0, 0, 0]), labels, rows
    )
    waveform = torch.tensor([0.25, 0.5])[:, None] * torch.ones(2, SAMPLES)
    actual = targets.online_targets(waveform, *map(torch.from_numpy, (weighted, weight, parts)))
    expected = 0.3 * torch.eye(3)[[2, 0]] + 0.7 * torch.tensor([[0.25], [0.5]])
    torch.testing.assert_close(actual, expected)


def test_temperature_of_online_and_stored_teachers() -> None:
    stored, online = {"file": np.full((3, 3), 0.2, np.float16)}, {"loud": OnlineTeacher(Loudness(), np.zeros(3, int))}
    weights = {LABELS: 0.2, "file": 0.4, "loud": 0.4}
    targets = Targets(weights, clips(np.eye(3)), stored, online, temperatures={"loud": 2.0, "file": 0.5})
    rows = np.arange(3)
    inputs = map(torch.from_numpy, (targets.of_clips(rows), *targets.online_inputs(rows).values()))
    actual = targets.online_targets(torch.full((3, SAMPLES), 0.2), *inputs)
    expected = 0.2 * torch.eye(3) + 0.4 * (1 / 17) + 0.4 * (1 / 3)  # odds of 1 to 4, squared and their root
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


def test_a_failing_online_teacher_makes_the_loss_infinite() -> None:
    """Unknown labels do not count; a teacher's NaN must not pass for one."""

    class Failing(nn.Module):
        def forward(self, waveform: Tensor, part: Tensor) -> Tensor:
            return torch.full((len(waveform), 3), torch.nan)

    targets = Targets({"bad": 1.0}, clips(np.eye(3)), online={"bad": OnlineTeacher(Failing(), np.zeros(3, int))})
    rows, ones, masks = np.arange(2), torch.ones(2), torch.zeros(2, 2, 2, dtype=torch.int64)
    inputs = {name: torch.from_numpy(array) for name, array in targets.online_inputs(rows).items()}
    waveform = torch.randint(-9000, 9000, (2, SAMPLES), dtype=torch.int16)
    known = torch.from_numpy(targets.of_clips(rows))
    batch = Batch(waveform, known, ones, ones, masks, masks, torch.zeros(2, 64), ones, ones, **inputs)
    loss = Objective(Network(3, 1 / 16).eval(), "float32", SAMPLES, targets.online_targets)(batch)
    assert not loss.isfinite()


def test_an_unlabelled_clip_gets_its_targets_from_teachers_only() -> None:
    labels = np.array([[1, 0, 0], [np.nan, np.nan, np.nan]])
    targets, (weighted, weight, parts) = targets_and_inputs(
        {LABELS: 0.3, "loud": 0.7}, np.zeros(2, int), labels, np.arange(2)
    )
    actual = targets.online_targets(torch.full((2, SAMPLES), 0.25), *map(torch.from_numpy, (weighted, weight, parts)))
    torch.testing.assert_close(actual, torch.tensor([[0.475, 0.175, 0.175], [0.25, 0.25, 0.25]]))


def partial_targets(weights: dict, labels: np.ndarray, parts: list[int]) -> Targets:
    """Targets with a teacher that scores the classes 0 and 2."""
    teacher = OnlineTeacher(TwoClasses(), np.array(parts), np.array([0, 2]))
    return Targets(weights, clips(labels), online={"part": teacher})


class TwoClasses(nn.Module):
    """Scores the first of two classes with the mean absolute sample, the second with half of it."""

    def forward(self, waveform: Tensor, part: Tensor) -> Tensor:
        return waveform.abs().mean(1)[:, None] * torch.tensor([1.0, 0.5])


def test_a_teacher_of_some_classes_is_silent_elsewhere() -> None:
    labels = np.array([[1, 0, 0], [0, 1, 0], [np.nan, np.nan, np.nan]])
    targets = partial_targets({LABELS: 0.6, "part": 0.4}, labels, [0, SILENT, 0])
    rows = np.arange(3)
    inputs = map(torch.from_numpy, (targets.of_clips(rows), *targets.online_inputs(rows).values()))
    actual = targets.online_targets(torch.full((3, SAMPLES), 0.5), *inputs)
    expected = torch.tensor([[0.6 + 0.2, 0, 0.1], [0, 1, 0], [0.5, torch.nan, 0.25]])
    torch.testing.assert_close(actual, expected, equal_nan=True)


def test_a_teacher_is_silent_for_mixtures_with_what_it_does_not_know() -> None:
    targets = partial_targets({LABELS: 0.5, "part": 0.5}, np.zeros((4, 3)), [0, SILENT, 0, 0])
    assert targets.online_inputs(np.array([[0, 1], [0, 3], [2, -1]]))["parts"].tolist() == [[SILENT], [0], [0]]
    rows, ones, masks = np.arange(4), torch.ones(4), torch.zeros(4, 2, 2, dtype=torch.int64)
    inputs = {name: torch.from_numpy(array) for name, array in targets.online_inputs(rows).items()}
    waveform, known = torch.full((4, SAMPLES), 8192, dtype=torch.int16), torch.from_numpy(targets.of_clips(rows))
    objective = Objective(Network(3, 1 / 16), "float32", SAMPLES, targets.online_targets)

    def first_class(shares: Tensor) -> list[float]:
        batch = Batch(waveform, known, ones, shares, masks, masks, torch.zeros(4, 64), ones, ones, **inputs)
        return objective.online_targets(batch)[:, 0].tolist()

    assert first_class(ones) == pytest.approx([0.125, 0, 0.125, 0.125])
    assert first_class(0.75 * ones) == pytest.approx([0, 0, 0.125, 0.125])  # 0 is mixed with 1, and 2 with 3


def test_a_mixture_takes_the_part_of_its_first_clip() -> None:
    targets, (_, _, parts) = targets_and_inputs({"loud": 1.0}, np.array([4, 5, 6]), np.eye(3), np.array([2, 0]))
    assert parts.tolist() == [[6], [4]]
    assert targets.online_inputs(np.array([[1, 2], [0, -1]]))["parts"].tolist() == [[5], [4]]


def test_score_files_and_online_teachers_combine() -> None:
    stored = {"file": np.full((3, 3), 0.5, np.float16)}
    online = {"loud": OnlineTeacher(Loudness(), np.zeros(3, int))}
    targets = Targets({LABELS: 0.2, "file": 0.4, "loud": 0.4}, clips(np.eye(3)), stored, online=online)
    rows = np.arange(3)
    actual = targets.online_targets(
        torch.zeros(3, SAMPLES), *map(torch.from_numpy, (targets.of_clips(rows), *targets.online_inputs(rows).values()))
    )
    torch.testing.assert_close(actual, 0.2 * torch.eye(3) + 0.2)


def test_online_teachers_score_the_mixture_before_the_masks() -> None:
    torch.manual_seed(0)
    teacher, student = Network(3, 1 / 16), Network(3, 1 / 16).eval()
    waveform = torch.randint(-9000, 9000, (2, SAMPLES), dtype=torch.int16)
    levels, shares = torch.tensor([0.5, 1.0]), torch.tensor([0.75, 0.75])
    masks = torch.tensor([[[0, 30], [40, 41]]] * 2)
    nothing = (torch.zeros(2, 64), torch.ones(2), torch.ones(2))
    labels, known, parts = torch.tensor([[0.3, 0, 0], [0, 0.3, 0]]), torch.full((2, 3), 0.3), torch.zeros(2, 1).long()
    objective = Objective(
        student,
        "float32",
        SAMPLES,
        OnlineTargets({LABELS: 0.3, 0: 0.7}, {0: OnlineTeacher(ClipScorer(teacher), parts)}),
    )
    loss = objective(Batch(waveform, labels, levels, shares, masks, masks, *nothing, known, parts))
    loud = waveform.float() / 32768 * levels[:, None]
    mixed = 0.75 * loud + 0.25 * loud.flip(0)
    with torch.no_grad():
        targets = 0.75 * labels + 0.25 * labels.flip(0) + 0.7 * teacher(mixed).clip
    unmixed = 1.5 * targets - 0.5 * targets.flip(0)  # mixup turns these into ``targets``
    batch = Batch(waveform, unmixed, levels, shares, masks, masks, *nothing)
    expected = Objective(student, "float32", SAMPLES)(batch)
    torch.testing.assert_close(loss, expected)
    assert not any(weight.requires_grad for weight in objective.online.parameters())


def test_resume_with_online_teachers_gives_the_same_network(small_manifest: Path, tmp_path: Path) -> None:
    options = ("--stages", "1", "--set", "mixed=1", "--teachers-hear", "view", "--set", "validate-every=2")
    untrained_run(small_manifest, tmp_path / "uninterrupted", *options)
    start_run(small_manifest, tmp_path / "interrupted", *options)
    for name in ("uninterrupted", "interrupted"):
        continue_run(tmp_path / name)
    expected, resumed = (weights(tmp_path / name, 1) for name in ("uninterrupted", "interrupted"))
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    assert len(metrics(tmp_path / "uninterrupted", 1)) == 3
    with pytest.raises(KeyError, match="validation_mAP"):  # the first epoch is not validated
        metrics(tmp_path / "uninterrupted", 1, "validation_mAP")


@pytest.mark.slow
def test_repeated_views_are_scored_once(
    run: Path, small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--teacher", f"big={run}", "--first", "labels=0.2,big=0.8", "--stages", "0", "--epochs", "5")
    options = (*options, "--set", "mixed=1", "--teachers-hear", "view")
    scored: list[int] = []
    online_targets = Trainer.online_targets
    monkeypatch.setattr(
        Trainer, "online_targets", lambda self, part: scored.append(len(part.rows)) or online_targets(self, part)
    )
    untrained_run(small_manifest, tmp_path / "uninterrupted", *options, "--set", "views=2", "--set", "accumulate=2")
    scored.clear()
    continue_run(tmp_path / "uninterrupted", accumulate=2)
    assert scored == [4] * 2 * 3 * 2  # 4 clips a part; 2 parts x 3 batches x 2 views
    assert not (tmp_path / "uninterrupted" / "generation-0" / "views.f16").exists()
    start_run(small_manifest, tmp_path / "interrupted", *options, "--set", "views=2", "--set", "accumulate=2")
    assert (tmp_path / "interrupted" / "generation-0" / "views.f16").stat().st_size == 2 * 3 + 2 * 2 * 3 * 8 * 3
    scored.clear()
    continue_run(tmp_path / "interrupted", accumulate=2)
    assert len(scored) == 10  # the first batch was stored before the interruption
    expected, resumed = (weights(tmp_path / name, 0) for name in ("uninterrupted", "interrupted"))
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    start_run(small_manifest, tmp_path / "new", *options, "--set", "accumulate=2")
    continue_run(tmp_path / "new", accumulate=2)
    losses = [metrics(tmp_path / name, 0, "loss") for name in ("uninterrupted", "new")]
    assert losses[0][:2] == pytest.approx(losses[1][:2], abs=1e-3)  # equal inputs so far, up to float16
    assert losses[0] != losses[1]


def test_view_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="leave out --set views"):
        ViewCache(tmp_path / "file" / "views.f16", 1, 1, 2, 3)
    with full_disk(100), pytest.raises(OutputError, match="File too large"):
        ViewCache(tmp_path / "views.f16", 2, 4, 8, 3)
    assert not ViewCache(tmp_path / "views.f16", 2, 4, 8, 3).filled.any()


def test_finished_run_as_the_teacher_of_a_narrower_network(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    options = [*SMALL, "--teacher", f"big={run}", "--first", "labels=0.2,big=0.8", "--stages", "0", "--width", "0.03"]
    start_run(small_manifest, tmp_path / "small", *options, "--teachers-hear", "view")
    config = read_config(tmp_path / "small")
    assert config["teachers"]["big"]["teacher"] == "generation 2 of an earlier cascade, width 0.0625"
    small = Run.open(tmp_path / "small")
    teacher = read_teachers(small, {"big": 1.0}, torch.device("cpu")).online["big"]
    sound = torch.randn(2, SAMPLES) * 0.1
    with torch.no_grad():
        scores = teacher.teacher(sound, torch.zeros(2).long())
        torch.testing.assert_close(
            scores,
            trained_network(run / "generation-2", Run.open(run).settings, 3, torch.device("cpu"))(sound).clip,
            atol=0.01,
            rtol=0,
        )
    assert len(teacher.parts) == len(small.clips("train"))
    continue_run(tmp_path / "small")
    assert len(metrics(tmp_path / "small", 0)) == 3


def test_unusable_online_teachers_are_refused(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    def refuse(*options: str) -> str:
        command = ["--manifest", small_manifest, "--run", tmp_path / "run", *SMALL, "--first", "big=1", *options]
        result = CliRunner().invoke(main, [str(word) for word in command])
        assert result.exit_code == 1
        assert not (tmp_path / "run" / "config.json").exists()
        return result.output.splitlines()[-1]

    assert "add --teachers-hear view" in refuse("--teacher", f"big={run}")
    view = ("--teachers-hear", "view")
    (tmp_path / "empty").mkdir()
    assert "not a run directory" in refuse("--teacher", f"big={tmp_path / 'empty'}", *view)
    unfinished = tmp_path / "unfinished"
    start_run(small_manifest, unfinished, "--stages", "0")
    assert f"{unfinished}: the run is not finished; continue it with" in refuse("--teacher", f"big={unfinished}", *view)
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    assert "broken.pt" in refuse("--teacher", f"big={tmp_path / 'broken.pt'}", *view)
    other = shutil.copytree(run, tmp_path / "other")
    config = read_config(other)
    config["labels"][0]["name"] = "another"
    (other / "config.json").write_text(json.dumps(config))
    assert "was trained on other classes" in refuse("--teacher", f"big={other}", *view)
