"""The options of a training: flags of the command line, in groups, and settings.

Options that people often change have flags; the others are settings, which presets and ``--set`` fix. Each has one
definition, a ``click.Option``, so that values from the command line, a preset and ``--set`` are checked alike. Defaults
that belong to the network's training come from ``Settings`` and ``Augmentation``. ``training.runs.interpret`` turns the
values into a run.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from training.data.augment.augmentation import Augmentation
from training.loop.schedule import WARMUP
from training.loop.settings import Settings
from training.runs.parameter_types import POSITIVE, Temperatures, WidthType
from training.runs.precedence import settle_stages
from training.runs.presets import SET, apply
from training.runtime.command_line import DURATION

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
SHARE = click.FloatRange(0, 1)
TRAINING, AUGMENTATION = Settings(), Augmentation()  # their defaults are those of the options
COUNT = click.IntRange(0)


def _option(name: str, **attributes: Any) -> click.Option:
    return click.Option([f"--{name}"], **attributes)


def _apply_preset(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    return apply(context, name, SETTINGS)


# The commonest three of each group come first.
GROUPS: dict[str, tuple[click.Option, ...]] = {
    "Data": (
        _option(
            "manifest",
            default="manifest.csv",
            help="Clips, labels and splits: a manifest, a folder with one folder per class, or a packed set.",
        ),
        _option("on-error", type=click.Choice(["stop", "skip"]), default="stop", help="What to do at unusable clips."),
        _option("seed", type=COUNT, default=0, help="Seed of everything random."),
    ),
    "Cascade": (
        _option(
            "preset",
            is_eager=True,
            callback=_apply_preset,
            metavar="NAME|FILE.toml",
            help="Options and settings of a preset; what the command line names wins.",
        ),
        _option(
            "stages", type=COUNT, help="Students after Teacher-0  [default: as many as --alpha has values, otherwise 4]"
        ),
        _option("alpha", default="0.3", help="Weight of the labels (Eq. 2): one number, or one per stage: 0.3,0.2."),
        _option("stage", multiple=True, help="Eq. 6, once per stage, instead of --stages: labels=0.3,0=0.3,1=0.4."),
    ),
    "Network": (
        _option(
            "width",
            type=WidthType(),
            help="Factor on Table 1's filters, or the filters of B1, B2, B3, B4, L1 and L2: 16,40,80,200,1024,512  "
            "[default: 1 on CUDA, 0.25 on a CPU]",
        ),
        _option("crop", type=click.FloatRange(0.96, 60), default=TRAINING.crop, help="Seconds of a training crop."),
        _option(
            "fine-tune",
            metavar="wels=RUN|wels=MODEL|KIND=FILE",
            help="Warm start from a finished run or a model (a file, or an installed name: wels=small), with any "
            "classes; or fine-tune a pretrained backbone as a teacher: yamnet=yamnet.tflite.",
        ),
    ),
    "Optimisation": (
        _option("epochs", type=click.IntRange(1), default=TRAINING.epochs, help="Epochs of each network."),
        _option(
            "batch-size",
            type=click.IntRange(2),
            default=TRAINING.batch_size,
            help="Clips per step, over all processes.",
        ),
        _option("learning-rate", type=POSITIVE, default=TRAINING.learning_rate, help="Peak learning rate of Adam."),
    ),
    "Augmentation": (
        _option(
            "mixup",
            type=click.FloatRange(0),
            default=AUGMENTATION.mixup,
            help="Mixup: parameter of the Beta distribution of the weights; 0: off.",
        ),
        _option("gain", type=click.FloatRange(0), default=AUGMENTATION.gain, help="Random level, +- dB."),
        _option("noise", type=SHARE, default=AUGMENTATION.noise, help="Share of the clips with added noise."),
    ),
    "Teachers": (
        _option(
            "teacher",
            multiple=True,
            metavar="NAME=FILE|RUN|MODEL",
            help="An external teacher: a file of sedkit-train teachers, a finished run, or a model (a file, or an "
            "installed name: small). NAME may occur in --first and --stage.",
        ),
        _option("first", default="labels=1", help="Supervision of Teacher-0: labels and external teachers."),
        _option(
            "teachers-hear",
            type=click.Choice(["clip", "view", "sounds"]),
            default=TRAINING.teachers_hear,
            help="Input of the teachers. clip: whole clips, once (Algorithm 1); view: the student's augmented input; "
            "sounds: isolated clips by segment, for students trained on overlaid clips (--set overlay=0.6).",
        ),
    ),
    "Run": (
        click.Option(
            ["--run", "--directory", "directory"],
            type=PATH,
            help="Run directory; with torchrun, which has a --run of its own, write --directory  "
            "[default: runs/DATE-TIME]",
        ),
        _option(
            "resume",
            type=PATH,
            help="Continue this run with its own settings. --manifest says where its data lies now, --name and "
            "--export what is exported.",
        ),
        _option("device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="auto: CUDA if it works."),
        _option("stop-after", type=DURATION, help="Stop in time to be resumed: 540s, 9m, 2h."),
        _option("name", default="wels-secost", help="Name of the exported model."),
        _option(
            "export",
            type=click.Choice(["last", "best"]),
            default="best",
            help="Generation to export: the last student (Algorithm 1), or the one with the best validation mAP.",
        ),
        click.Option(
            ["--set", SET],
            multiple=True,
            metavar="KEY=VALUE",
            help="Any option or setting: ema=0.998. Settings are named below; docs/training-cli.md explains them.",
        ),
    ),
}

# Settings are keys of presets and of --set. All except those in EXECUTION affect the result.
SETTINGS = {
    option.name: option
    for option in (
        _option("vocabulary", type=PATH, help="Classes, a CSV; default: beside the manifest."),
        _option("license", default="unknown", help="Licence of the exported weights."),
        _option(
            "schedule",
            type=click.Choice(list(WARMUP)),
            default=TRAINING.schedule,
            help="Schedule of the learning rate.",
        ),
        _option(
            "warmup",
            type=click.FloatRange(0, 1, max_open=True),
            help="Share of the steps with a rising learning rate; default: 0.1, constant: 0.",
        ),
        _option(
            "clip", type=click.FloatRange(0), default=TRAINING.clip, help="Gradient clipping: largest norm; 0: off."
        ),
        _option(
            "ema",
            type=click.FloatRange(0, 1, max_open=True),
            default=TRAINING.ema,
            help="Decay of an exponential moving average of the weights, which is validated and kept; 0: off.",
        ),
        _option(
            "weight-decay",
            type=click.FloatRange(0),
            default=TRAINING.weight_decay,
            help="Decoupled decay of the convolutions' weights (AdamW); 0: Adam.",
        ),
        _option(
            "epoch-clips",
            type=COUNT,
            default=TRAINING.epoch_clips,
            help="Clips of an epoch, without balanced sampling at most those of the training split; 0: as many.",
        ),
        _option(
            "students",
            type=click.Choice(["random", "teacher"]),
            default=TRAINING.students,
            help="Initial weights of students: those of their teacher in the cascade, or random ones (Algorithm 1).",
        ),
        _option(
            "temperatures",
            default="",
            type=Temperatures(),
            help="Temperature of teachers, by name or number of the generation, by which their logits are divided: "
            "yamnet=2,0=0.5.",
        ),
        _option(
            "sampling",
            type=click.Choice(["shuffled", "balanced"]),
            default=TRAINING.sampling,
            help="Every clip once per epoch, or clips of rare classes more often.",
        ),
        _option(
            "pooling",
            type=click.Choice(["mean", "attention"]),
            default=TRAINING.pooling,
            help="From segments to the clip: mean, or a mean with learnt weights.",
        ),
        _option(
            "stem",
            type=click.Choice(["full", "patches"]),
            help="First convolution: 3 x 3 (Table 1), or patches of 2 x 2; default: that of the warm start, or full.",
        ),
        _option(
            "gate",
            type=click.BOOL,
            default=TRAINING.gate,
            help="Leave silent segments out of clip scores; false: Table 1's plain mean over all segments.",
        ),
        _option(
            "freeze",
            type=click.IntRange(0, 4),
            default=TRAINING.freeze,
            help="Blocks, from B1 on, that a warm start keeps fixed.",
        ),
        _option(
            "between",
            type=click.FloatRange(0, 1, min_open=True),
            default=TRAINING.between,
            help="Interpolation between the weights of the warm start, 0, and the trained ones, 1.",
        ),
        _option(
            "dropout",
            type=click.FloatRange(0, 1, max_open=True),
            default=TRAINING.dropout,
            help="Dropout in L1, L2 and L3; in a pretrained backbone, before the last layer.",
        ),
        _option(
            "precision",
            type=click.Choice(["float32", "tf32", "bf16"]),
            help="Precision of the forward and backward pass; default: bf16 on CUDA, float32 on a CPU.",
        ),
        _option("sync-bn", type=click.BOOL, default=TRAINING.sync_bn, help="Batch statistics over all processes."),
        _option(
            "validate-every",
            type=click.IntRange(1),
            default=TRAINING.validate_every,
            help="Epochs between two validations; the last epoch is always validated, and the best one is kept.",
        ),
        _option(
            "views",
            type=COUNT,
            default=TRAINING.views,
            help="With teachers-hear=view: epochs after which crops and mixtures repeat, so that teachers score each "
            "once; 0: never.",
        ),
        _option("mixed", type=SHARE, default=AUGMENTATION.mixed, help="Share of the batches with mixup."),
        _option("time-mask", type=COUNT, default=AUGMENTATION.time_mask, help="SpecAugment: longest mask, in frames."),
        _option(
            "band-mask",
            type=click.IntRange(0, 63),
            default=AUGMENTATION.band_mask,
            help="SpecAugment: widest mask, in mel bands.",
        ),
        _option(
            "overlay",
            type=SHARE,
            default=AUGMENTATION.overlay,
            help="Share of the clips overlaid with one to three others.",
        ),
        _option(
            "response",
            type=click.FloatRange(0),
            default=AUGMENTATION.response,
            help="Random frequency response, +- dB.",
        ),
        _option("narrow", type=SHARE, default=AUGMENTATION.narrow, help="Share of the clips that are low-passed."),
        _option("speed", type=SHARE, default=AUGMENTATION.speed, help="Random speed and pitch, up to 1 + this."),
        _option("reverb", type=SHARE, default=AUGMENTATION.reverb, help="Share of the clips with reverberation."),
        _option("style", type=SHARE, default=AUGMENTATION.style, help="Share of the batches with Freq-MixStyle."),
        _option("compile", type=click.Choice(["off", "on"]), default="off", help="torch.compile."),
        _option(
            "accumulate",
            type=click.IntRange(1),
            default=1,
            help="Gradient accumulation: parts of a batch, computed one after the other.",
        ),
        _option(
            "deterministic",
            type=click.BOOL,
            default=True,
            help="On CUDA: a resumed run equals an uninterrupted one bit for bit.",
        ),
        _option("workers", type=click.IntRange(1), help="Threads that read clips ahead; default: by processors."),
        _option("reuse", type=PATH, help="Folder of finished runs whose networks are taken instead of trained again."),
    )
}
ARGUMENTS = "training.arguments"  # key of the context's meta: the command line as it was given
EXECUTION = {"reuse", "compile", "accumulate", "deterministic", "workers"}  # may change while a run is trained
ON_RESUME = EXECUTION | {"manifest", "name", "export"}  # what --resume accepts


class TrainingCommand(click.Command):
    """A command whose help shows options by group, and whose parameters include the settings."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = list(args)
        rest = super().parse_args(ctx, args)
        given = _assignments(ctx, ctx.params.pop(SET))
        for flag in (flag for flag in self.params if flag.name in given):
            _assign(ctx, flag, given[str(flag.name)], ParameterSource.COMMANDLINE)
        preset = ctx.default_map or {}
        for name, option in SETTINGS.items():
            if name in given:
                _assign(ctx, option, given[name], ParameterSource.COMMANDLINE)
            elif name in preset:
                _assign(ctx, option, preset[name], ParameterSource.DEFAULT_MAP)
            else:
                _assign(ctx, option, option.to_info_dict()["default"], ParameterSource.DEFAULT)
        settle_stages(ctx)
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, options in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([record for option in options if (record := option.get_help_record(ctx))])
        with formatter.section("Settings (--set KEY=VALUE, or a preset)"):
            names = ", ".join(name.replace("_", "-") for name in SETTINGS)
            lines = textwrap.fill(names, formatter.width - 2, break_on_hyphens=False)
            formatter.write(textwrap.indent(lines, "  ") + "\n")


def _assign(ctx: click.Context, option: click.Parameter, value: Any, source: ParameterSource) -> None:
    ctx.params[str(option.name)] = None if value is None else option.process_value(ctx, value)
    ctx.set_parameter_source(str(option.name), source)


def _assignments(ctx: click.Context, texts: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` texts by the parameter's name; all values of a repeatable option, else the last of equal keys."""
    flags = {option.name: option for group in GROUPS.values() for option in group}
    known = SETTINGS.keys() | flags.keys() - {SET, "preset"}
    given: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        name = key.strip().replace("-", "_")
        if not equals:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", ctx, param_hint="--set")
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), 1)
            hint = f"; did you mean {close[0].replace('_', '-')}?" if close else ""
            raise click.BadParameter(f"no setting {key.strip()!r}{hint}", ctx, param_hint="--set")
        repeatable = name in flags and flags[name].multiple
        given[name] = (*given.get(name, ()), value) if repeatable else value
    return given


def all_options(command: Command) -> Command:
    """Decorator: the flags of a training."""
    flags = [option for group in GROUPS.values() for option in group]
    parameters = vars(command).setdefault("__click_params__", [])
    parameters.extend(reversed(flags))
    return command


@click.command("training.secost", cls=TrainingCommand)
@all_options
def training(**_: Any) -> None:
    """Reads the options of a training for commands that start several (training.runs.experiments)."""


def named_on_command_line(context: click.Context) -> set[str]:
    """Names of the parameters that the command line gives, as flags or with ``--set``."""
    return {name for name in context.params if context.get_parameter_source(name) == ParameterSource.COMMANDLINE}


def as_arguments(values: Mapping[str, Any]) -> list[str]:
    """Parameters, by name, as a command line."""
    flags = {parameter.name: parameter.opts[0] for parameter in training.params}
    arguments: list[str] = []
    for name, value in values.items():
        if name in SETTINGS:
            arguments += ["--set", f"{name.replace('_', '-')}={_text(value)}"]
        else:
            for one in value if isinstance(value, tuple) else (value,):
                arguments += [flags[name], _text(one)]
    return arguments


def _text(value: Any) -> str:
    if isinstance(value, dict):
        value = [f"{name}={number:g}" for name, number in value.items()]
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
