"""Speed of training, relative to the limits of the device: ``python -m benchmarks.training``.

Times training steps as ``training.secost`` runs them, from clips in a memory-mapped file to updated weights, once for
each configuration. The clips are noise, since speed does not depend on content. The table shows clips per second and

- the arithmetic rate, relative to a large matrix product on the same device in the same precision,
- the share of time that training waited for data,
- memory, and the time of an epoch on AudioSet.

The *floor* is an upper bound on the speed: all arithmetic at the rate of that matrix product, and all feature maps
moved through memory at the rate of a copy.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import machine
from sedkit.contract import Label
from sedkit.geometry import HOP, SAMPLE_RATE, padded_samples
from training.data.clips import Clips
from training.loop.batches import Epoch, default_workers
from training.loop.settings import Execution, Settings
from training.loop.trainer import Trainer
from training.networks.logmel import BANDS
from training.networks.wels import Network, WelsNet
from training.runtime import distributed
from training.runtime.device import describe_device, torch_device
from training.runtime.files import write_json
from training.runtime.interruption import ExitReporter
from training.supervision.equations import LABELS
from training.supervision.targets import Targets

AUDIOSET = 2_070_000  # training clips
CLASSES = 527
DISTINCT = 256  # clips on disk, reused in turn
PASSES = 14  # over each feature map per step: see floor


@dataclass(frozen=True)
class Configuration:
    """A way to compute training steps."""

    name: str
    execution: Execution
    settings: Settings
    deterministic: bool = True


@dataclass(frozen=True)
class Device:
    """Limits of a device."""

    name: str
    arithmetic: float  # operations per second in a matrix product
    traffic: float  # bytes per second read and written in a copy


@dataclass(frozen=True)
class Work:
    """Cost of a training clip."""

    operations: int  # floating-point operations, forward and backward
    maps: int  # elements of the feature maps of all layers with batch normalisation


def configurations(
    device: torch.device, width: float, crop: float, sizes: Sequence[int], workers: int
) -> list[Configuration]:
    """The default configuration, then others that differ from it in one respect each."""
    cuda = device.type == "cuda"
    execution = Execution(device, "on" if cuda else "off", workers=workers)
    settings = Settings(batch_size=sizes[0], crop=crop, width=width, precision="bf16" if cuda else "float32")
    default = Configuration("default", execution, settings)
    choices = [
        default,
        *(replace(default, name=f"batch {n}", settings=replace(settings, batch_size=n)) for n in sizes[1:]),
        replace(default, name="not channels_last", execution=replace(execution, channels_last=False)),
        replace(default, name="accumulate 2", execution=replace(execution, accumulate=2)),
        replace(default, name="ema", settings=replace(settings, ema=0.999)),
    ]
    if cuda:
        choices += [
            replace(default, name="not compiled", execution=replace(execution, compile="off")),
            replace(default, name="float32", settings=replace(settings, precision="float32")),
            replace(default, name="any algorithm", deterministic=False),
        ]
    return choices


def clip_costs(width: float, crop: float) -> Work:
    """Cost of WELS-Net on ``crop`` seconds, forward and backward."""
    maps = 0

    def count(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal maps
        maps += output.numel() // len(output)

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        wels = WelsNet(CLASSES, width)
        for module in wels.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.register_forward_hook(count)
        frames = padded_samples(round(crop * SAMPLE_RATE)) // HOP
        wels(torch.empty(2, 1, frames, BANDS)).logits.sum().backward()
    return Work(counter.get_total_flops() // 2, maps)


def rates(device: torch.device, precision: str) -> Device:
    """Measure the limits of the device."""
    cuda = device.type == "cuda"
    size, entries = (8192, 1 << 28) if cuda else (1024, 1 << 23)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    source, target = (torch.rand(entries, device=device) for _ in range(2))
    product = _seconds(lambda: a @ b, device)
    copy = _seconds(lambda: target.copy_(source), device)
    return Device(describe_device(device), 2 * size**3 / product, 2 * source.nbytes / copy)


def floor(device: Device, work: Work, precision: str) -> dict[str, float]:
    """Upper bounds on clips per second: by arithmetic, by memory traffic, and by both in sequence.

    A convolution, batch normalisation and ReLU pass over a feature map 14 times. Forward: write it, read it for the
    statistics, read it and write the normalised map, read that in the next layer. Backward: write its gradient, read
    map and gradient for the sums, read both and write the gradient before normalisation, read that twice and the
    layer's input once.
    """
    arithmetic = device.arithmetic / work.operations
    traffic = device.traffic / (PASSES * work.maps * (2 if precision == "bf16" else 4))
    return {"arithmetic": arithmetic, "traffic": traffic, "both": 1 / (1 / arithmetic + 1 / traffic)}


def _seconds(work: Callable[[], Any], device: torch.device, times: int = 10) -> float:
    """Median time of ``work``."""
    samples = []
    for _ in range(times + 2):
        started = time.perf_counter()
        work()
        _wait(device)
        samples.append(time.perf_counter() - started)
    return statistics.median(samples[2:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Noise:
    """Clips of noise in a memory-mapped file, with labels; DISTINCT clips are repeated up to ``count``."""

    def __init__(self, path: Path, crop: float, clips: int) -> None:
        random = np.random.default_rng(0)
        samples = round(crop * SAMPLE_RATE)
        self.audio = np.memmap(path, np.int16, "w+", shape=(DISTINCT, samples))
        for clip in self.audio:
            clip[:] = random.integers(-3000, 3000, samples)
        self.labels = (random.random((DISTINCT, CLASSES)) < 2.7 / CLASSES).astype(np.float32)
        self.clips = Clips(self, _Labels(self.labels), [Label(str(number)) for number in range(CLASSES)])
        self.count = clips

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, clip: int) -> NDArray[np.int16]:
        return self.audio[clip % DISTINCT]


class _Labels:
    def __init__(self, labels: NDArray[np.float32]) -> None:
        self.labels = labels

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.labels[rows % DISTINCT]


def measure(configuration: Configuration, noise: Noise, steps: int, warm_up: int) -> dict[str, float]:
    """Clips per second over all processes, share of time spent waiting for data, and peak memory in bytes."""
    device = configuration.execution.device
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    noise.count = configuration.settings.batch_size * (warm_up + steps)
    torch.manual_seed(0)
    network = Network(CLASSES, configuration.settings.width, configuration.settings.dropout)
    trainer = Trainer(network, configuration.settings, configuration.execution)
    if not configuration.deterministic:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
    epoch = Epoch(
        noise.clips, Targets({LABELS: 1.0}, noise.clips), configuration.settings, (0, 0, 1), configuration.execution
    )
    waited = started = 0.0
    with closing(epoch.batches()) as batches:
        for step in range(len(epoch)):
            if step == warm_up:
                _wait(device)
                waited, started = 0.0, time.perf_counter()
            requested = time.perf_counter()
            parts = next(batches)
            waited += time.perf_counter() - requested
            trainer.step(parts, 1e-4)
        _wait(device)
    seconds = time.perf_counter() - started
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    return {
        "clips_per_second": steps * epoch.size / seconds,
        "milliseconds_per_step": 1000 * seconds / steps,
        "data_wait": waited / seconds,
        "memory": _memory(device),
    }


def _memory(device: torch.device) -> float:
    """Peak memory in bytes: of the device, or of the process so far."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    if platform.system() != "Linux":
        return float("nan")
    import resource

    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def table(rows: Sequence[dict[str, Any]], limit: float, operations: int) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| way | clips/s | TFLOP/s | of matmul | data wait | memory | AudioSet epoch |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = row["clips_per_second"]
        done = rate * operations / distributed.world_size()
        lines.append(
            f"| {row['way']} | {rate:,.1f} | {done / 1e12:.3g} | {done / limit:.1%} | {row['data_wait']:.1%} "
            f"| {row['memory'] / 2**30:.2f} GiB | {_time(AUDIOSET / rate)} |"
        )
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--device", "name", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--width", type=float, help="Factor on Table 1's filters  [default: 1 on CUDA, 0.125 on the CPU].")
@click.option("--crop", type=float, help="Seconds per clip  [default: 10.24 on CUDA, 2.56 on the CPU].")
@click.option(
    "--batch-size",
    type=int,
    multiple=True,
    help="Repeatable; the default configuration uses the first  [default: 256, 128, 512; CPU: 8, 16].",
)
@click.option(
    "--way",
    "chosen",
    multiple=True,
    help="Only this configuration: default, 'batch 512', 'not compiled'...; repeatable.",
)
@click.option(
    "--steps", type=click.IntRange(1), help="Timed steps per configuration  [default: 40 on CUDA, 6 on the CPU]."
)
@click.option("--workers", type=click.IntRange(1), help="Prefetch threads  [default: from the number of CPUs].")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Also write all results to this file.")
def main(
    name: str,
    width: float | None,
    crop: float | None,
    batch_size: tuple[int, ...],
    chosen: tuple[str, ...],
    steps: int | None,
    workers: int | None,
    output: Path | None,
) -> None:
    """Measure the speed of training: full-width WELS-Net on 10.24 s with CUDA, a small one on a CPU.

    \b
    Examples:
      python -m benchmarks.training --json training.json
      python -m benchmarks.training --batch-size 384 --way default --way "not compiled"
      torchrun --nproc-per-node 8 -m benchmarks.training --batch-size 2048
    """
    with ExitReporter().report_errors():
        device = torch_device(name)
        cuda = device.type == "cuda"
        width, crop = width or (1.0 if cuda else 0.125), crop or (10.24 if cuda else 2.56)
        sizes = batch_size or ((256, 128, 512) if cuda else (8, 16))
        steps = steps or (40 if cuda else 6)
        available = configurations(device, width, crop, sizes, workers or default_workers(device))
        if unknown := set(chosen) - {configuration.name for configuration in available}:
            raise click.BadParameter(
                f"{', '.join(unknown)}: unknown; choose from {', '.join(one.name for one in available)}"
            )
        selected = [one for one in available if not chosen or one.name in chosen]
        with distributed.process_group(device), tempfile.TemporaryDirectory() as folder:
            results = run(selected, device, width, crop, steps, Path(folder))
    if distributed.rank() == 0:
        click.echo(results.pop("text"))
        if output:
            write_json(output, results)


def run(
    selected: Sequence[Configuration], device: torch.device, width: float, crop: float, steps: int, folder: Path
) -> dict[str, Any]:
    """Measure all configurations, then the first again, to show how much the machine varies."""
    watch = machine.Watch()
    precision = selected[0].settings.precision
    limits, work = rates(device, precision), clip_costs(width, crop)
    bounds = floor(limits, work, precision)
    noise = Noise(folder / "clips.int16", crop, 0)
    rows = []
    first = selected[0]
    repeated = [*selected, replace(first, name=f"{first.name}, again")] if len(selected) > 1 else selected
    for configuration in repeated:
        row = {"way": configuration.name, **measure(configuration, noise, steps, 10 if device.type == "cuda" else 2)}
        rows.append(row)
        if distributed.rank() == 0:
            click.echo(f"{configuration.name}: {row['clips_per_second']:,.1f} clips/s", err=True)
    others = watch.others()
    text = (
        f"WELS-Net at width {width:g} on {crop:g} s, {precision}, {distributed.world_size()} x {limits.name}: "
        f"{work.operations / 1e9:.2f} GFLOP per clip\n"
        f"matrix product {limits.arithmetic / 1e12:.3g} TFLOP/s, copy {limits.traffic / 1e9:.0f} GB/s; floor: "
        f"{bounds['arithmetic']:,.0f} clips/s by arithmetic, {bounds['traffic']:,.0f} by memory traffic, "
        f"{bounds['both']:,.0f} by both in turn"
        + (f"; other processes used {others:.0%} of the CPUs" if others is not None else "")
        + f"\n\n{table(rows, limits.arithmetic, work.operations)}"
    )
    return {
        "text": text,
        **machine.describe(),
        "device": asdict(limits),
        "processes": distributed.world_size(),
        "width": width,
        "crop": crop,
        "precision": precision,
        "clip": asdict(work),
        "floor": bounds,
        "others": others,
        "rows": rows,
    }


if __name__ == "__main__":
    main()
