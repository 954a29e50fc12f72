"""What a figure depends on besides the code: machine, versions, revision, and who else was at work."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sedkit.inference.session import usable_cpus

PACKAGES = (
    "sedkit",
    "numpy",
    "onnxruntime-gpu",
    "onnxruntime",
    "torch",
    "ai-edge-litert",
    "librosa",
    "soundfile",
    "av",
)
FEATURES = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "asimd", "asimddp", "i8mm")
BUSY = 0.1  # share of the CPUs that others may take before a figure is not to be trusted


def describe() -> dict[str, Any]:
    return {"machine": _machine(), "versions": _versions(), "commit": _commit()}


def _machine() -> dict[str, Any]:
    cpuinfo = _read("/proc/cpuinfo")
    name = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return {
        "cpu": name[1] if name else platform.processor() or platform.machine(),
        "cpus": usable_cpus(),
        "features": [feature for feature in FEATURES if flags and feature in flags[1].split()],
        "memory_gb": round(int(memory[1]) / 2**20, 1) if memory else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> dict[str, Any]:
    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        try:
            return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True).stdout.strip()
        except OSError:
            return ""

    revision = git("rev-parse", "HEAD")
    return {"revision": revision or None, "changed": bool(git("status", "--porcelain")) if revision else None}


class Watch:
    """Measures, between its making and :meth:`others`, what share of the machine other processes took.

    Our own share is what this process and its finished children took. Linux only: None elsewhere.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._before = _cpu_seconds()

    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def others(self) -> float | None:
        """In [0, 1], of all CPUs of the machine."""
        after = _cpu_seconds()
        if after is None or self._before is None:
            return None
        (busy, total, own), (busy_before, total_before, own_before) = after, self._before
        if total <= total_before:
            return 0.0
        return max(0.0, (busy - busy_before) - (own - own_before)) / (total - total_before)


def _cpu_seconds() -> tuple[float, float, float] | None:
    """CPU seconds since boot: of all processes, of all CPUs, of this process and its children."""
    fields = _read("/proc/stat").split("\n")[0].split()[1:9]
    if len(fields) < 8:
        return None
    user, nice, system, idle, waiting, irq, softirq, stolen = (int(text) / os.sysconf("SC_CLK_TCK") for text in fields)
    busy = user + nice + system + irq + softirq + stolen
    own = sum(os.times()[:4])
    return busy, busy + idle + waiting, own


def load_average() -> list[float] | None:
    return [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""
