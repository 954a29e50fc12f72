"""The source distribution and the wheel: reproducible, complete, and installable on every Python that is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
slow = pytest.mark.slow


def build(source: Path, output: Path) -> dict[str, Path]:
    """Build both distributions of a copy of the source, as a release does; by the ending of their names."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", output]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True, timeout=300)
    return {path.suffix: path for path in output.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Path]]:
    """Two builds, of two copies that differ in place and times."""
    pytest.importorskip("hatchling")
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    first, second = (tmp_path_factory.mktemp(name) / "sedkit" for name in ("one", "two"))
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (first / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, first / name)
    shutil.copytree(first, second, copy_function=shutil.copy)
    for path in second.rglob("*"):
        os.utime(path, (10**9, 10**9))
    return [build(copy, tmp_path_factory.mktemp("dist")) for copy in (first, second)]


@slow
def test_builds_are_byte_identical(built: list[dict[str, Path]]):
    first, second = built
    assert sorted(first) == [".gz", ".whl"]
    for ending, path in first.items():
        assert path.name == second[ending].name
        assert path.read_bytes() == second[ending].read_bytes()


@slow
def test_contents(built: list[dict[str, Path]]):
    with zipfile.ZipFile(built[0][".whl"]) as wheel:
        inside = set(wheel.namelist())
    with tarfile.open(built[0][".gz"]) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tests/conftest.py", "tests/test_packages.py", "pyproject.toml", "LICENSE"} <= source
    assert all(path.stat().st_size < 100e6 for path in built[0].values()), "PyPI refuses larger files"
    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    expected = {name for name in tracked if name.startswith(("sedkit/", "training/")) and (ROOT / name).is_file()}
    assert expected <= source
    assert expected <= inside
    models = {f"sedkit/models/{path.name}" for path in (ROOT / "models").iterdir()}
    assert any(name.endswith(".onnx") for name in models)
    assert models <= inside
    assert "sedkit/ontology.tsv" in inside
    assert any(re.fullmatch(r"sedkit/formats/.*\.(js|css|html)", name) for name in inside)
    outside = {name for name in inside if not name.startswith(("sedkit/", "training/", "sedkit_audio-"))}
    assert not outside, "tests, documentation and tools stay out of the wheel"


@slow
@pytest.mark.parametrize("version", PYTHONS)
def test_wheel_installs(built: list[dict[str, Path]], tmp_path: Path, version: str):
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True, timeout=300)
    pip = [tmp_path / "venv/bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    wheel = built[0][".whl"]
    resolved = subprocess.run([*pip, "--dry-run", wheel], capture_output=True, text=True, timeout=600)
    if "Failed to establish a new connection" in resolved.stderr or "Temporary failure" in resolved.stderr:
        pytest.skip("no package registry can be reached")
    assert resolved.returncode == 0, resolved.stderr
    subprocess.run([*pip, "click>=8.1"], check=True, timeout=600)
    subprocess.run([*pip, "--no-deps", wheel], check=True, timeout=600)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    output = subprocess.check_output([tmp_path / "venv/bin/sedkit", "--version"], text=True, cwd=tmp_path, timeout=60)
    assert output == f"sedkit {project['version']}\n"
    assert "Examples" in subprocess.check_output([tmp_path / "venv/bin/sedkit", "--help"], text=True, timeout=60)


def find_python(version: str) -> Path | None:
    """An interpreter of this version: of pyenv, of uv, or on the path."""
    folders = [Path.home() / ".pyenv/versions", Path.home() / ".local/share/uv/python"]
    places = [place / "bin/python" for folder in folders for place in folder.glob(f"*{version}.*")]
    named = shutil.which(f"python{version}")
    for place in [*sorted(places), *([Path(named)] if named else [])]:
        try:
            printed = subprocess.run([place, "--version"], capture_output=True, text=True, timeout=60).stdout
        except OSError:
            continue
        if printed.startswith(f"Python {version}."):
            return place
    return None


def test_lock_file_holds_a_hash_for_everything_that_is_pinned():
    """Except torch, whose builds differ, and what it brings."""
    lock = (ROOT / "requirements/lock.txt").read_text()
    blocks = re.split(r"\n(?=[A-Za-z])", "\n".join(line for line in lock.splitlines() if not line.startswith("#")))
    locked = {}
    for block in filter(None, map(str.strip, blocks)):
        name, version = re.match(r"([\w.-]+)==([\w.+]+)", block).groups()
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), name
        locked[normal(name)] = version
    pinned = dict(line.split("==") for line in (ROOT / "requirements/dev.txt").read_text().splitlines() if "==" in line)
    pinned = {normal(name): version for name, version in pinned.items()}
    assert {name: locked.get(name) for name in pinned if name != "torch"} == {
        name: version for name, version in pinned.items() if name != "torch"
    }


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
