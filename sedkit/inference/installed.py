"""Models by name and precision: those that came with sedkit, and where their files are.

NAME is the file NAME.onnx, in float32. Beside it may lie NAME-int8.onnx, the same model in 8-bit integers, which is
faster on a CPU; its metadata say what that was measured to cost. ``wels-secost-small`` is ``small`` for short.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from sedkit.contract import Contract, metadata_of
from sedkit.errors import ArgumentError, ContractError, ModelError
from sedkit.inference.session import Device, expects_gpu

Precision: TypeAlias = Literal["auto", "fp32", "int8"]

DEFAULT = "wels-secost"
SUFFIX = ".onnx"
INT8 = "-int8"
TOLERATED = 0.003  # mAP that "auto" gives up for speed, at most


def installed_models() -> list[Path]:
    """The model files that came with sedkit, by name."""
    package = Path(__file__).parents[1]
    folder = package / "models"  # in a wheel; in a source checkout it stands beside the package
    folder = folder if folder.is_dir() else package.parent / "models"
    return sorted(folder.glob("*" + SUFFIX), key=lambda path: path.stem)


def names() -> dict[str, Path]:
    """The installed models by their names, and by the short ones of those that are named after the default."""
    named = {path.stem: path for path in installed_models()}
    beside = (name for name in named if name.startswith(DEFAULT + "-") and name != DEFAULT + INT8)
    return {name.removeprefix(DEFAULT + "-"): named[name] for name in beside} | named


def find_model(
    name_or_path: str | os.PathLike[str] | None = None, precision: Precision = "auto", device: Device = "auto"
) -> Path:
    """The file of a model: of an installed one by its name, of any other by its path.

    Parameters
    ----------
    name_or_path : None is the default model, ``"wels-secost"``; ``"small"`` is ``"wels-secost-small"``.
    precision : ``"fp32"`` or ``"int8"`` is this form of it, or an error. ``"auto"`` takes a path, and a name that
        ends in ``-int8``, as it is; of another name the int8 form, if it will run on a CPU and the form lost no more
        than 0.003 mAP on held-out clips, else the fp32 form.
    device : where it will run; see :class:`sedkit.inference.model.Model`.

    Raises
    ------
    ModelError
        If there is no such model, which lists what is installed, or not in this precision.
    """
    if precision not in get_args(Precision):
        raise ArgumentError(f"a precision is auto, fp32 or int8, not {precision!r}")
    path = named_model(name_or_path)
    if precision == "auto":
        by_name = name_or_path is None or path != Path(name_or_path)
        if by_name and not path.stem.endswith(INT8) and not expects_gpu(device):
            return _int8_that_will_do(path) or path
        return path
    if _precision(path) == precision:
        return path
    other = sibling(path, precision)
    if not other.is_file():
        remedy = "make it with sedkit-train quantize" if precision == "int8" else "put it there"
        raise ModelError(f"{path}: no {other.name}, its {precision} form, beside it; {remedy}, or take precision auto")
    if _precision(other) != precision:
        raise ModelError(f"{other}: it is not the {precision} form that its name says; name the file that is")
    return other


def named_model(name_or_path: str | os.PathLike[str] | None = None) -> Path:
    """The very file that a name or a path stands for, whatever its precision; raises as :func:`find_model` does."""
    wanted = os.fspath(DEFAULT if name_or_path is None else name_or_path)
    path = names().get(wanted, Path(wanted))
    if not path.is_file():
        raise ModelError(f"{wanted}: no such model; {installed_text()}")
    return path


def sibling(path: Path, precision: Literal["fp32", "int8"]) -> Path:
    """Where a model's other form lies."""
    return path.with_name(path.stem.removesuffix(INT8) + (INT8 if precision == "int8" else "") + path.suffix)


def installed_text() -> str:
    """What is installed, for an error message."""
    names = [path.stem for path in installed_models()]
    return f"installed: {', '.join(names)}" if names else "none is installed: give the path of an ONNX file"


def _int8_that_will_do(path: Path) -> Path | None:
    other = sibling(path, "int8")
    try:
        lost = Contract.from_metadata(metadata_of(other)).quantisation_loss
    except (OSError, ContractError):
        return None
    return other if lost is not None and lost <= TOLERATED else None


def _precision(path: Path) -> str:
    """What a file says it is; of one that says nothing, opening it will tell what is wrong."""
    try:
        return Contract.from_metadata(metadata_of(path)).precision
    except (OSError, ContractError):
        return "fp32"
