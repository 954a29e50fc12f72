"""The conditions of a measurement: machine, versions, revision, and the load from other processes."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sedkit.inference.cpus import usable_cpus

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
BUSY = 0.1  # share of the CPUs used by other processes above which a measurement is unreliable


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
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


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
    """Measures the share of the CPUs that other processes use, from its creation until :meth:`others`.

    This process and its finished children do not count as others. Linux only.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._before = _cpu_seconds()

    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def others(self) -> float | None:
        """Share of the machine's CPUs used by other processes, in [0, 1]; None if unknown."""
        after = _cpu_seconds()
        if after is None or self._before is None:
            return None
        (busy, total, own), (busy_before, total_before, own_before) = after, self._before
        if total <= total_before:
            return 0.0
        return max(0.0, (busy - busy_before) - (own - own_before)) / (total - total_before)


def _cpu_seconds() -> tuple[float, float, float] | None:
    """CPU seconds since boot: used by all processes, passed on all CPUs, used by this process and its children."""
    fields = _read("/proc/stat").split("\n")[0].split()[1:9]
    if len(fields) < 8:
        return None
    user, nice, system, idle, iowait, irq, softirq, steal = (int(text) / os.sysconf("SC_CLK_TCK") for text in fields)
    busy = user + nice + system + irq + softirq + steal
    own = sum(os.times()[:4])
    return busy, busy + idle + iowait, own


def load_average() -> list[float] | None:
    return [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""
