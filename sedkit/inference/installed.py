"""The models that come with sedkit, by name and precision.

The model NAME is the file NAME.onnx (float32). NAME-int8.onnx in the same folder, if there is one, is the same model in
8-bit integers. It is faster on a CPU, and its metadata has the measured loss. ``small`` is short for
``wels-secost-small``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from sedkit.contract import Contract, metadata_of
from sedkit.errors import ArgumentError, ModelError
from sedkit.inference.session import Device, expects_gpu
from sedkit.model_file import check_is_file

Precision: TypeAlias = Literal["auto", "fp32", "int8"]

DEFAULT = "wels-secost"
SUFFIX = ".onnx"
INT8 = "-int8"
PURPOSES = {  # what each model is for, in one line
    "wels-secost": "155 classes of everyday sounds, animals and instruments; seldom names what it does not know",
    "wels-secost-small": "the classes of the default, on small devices or in very large collections",
    "wels-secost-large": "52 everyday sounds, found most exactly in time; six times the arithmetic of the default",
}
MAX_INT8_LOSS = 0.003  # in mAP; precision "auto" does not take an int8 model that loses more


def installed_models() -> list[Path]:
    """The model files that come with sedkit, sorted by name."""
    package = Path(__file__).parents[1]
    folder = package / "models"  # in a wheel; in a source checkout it is next to the package
    folder = folder if folder.is_dir() else package.parent / "models"
    return sorted(folder.glob("*" + SUFFIX), key=lambda path: path.stem)


def purpose(path: Path) -> str | None:
    """What an installed model is for; None for other models."""
    return PURPOSES.get(path.stem.removesuffix(INT8))


def names() -> dict[str, Path]:
    """The installed models by name; those named ``wels-secost-X`` also by the short name ``X``."""
    named = {path.stem: path for path in installed_models()}
    with_prefix = (name for name in named if name.startswith(DEFAULT + "-") and name != DEFAULT + INT8)
    return {name.removeprefix(DEFAULT + "-"): named[name] for name in with_prefix} | named


def find_model(
    name_or_path: str | os.PathLike[str] | None = None, precision: Precision = "auto", device: Device = "auto"
) -> Path:
    """Find the file of a model by name or path.

    Parameters
    ----------
    name_or_path : name of an installed model, or path of any model; None is the default, ``"wels-secost"``.
    precision : ``"fp32"`` or ``"int8"`` requires a file of this precision. ``"auto"`` takes a path, or a name that ends
        in ``-int8``, as it is. For other names it takes the int8 file if the model will run on a CPU and the file's
        loss is at most 0.003 mAP on held-out clips, otherwise the fp32 file.
    device : where the model will run; see :class:`sedkit.inference.model.Model`.

    Raises
    ------
    ModelError
        If there is no such model, or it is not available in this precision.
    ArgumentError
        If `precision` is invalid.
    """
    if precision not in get_args(Precision):
        raise ArgumentError(f"precision must be auto, fp32 or int8, not {precision!r}")
    path = named_model(name_or_path)
    if precision == "auto":
        by_name = name_or_path is None or path != Path(name_or_path)
        if by_name and not path.stem.endswith(INT8) and not expects_gpu(device):
            return _acceptable_int8(path) or path
        return path
    if _precision(path) == precision:
        return path
    other = sibling(path, precision)
    if not other.is_file():
        remedy = "make it with sedkit-train quantize" if precision == "int8" else "copy it there"
        raise ModelError(f"{path}: its {precision} file {other.name} is missing; {remedy}, or use precision auto")
    if _precision(other) != precision:
        raise ModelError(f"{other}: is not an {precision} model; pass the path of one")
    return other


def named_model(name_or_path: str | os.PathLike[str] | None = None) -> Path:
    """Return the file with exactly this name or path, in any precision. Raises ModelError if it is not a file."""
    wanted = os.fspath(DEFAULT if name_or_path is None else name_or_path)
    path = names().get(wanted, Path(wanted))
    if not os.path.exists(path):
        raise ModelError(f"{wanted}: no such model; {installed_text()}")
    check_is_file(path)
    return path


def sibling(path: Path, precision: Literal["fp32", "int8"]) -> Path:
    """Path of the same model's file in the given precision; the file may not exist."""
    return path.with_name(path.stem.removesuffix(INT8) + (INT8 if precision == "int8" else "") + path.suffix)


def installed_text() -> str:
    """The list of installed models for an error message."""
    names = [path.stem for path in installed_models()]
    return f"installed: {', '.join(names)}" if names else "no models are installed: pass the path of an ONNX file"


def _acceptable_int8(path: Path) -> Path | None:
    """The model's int8 file, if its loss is known and at most MAX_INT8_LOSS."""
    other = sibling(path, "int8")
    try:
        loss = Contract.from_metadata(metadata_of(other)).quantisation_loss
    except ModelError:
        return None
    return other if loss is not None and loss <= MAX_INT8_LOSS else None


def _precision(path: Path) -> str:
    """Precision according to the metadata; "fp32" if it cannot be read (loading the model will raise the error)."""
    try:
        return Contract.from_metadata(metadata_of(path)).precision
    except ModelError:
        return "fp32"
