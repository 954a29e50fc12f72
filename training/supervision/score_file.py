"""Files of float16 rows that grow while they are computed, so that an interrupted computation goes on where it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import OutputError

Step = Callable[[int, float], None]  # how many clips are done, the seconds that the next ones will take; may raise


def whole_rows(path: Path, classes: int) -> int:
    """Whole rows of so many numbers in a file, which need not exist."""
    return path.stat().st_size // (2 * classes) if path.exists() else 0


def append(path: Path, row: int, rows: NDArray[np.float16], otherwise: str = "") -> None:
    """Write ``rows`` at ``row``, over whatever a writer that was killed left there.

    ``otherwise``: what else to do than to make room.

    Raises
    ------
    OutputError
        If there is no room.
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
        raise OutputError(f"{path}: cannot be written ({error.strerror}); make room{otherwise}") from None
