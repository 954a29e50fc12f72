"""Training of one network: epochs, validation, checkpoints, the best epoch.

A generation's directory::

    generation-0/
        metrics.jsonl   one line per epoch
        checkpoint.pt   trainer state, history and best epoch so far; removed at the end
        views.f16       online teachers' scores of crops that repeat (training.loop.view_cache); removed at the end
        network.pt      weights of the best epoch on the validation split; exists when the training is complete

A checkpoint is written at the end of an epoch and every ten minutes of a long epoch. After short epochs it is skipped
where writing would take more than about a twentieth of the time.

Every batch is drawn with a generator seeded by (seed, generation, epoch, batch). A run that is killed and resumed goes
through the same batches as one that is not.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sedkit.errors import SedkitError
from sedkit.metrics import summary
from training.data.clips import Clips
from training.loop.batches import Epoch
from training.loop.objective import Objective
from training.loop.schedule import learning_rate_factor
from training.loop.settings import Execution, Settings
from training.loop.trainer import Trainer
from training.loop.view_cache import ViewCache
from training.networks.batch_norm import measure_batch_norm
from training.networks.predict import predict
from training.networks.wels import Network
from training.runtime import distributed
from training.runtime.checkpoint import CheckpointError, load, save
from training.runtime.deadline import Deadline, Stopped
from training.runtime.files import replacing
from training.supervision.equations import latest_generation
from training.supervision.online import OnlineTargets
from training.supervision.targets import Targets

CHECKPOINT_SECONDS = 600  # between two checkpoints within an epoch
CHECKPOINT_SPACING = 20  # time between two checkpoints after epochs, at least, as a multiple of the time to write one
CHECK_BATCHES = 16  # batches between two checks of the loss on CUDA; a check waits for the device
STATISTICS_CROPS = 256  # training crops, at least, from which an interpolated network gets its batch statistics
VIEWS = "views.f16"

Report = Callable[[dict[str, Any]], None]


class TrainingError(SedkitError):
    """The training cannot continue."""


def fit(
    network: Network,
    clips: Clips,
    targets: Targets,
    validation: Clips,
    settings: Settings,
    seed: Sequence[int],
    directory: Path,
    execution: Execution,
    report: Report,
    deadline: Deadline | None = None,
) -> None:
    """Train ``network`` and save its best epoch in ``directory/network.pt``. Resumes from a checkpoint if there is one.

    Parameters
    ----------
    seed : (seed, generation).
    report : called after each batch with ``{"epoch", "batch", "batches"}`` and after each epoch with its metrics.

    Raises
    ------
    TrainingError
        If the loss or a weight is not finite.
    ScoreError
        If a validation score is not finite.
    CheckpointError
        If ``checkpoint.pt`` cannot be read.
    OutputError
        If the directory cannot be written to.
    Stopped
        If the deadline is reached. A checkpoint is written first.
    """
    state = _TrainingState(network, settings, execution, seed, directory, targets.online_targets)
    state.resume()
    if settings.views and targets.online and distributed.world_size() > 1:
        raise distributed.reported_once(TrainingError("--set views: works in a single process only; leave it out"))
    deadline = deadline or Deadline()
    if state.starts_as_teacher(targets):
        state.keep(0, _validate(state, state.trainer.result, validation), state.trainer.result)
    while state.epoch <= settings.epochs:
        metrics = _train_epoch(state, clips, targets, report, deadline)
        if settings.validates_after(state.epoch):
            kept = state.kept_network(clips, targets)
            state.end_epoch(metrics | _validate(state, kept, validation), kept)
        else:
            state.end_epoch(metrics)
        report(state.history[-1])
    distributed.on_rank_0(state.finish)


@dataclass
class _EpochProgress:
    """Progress within an epoch; a part of the checkpoint.

    Attributes
    ----------
    batch : batches done.
    loss : sum of their losses.
    seconds : time they took.
    waited : time of these spent waiting for data.
    """

    batch: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0


class _TrainingState:
    """Everything a checkpoint holds, and the times that decide when to write one.

    Attributes
    ----------
    initial : weights before training, on the CPU.
    history : metrics of the finished epochs.
    best : ``score``, ``epoch`` and ``network`` of the best epoch so far.
    progress : progress within the current epoch.
    saved_at : time of the last checkpoint.
    save_seconds : time it took to write.
    saved_epochs : finished epochs that it contains.
    check_seconds : shortest time between two checks of the loss.
    """

    def __init__(
        self,
        network: Network,
        settings: Settings,
        execution: Execution,
        seed: Sequence[int],
        directory: Path,
        online: OnlineTargets | None,
    ) -> None:
        self.settings, self.execution, self.seed, self.directory = settings, execution, tuple(seed), directory
        self.initial = {name: value.cpu().clone() for name, value in network.state_dict().items()}
        self.trainer = Trainer(network, settings, execution, online)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {"score": -1.0}
        self.progress = _EpochProgress()
        self.saved_at, self.save_seconds, self.saved_epochs = time.monotonic(), 1.0, 0
        self.check_seconds = math.inf

    @property
    def epoch(self) -> int:
        """Number of the current epoch, from 1."""
        return len(self.history) + 1

    @property
    def checkpoint(self) -> Path:
        return self.directory / "checkpoint.pt"

    def resume(self) -> None:
        """Restore the checkpoint if there is one."""
        if not distributed.on_rank_0(self.checkpoint.exists):
            return
        state = load(self.checkpoint)
        try:
            self.trainer.restore(state["trainer"])
            self.history, self.best = state["history"], state["best"]
            self.progress = _EpochProgress(**state["progress"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            cause = str(error).partition("\n")[0]
            raise CheckpointError(
                f"{self.checkpoint}: not of this run ({cause}); remove it, then --resume trains this network again"
            ) from None
        self.saved_epochs = len(self.history)

    def save(self) -> None:
        """Write the checkpoint, unless a weight is not finite. Every rank must call this."""
        started = time.monotonic()
        if not self.trainer.is_finite():
            raise self.diverged("a weight is not finite")
        self.trainer.average_statistics()
        state = {
            "trainer": self.trainer.state(),
            "progress": asdict(self.progress),
            "history": self.history,
            "best": self.best,
        }
        distributed.on_rank_0(lambda: save(state, self.checkpoint))
        self.saved_at, self.saved_epochs = time.monotonic(), len(self.history)
        self.save_seconds = self.saved_at - started

    def seconds_since_save(self) -> float:
        return time.monotonic() - self.saved_at

    def validation_seconds(self) -> float:
        """Time to allow for the validation after the current epoch: the longest so far, or 0 if there is none."""
        if not self.settings.validates_after(self.epoch):
            return 0.0
        return max((metrics.get("validation_seconds", 0.0) for metrics in self.history), default=0.0)

    def diverged(self, cause: str) -> SedkitError | distributed.FailedOnRank0:
        """The error to raise if the loss or a weight is not finite."""
        kept = (
            f"the checkpoint of epoch {self.saved_epochs} is kept" if self.saved_epochs else "no checkpoint to keep yet"
        )
        return distributed.reported_once(
            TrainingError(
                f"{self.directory}: epoch {self.epoch}: {cause}; {kept}. "
                "Start a new run with a lower --learning-rate, or with --set clip=1"
            )
        )

    def starts_as_teacher(self, targets: Targets) -> bool:
        """Whether the network is still that of its teacher, from whose weights it starts (``--set students``)."""
        student = latest_generation(targets.supervision) is not None
        return self.settings.students == "teacher" and student and not self.history and not self.progress.batch

    def kept_network(self, clips: Clips, targets: Targets) -> Network:
        """The network of this epoch as it would be kept; with ``--set between``, interpolated with the initial one.

        An interpolated network needs batch statistics of its own. They are measured on the first batches of the epoch,
        augmented as in training: those of clips as they are would be others.
        """
        self.trainer.average_statistics()
        result = self.trainer.result
        if self.settings.between == 1:
            return result
        blended = copy.deepcopy(result)
        trained = {name: value.cpu() for name, value in result.state_dict().items()}
        blended.load_state_dict(interpolate(self.initial, trained, self.settings.between))
        epoch = Epoch(clips, targets, self.settings, (*self.seed, self.epoch), self.execution)
        objective = Objective(blended, self.settings.precision, self.settings.samples)

        def compute() -> None:
            with closing(epoch.batches()) as batches:
                for parts in islice(batches, -(-STATISTICS_CROPS // epoch.size)):
                    for part in parts:
                        objective(part.batch)

        measure_batch_norm(blended, compute, self.settings.freeze)
        distributed.average_batch_norm_statistics(blended)
        return blended

    def end_epoch(self, metrics: dict[str, Any], kept: Network | None = None) -> None:
        """Finish the current epoch: keep ``kept`` if it is the best so far, write the metrics and a checkpoint."""
        self.history.append(metrics)
        self.progress = _EpochProgress()
        if kept is not None:
            self.keep(metrics["epoch"], metrics, kept)
        distributed.on_rank_0(self._write_metrics)  # before the checkpoint, so that its epochs are all in the file
        spaced = self.seconds_since_save() > CHECKPOINT_SPACING * self.save_seconds
        if not self.saved_epochs or distributed.rank_0_decides(spaced):
            self.save()

    def keep(self, epoch: int, metrics: dict[str, Any], network: Network) -> None:
        """Keep the network of an epoch if it is the best so far, or if validation clips do not tell (mAP None)."""
        score = metrics["validation_mAP"]
        if score is None or score > self.best["score"]:
            weights = {name: value.cpu().clone() for name, value in network.state_dict().items()}
            self.best = {"score": score or 0.0, "epoch": epoch, "network": weights}

    def _write_metrics(self) -> None:
        with replacing(self.directory / "metrics.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(metrics) + "\n" for metrics in self.history), "utf-8")

    def finish(self) -> None:
        """Write the best network and remove the checkpoint. Only rank 0 calls this."""
        save(self.best, self.directory / "network.pt")
        self.checkpoint.unlink(missing_ok=True)
        (self.directory / VIEWS).unlink(missing_ok=True)


def interpolate(initial: Mapping[str, Tensor], trained: Mapping[str, Tensor], weight: float) -> dict[str, Tensor]:
    """Interpolate weights and statistics: ``initial`` at ``weight`` 0, ``trained`` at 1.

    In between, the network forgets less than at the end and has learned nearly as much (Wortsman et al., 2022, *Robust
    fine-tuning of zero-shot models*). The interpolated statistics are not those of any network.
    """
    return {
        name: torch.lerp(initial[name], value, weight) if value.is_floating_point() else value
        for name, value in trained.items()
    }


def _train_epoch(
    state: _TrainingState, clips: Clips, targets: Targets, report: Report, deadline: Deadline
) -> dict[str, Any]:
    """Train on the remaining batches of the current epoch; return its metrics without validation."""
    settings, execution, progress = state.settings, state.execution, state.progress
    epoch = Epoch(clips, targets, settings, (*state.seed, state.epoch), execution)
    cache = None
    if settings.views and targets.online:
        cache = ViewCache(state.directory / VIEWS, settings.views, len(epoch), epoch.size, len(clips.classes))
    check_every = CHECK_BATCHES if execution.device.type == "cuda" else 1
    compiling = execution.compile != "off" and math.isinf(state.check_seconds)
    loss: Tensor | float = 0.0  # sum since the last check
    checked_at = time.monotonic()
    with closing(epoch.batches(progress.batch)) as batches:
        while progress.batch < len(epoch):
            wait_started = time.monotonic()
            parts = next(batches)
            progress.waited += time.monotonic() - wait_started
            if cache:
                view = settings.view_epoch(state.epoch) - 1
                parts = cache.with_targets(view, progress.batch, parts, state.trainer.online_targets)
            done = (state.epoch - 1 + progress.batch / len(epoch)) / settings.epochs
            learning_rate = settings.learning_rate * learning_rate_factor(settings.schedule, settings.warmup, done)
            loss = loss + state.trainer.step(parts, learning_rate)
            if compiling:  # do not count the first step's time, most of which is compilation
                checked_at, compiling = time.monotonic(), False
            progress.batch += 1
            report({"epoch": state.epoch, "batch": progress.batch, "batches": len(epoch)})
            if progress.batch % check_every == 0 or progress.batch == len(epoch):
                progress.loss += float(distributed.sum_over_ranks(np.array([float(loss)]))[0])
                seconds = max(1e-6, time.monotonic() - checked_at)
                loss, checked_at = 0.0, time.monotonic()
                progress.seconds += seconds
                state.check_seconds = min(state.check_seconds, seconds)
                _check(state, deadline, last=progress.batch == len(epoch))
    return {
        "epoch": state.epoch,
        "loss": progress.loss / len(epoch),
        "clips_per_second": round(len(epoch) * epoch.size / progress.seconds, 2),
        "data_wait": round(progress.waited / progress.seconds, 4),
        "seconds": round(progress.seconds, 3),
    }


def _check(state: _TrainingState, deadline: Deadline, last: bool) -> None:
    """Check the loss and the deadline, and write a checkpoint when one is due. ``last``: the epoch's batches are done.

    Raises
    ------
    TrainingError
        If the loss is not finite.
    Stopped
        If what comes before the next check would not finish in time.
    """
    if not math.isfinite(state.progress.loss):
        raise state.diverged(f"the loss is {state.progress.loss}")
    next_seconds = state.validation_seconds() if last else 2 * state.check_seconds
    stop = not deadline.fits(next_seconds + 2 * state.save_seconds)
    if stop or distributed.rank_0_decides(state.seconds_since_save() > CHECKPOINT_SECONDS):
        state.save()
    if stop:
        raise Stopped


def _validate(state: _TrainingState, kept: Network, validation: Clips) -> dict[str, Any]:
    """Score the validation split with the network that would be kept; return its metrics."""
    started = time.monotonic()
    scores = predict(kept, validation.waveforms, state.settings.batch_size, state.execution.workers)
    result = summary(validation.multi_hot(), scores, validation.classes).to_dict()
    seconds = time.monotonic() - started
    return {
        "validation_mAP": result["mAP"],
        "validation_accuracy": result["accuracy"],
        "validation_seconds": round(seconds, 3),
        "seconds": round(state.progress.seconds + seconds, 3),
    }
