"""Networks and the state of a training on disk: replaced as a whole, or not at all."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sedkit.errors import SedkitError
from training.runtime.files import replacing


class CheckpointError(SedkitError):
    """A checkpoint cannot be read."""


def save(state: dict[str, Any], path: Path) -> None:
    """``torch.save``, atomically.

    Raises
    ------
    OutputError
        If it cannot be written; what was there is as it was.
    """
    content = io.BytesIO()  # of a full disk, torch's own writer only says "unexpected pos"
    torch.save(state, content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """What ``save`` wrote, with its tensors on the CPU.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no one class for a damaged file
        what = error.strerror if isinstance(error, OSError) else "damaged"
        raise CheckpointError(f"{path}: cannot be read ({what}); remove it, and --resume makes it anew") from None
    return state


def digest_of(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of weights: of their names, types and values."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
