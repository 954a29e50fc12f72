"""What importing costs, and which way the arrow between the packages points."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sedkit

ROOT = Path(sedkit.__file__).parents[1]
HEAVY = {"torch", "librosa", "scipy", "onnx", "onnxruntime", "av", "soundfile", "soxr", "pandas", "sklearn"}
FORBIDDEN = {"torch", "librosa", "training", "onnx", "scipy"}


def imported(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter imports for a statement."""
    command = [sys.executable, "-X", "importtime", "-c", statement]
    log = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in log.splitlines() if "|" in line}


@pytest.mark.parametrize("module", ["sedkit", "sedkit.cli", "sedkit.tagger"])
def test_importing_stays_light(module):
    found = imported(f"import {module}")
    assert "sedkit" in found
    assert not found & HEAVY


def test_the_package_itself_imports_nothing_until_asked():
    assert "numpy" not in imported("import sedkit; sedkit.__version__")
    assert "numpy" in imported("import sedkit; sedkit.Tagger")


@pytest.mark.parametrize("path", sorted(ROOT.glob("sedkit/**/*.py")), ids=lambda path: path.name)
def test_sedkit_never_imports_training_or_torch(path):
    """Not even inside a function."""
    packages = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            packages.add(node.module.split(".")[0])
    assert not packages & FORBIDDEN


def test_public_names():
    assert set(sedkit.__all__) <= set(dir(sedkit))
    for name in sedkit.__all__:
        assert getattr(sedkit, name) is not None
    assert issubclass(sedkit.AudioError, sedkit.SedkitError)
    with pytest.raises(AttributeError, match="nonesuch"):
        sedkit.nonesuch  # noqa: B018
