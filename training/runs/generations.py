"""The networks of a run: begun from scratch, read back when trained, reported, and described to those who use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sedkit.contract import Contract
from training.data.clips import FULL_SCALE, usual_segments
from training.networks.predict import predict
from training.networks.pretrained import build_network
from training.networks.wels import Network, multiply_adds
from training.runs.config import RunError, git_revision, read_config
from training.runs.reports import best_threshold, generation_report
from training.runs.run import Run
from training.runs.split_scores import write_split_scores
from training.runtime import distributed
from training.runtime.checkpoint import CheckpointError, load, save
from training.runtime.files import write_json

NORMALISED_ON = 2000  # training clips, at most


def new_network(run: Run, generation: int) -> Network:
    """A network initialised from the run's seed and the number of its generation, or with what the run began with."""
    torch.manual_seed(int(np.random.SeedSequence((run.seed, generation)).generate_state(1)[0]))
    network = _untrained(run)
    begun = _begun(run)
    network.load_state_dict(network.state_dict() | begun)
    distributed.on_first(lambda: _normalise(run, network, "frontend.mean" in begun))
    network.frontend.load_state_dict(load(run.directory / "frontend.pt"))
    return network


def trained_network(run: Run, generation: int, device: torch.device) -> Network:
    """The network of a finished generation, in eval mode."""
    network = _untrained(run)
    network.load_state_dict(load(run.generation(generation) / "network.pt")["network"])
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    return network.to(device=device, memory_format=layout).eval()


def _untrained(run: Run) -> Network:
    settings = run.settings
    return build_network(settings.network, len(run.labels), settings.width, settings.dropout, settings.pooling)


def _begun(run: Run) -> dict[str, torch.Tensor]:
    if not read_config(run.directory).get("begun_sha256"):
        return {}
    try:
        return load(run.begun)
    except CheckpointError:
        raise RunError(f"{run.begun}: cannot be read, and networks begin with it; begin a new run") from None


def _normalise(run: Run, network: Network, known: bool) -> None:
    """Write down what the front end of every network of the run normalises with, measured if it is not ``known``."""
    path = run.directory / "frontend.pt"
    if not path.exists():
        if not known:
            waveforms = run.clips("train").waveforms
            chosen = np.random.default_rng(run.seed).permutation(len(waveforms))[:NORMALISED_ON]
            measure_normalisation(network, [waveforms[i] for i in chosen])
        save(network.frontend.state_dict(), path)


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


def report_generation(run: Run, generation: int, network: Network, workers: int = 1) -> None:
    """Score the validation and the test split; every rank calls this.

    Writes the generation's ``scores.npz`` and, as the last, its ``report.json``.
    """
    splits = {}
    for split in ("validation", "test"):
        clips = run.clips(split)
        if len(clips):
            splits[split] = clips.multi_hot(), predict(network, clips.waveforms, run.settings.batch_size, workers)

    def write() -> None:
        write_split_scores(run.generation(generation), {split: scores for split, (_, scores) in splits.items()})
        report = {
            "generation": generation,
            "supervision": {str(key): weight for key, weight in run.supervision[generation].items()},
            "best_epoch": load(run.generation(generation) / "network.pt")["epoch"],
            "threshold": best_threshold(*splits["validation"]),
            **generation_report(run.labels, splits),
        }
        write_json(run.generation(generation) / "report.json", report)

    distributed.on_first(write)


def description(run: Run, rows: list[dict[str, Any]]) -> Contract:
    """The contract of the last student: what the run knows of it, ``rows`` being the reports of all generations."""
    config, last = read_config(run.directory), rows[-1]
    metrics = {
        split: {key: round(value, 4) for key in ("mAP", "mAUC", "accuracy") if (value := last[split][key]) is not None}
        for split in ("validation", "test")
        if split in last
    }
    lineage = {
        "dataset_sha256": config["manifest_sha256"],
        "clips": config["clips"],
        "stages": len(rows) - 1,
        "supervision": [row["supervision"] for row in rows],
        "seed": run.seed,
        "width": run.settings.width,
        "pooling": run.settings.pooling,
        "multiply_adds": multiply_adds(len(run.labels), run.settings.width, run.settings.pooling),
        "settings": config["settings"],
        "teachers": config.get("teachers") or {},
        "begun_with": config.get("begun_with"),
        "git_revision": config["git_revision"],
        "export_revision": git_revision(),
        "metrics": metrics,
    }
    thresholds = (last["threshold"],) * len(run.labels)
    model = config["model"]
    return Contract(
        model["name"],
        run.labels,
        thresholds,
        {"kind": "none"},
        lineage,
        model["license"],
        tag_segments=usual_segments(run.clips("validation", labelled=True).waveforms),
    )
