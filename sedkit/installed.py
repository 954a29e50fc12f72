"""Models by name: those that came with sedkit, and where their files are."""

from __future__ import annotations

import os
from pathlib import Path

from sedkit.errors import ModelError

DEFAULT = "wels-secost"
SUFFIX = ".onnx"


def installed_models() -> list[Path]:
    """The model files that came with sedkit, by name."""
    package = Path(__file__).parent
    folder = package / "models"  # in a wheel; in a source checkout it stands beside the package
    folder = folder if folder.is_dir() else package.parent / "models"
    return sorted(folder.glob("*" + SUFFIX))


def find_model(name_or_path: str | os.PathLike[str] | None = None) -> Path:
    """The file of a model: of an installed one by its name, of any other by its path.

    Parameters
    ----------
    name_or_path : None is the default model, ``"wels-secost"``.

    Raises
    ------
    ModelError
        If there is no such model; lists what is installed.
    """
    wanted = os.fspath(DEFAULT if name_or_path is None else name_or_path)
    installed = {path.stem: path for path in installed_models()}
    if wanted in installed:
        return installed[wanted]
    if Path(wanted).is_file():
        return Path(wanted)
    raise ModelError(f"{wanted}: no such model; {installed_text()}")


def installed_text() -> str:
    """What is installed, for an error message."""
    names = [path.stem for path in installed_models()]
    return f"installed: {', '.join(names)}" if names else "none is installed: give the path of an ONNX file"
