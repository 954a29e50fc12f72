"""Training of ONE network towards given targets: the loop, its checkpoint, the best epoch.

A generation's directory::

    generation-0/
        metrics.jsonl   one line an epoch
        checkpoint.pt   after every epoch: network, optimiser, history, best epoch so far; gone when done
        network.pt      weights of the best epoch on the validation split; its presence says "done"

Every epoch draws from a generator seeded by (seed, generation, epoch), so a run that was killed and
resumed goes through the same batches as one that was not.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sedkit.contract import Label
from sedkit.errors import SedkitError
from sedkit.geometry import SAMPLE_RATE, padded_samples
from sedkit.metrics import summary
from training.data.augmentation import Augmentation, crop, gain, mixup, spec_augment
from training.files import replacing
from training.wels import Network

FULL_SCALE = 32768.0  # of int16
LONG = 10 * SAMPLE_RATE  # samples of a clip; see predict


class TrainingError(SedkitError):
    """Training cannot go on."""


class Stopped(Exception):
    """The time given to the run is over; the checkpoint is written."""


@dataclass(frozen=True)
class Settings:
    """How one network is trained.

    Attributes
    ----------
    epochs, batch_size : as usual.
    learning_rate : peak, reached after a tenth of the steps and lowered along a cosine to zero.
    crop : seconds of a training crop.
    width, dropout : of the network.
    """

    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 1e-3
    crop: float = 5.12
    width: float = 1.0
    dropout: float = 0.2
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class Clips:
    """Waveforms (int16, 16 kHz mono, any lengths) with weak labels [clips, classes], 0 or 1, of ``classes``."""

    waveforms: Sequence[NDArray[np.int16]]
    labels: NDArray[np.float32]
    classes: Sequence[Label]

    def __len__(self) -> int:
        return len(self.waveforms)


Report = Callable[[dict[str, Any]], None]


def fit(
    network: Network,
    clips: Clips,
    targets: NDArray[np.float32],
    validation: Clips,
    settings: Settings,
    seed: Sequence[int],
    directory: Path,
    device: torch.device,
    report: Report,
    deadline: float = math.inf,
) -> None:
    """Train ``network`` towards ``targets`` [clips, classes] and leave its best epoch in ``network.pt``.

    Parameters
    ----------
    seed : (seed, generation).
    report : called after each batch with ``{"epoch", "batch", "batches"}`` and after each epoch with its metrics.
    deadline : ``time.monotonic()`` after which no epoch is begun that would probably not end in time.

    Raises
    ------
    TrainingError
        If the loss or a score is not a finite number, or ``checkpoint.pt`` cannot be read.
    OutputError
        If the directory cannot be written to.
    Stopped
        If the deadline came first.
    """
    torch.backends.cudnn.deterministic = True  # else no two runs on CUDA are alike, nor a resumed one and its whole
    network.to(device=device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    history: list[dict[str, Any]] = []
    best: dict[str, Any] = {"score": -1.0}
    checkpoint = directory / "checkpoint.pt"
    if checkpoint.exists():
        state = load(checkpoint)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        history, best = state["history"], state["best"]
    for epoch in range(len(history) + 1, settings.epochs + 1):
        if history and time.monotonic() + 1.2 * history[-1]["seconds"] > deadline:
            raise Stopped
        started = time.monotonic()
        row = _epoch(network, optimizer, clips, targets, settings, (*seed, epoch), device, report)
        row |= _validate(network, validation, settings.batch_size)
        row["seconds"] = round(time.monotonic() - started, 3)
        history.append(row)
        score = row["validation_mAP"] or 0.0  # None where no validation clip has a label
        if score > best["score"]:
            weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
            best = {"score": score, "epoch": epoch, "network": weights}
        with replacing(directory / "metrics.jsonl") as temporary:  # first: no epoch with a checkpoint may lack here
            temporary.write_text("".join(json.dumps(line) + "\n" for line in history), "utf-8")
        save(
            {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "history": history, "best": best},
            checkpoint,
        )
        report(row)
    save(best, directory / "network.pt")
    checkpoint.unlink(missing_ok=True)


def _epoch(
    network: Network,
    optimizer: torch.optim.Optimizer,
    clips: Clips,
    targets: NDArray[np.float32],
    settings: Settings,
    seed: Sequence[int],
    device: torch.device,
    report: Report,
) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    torch.manual_seed(int(random.integers(2**31)))  # for dropout
    network.train()
    started, total = time.monotonic(), 0.0
    batches = max(1, len(clips) // settings.batch_size)  # a last, smaller batch would upset batch normalisation
    order = random.permutation(len(clips))[: batches * settings.batch_size]
    epoch = seed[-1]
    for batch, chosen in enumerate(np.array_split(order, batches)):
        progress = ((epoch - 1) * batches + batch) / (settings.epochs * batches)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * learning_rate_factor(progress)
        waveform = torch.from_numpy(
            np.stack([crop(clips.waveforms[i], round(settings.crop * SAMPLE_RATE), random) for i in chosen])
        )
        waveform = waveform.to(device).float() / FULL_SCALE
        loss = _loss(network, waveform, torch.from_numpy(targets[chosen]).to(device), settings.augmentation, random)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        if not math.isfinite(total):
            raise TrainingError(f"generation {seed[-2]}, epoch {epoch}: the loss is {total}; lower --learning-rate")
        report({"epoch": epoch, "batch": batch + 1, "batches": batches})
    return {
        "epoch": epoch,
        "loss": total / batches,
        "clips_per_second": round(len(order) / (time.monotonic() - started), 2),
    }


def _loss(
    network: Network, waveform: Tensor, targets: Tensor, augmentation: Augmentation, random: np.random.Generator
) -> Tensor:
    """The loss on a batch of training crops, augmented: waveform [clips, samples], targets [clips, classes]."""
    if augmentation.gain:
        waveform = gain(waveform, augmentation.gain, random)
    if augmentation.mixup and random.random() < augmentation.mixed:
        waveform, targets = mixup(waveform, targets, augmentation.mixup, random)
    with torch.no_grad():
        logmel = network.frontend(waveform)
        logmel = spec_augment(logmel, augmentation.time_mask, augmentation.band_mask, random)
    probabilities = network.wels(logmel.contiguous(memory_format=torch.channels_last)).clip
    return cross_entropy(probabilities, targets)


def cross_entropy(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Eq. 1 in float32, averaged over clips and classes; both are [clips, classes] in [0, 1].

    Probabilities count as at least 1e-7 away from 0 and 1. NaN stays NaN, on every device.
    """
    p = probabilities.float().clamp(1e-7, 1 - 1e-7)
    return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()


def learning_rate_factor(progress: float) -> float:
    """Share of the peak learning rate at ``progress`` in [0, 1): up over the first tenth, then a half cosine to 0."""
    warm = 0.1
    return (
        (progress + 1e-3) / (warm + 1e-3)
        if progress < warm
        else 0.5 + 0.5 * math.cos(math.pi * (progress - warm) / (1 - warm))
    )


def _validate(network: Network, validation: Clips, batch_size: int) -> dict[str, float | None]:
    scores = predict(network, validation.waveforms, batch_size)
    if not np.isfinite(scores).all():
        raise TrainingError("the network's scores are no longer finite; lower --learning-rate")
    result = summary(validation.labels, scores, validation.classes).to_dict()
    return {"validation_mAP": result["mAP"], "validation_accuracy": result["accuracy"]}


@torch.no_grad()
def predict(network: Network, waveforms: Sequence[NDArray[np.int16]], batch_size: int) -> NDArray[np.float32]:
    """Clip probabilities [clips, classes] of whole recordings, in eval mode.

    Clips of the same padded length share a batch: the scores are those of each clip alone. Of clips
    longer than 10 s a batch takes fewer, so that it needs no more memory.
    """
    if not len(waveforms):
        raise TrainingError("there are no clips to score")
    network.eval()
    device = next(network.parameters()).device
    lengths = np.array([padded_samples(len(waveform)) for waveform in waveforms])
    order = np.argsort(lengths, kind="stable")
    edges = np.flatnonzero(np.diff(lengths[order])) + 1
    scores = np.empty((len(waveforms), network.wels.L4.out_channels), np.float32)
    for group in np.split(order, edges):
        size = max(1, batch_size * LONG // max(LONG, lengths[group[0]]))
        for start in range(0, len(group), size):
            chosen = group[start : start + size]
            batch = np.zeros((len(chosen), lengths[chosen[0]]), np.float32)
            for row, index in enumerate(chosen):
                batch[row, : len(waveforms[index])] = waveforms[index] / np.float32(FULL_SCALE)
            scores[chosen] = network(torch.from_numpy(batch).to(device)).clip.cpu().numpy()
    return scores


@torch.no_grad()
def measure_normalisation(network: Network, waveforms: Sequence[NDArray[np.int16]]) -> None:
    """Set the front end's mean and standard deviation of each mel band from the training clips.

    A standard deviation below 1 dB counts as 1 dB.
    """
    frontend = network.frontend
    total = torch.zeros(2, len(frontend.mean), dtype=torch.float64)
    frames = 0
    for waveform in waveforms:
        decibels = frontend.decibels(torch.from_numpy(waveform / np.float32(FULL_SCALE))[None])[0].double().cpu()
        total += torch.stack([decibels.sum(0), decibels.square().sum(0)])
        frames += len(decibels)
    mean, square = total / frames
    frontend.mean.copy_(mean)
    frontend.std.copy_((square - mean.square()).clamp_min(1).sqrt())


def save(state: dict[str, Any], path: Path) -> None:
    """``torch.save``, atomically."""
    content = io.BytesIO()  # of a full disk, torch's own writer only says "unexpected pos"
    torch.save(state, content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """What ``save`` wrote, with its tensors on the CPU.

    Raises
    ------
    TrainingError
        If the file cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no one class for a damaged file
        what = error.strerror if isinstance(error, OSError) else "damaged"
        raise TrainingError(f"{path}: cannot be read ({what}); remove it, and --resume makes it anew") from None
    return state
