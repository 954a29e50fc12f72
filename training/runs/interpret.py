"""From the values of the options to a run: settings, supervision, teachers, warm start."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import torch

from sedkit.inference.installed import installed_text, names
from training.data.augment.augmentation import Augmentation
from training.loop.batches import default_workers
from training.loop.schedule import WARMUP
from training.loop.settings import Execution, Settings
from training.networks.pretrained import BACKBONES
from training.runs.run import Run
from training.runs.start import start
from training.runs.warm_start import WarmStart, from_backbone, from_model, from_run
from training.supervision.equations import LABELS, Supervision, parse, single_teacher

# Settings with defaults of their own
RESOLVED = {"warmup", "network", "width", "pooling", "stem", "precision", "augmentation"}


def start_from(options: Mapping[str, Any], device: torch.device, arguments: Sequence[str]) -> Run:
    """Start a new run; ``arguments`` are the command line, for the record.

    Raises
    ------
    click.BadParameter
        If options are malformed or contradict each other.
    SedkitError
        If the run cannot be started (training.runs.start).
    """
    _check_combinations(options)
    cuda = device.type == "cuda"
    warm_start = warm_start_of(options["fine_tune"]) if options["fine_tune"] else None
    if warm_start and options["width"]:
        warm_start.check_width(options["width"])
    pooling = warm_start.pooling if warm_start else options["pooling"]
    if options["teachers_hear"] == "sounds" and pooling == "attention":
        raise click.BadParameter(
            "segment targets do not train the weights of --set pooling=attention", param_hint="--teachers-hear"
        )
    stem = options["stem"] or (warm_start.stem if warm_start else "full")
    settings = Settings(
        **{setting.name: options[setting.name] for setting in fields(Settings) if setting.name not in RESOLVED},
        warmup=WARMUP[options["schedule"]] if options["warmup"] is None else options["warmup"],
        network=warm_start.kind if warm_start else "wels",
        width=options["width"] or (warm_start.width if warm_start else 1.0 if cuda else 0.25),
        pooling=pooling,
        stem=stem,
        precision=options["precision"] or ("bf16" if cuda else "float32"),
        augmentation=Augmentation(**{column.name: options[column.name] for column in fields(Augmentation)}),
    )
    teachers = teachers_of(options["teacher"])
    supervision = stages_of(options["stages"], options["alpha"], options["stage"], options["first"], teachers)
    known = {str(key) for stage in supervision for key in stage} - {LABELS}
    if unknown := sorted(settings.temperatures.keys() - known):
        raise click.BadParameter(f"{unknown[0]!r} is not a teacher of this run", param_hint="--set temperatures")
    if unused := sorted(teachers.keys() - known):
        raise click.BadParameter(
            f"{unused[0]!r} has no weight: name it in --first or --stage, or leave it out", param_hint="--teacher"
        )
    return start(
        options["directory"] or Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S"),
        options["manifest"],
        options["vocabulary"],
        settings,
        supervision,
        options["seed"],
        options["on_error"],
        {name: options[name] for name in ("name", "license", "export")},
        device,
        arguments,
        teachers,
        warm_start,
    )


def _check_combinations(options: Mapping[str, Any]) -> None:
    """Raise click.BadParameter where options contradict each other."""
    hear, fine_tune = options["teachers_hear"], options["fine_tune"] or ""
    needs_warm_start = "needs a warm start: add --fine-tune wels=RUN"
    from_wels = fine_tune.startswith("wels=")
    for wrong, option, why in (
        (options["views"] and hear != "view", "--set views", "needs --teachers-hear view"),
        (hear == "sounds" and not options["overlay"], "--teachers-hear", "sounds needs --set overlay=0.6"),
        (fine_tune and not from_wels and options["width"], "--width", "is that of the backbone; leave it out"),
        (fine_tune and not from_wels and options["stem"], "--set stem", "is that of the backbone; leave it out"),
        (fine_tune and options["pooling"] != "mean", "--set pooling", "is that of the warm start; leave it out"),
        (not from_wels and options["freeze"], "--set freeze", needs_warm_start),
        (not from_wels and options["between"] < 1, "--set between", needs_warm_start),
    ):
        if wrong:
            raise click.BadParameter(why, param_hint=option)


def execution_of(options: Mapping[str, Any], device: torch.device) -> Execution:
    """How to compute; none of it decides the result."""
    workers = options["workers"] or default_workers(device)
    return Execution(device, options["compile"], options["accumulate"], workers, deterministic=options["deterministic"])


def warm_start_of(text: str) -> WarmStart:
    """The warm start that ``--fine-tune`` names."""
    kind, _, file = text.partition("=")
    if kind not in ("wels", *BACKBONES) or not file:
        raise click.BadParameter(
            f"{text!r} is not {'=FILE or '.join(BACKBONES)}=FILE, nor wels=RUN or wels=MODEL", param_hint="--fine-tune"
        )
    if kind == "wels":
        source = names().get(file, Path(file))
        if not source.exists():
            raise click.BadParameter(f"{file}: no such run or model; {installed_text()}", param_hint="--fine-tune")
        return from_run(source) if source.is_dir() else from_model(source)
    if not Path(file).is_file():
        raise click.BadParameter(f"{file} is not a file", param_hint="--fine-tune")
    return from_backbone(kind, Path(file))  # type: ignore[arg-type]  # one of BACKBONES


def teachers_of(given: tuple[str, ...]) -> dict[str, Path]:
    """The files of external teachers, by name, that ``--teacher`` names."""
    teachers: dict[str, Path] = {}
    for text in given:
        name, _, file = text.partition("=")
        if not (name.isidentifier() and file) or name == LABELS or name in teachers:
            raise click.BadParameter(f"{text!r} is not NAME=FILE with a name of its own", param_hint="--teacher")
        teachers[name] = names().get(file, Path(file))
    return teachers


def stages_of(
    stages: int | None, alpha: str, stage: tuple[str, ...], first: str = "labels=1", external: Collection[str] = ()
) -> list[Supervision]:
    """The supervision of every generation, Teacher-0 first, from the options of these names."""
    if stage:
        if stages not in (None, len(stage)):
            raise click.BadParameter(f"{stages}, but {len(stage)} --stage; leave it out", param_hint="--stages")
        students = [parse(text, number, external) for number, text in enumerate(stage, start=1)]
    else:
        try:
            schedule = [float(part) for part in str(alpha).split(",")]
        except ValueError:
            raise click.BadParameter(
                f"{alpha!r} is not a number, nor numbers separated by commas", param_hint="--alpha"
            ) from None
        if stages is None:
            stages = 4 if len(schedule) == 1 else len(schedule)
        students = single_teacher(stages, schedule)
    return [parse(first, 0, external), *students]
