"""Imports: they are cheap, and point one way between packages and between layers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sedkit

ROOT = Path(sedkit.__file__).parents[1]
HEAVY = {"torch", "librosa", "scipy", "onnx", "onnxruntime", "av", "soundfile", "soxr", "pandas", "sklearn"}
ALERTING = {"httpx", "paho"}
SERVING = {"starlette", "uvicorn", "websockets", "anyio", "prometheus_client"}
FORBIDDEN = {"torch", "librosa", "training", "onnx", "scipy"}


def imported(statement: str) -> set[str]:
    """Top-level packages that a new interpreter imports when it runs a statement."""
    command = [sys.executable, "-X", "importtime", "-c", statement]
    log = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in log.splitlines() if "|" in line}


@pytest.mark.parametrize("module", ["sedkit", "sedkit.cli", "sedkit.tagger"])
def test_import_loads_no_heavy_packages(module):
    found = imported(f"import {module}")
    assert "sedkit" in found
    assert not found & (HEAVY | ALERTING | SERVING)


def test_import_sedkit_does_not_load_numpy():
    assert "numpy" not in imported("import sedkit; sedkit.__version__")
    assert "numpy" in imported("import sedkit; sedkit.Tagger")


@pytest.mark.parametrize("path", sorted(ROOT.glob("sedkit/**/*.py")), ids=lambda path: path.name)
def test_sedkit_never_imports_training_or_torch(path):
    """Imports inside functions count, too."""
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
    assert sedkit.PostProcessing(threshold=0.3).threshold == 0.3
    with pytest.raises(AttributeError, match="nonesuch"):
        sedkit.nonesuch  # noqa: B018


LAYERS = (  # a module imports from its own layer and from those to the left
    {
        "",
        "__init__",
        "install",
        "errors",
        "geometry",
        "model_file",
        "contract",
        "ontology",
        "selection",
        "tables",
        "results",
        "metrics",
    },
    {"audio"},
    {"timeline"},
    {"inference"},
    {"tagger"},
    {"formats"},
    {"judging"},
    {"cluster"},
    {"alerts"},
    {"serve"},
    {"cli", "__main__"},
)

DRAWING = {"sedkit.formats.plot", "sedkit.formats.notebook"}  # imported by sedkit.results when a result draws itself


def layer(module: str) -> int:
    """Position in LAYERS of a module by its dotted name."""
    name = module.split(".")[1] if "." in module else ""
    (position,) = (position for position, names in enumerate(LAYERS) if name in names)
    return position


@pytest.mark.parametrize("path", sorted(ROOT.glob("sedkit/**/*.py")), ids=lambda path: path.name)
def test_imports_point_from_higher_to_lower_layers(path):
    """Imports inside functions and for type checking count, too."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    imported = [
        node.module
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sedkit"
    ]
    if module == "sedkit.results":
        imported = [name for name in imported if name not in DRAWING]
    if module != "sedkit.__init__":  # re-exports the public names
        assert [name for name in imported if layer(name) > layer(module)] == []
