"""SeCoST, Algorithm 1: Teacher-0 on weak labels, then students, co-supervised by earlier generations.

    python -m training.secost --manifest manifest.csv --stages 4
    torchrun --nproc-per-node 8 -m training.secost --manifest manifest.csv --stages 4

A run directory::

    config.json       everything that decides the result: settings, supervision of every stage, seed,
                      manifest hash, classes, git revision, versions, device, command
    frontend.pt       normalisation of the log-mel, measured on the training split
    teachers/         external teachers (training.runs.teacher_files)
    begun.pt          initial weights of a warm start (--fine-tune)
    generation-0/     Teacher-0; then one directory per student (training.loop.fit, training.supervision.targets)
        report.json   AP and AUC of every class on the validation and the test split
    report.md, .json  all generations side by side
    model.onnx        the last student, or the best generation (training.runs.chosen), for ``sedkit --model``;
                      pretrained backbones are not exported

``python -m training.secost --resume RUN`` continues after any interruption, on any number of processes, and ends with
the networks of an uninterrupted run.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from sedkit.contract import Contract
from sedkit.errors import SedkitError
from sedkit.install import install_remedy
from training.data.audio import FULL_SCALE
from training.loop.fit import fit
from training.loop.settings import Execution
from training.networks.wels import Network, describe_network
from training.runs.chosen import chosen_generation, verdict, warn_if_behind
from training.runs.config import git_revision
from training.runs.generations import evaluate_generation, fixed_weights, initial_network, trained_network
from training.runs.interpret import execution_of, start_from
from training.runs.model_contract import model_contract
from training.runs.notices import describe_warm_start, warnings
from training.runs.options import ARGUMENTS, ON_RESUME, TrainingCommand, all_options, named_on_command_line
from training.runs.reports import read_epochs, write_report
from training.runs.reuse import reuse
from training.runs.run import Run
from training.runs.teacher_files import read_teachers
from training.runs.warm_start import read_warm_start
from training.runtime import distributed
from training.runtime.checkpoint import load
from training.runtime.deadline import Deadline
from training.runtime.device import torch_device
from training.runtime.interruption import ExitReporter
from training.runtime.lock import Lock
from training.runtime.memory import keep_freed_memory
from training.runtime.progress import CascadeProgress
from training.supervision.equations import Key, has_teacher, key_of, latest_generation
from training.supervision.resumable_scores import Step
from training.supervision.segments import remove_segment_scores
from training.supervision.targets import remove_scores, targets_from

COMPILING = 60.0  # seconds that compiling a network may take
EXPORTING = 60.0  # seconds that the export may take
PARITY_CLIPS = 32  # clips, at most, on which torch and ONNX Runtime are compared
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}
EXPORT_NEEDS = ("onnx", "onnxscript", "onnxruntime")


def secost(run: Run, execution: Execution, progress: CascadeProgress, deadline: Deadline) -> Network:
    """Algorithm 1; returns the network that the run exports, in eval mode. Trained generations are not trained again.

    Raises
    ------
    Stopped
        If the deadline comes first. Whatever is done is kept.
    """
    settings, classes = run.settings, len(run.labels)
    validation, test = run.clips("validation"), run.clips("test")
    temperatures = {key_of(name): value for name, value in settings.temperatures.items()}
    for generation, supervision in enumerate(run.supervision):  # generation 0 is line 1, the others are lines 2-6
        directory = run.generation(generation)
        progress.generation(generation)
        if not _exists(directory / "network.pt"):
            if execution.compile != "off":
                deadline.check(COMPILING)
            train = run.clips("train", labelled=not has_teacher(supervision))
            teachers = read_teachers(run, supervision, execution.device)
            step_of = _scoring(progress, deadline, len(train))
            targets = targets_from(  # line 3: Eq. 2, or Eq. 6 for several teachers
                supervision, train, teachers, settings.teachers_hear, directory, run.data,
                settings.batch_size, execution.workers, step_of, temperatures,
            )  # fmt: skip
            warm_start = read_warm_start(run.directory)
            fixed = fixed_weights(run.directory / "frontend.pt", settings, run.clips("train"), run.seed, warm_start)
            if settings.students == "teacher" and (teacher := latest_generation(supervision)) is not None:
                fixed |= load(run.generation(teacher) / "network.pt")["network"]
            network = initial_network(settings, classes, (run.seed, generation), fixed)
            fit(  # line 4
                network, train, targets, validation, settings, (run.seed, generation), directory,
                execution, progress.report, deadline,
            )  # fmt: skip
        distributed.on_rank_0(partial(remove_segment_scores, directory))
        if not _exists(directory / "report.json"):
            splits = {"validation": validation, "test": test}
            deadline.check(distributed.on_rank_0(partial(_evaluation_seconds, directory, len(validation), len(test))))
            trained = trained_network(directory, settings, classes, execution.device)
            about = {"generation": generation, "supervision": {str(key): value for key, value in supervision.items()}}
            evaluate_generation(directory, about, trained, splits, run.labels, settings.batch_size, execution.workers)
            for line in distributed.on_rank_0(partial(warn_if_behind, run, generation)):
                progress.print(f"warning: {line}")
        for former in range(generation):  # line 5: delete stored scores that no later generation needs
            if not any(former in later for later in run.supervision[generation + 1 :]):
                distributed.on_rank_0(partial(remove_scores, run.generation(former)))
    chosen = distributed.on_rank_0(lambda: chosen_generation(run.directory, run.reports()))
    return trained_network(run.generation(chosen), settings, classes, execution.device)


def _exists(path: Path) -> bool:
    """Whether a file exists as rank 0 sees it; the same answer on every rank."""
    return distributed.on_rank_0(path.exists)


def _scoring(progress: CascadeProgress, deadline: Deadline, clips: int) -> Callable[[Key], Step]:
    """What to do before each chunk of clips that a teacher scores: stop in time, show progress."""

    def step_of(teacher: Key) -> Step:
        def step(done: int, seconds: float) -> None:
            deadline.check(seconds)
            progress.scoring(teacher, done, clips)

        return step

    return step_of


def _evaluation_seconds(generation: Path, validation: int, test: int) -> float:
    """Estimated seconds for scoring both splits, from the time that the last validation took."""
    last = read_epochs(generation)[-1]
    return float(last["validation_seconds"]) * (validation + test) / validation


def finish(run: Run, network: Network) -> str:
    """Write the run's report and, for WELS-Nets, ``model.onnx``; returns the text to print.

    Raises
    ------
    SedkitError
        If this machine lacks what the export needs. The report is written first.
    """
    rows = run.reports()
    table = f"{write_report(run.directory, rows)}\n{verdict(run, rows)}"
    if run.is_backbone:
        return f"{table}\n{run.directory}: a teacher (--teacher NAME={run.directory}); backbones are not exported"
    missing = [name for name in EXPORT_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise SedkitError(
            f"{run.directory}: trained, see report.md; the export needs {', '.join(missing)}: "
            f"{install_remedy('train')}, then sedkit-train secost --resume {run.directory}; or copy the run to a "
            "machine that has them"
        )
    from training.release.export import export
    from training.release.scoring import metrics_of_file

    path, validation = run.directory / "model.onnx", run.clips("validation")
    about = model_contract(run, rows[: chosen_generation(run.directory, rows) + 1])
    chosen = range(0, len(validation), -(-len(validation) // PARITY_CLIPS))
    clips = [validation.waveforms[row].astype(np.float32) / np.float32(FULL_SCALE) for row in chosen]
    network = network.to(device="cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    splits = {"validation": validation, "test": run.clips("test")}

    def measured(content: bytes) -> Contract:
        return replace(about, lineage={**about.lineage, "metrics": metrics_of_file(content, splits)})

    difference = export(network, about, path, clips, measured)
    return f"{table}\n{path}  (largest difference between torch and ONNX Runtime {difference:.1g})"


@click.command(cls=TrainingCommand, context_settings=CONTEXT)
@all_options
@click.pass_context
def main(context: click.Context, /, resume: Path | None, device: str, stop_after: float | None, **given: Any) -> None:
    """Train the SeCoST cascade on a manifest and export one of its networks to ONNX.

    \b
    Examples:
      sedkit-train secost --manifest recordings/ --stages 4     # a folder with one folder per class
      sedkit-train secost --preset own --manifest recordings/   # fine-tune the small model; see sedkit-train own
      sedkit-train secost --stages 5 --alpha 0.3,0.3,0.2,0.1,0.05
      sedkit-train secost --stage labels=0.3,0=0.7 --stage labels=0.3,0=0.3,1=0.4
      sedkit-train secost --teacher yamnet=yamnet.npz --stage labels=0.3,0=0.3,yamnet=0.4
      sedkit-train secost --preset audioset --manifest packed/ --set ema=0.999
      sedkit-train secost --resume runs/20260101-120000
      torchrun --nproc-per-node 8 -m training.secost --batch-size 2048 --learning-rate 4e-3
    """
    started = time.monotonic()
    named = named_on_command_line(context)
    if resume and (refused := sorted(named - ON_RESUME - {"resume", "device", "stop_after"})):
        flags = ", ".join({"directory": "run"}.get(name, name).replace("_", "-") for name in refused)
        raise click.UsageError(f"--resume continues with the run's own settings; leave out {flags}")
    deadline = Deadline(math.inf if stop_after is None else stop_after, started)
    ending = ExitReporter()
    with ending.report_errors():
        chosen = torch_device(device)
        if chosen.type == "cpu":
            keep_freed_memory()
        with distributed.process_group(chosen), ExitStack() as stack:
            ending.report_sigterm()
            moved = given["manifest"] if "manifest" in named else None
            run = _on_every_rank(
                (lambda: Run.open(resume, moved))
                if resume
                else (lambda: start_from(given, chosen, context.meta[ARGUMENTS])),
                moved,
            )
            ending.directory = run.directory
            distributed.on_rank_0(partial(_hold, run, stack))
            if resume and moved:
                distributed.on_rank_0(partial(run.moved_to, moved))
            if resume and (changes := {name: given[name] for name in ("name", "export") if name in named}):
                distributed.on_rank_0(partial(run.change_model, **changes))
            with CascadeProgress(len(run.supervision), run.settings.epochs) as progress:
                _announce(run, progress, chosen)
                if given["reuse"]:
                    for line in distributed.on_rank_0(partial(reuse, run, given["reuse"])):
                        progress.print(line)
                network = secost(run, execution_of(given, chosen), progress, deadline)
            if not run.is_backbone:
                deadline.check(EXPORTING)
            text = distributed.on_rank_0(partial(finish, run, network))
            if distributed.rank() == 0:
                click.echo(text)


def _announce(run: Run, progress: CascadeProgress, device: torch.device) -> None:
    """Say what will be trained, what was left out of the data, and what looks wrong."""
    processes = f", {distributed.world_size()} processes" if distributed.world_size() > 1 else ""
    progress.print(
        f"{run.directory}: {len(run.supervision) - 1} stages on {device}, {describe_network(vars(run.settings))}, "
        f"commit {git_revision()[:12]}{processes}{describe_warm_start(run)}"
    )
    for line in run.manifest.dropped.lines():
        progress.print(f"left out: {line}")
    for line in distributed.on_rank_0(partial(warnings, run)):
        progress.print(f"warning: {line}")


def _on_every_rank(first: Callable[[], Run], moved: str | None) -> Run:
    """Start or open the run on rank 0, which decodes the data; the other ranks then open it."""
    mine: list[Run] = []

    def open_first() -> Path:
        mine.append(first())
        return mine[0].directory

    directory = distributed.on_rank_0(open_first)
    return mine[0] if mine else Run.open(directory, moved)


def _hold(run: Run, stack: ExitStack) -> None:
    """Lock the run directory until ``stack`` is closed, and remove what a killed process left."""
    stack.enter_context(Lock(run.directory))
    run.sweep()


if __name__ == "__main__":
    main()
