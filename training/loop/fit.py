"""Training of ONE network towards given targets: the loop, its checkpoint, the best epoch.

A generation's directory::

    generation-0/
        metrics.jsonl   one line an epoch
        checkpoint.pt   after an epoch, and every ten minutes of a long one: the trainer's state, history,
                        best epoch so far; gone when done
        views.f16       what teachers said of views that come again (training.loop.view_cache); gone when done
        network.pt      weights of the best epoch on the validation split; its presence says "done"

Where epochs are short, not all are followed by a checkpoint: writing them takes a twentieth of the time at most.
Every batch draws from a generator seeded by (seed, generation, epoch, batch), so a run that was killed and
resumed goes through the same batches as one that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sedkit.errors import SedkitError
from sedkit.metrics import summary
from training.data.clips import Clips
from training.loop.batches import Epoch
from training.loop.schedule import learning_rate_factor
from training.loop.settings import Execution, Settings
from training.loop.trainer import Trainer
from training.loop.view_cache import Kept
from training.networks.predict import predict
from training.networks.wels import Network
from training.runtime import distributed
from training.runtime.checkpoint import CheckpointError, load, save
from training.runtime.deadline import Deadline, Stopped
from training.runtime.files import replacing
from training.supervision.online import View
from training.supervision.targets import Targets

EVERY = 600  # seconds of an epoch between two checkpoints
SPARED = 20  # times what a checkpoint takes to write lies between two of them, at least
VIEWS = "views.f16"  # of training.loop.view_cache
LOOK = 16  # batches between two looks at the loss on CUDA, which the device must be waited for

Report = Callable[[dict[str, Any]], None]


class TrainingError(SedkitError):
    """Training cannot go on."""


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
    """Train ``network`` towards ``targets`` and leave its best epoch in ``network.pt``.

    Parameters
    ----------
    seed : (seed, generation).
    report : called after each batch with ``{"epoch", "batch", "batches"}`` and after each epoch with its metrics.

    Raises
    ------
    TrainingError
        If the loss or a score is not a finite number.
    CheckpointError
        If ``checkpoint.pt`` cannot be read.
    OutputError
        If the directory cannot be written to.
    Stopped
        If the deadline came first.
    """
    course = _Course(network, settings, execution, seed, directory, targets.view)
    course.resume()
    if settings.views and targets.asked and distributed.ranks() > 1:
        raise distributed.everywhere(TrainingError("--views is for one process"))
    deadline = deadline or Deadline()
    while len(course.history) < settings.epochs:
        row = _train_epoch(course, clips, targets, report, deadline)
        if settings.validated(row["epoch"]):
            row |= _validate(course, validation)
        course.end_epoch(row)
        report(row)
    distributed.on_first(course.finish)


@dataclass
class _Progress:
    """Of the epoch that goes on: batches behind it, the sum of their losses, and the seconds that they took."""

    batch: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0  # of these, for data


class _Course:
    """Where the training of a network is.

    Attributes
    ----------
    history : metrics of the epochs that are over.
    best : the best of them: ``score``, ``epoch``, ``network``.
    """

    def __init__(
        self,
        network: Network,
        settings: Settings,
        execution: Execution,
        seed: Sequence[int],
        directory: Path,
        view: View | None = None,
    ) -> None:
        self.settings, self.execution, self.seed, self.directory = settings, execution, tuple(seed), directory
        self.begun = {name: value.cpu().clone() for name, value in network.state_dict().items()}
        self.trainer = Trainer(network, settings, execution, view)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {"score": -1.0}
        self.progress = _Progress()
        self.saved, self.saving = time.monotonic(), 1.0  # when the last checkpoint was, and how long it took
        self.kept = 0  # epochs that it holds
        self.pace = math.inf  # seconds between two looks at the loss, at best

    @property
    def epoch(self) -> int:
        """Number of the epoch that goes on, from 1."""
        return len(self.history) + 1

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        path = self.directory / "checkpoint.pt"
        if not distributed.on_first(path.exists):
            return
        state = load(path)
        try:
            self.trainer.restore(state["trainer"])
            self.history, self.best, self.progress = state["history"], state["best"], _Progress(**state["progress"])
            self.kept = len(self.history)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            what = str(error).partition("\n")[0]
            raise CheckpointError(f"{path}: not of this run ({what}); remove it, and --resume makes it anew") from None

    def diverged(self, what: str) -> SedkitError | distributed.Elsewhere:
        """The error, where ``what`` is no number any more."""
        kept = f"the checkpoint of epoch {self.kept} is kept" if self.kept else "nothing to keep yet"
        return distributed.everywhere(
            TrainingError(
                f"{self.directory}: epoch {self.epoch}: {what}; {kept}. "
                "Begin a new run with a lower --learning-rate, or with --clip 1"
            )
        )

    def save(self) -> None:
        """Write the checkpoint, unless the network is broken; every rank calls this."""
        started = time.monotonic()
        if not self.trainer.is_finite():
            raise self.diverged("a weight is not finite")
        self.trainer.level()
        state = {"trainer": self.trainer.state(), "progress": asdict(self.progress)}
        state |= {"history": self.history, "best": self.best}
        distributed.on_first(lambda: save(state, self.directory / "checkpoint.pt"))
        self.saved = time.monotonic()
        self.saving, self.kept = self.saved - started, len(self.history)

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Add the metrics of the epoch that went on, keep its network if it is the best, and write all that down."""
        self.history.append(row)
        self.progress = _Progress()
        score = row.get("validation_mAP", -math.inf) or 0.0  # None where no validation clip has a label
        if score > self.best["score"]:
            weights = {name: value.cpu().clone() for name, value in self.trainer.result.state_dict().items()}
            self.best = {"score": score, "epoch": row["epoch"], "network": weights}
        distributed.on_first(self._write_metrics)  # first: no epoch with a checkpoint may lack there
        if not self.kept or distributed.decided(time.monotonic() - self.saved > SPARED * self.saving):
            self.save()

    def _write_metrics(self) -> None:
        with replacing(self.directory / "metrics.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in self.history), "utf-8")

    def finish(self) -> None:
        """Leave the best network and remove the checkpoint; rank 0 calls this."""
        if self.settings.between < 1:
            self.best["network"] = between(self.begun, self.best["network"], self.settings.between)
        save(self.best, self.directory / "network.pt")
        for name in ("checkpoint.pt", VIEWS):
            (self.directory / name).unlink(missing_ok=True)


def between(begun: Mapping[str, Tensor], learnt: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights and statistics so far on the way from one network to the one that it became.

    There the network keeps more of what it knew than at the end, and has learnt nearly as much (Wortsman et al., 2022,
    "Robust fine-tuning of zero-shot models").
    """
    return {
        name: torch.lerp(begun[name], value, share) if value.is_floating_point() else value
        for name, value in learnt.items()
    }


def _train_epoch(course: _Course, clips: Clips, targets: Targets, report: Report, deadline: Deadline) -> dict[str, Any]:
    """Go through the batches that are left of the epoch; returns its metrics so far."""
    settings, execution, done = course.settings, course.execution, course.progress
    epoch = Epoch(clips, targets, settings, (*course.seed, course.epoch), execution)
    kept = None
    if settings.views and targets.asked:
        kept = Kept(course.directory / VIEWS, settings.views, len(epoch), epoch.size, len(clips.classes))
    look = LOOK if execution.device.type == "cuda" else 1
    losses: Tensor | float = 0.0  # since the last look
    looked, compiling = time.monotonic(), execution.compile != "off" and math.isinf(course.pace)
    with closing(epoch.batches(done.batch)) as batches:
        while done.batch < len(epoch):
            asked = time.monotonic()
            parts = next(batches)
            done.waited += time.monotonic() - asked
            if kept:
                parts = kept.told(settings.view(course.epoch) - 1, done.batch, parts, course.trainer.said)
            progress = (course.epoch - 1 + done.batch / len(epoch)) / settings.epochs
            rate = settings.learning_rate * learning_rate_factor(settings.schedule, settings.warmup, progress)
            losses = losses + course.trainer.step(parts, rate)
            if compiling:  # in the first step: that is no measure of the others
                looked, compiling = time.monotonic(), False
            done.batch += 1
            report({"epoch": course.epoch, "batch": done.batch, "batches": len(epoch)})
            if done.batch % look == 0 or done.batch == len(epoch):
                done.loss += float(distributed.summed(np.array([float(losses)]))[0])
                since, looked, losses = max(1e-6, time.monotonic() - looked), time.monotonic(), 0.0
                done.seconds += since
                course.pace = min(course.pace, since)
                _look(course, deadline, done.batch == len(epoch))
    return {
        "epoch": course.epoch,
        "loss": done.loss / len(epoch),
        "clips_per_second": round(len(epoch) * epoch.size / done.seconds, 2),
        "data_wait": round(done.waited / done.seconds, 4),
        "seconds": round(done.seconds, 3),
    }


def _look(course: _Course, deadline: Deadline, over: bool) -> None:
    """Is all well, and time left to the next look, or, where the epoch is ``over``, for its validation?"""
    if not math.isfinite(course.progress.loss):
        raise course.diverged(f"the loss is {course.progress.loss}")
    validating = 0.0
    if course.settings.validated(course.epoch):
        validating = max((row.get("validation_seconds", 0.0) for row in course.history), default=0.0)
    stop = not deadline.fits((validating if over else 2 * course.pace) + 2 * course.saving)
    if stop or distributed.decided(time.monotonic() - course.saved > EVERY):
        course.save()
    if stop:
        raise Stopped


def _validate(course: _Course, validation: Clips) -> dict[str, Any]:
    started = time.monotonic()
    course.trainer.level()
    network, workers = course.trainer.result, course.execution.workers
    scores = predict(network, validation.waveforms, course.settings.batch_size, workers)
    result = summary(validation.multi_hot(), scores, validation.classes).to_dict()
    took = time.monotonic() - started
    return {
        "validation_mAP": result["mAP"],
        "validation_accuracy": result["accuracy"],
        "validation_seconds": round(took, 3),
        "seconds": round(course.progress.seconds + took, 3),
    }
