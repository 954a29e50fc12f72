"""The networks of a run: initial weights, trained weights, scores on the validation and test splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sedkit.contract import Label
from training.data.audio import FULL_SCALE
from training.data.clips import Clips
from training.loop.settings import Settings
from training.networks.predict import predict
from training.networks.pretrained import build_network
from training.networks.wels import Network, exempt_classes
from training.runs.reports import best_threshold, generation_report
from training.runs.split_scores import write_split_scores
from training.runtime import distributed
from training.runtime.checkpoint import load, save
from training.runtime.files import write_json

NORMALISATION_CLIPS = 2000  # training clips, at most, from which the front end's normalisation is measured


def initial_network(settings: Settings, classes: int, seed: Sequence[int], fixed: Mapping[str, Tensor]) -> Network:
    """A network with random weights drawn from ``seed`` = (seed, generation), and ``fixed`` ones in their place."""
    torch.manual_seed(int(np.random.SeedSequence(tuple(seed)).generate_state(1)[0]))
    network = _network(settings, classes)
    network.load_state_dict(network.state_dict() | dict(fixed))
    return network


def trained_network(generation: Path, settings: Settings, classes: int, device: torch.device) -> Network:
    """The network of a finished generation, in eval mode."""
    network = _network(settings, classes)
    network.load_state_dict(load(generation / "network.pt")["network"])
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    return network.to(device=device, memory_format=layout).eval()  # type: ignore[no-any-return, call-overload]


def _network(settings: Settings, classes: int) -> Network:
    return build_network(
        settings.network,
        classes,
        settings.width,
        settings.dropout,
        settings.pooling,
        settings.gate,
        settings.stem,
    )


def fixed_weights(
    path: Path, settings: Settings, clips: Clips, seed: int, warm_start: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The weights that are not random: the warm start and the front end's normalisation.

    The normalisation is written to ``path`` once. It is measured on the training clips, unless the warm start has it.
    """

    def write() -> None:
        if path.exists():
            return
        network = _network(settings, len(clips.classes))
        network.load_state_dict(network.state_dict() | warm_start)
        if "frontend.mean" not in warm_start:
            chosen = np.random.default_rng(seed).permutation(len(clips))[:NORMALISATION_CLIPS]
            measure_normalisation(network, [clips.waveforms[i] for i in chosen])
        save(network.frontend.state_dict(), path)

    distributed.on_rank_0(write)
    frontend = {f"frontend.{name}": value for name, value in load(path).items()}
    return warm_start | frontend | {"exempt": exempt_classes(clips.classes)}


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


def evaluate_generation(
    directory: Path,
    about: dict[str, Any],
    network: Network,
    splits: Mapping[str, Clips],
    labels: Sequence[Label],
    batch_size: int,
    workers: int = 1,
) -> None:
    """Score the splits and write ``scores.npz`` and, last, ``report.json`` of a generation; every rank calls this.

    ``about`` holds the generation's number and supervision. Empty splits are left out.
    """
    results = {
        split: (clips.multi_hot(), predict(network, clips.waveforms, batch_size, workers))
        for split, clips in splits.items()
        if len(clips)
    }

    def write() -> None:
        write_split_scores(directory, {split: scores for split, (_, scores) in results.items()})
        report = {
            **about,
            "best_epoch": load(directory / "network.pt")["epoch"],
            "threshold": best_threshold(*results["validation"]),
            **generation_report(labels, results),
        }
        write_json(directory / "report.json", report)

    distributed.on_rank_0(write)
