"""The command line of ``python -m training.secost``: its options, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click
import torch

from sedkit.errors import SedkitError
from sedkit.inference.installed import installed_text, names
from training.data.augment.augmentation import Augmentation
from training.loop.batches import default_workers
from training.loop.schedule import RISE
from training.loop.settings import Execution, Settings
from training.networks.pretrained import BACKBONES
from training.networks.wels import FILTERS, Width
from training.runs.presets import apply
from training.runs.run import Run
from training.runs.warm_start import Beginning, of_file, of_model, of_run
from training.runtime import distributed
from training.supervision.equations import LABELS, Supervision, parse, single_teacher

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]

path = click.Path(path_type=Path)
positive = click.FloatRange(0, min_open=True)


class WidthType(click.ParamType):
    """A factor above 0, or the filters of B1 to L2, of which each is at least 1."""

    name = "FACTOR|FILTERS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Width:
        """``value`` as a number or a list of six."""
        if not isinstance(value, str):
            return positive.convert(value, param, ctx) if isinstance(value, int | float) else value
        if "," not in value:
            return positive.convert(value, param, ctx)
        counts = [click.IntRange(1).convert(count, param, ctx) for count in value.split(",")]
        if len(counts) != len(FILTERS):
            self.fail(f"{value!r}: B1, B2, B3, B4, L1 and L2 have {len(FILTERS)} numbers of filters", param, ctx)
        return counts


WIDTH = WidthType()

CASCADE = (
    click.option(
        "--preset",
        is_eager=True,
        callback=lambda context, _, name: apply(context, name),
        metavar="NAME|FILE.toml",
        help="Take the options of a preset (training/presets); those given beside it win.",
    ),
    click.option(
        "--manifest", default="manifest.csv", help="Clips, labels and splits; or a packed set, a directory or URI."
    ),
    click.option("--vocabulary", type=path, help="Classes [default: beside the manifest]."),
    click.option(
        "--run",
        "--directory",
        "directory",
        type=path,
        help="Run directory (torchrun takes --run for its own: --directory there)  [default: runs/DATE-TIME].",
    ),
    click.option("--stages", type=click.IntRange(0), help="Students after Teacher-0 [default: 4, or one an alpha]."),
    click.option("--alpha", default="0.3", help="Share of the labels (Eq. 2): one number, or one a stage: 0.3,0.2."),
    click.option("--stage", multiple=True, help="Eq. 6, once a stage, in place of --stages: labels=0.3,0=0.3,1=0.4."),
    click.option(
        "--teacher",
        multiple=True,
        metavar="NAME=FILE|RUN|MODEL",
        help="An external teacher (training.runs.experiments.teachers), the last network of a finished RUN, or that of a MODEL (*.onnx, "
        "or an installed one by its name: small); its NAME may stand in --stage.",
    ),
    click.option("--first", default="labels=1", help="What Teacher-0 learns from: the labels, and external teachers."),
    click.option("--seed", type=click.IntRange(0), default=0),
    click.option("--on-error", type=click.Choice(["stop", "skip"]), default="stop", help="Clips that cannot be used."),
    click.option("--name", default="wels-secost", help="Name of the exported model."),
    click.option("--license", default="unknown", help="Licence of the exported weights."),
)
NETWORK = (
    click.option("--epochs", type=click.IntRange(1), default=60, help="Epochs of each network."),
    click.option("--batch-size", type=click.IntRange(2), default=32, help="Clips a step, over all processes."),
    click.option("--learning-rate", type=positive, default=1e-3, help="Peak, for Adam."),
    click.option("--schedule", type=click.Choice(list(RISE)), default="cosine", help="Course of the learning rate."),
    click.option(
        "--warmup",
        type=click.FloatRange(0, 1, max_open=True),
        help="Share of the steps in which it rises  [default: 0.1; one-cycle: 0.3; constant: 0].",
    ),
    click.option("--clip", type=click.FloatRange(0), default=0.0, help="Largest norm of the gradient; 0: any."),
    click.option(
        "--ema",
        type=click.FloatRange(0, 1, max_open=True),
        default=0.0,
        help="Decay of a moving average of the weights, such as 0.999, which is then what is kept; 0: none.",
    ),
    click.option(
        "--sampling",
        type=click.Choice(["shuffled", "balanced"]),
        default="shuffled",
        help="Every clip once an epoch, or those of rare classes more often.",
    ),
    click.option("--crop", type=click.FloatRange(0.96, 60), default=5.12, help="Seconds of a training crop."),
    click.option(
        "--width",
        type=WIDTH,
        help="Factor on Table 1's filters, or those of B1, B2, B3, B4, L1 and L2: 16,40,80,200,1024,512  "
        "[default: 1 on CUDA, 0.25 on the CPU].",
    ),
    click.option(
        "--pooling",
        type=click.Choice(["mean", "attention"]),
        default="mean",
        help="From segments to the clip: their mean, or a mean by learnt weights, for short sounds in clips.",
    ),
    click.option(
        "--fine-tune",
        metavar="wels=RUN|wels=MODEL|KIND=FILE",
        help="Do not begin from scratch: go on from the last network of a finished RUN, or that of a MODEL (a file, or "
        "an installed one by its name: small), whatever its classes; or train no WELS-Nets, but "
        "teachers that begin with what another has learnt: yamnet=yamnet.tflite, efficientnet-lite0=WEIGHTS.pth.",
    ),
    click.option(
        "--freeze",
        type=click.IntRange(0, 4),
        default=0,
        help="With --fine-tune wels=: how many blocks, from B1 on, stay as they are, which saves time.",
    ),
    click.option(
        "--between",
        type=click.FloatRange(0, 1, min_open=True),
        default=1.0,
        help="With --fine-tune wels=: keep weights so far on the way from those begun with to those learnt.",
    ),
    click.option(
        "--dropout",
        type=click.FloatRange(0, 1, max_open=True),
        default=0.2,
        help="In L1, L2 and L3; of a fine-tuned network, before its last layer.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "bf16"]),
        help="Of the training, but for the front end  [default: bf16 on CUDA, float32 on the CPU].",
    ),
    click.option("--sync-bn", is_flag=True, help="Batch statistics over all processes, not of each alone."),
    click.option(
        "--validate-every",
        type=click.IntRange(1),
        default=1,
        help="Epochs between two looks at the validation split; after the last there is one in any case. Of those that "
        "were looked at, the best is kept.",
    ),
    click.option(
        "--teachers-hear",
        type=click.Choice(["clip", "view", "sounds"]),
        default="clip",
        help="Teachers predict on whole clips, once; or on the very crops and mixtures that the student hears; or on "
        "each clip by itself, segment by segment, while the student hears them over each other (--overlay).",
    ),
    click.option(
        "--views",
        type=click.IntRange(0),
        default=0,
        help="With --teachers-hear view: crops and mixtures come again after this many epochs, and teachers are asked "
        "of each once; 0: they are new every time.",
    ),
    click.option("--gain", type=click.FloatRange(0), default=6.0, help="Random level, +- dB."),
    click.option("--mixup", type=click.FloatRange(0), default=0.4, help="Parameter of the Beta distribution; 0: off."),
    click.option("--mixed", type=click.FloatRange(0, 1), default=0.5, help="Share of the batches that are mixed."),
    click.option("--time-mask", type=click.IntRange(0), default=24, help="SpecAugment, frames."),
    click.option("--band-mask", type=click.IntRange(0, 63), default=8, help="SpecAugment, mel bands."),
    click.option(
        "--overlay",
        type=click.FloatRange(0, 1),
        default=0.0,
        help="Share of the clips that are heard with one to three others, at random places.",
    ),
    click.option("--response", type=click.FloatRange(0), default=0.0, help="Random response over the bands, +- dB."),
    click.option("--narrow", type=click.FloatRange(0, 1), default=0.0, help="Share of the clips that are low-passed."),
    click.option("--speed", type=click.FloatRange(0, 1), default=0.0, help="Random speed and pitch, up to 1 + this."),
    click.option("--reverb", type=click.FloatRange(0, 1), default=0.0, help="Share of the clips heard in a room."),
    click.option("--noise", type=click.FloatRange(0, 1), default=0.0, help="Share of the clips with added noise."),
    click.option("--style", type=click.FloatRange(0, 1), default=0.0, help="Share of the batches with Freq-MixStyle."),
)
MACHINE = (
    click.option(
        "--resume",
        type=path,
        help="Go on with this run; its own settings hold. --manifest: where its data lies now; --name: of its export.",
    ),
    click.option(
        "--reuse", type=path, help="Take networks that this run would train again from finished runs in this folder."
    ),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto"),
    click.option(
        "--compile",
        type=click.Choice(["off", "on", "graphs"]),
        help="torch.compile; graphs: CUDA graphs as well  [default: on with CUDA].",
    ),
    click.option("--accumulate", type=click.IntRange(1), default=1, help="Parts of a batch, one after the other."),
    click.option(
        "--targets", type=click.Choice(["stored", "live"]), default="stored", help="Predictions on whole clips."
    ),
    click.option("--workers", type=click.IntRange(1), help="Threads that read ahead  [default: by processors]."),
    click.option("--stop-after", help="End in good time before this, resumable: 540s, 9m, 2h."),
)
ON_RESUME = {
    "manifest",
    "name",
    "reuse",
    "compile",
    "accumulate",
    "targets",
    "workers",
}  # what may be given with --resume


def all_options(command: Command) -> Command:
    """Decorator: every option of the training."""
    return reduce(lambda made, option: option(made), reversed(CASCADE + NETWORK + MACHINE), command)


@click.command("training.secost")
@all_options
def training(**_: Any) -> None:
    """The options of a training without the training: what reads them for several runs (training.runs.experiments)."""



def begin(options: Mapping[str, Any], device: torch.device) -> Run:
    """A new run from the options of the command line."""
    cuda = device.type == "cuda"
    same = (
        "epochs",
        "batch_size",
        "learning_rate",
        "schedule",
        "clip",
        "ema",
        "sampling",
        "crop",
        "dropout",
        "freeze",
        "between",
        "sync_bn",
        "validate_every",
        "teachers_hear",
        "views",
    )
    _agree(options)
    beginning = begun_with(options["fine_tune"]) if options["fine_tune"] else None
    pooling = beginning.pooling if beginning else options["pooling"]
    if options["teachers_hear"] == "sounds" and pooling == "attention":
        raise click.BadParameter("sounds teach segments, and not what they weigh", param_hint="--teachers-hear")
    settings = Settings(
        **{key: options[key] for key in same},
        warmup=RISE[options["schedule"]] if options["warmup"] is None else options["warmup"],
        network=beginning.kind if beginning else "wels",
        width=beginning.width if beginning else options["width"] or (1.0 if cuda else 0.25),
        pooling=pooling,
        precision=options["precision"] or ("bf16" if cuda else "float32"),
        augmentation=Augmentation(
            **{column.name: options[column.name] for column in fields(Augmentation)},
        ),
    )
    teachers = teachers_of(options["teacher"])
    return Run.begin(
        options["directory"] or Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S"),
        options["manifest"],
        options["vocabulary"],
        settings,
        stages_of(options["stages"], options["alpha"], options["stage"], options["first"], teachers),
        options["seed"],
        options["on_error"],
        {"name": options["name"], "license": options["license"]},
        device,
        teachers,
        beginning,
    )


def _agree(options: Mapping[str, Any]) -> None:
    """Raise click.BadParameter where options contradict each other."""
    hear, begun, on = options["teachers_hear"], options["fine_tune"] or "", "add --fine-tune wels=RUN"
    scratch = not begun.startswith("wels=")
    for wrong, option, why in (
        (options["views"] and hear != "view", "views", "is for teachers that hear the view: add --teachers-hear view"),
        (
            options["targets"] == "live" and hear != "clip",
            "targets",
            "is for teachers that hear the clip; leave it out",
        ),
        (
            hear == "sounds" and not options["overlay"],
            "teachers-hear",
            "sounds lie over each other: add --overlay 0.75",
        ),
        (begun and options["width"], "width", "is that of what is begun with; leave it out beside --fine-tune"),
        (begun and options["pooling"] != "mean", "pooling", "is that of what is begun with; leave it out"),
        (scratch and options["freeze"], "freeze", f"is for networks that go on: {on}"),
        (scratch and options["between"] < 1, "between", f"is for networks that go on: {on}"),
    ):
        if wrong:
            raise click.BadParameter(why, param_hint=f"--{option}")


def execution_of(options: Mapping[str, Any], device: torch.device) -> Execution:
    """On what to train, from the options of the command line."""
    return Execution(
        device,
        options["compile"] or ("on" if device.type == "cuda" else "off"),
        options["accumulate"],
        options["workers"] or default_workers(device),
        options["targets"] == "live",
    )


def begun_with(text: str) -> Beginning:
    """What networks begin with, from the command line."""
    kind, _, file = text.partition("=")
    if kind not in ("wels", *BACKBONES) or not file:
        raise click.BadParameter(
            f"{text!r} is not {'=FILE or '.join(BACKBONES)}=FILE, nor wels=RUN or wels=MODEL", param_hint="--fine-tune"
        )
    if kind == "wels":
        source = names().get(file, Path(file))
        if not source.exists():
            raise click.BadParameter(f"{file}: no such run or model; {installed_text()}", param_hint="--fine-tune")
        return of_run(source) if source.is_dir() else of_model(source)
    if not Path(file).is_file():
        raise click.BadParameter(f"{file} is not a file", param_hint="--fine-tune")
    return of_file(kind, Path(file))


def teachers_of(given: tuple[str, ...]) -> dict[str, Path]:
    """Files of external teachers by name, from the command line."""
    teachers = {}
    for text in given:
        name, _, file = text.partition("=")
        if not (name.isidentifier() and file) or name == LABELS or name in teachers:
            raise click.BadParameter(f"{text!r} is not NAME=FILE with a name of its own", param_hint="--teacher")
        teachers[name] = names().get(file, Path(file))
    return teachers


def stages_of(
    stages: int | None, alpha: str, stage: tuple[str, ...], first: str = "labels=1", external: Collection[str] = ()
) -> list[Supervision]:
    """The supervision of every generation, Teacher-0's first, from the command line."""
    if stage:
        if stages not in (None, len(stage)):
            raise click.BadParameter(f"{stages}, but {len(stage)} --stage; leave it out", param_hint="--stages")
        students = [parse(text, number, external) for number, text in enumerate(stage, start=1)]
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
    return [parse(first, 0, external), *students]


def torch_device(name: str) -> torch.device:
    """``auto``: CUDA where it works, else the CPU. Of several processes, each gets the CUDA device of its number."""
    if name == "cuda" and not torch.cuda.is_available():
        raise SedkitError("--device cuda: torch finds no CUDA device; install a CUDA build of torch and its driver")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if distributed.local_rank() >= torch.cuda.device_count():
        raise SedkitError(
            f"{distributed.local_ranks()} processes, but {torch.cuda.device_count()} CUDA devices on this machine; "
            "give torchrun --nproc-per-node no more than that"
        )
    return torch.device("cuda", distributed.local_rank())


def seconds(text: str) -> float:
    """``540s``, ``9m``, ``2h`` or a number of seconds."""
    factor = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    try:
        return float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a time such as 540s, 9m or 2h", param_hint="--stop-after") from None
