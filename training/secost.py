"""SeCoST, Algorithm 1: Teacher-0 on weak labels, then students from scratch, co-supervised by earlier generations.

    python -m training.secost --manifest manifest.csv --stages 4
    torchrun --nproc-per-node 8 -m training.secost --manifest manifest.csv --stages 4

A run directory::

    config.json       everything that decides the result: settings, supervision of every stage, seed,
                      manifest hash, classes, git revision, versions, device, command
    frontend.pt       normalisation of the log-mel, measured on the training split
    teachers/         what external teachers say of every clip (training.runs.experiments.teachers)
    generation-0/     Teacher-0; then one directory a student (layout: training.loop.fit, training.supervision.targets)
        report.json   AP and AUC of every class on the validation and the test split
    report.md, .json  all generations side by side
    begun.pt          what networks begin with that do not begin from scratch (--fine-tune)
    model.onnx        the last student, ready for ``sedkit --model``; not of fine-tuned networks

``python -m training.secost --resume RUN`` goes on after any interruption, on any number of processes, and ends
with the networks of a run that was never interrupted.
"""

from __future__ import annotations

import importlib.util
import json
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from click.core import ParameterSource
from numpy.typing import NDArray

from sedkit.errors import SedkitError
from sedkit.install import install_remedy
from training.data.clips import FULL_SCALE, Clips
from training.loop.fit import fit
from training.loop.settings import Execution
from training.networks.wels import Network, describe_network
from training.runs import options
from training.runs.config import git_revision
from training.runs.generations import description, new_network, report_generation, trained_network
from training.runs.reports import read_generation, write_report
from training.runs.reuse import reuse
from training.runs.run import Run
from training.runtime import distributed
from training.runtime.deadline import Deadline
from training.runtime.interruption import Ending
from training.runtime.lock import Lock
from training.runtime.progress import CascadeProgress
from training.supervision.equations import LABELS, Key, taught
from training.supervision.online import Asked, Generation
from training.supervision.score_file import Step
from training.supervision.segments import forget, heard_alone
from training.supervision.targets import Targets, forget_predictions, stored_predictions

STARTING = 60.0  # seconds that compiling a network may take
EXPORTING = 60.0  # seconds that the export may take
EXPORT_NEEDS = ("onnx", "onnxscript", "onnxruntime")


def secost(run: Run, execution: Execution, progress: CascadeProgress, deadline: Deadline) -> Network:
    """Algorithm 1 on the data of ``run``; returns the network of the last stage, in eval mode."""
    validation = run.clips("validation")
    for generation in range(len(run.supervision)):  # generation 0 is line 1, the others lines 2-6
        progress.generation(generation)
        if not run.has(generation, "network.pt"):
            if execution.compile != "off":
                deadline.check(STARTING)
            train = run.clips("train", labelled=not taught(run.supervision[generation]))
            targets = targets_of(run, generation, train, execution, progress, deadline)  # line 3
            network = new_network(run, generation)
            fit(  # line 4
                network,
                train,
                targets,
                validation,
                run.settings,
                (run.seed, generation),
                run.generation(generation),
                execution,
                progress.report,
                deadline,
            )
        distributed.on_first(partial(forget, run.generation(generation)))
        if not run.has(generation, "report.json"):
            deadline.check(distributed.on_first(partial(reporting, run, generation)))
            report_generation(run, generation, trained_network(run, generation, execution.device), execution.workers)
        for former in range(generation):  # line 5: the student becomes a teacher, in place of those before it
            if not any(former in later for later in run.supervision[generation + 1 :]):
                distributed.on_first(partial(forget_predictions, run.generation(former)))
    return trained_network(run, len(run.supervision) - 1, execution.device)


def targets_of(
    run: Run, generation: int, train: Clips, execution: Execution, progress: CascadeProgress, deadline: Deadline
) -> Targets:
    """Eq. 2 or 6 for all training points, from the labels and the predictions of the generation's teachers."""

    def asking(teacher: Key) -> Step:
        def step(done: int, seconds: float) -> None:
            deadline.check(seconds)
            progress.asking(teacher, done, len(train))

        return step

    supervision = run.supervision[generation]
    how = {"batch_size": run.settings.batch_size, "workers": execution.workers}
    stored: dict[Key, NDArray[np.float16]] = {}
    asked: dict[Key, Asked] = {}
    teachers = {}
    for key in supervision:
        if isinstance(key, int):
            teachers[key] = trained_network(run, key, execution.device)
        elif run.asks(key):
            asked[key] = run.teacher(key)
        elif key != LABELS:
            stored[key] = run.said(key)
    if run.settings.teachers_hear == "view":
        nobody = np.zeros(len(train), np.int64)
        asked |= {key: Asked(Generation(network), nobody) for key, network in teachers.items()}
        return Targets(supervision, train, stored, asked=asked)
    if run.settings.teachers_hear == "sounds":
        networks = teachers | {key: one.teacher.network.to(execution.device) for key, one in asked.items()}
        here = run.generation(generation)
        alone = {key: heard_alone(network, train, here, step=asking(key), **how) for key, network in networks.items()}
        return Targets(supervision, train, alone=alone)
    if execution.live_targets:
        return Targets(supervision, train, stored, live=teachers, **how)
    for teacher, network in teachers.items():
        weights = run.generation(teacher) / "network.pt"
        stored[teacher] = stored_predictions(network, weights, train, run.data, step=asking(teacher), **how)
    return Targets(supervision, train, stored)


def reporting(run: Run, generation: int) -> float:
    """Seconds that the report of a trained generation will take, by what its validation took."""
    last = json.loads((run.generation(generation) / "metrics.jsonl").read_text("utf-8").splitlines()[-1])
    clips = {split: len(run.manifest.indices(split)) for split in ("validation", "test")}
    return float(last["validation_seconds"]) * sum(clips.values()) / clips["validation"]


def finish(run: Run, network: Network) -> str:
    """Write the run's report and, of a WELS-Net, ``model.onnx``; returns what there is to say of them.

    Raises
    ------
    SedkitError
        If this machine lacks what the export needs. The report is there.
    """
    rows = [read_generation(run.generation(number)) for number in range(len(run.supervision))]
    table = write_report(run.directory, rows)
    if run.fine_tuned:
        return f"{table}\n{run.directory}: teaches (--teacher NAME={run.directory}), and is not exported"
    missing = [name for name in EXPORT_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise SedkitError(
            f"{run.directory}: trained, see report.md; the export needs {', '.join(missing)}: "
            f"{install_remedy('train')}, or copy the run, then python -m training.secost --resume {run.directory}"
        )
    from training.release.export import export

    path = run.directory / "model.onnx"
    clips = run.clips("validation").waveforms
    difference = export(
        network.to(device="cpu", memory_format=torch.contiguous_format),
        description(run, rows),
        path,
        [clips[i] / np.float32(FULL_SCALE) for i in range(min(3, len(clips)))],
    )
    return f"{table}\n{path}  (largest difference between torch and ONNX Runtime {difference:.1g})"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@options.all_options
@click.pass_context
def main(context: click.Context, resume: Path | None, device: str, stop_after: str | None, **given: Any) -> None:
    """Train the SeCoST cascade on a manifest and export the last student to ONNX.

    \b
    Examples:
      python -m training.secost --stages 4
      python -m training.secost --stages 5 --alpha 0.3,0.3,0.2,0.1,0.05
      python -m training.secost --preset audioset --manifest packed/
      python -m training.secost --alpha 0 --stages 3          # teachers only
      python -m training.secost --stage labels=0.3,0=0.7 --stage labels=0.3,0=0.3,1=0.4
      python -m training.secost --teacher yamnet=yamnet.npz --stage labels=0.3,0=0.3,yamnet=0.4
      python -m training.secost --resume runs/20260101-120000
      torchrun --nproc-per-node 8 -m training.secost --batch-size 2048 --learning-rate 4e-3
    """
    started = time.monotonic()
    named = [name for name in given if context.get_parameter_source(name) == ParameterSource.COMMANDLINE]
    if resume and (refused := [name for name in named if name not in options.ON_RESUME]):
        flags = ", ".join("--" + {"directory": "run"}.get(name, name).replace("_", "-") for name in refused)
        raise click.UsageError(f"--resume goes on with the run's own settings; leave out {flags}")
    deadline = Deadline(options.seconds(stop_after) if stop_after else math.inf, started)
    ending = Ending()
    with ending.in_one_line():
        chosen = options.torch_device(device)
        with distributed.session(chosen), ExitStack() as stack:
            ending.say_when_terminated()
            moved = given["manifest"] if "manifest" in named else None
            run = on_every_rank(
                (lambda: Run.open(resume, moved)) if resume else (lambda: options.begin(given, chosen)), moved
            )
            ending.directory = run.directory
            distributed.on_first(partial(hold, run, stack))
            if resume and "name" in named:
                distributed.on_first(partial(run.rename, given["name"]))
            with CascadeProgress(len(run.supervision), run.settings.epochs) as progress:
                progress.say(
                    f"{run.directory}: {len(run.supervision) - 1} stages on {chosen}, {describe_network(vars(run.settings))}, "
                    f"commit {git_revision()[:12]}"
                    + (f", {distributed.ranks()} processes" if distributed.ranks() > 1 else "")
                    + run.origin()
                )
                for line in run.manifest.dropped.lines():
                    progress.say(f"left out: {line}")
                for line in distributed.on_first(run.warnings):
                    progress.say(f"warning: {line}")
                if given["reuse"]:
                    for line in distributed.on_first(partial(reuse, run, given["reuse"])):
                        progress.say(line)
                network = secost(run, options.execution_of(given, chosen), progress, deadline)
            if not run.fine_tuned:
                deadline.check(EXPORTING)
            said = distributed.on_first(partial(finish, run, network))
            if distributed.rank() == 0:
                click.echo(said)


def on_every_rank(first: Callable[[], Run], moved: str | None) -> Run:
    """The run that rank 0 begins or opens, decoding its data; the other ranks then open it as it is."""
    mine: list[Run] = []

    def open_first() -> Path:
        mine.append(first())
        return mine[0].directory

    directory = distributed.on_first(open_first)
    return mine[0] if mine else Run.open(directory, moved)


def hold(run: Run, stack: ExitStack) -> None:
    """Keep other processes from working on the run, until ``stack`` is closed."""
    stack.enter_context(Lock(run.directory))
    run.sweep()


if __name__ == "__main__":
    main()
