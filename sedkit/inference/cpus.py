"""How many CPUs this process may use: those of its affinity mask, or fewer if its cgroup has a quota of CPU time."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS, CGROUP_OF_PROCESS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cpus() -> int:
    """Number of CPUs that this process may use, at least 1. A quota of 1.5 CPUs, as containers have it, counts as 2."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def cpu_quota(cgroups: Path = CGROUPS, cgroup_of_process: Path = CGROUP_OF_PROCESS) -> float | None:
    """Return the quota in CPUs of this process's cgroup and its ancestors, of version 1 or 2; None if there is none.

    Parameters
    ----------
    cgroups : where the file systems of cgroups are mounted.
    cgroup_of_process : the file that names the cgroups of a process.
    """
    quotas = [quota for folder in _folders(cgroups, cgroup_of_process) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _folders(cgroups: Path, cgroup_of_process: Path) -> Iterator[Path]:
    """The folders of the process's cgroup and its ancestors, also those that are not visible in a container."""
    try:
        lines = cgroup_of_process.read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)  # in version 2, the controllers are empty
        if controllers and "cpu" not in controllers.split(","):
            continue
        below = Path(path.strip("/"))
        for mount in (cgroups / controllers, cgroups / "cpu") if controllers else (cgroups, cgroups / "unified"):
            yield from (mount / folder for folder in (below, *below.parents))


def _quota(folder: Path) -> float | None:
    """The quota in CPUs that is set in one folder; None if it is unlimited or not set."""
    try:
        if (maximum := folder / "cpu.max").exists():  # version 2
            quota, period = maximum.read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        cpus = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # ValueError: "max"
        return None
    return cpus if cpus > 0 else None  # -1: unlimited
