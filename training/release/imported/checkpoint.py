"""Published torch checkpoints. They are read as data: a file that would run code when it is read is refused."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from sedkit.errors import SedkitError

MOST_NAMES = 3  # that an error lists


class ImportModelError(SedkitError):
    """A file cannot be imported."""


def read_state(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """The weights in a checkpoint, by name.

    Parameters
    ----------
    key : entry of the checkpoint that holds the weights, if it holds more.

    Raises
    ------
    ImportModelError
        If the file cannot be read, is no torch checkpoint, or would run code.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImportModelError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    try:
        with file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other writers; what cannot be read is an error
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ImportModelError(
            f"{path}: holds more than weights, which could run code, or is damaged; give the file as it was published"
        ) from None
    except Exception:  # torch raises many classes for a damaged file
        raise ImportModelError(
            f"{path}: not a torch checkpoint, or truncated; download it again, and compare its size"
        ) from None
    if key is not None and isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
        content = content[key]
    if not isinstance(content, Mapping):
        raise ImportModelError(f"{path}: holds no weights by name; give the file as it was published")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def load_into(network: nn.Module, state: Mapping[str, Tensor], path: Path, family: str, remedy: str) -> None:
    """Load a network's weights, all of them and no others.

    Parameters
    ----------
    family : of the network, for errors.
    remedy : what to do if the file is of another family.

    Raises
    ------
    ImportModelError
        If weights are missing, left over, or of another shape.
    """
    own = network.state_dict()
    ignored = {name for name in own if name.endswith("num_batches_tracked")}  # older files lack it; it is not used
    missing = [name for name in own if name not in state and name not in ignored]
    if missing:
        raise ImportModelError(f"{path}: not {family}: lacks {_some(missing)}; {remedy}")
    if extra := [name for name in state if name not in own]:
        raise ImportModelError(f"{path}: not {family}: has {_some(extra)} too; {remedy}")
    for name, value in own.items():
        if name not in ignored and state[name].shape != value.shape:
            shapes = f"{list(state[name].shape)}, not {list(value.shape)}"
            raise ImportModelError(f"{path}: not {family}: {name} has the shape {shapes}; {remedy}")
    weights = {name: state[name].float() for name in own if name not in ignored}
    if bad := [name for name, value in weights.items() if not value.isfinite().all()]:
        raise ImportModelError(f"{path}: {_some(bad)} holds infinite numbers or NaN; download the file again")
    network.load_state_dict(weights, strict=False)


def _some(names: list[str]) -> str:
    rest = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
