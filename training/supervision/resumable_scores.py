"""Files of float16 scores that grow while they are computed, so that an interrupted computation continues."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import OutputError

Step = Callable[[int, float], None]  # clips done, estimated seconds of the next chunk; may raise to stop


def rows_in(path: Path, classes: int) -> int:
    """Number of complete rows of ``classes`` numbers in a file; 0 if it does not exist."""
    return path.stat().st_size // (2 * classes) if path.exists() else 0


def write_rows(path: Path, row: int, rows: NDArray[np.float16]) -> None:
    """Write ``rows`` from row number ``row`` on, replacing whatever an interrupted writer left there.

    Raises
    ------
    OutputError
        If they cannot be written, for instance because the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "wb") as file:
            file.truncate(row * rows[0].nbytes)
            file.seek(0, os.SEEK_END)
            file.write(rows.tobytes())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); make room") from None
