"""SeCoST, Algorithm 1: Teacher-0 on weak labels, then students from scratch, co-supervised by earlier generations.

    python -m training.secost --manifest manifest.csv --stages 4

A run directory::

    config.json       everything that decides the result: settings, supervision of every stage, seed,
                      manifest hash, classes, git revision, versions, device, command
    frontend.pt       normalisation of the log-mel, measured on the training split
    generation-0/     Teacher-0; then one directory a student (layout: training.fit)
        report.json   AP and AUC of every class on the validation and the test split
    report.md, .json  all generations side by side
    model.onnx        the last student, ready for ``sedkit --model``

``python -m training.secost --resume RUN`` goes on after any interruption and ends with the same
networks as a run that was never interrupted.
"""

from __future__ import annotations

import json
import math
import shlex
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from click.core import ParameterSource
from numpy.typing import NDArray

from sedkit.contract import Contract
from sedkit.errors import SedkitError
from training.data.augmentation import Augmentation
from training.evaluate import best_threshold, generation_report, read_generation, write_report
from training.export import export
from training.files import write_json
from training.fit import FULL_SCALE, Settings, Stopped, fit, load, measure_normalisation, predict, save
from training.progress import CascadeProgress
from training.run import Run, git_revision, read_config
from training.supervision import LABELS, Supervision, parse, single_teacher, targets
from training.wels import Network

NORMALISED_ON = 2000  # training clips, at most


def secost(run: Run, device: torch.device, progress: CascadeProgress, deadline: float = math.inf) -> Network:
    """Algorithm 1 on the data of ``run``; returns the network of the last stage, in eval mode."""
    train, validation = run.clips("train"), run.clips("validation")
    predictions: dict[int, NDArray[np.float32]] = {}
    pace = 0.0  # seconds of the last epoch trained in this call
    for generation, supervision in enumerate(run.supervision):  # generation 0 is line 1, the others lines 2-6
        progress.generation(generation)
        directory = run.generation(generation)
        if not (directory / "network.pt").exists():
            if pace and time.monotonic() + 2 * pace > deadline:  # the teachers' predictions and an epoch
                raise Stopped
            for teacher in set(supervision) - {LABELS} - set(predictions):
                network = trained_network(run, int(teacher), device)
                predictions[int(teacher)] = predict(network, train.waveforms, run.settings.batch_size)
            fit(
                new_network(run, generation),
                train,
                targets(supervision, train.labels, predictions),  # line 3
                validation,
                run.settings,
                (run.seed, generation),
                directory,
                device,
                progress.report,
                deadline,
            )
            pace = json.loads((directory / "metrics.jsonl").read_text("utf-8").splitlines()[-1])["seconds"]
        if not (directory / "report.json").exists():
            report_generation(run, generation, trained_network(run, generation, device))
    return trained_network(run, len(run.supervision) - 1, device)


def new_network(run: Run, generation: int) -> Network:
    """A network initialised from scratch, from the run's seed and the number of its generation."""
    torch.manual_seed(int(np.random.SeedSequence((run.seed, generation)).generate_state(1)[0]))
    network = Network(len(run.labels), run.settings.width, run.settings.dropout)
    path = run.directory / "frontend.pt"
    if not path.exists():
        waveforms = run.clips("train").waveforms
        chosen = np.random.default_rng(run.seed).permutation(len(waveforms))[:NORMALISED_ON]
        measure_normalisation(network, [waveforms[i] for i in chosen])
        save(network.frontend.state_dict(), path)
    network.frontend.load_state_dict(load(path))
    return network


def trained_network(run: Run, generation: int, device: torch.device) -> Network:
    """The network of a finished generation, in eval mode."""
    network = Network(len(run.labels), run.settings.width, run.settings.dropout)
    network.load_state_dict(load(run.generation(generation) / "network.pt")["network"])
    return network.to(device).eval()


def report_generation(run: Run, generation: int, network: Network) -> None:
    """Score the validation and the test split and write the generation's ``report.json``."""
    splits = {}
    for split in ("validation", "test"):
        clips = run.clips(split)
        if len(clips):
            splits[split] = (clips.labels, predict(network, clips.waveforms, run.settings.batch_size))
    report = {
        "generation": generation,
        "supervision": {str(key): weight for key, weight in run.supervision[generation].items()},
        "best_epoch": load(run.generation(generation) / "network.pt")["epoch"],
        "threshold": best_threshold(*splits["validation"]),
        **generation_report(run.labels, splits),
    }
    write_json(run.generation(generation) / "report.json", report)


def finish(run: Run, network: Network) -> tuple[str, float]:
    """Write the run's report and ``model.onnx``; returns the table and the parity difference."""
    rows = [read_generation(run.generation(number)) for number in range(len(run.supervision))]
    table = write_report(run.directory, rows)
    difference = export(
        network,
        description(run, rows),
        run.directory / "model.onnx",
        [clip / np.float32(FULL_SCALE) for clip in run.clips("validation").waveforms[:3]],
    )
    return table, difference


def description(run: Run, rows: list[dict[str, Any]]) -> Contract:
    """The contract of the last student: what the run knows of it."""
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
        "git_revision": config["git_revision"],
        "export_revision": git_revision(),
        "metrics": metrics,
    }
    thresholds = (last["threshold"],) * len(run.labels)
    model = config["model"]
    return Contract(model["name"], run.labels, thresholds, {"kind": "none"}, lineage, model["license"])


def stages_of(stages: int | None, alpha: str, stage: tuple[str, ...]) -> list[Supervision]:
    """The supervision of every generation, Teacher-0's first, from the command line."""
    if stage:
        if stages not in (None, len(stage)):
            raise click.BadParameter(f"{stages}, but {len(stage)} --stage; leave it out", param_hint="--stages")
        students = [parse(text, number) for number, text in enumerate(stage, start=1)]
    else:
        try:
            schedule = [float(part) for part in alpha.split(",")]
        except ValueError:
            raise click.BadParameter(
                f"{alpha!r} is not a number, nor numbers with commas", param_hint="--alpha"
            ) from None
        if stages is None:
            stages = 4 if len(schedule) == 1 else len(schedule)
        students = single_teacher(stages, schedule)
    return [{LABELS: 1.0}, *students]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--manifest", type=click.Path(path_type=Path), default="manifest.csv", help="Clips, labels and splits.")
@click.option("--vocabulary", type=click.Path(path_type=Path), help="Classes [default: beside the manifest].")
@click.option("--run", "directory", type=click.Path(path_type=Path), help="Run directory [default: runs/DATE-TIME].")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    help="Go on with this run; its own settings hold. --manifest: where its data lies now.",
)
@click.option("--stages", type=click.IntRange(0), help="Students after Teacher-0 [default: 4, or one an alpha].")
@click.option("--alpha", default="0.3", help="Share of the labels (Eq. 2): one number, or one a stage: 0.3,0.3,0.2.")
@click.option("--stage", multiple=True, help="Eq. 6, once a stage, instead of --stages: labels=0.3,0=0.3,1=0.4.")
@click.option("--epochs", type=click.IntRange(1), default=60, help="Epochs of each network.")
@click.option("--batch-size", type=click.IntRange(2), default=32)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=1e-3, help="Peak, for Adam.")
@click.option("--crop", type=click.FloatRange(0.96, 60), default=5.12, help="Seconds of a training crop.")
@click.option(
    "--width",
    type=click.FloatRange(0, min_open=True),
    help="Factor on Table 1's filters  [default: 1 on CUDA, 0.25 on the CPU].",
)
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.2, help="In L1, L2 and L3.")
@click.option("--gain", type=click.FloatRange(0), default=6.0, help="Random level, +- dB.")
@click.option("--mixup", type=click.FloatRange(0), default=0.4, help="Parameter of the Beta distribution; 0: off.")
@click.option("--mixed", type=click.FloatRange(0, 1), default=0.5, help="Share of the batches that are mixed.")
@click.option("--time-mask", type=click.IntRange(0), default=24, help="SpecAugment, frames.")
@click.option("--band-mask", type=click.IntRange(0, 63), default=8, help="SpecAugment, mel bands.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--on-error", type=click.Choice(["stop", "skip"]), default="stop", help="Clips that cannot be used.")
@click.option("--name", default="wels-secost", help="Name of the exported model.")
@click.option("--license", default="unknown", help="Licence of the exported weights.")
@click.option("--stop-after", help="End in good time before this, resumable: 540s, 9m, 2h.")
@click.pass_context
def main(context: click.Context, resume: Path | None, device: str, stop_after: str | None, **options: Any) -> None:
    """Train the SeCoST cascade on a manifest and export the last student to ONNX.

    \b
    Examples:
      python -m training.secost --stages 4
      python -m training.secost --stages 5 --alpha 0.3,0.3,0.2,0.1,0.05
      python -m training.secost --alpha 0 --stages 3          # teachers only
      python -m training.secost --stage labels=0.3,0=0.7 --stage labels=0.3,0=0.3,1=0.4
      python -m training.secost --resume runs/20260101-120000
    """
    started = time.monotonic()
    given = [name for name in options if context.get_parameter_source(name) != ParameterSource.DEFAULT]
    moved = options["manifest"] if "manifest" in given else None
    if resume and (refused := [name for name in given if name != "manifest"]):
        names = ", ".join("--run" if name == "directory" else "--" + name.replace("_", "-") for name in refused)
        raise click.UsageError(f"--resume goes on with the run's own settings; leave out {names}")
    run: Run | None = None
    try:
        chosen = torch_device(device)
        deadline = math.inf if stop_after is None else started + seconds(stop_after)
        run = Run.resume(resume, moved) if resume else begin(options, chosen)
        with CascadeProgress(len(run.supervision), run.settings.epochs) as progress:
            progress.say(
                f"{run.directory}: {len(run.supervision) - 1} stages on {chosen}, width {run.settings.width:g}, "
                f"commit {git_revision()[:12]}"
            )
            for line in run.manifest.dropped.lines():
                progress.say(f"left out: {line}")
            network = secost(run, chosen, progress, deadline)
        table, difference = finish(run, network)
    except SedkitError as error:
        raise click.ClickException(str(error)) from None
    except torch.OutOfMemoryError:
        raise click.ClickException(
            "the device has too little memory; begin a new run with a smaller --batch-size, --crop or --width"
        ) from None
    except Stopped:
        click.echo(f"stopped in time; {go_on(run)}", err=True)
        return
    except KeyboardInterrupt:
        click.echo(f"interrupted; {go_on(run)}", err=True)
        raise SystemExit(130) from None
    click.echo(table)
    click.echo(f"{run.directory / 'model.onnx'}  (largest difference between torch and ONNX Runtime {difference:.1g})")


def go_on(run: Run | None) -> str:
    """How to go on with a run; None: one that was not begun yet."""
    if run is None:
        return "no epoch was trained; give the same command again"
    return f"go on with: python -m training.secost --resume {shlex.quote(str(run.directory))}"


def begin(options: Mapping[str, Any], device: torch.device) -> Run:
    """A new run from the options of the command line."""
    augmentation = Augmentation(
        **{key: options[key] for key in ("gain", "mixup", "mixed", "time_mask", "band_mask")},
    )
    settings = Settings(
        **{key: options[key] for key in ("epochs", "batch_size", "learning_rate", "crop", "dropout")},
        width=options["width"] or (1.0 if device.type == "cuda" else 0.25),
        augmentation=augmentation,
    )
    return Run.begin(
        options["directory"] or Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S"),
        options["manifest"],
        options["vocabulary"],
        settings,
        stages_of(options["stages"], options["alpha"], options["stage"]),
        options["seed"],
        options["on_error"],
        {"name": options["name"], "license": options["license"]},
        device,
    )


def torch_device(name: str) -> torch.device:
    """``auto``: CUDA where it works, else the CPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise SedkitError("--device cuda: torch finds no CUDA device; install a CUDA build of torch and its driver")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def seconds(text: str) -> float:
    """``540s``, ``9m``, ``2h`` or a number of seconds."""
    factor = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    try:
        return float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a time such as 540s, 9m or 2h", param_hint="--stop-after") from None


if __name__ == "__main__":
    main()
