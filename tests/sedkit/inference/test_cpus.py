"""sedkit.inference.cpus: affinity, and quotas of cgroups of both versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sedkit.inference import cpus
from sedkit.inference.cpus import cpu_quota, usable_cpus

V1, V2 = "4:memory:/docker/1\n3:cpuset:/\n2:cpu,cpuacct:/docker/1\n0::/\n", "0::/user.slice/job\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        (V2, {"user.slice/job/cpu.max": "200000 100000"}, 2.0),
        (V2, {"user.slice/job/cpu.max": "max 100000"}, None),
        (V2, {"user.slice/job/cpu.max": "max 100000", "user.slice/cpu.max": "150000 100000"}, 1.5),
        (V2, {"user.slice/job/cpu.max": "400000 100000", "user.slice/cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "50000 100000"}, 0.5),  # in a container
        (
            V1,
            {"cpu,cpuacct/docker/1/cpu.cfs_quota_us": "300000", "cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000"},
            3.0,
        ),
        (
            V1,
            {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"},
            0.5,
        ),  # the host's path, in a container
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        (V1, {"unified/cpu.max": "250000 100000"}, 2.5),
        (V2, {"user.slice/job/cpu.max": "what?"}, None),
        (V2, {"user.slice/job/cpu.max": "100000 0"}, None),
        ("2:cpuset:/only\n", {"only/cpu.max": "100000 100000"}, None),
        ("", {}, None),
        (None, {}, None),  # not Linux
    ],
)
def test_quota(cgroup: str | None, files: dict[str, str], expected: float | None, tmp_path: Path):
    for name, content in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    if cgroup is not None:
        (tmp_path / "own").write_text(cgroup)
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "own") == expected


@pytest.mark.parametrize(("quota", "expected"), [(None, 8), (0.1, 1), (1.0, 1), (1.5, 2), (64.0, 8)])
def test_usable_cpus(quota: float | None, expected: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(cpus, "cpu_quota", lambda: quota)
    assert usable_cpus() == expected
