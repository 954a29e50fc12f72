"""Checkpoint files: weights and training state, written atomically."""

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
    """Write ``state`` with ``torch.save``, atomically.

    Raises
    ------
    OutputError
        If the file cannot be written. An existing file is left unchanged.
    """
    content = io.BytesIO()  # if the disk is full, torch's own writer only reports "unexpected pos"
    torch.save(state, content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """Read a file that :func:`save` wrote, with all tensors on the CPU.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many classes for a damaged file
        cause = error.strerror if isinstance(error, OSError) else "damaged"
        raise CheckpointError(f"{path}: cannot be read ({cause}); remove it, then --resume rebuilds it") from None
    return state


def digest_of(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of the names, dtypes, shapes and values of ``state``, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
