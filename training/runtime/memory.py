"""Memory of a training on a CPU: freed feature maps are used again instead of being returned to the system."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
LARGEST = 1 << 30  # bytes


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to a gigabyte; without effect on other systems.

    Feature maps are larger than what glibc keeps by default, 32 MB. The system would clear their pages anew in every
    step, which takes up to two fifths of the time of a step. The process needs up to two fifths more memory instead.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, LARGEST)
