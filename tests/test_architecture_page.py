"""docs/architecture.md names the modules, functions and decisions that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path.relative_to(ROOT).as_posix() for top in ("sedkit", "training") for path in (ROOT / top).rglob("*.py")
)
PACKAGES = [path.removesuffix("/__init__.py") for path in MODULES if path.endswith("/__init__.py")]
PAGE = ROOT / "docs" / "architecture.md"
TEXT = PAGE.read_text("utf-8")
DECISIONS = ROOT / "docs" / "decisions"
HEADING = re.compile(r"^#{1,3} (.*)$")  # those of packages are ### `sedkit/audio/`
ROW = re.compile(r"^\| `([\w/]+\.py)` \| \S")  # a module, relative to the package of the section
REFERENCE = re.compile(r"`((?:sedkit|training|tests|benchmarks|docs)/[\w/]+\.py)(?::([\w.]+))?`")  # file, or file:name


def modules_on_page() -> Iterator[str]:
    """Paths of the modules in the tables of the page."""
    package = ""
    for line in TEXT.splitlines():
        if heading := HEADING.match(line):
            package = heading[1].strip("`") if heading[1].startswith("`") else ""
        elif row := ROW.match(line):
            yield package + row[1]


@cache
def names_in(file: str) -> frozenset[str]:
    """Classes, functions and variables of a module, and the methods of its classes as ``Class.method``."""
    return frozenset(_names(ast.parse((ROOT / file).read_text("utf-8")).body))


def _names(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from _names(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (
                prefix + name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
            )


def test_every_module_has_one_row():
    listed = list(modules_on_page())
    assert len(listed) == len(set(listed))
    assert set(listed) - set(MODULES) == set(), "on the page, but not in the code"
    missing = {path for path in set(MODULES) - set(listed) if not path.endswith("/__init__.py")}
    assert missing == set(), "in the code, but not on the page"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_linked(package: str):
    assert f"](../{package}/)" in TEXT


@pytest.mark.parametrize(("file", "name"), sorted(set(REFERENCE.findall(TEXT))))
def test_reference_exists(file: str, name: str):
    assert (ROOT / file).is_file()
    assert not name or name in names_in(file)


def test_walks_have_references():
    assert len(REFERENCE.findall(TEXT)) > 50


def test_every_decision_is_in_the_index_and_on_the_page():
    index = (DECISIONS / "README.md").read_text("utf-8")
    for number, path in enumerate(sorted(DECISIONS.glob("[0-9]*.md")), start=1):
        title, *lines = path.read_text("utf-8").splitlines()
        assert path.name.startswith(f"{number:03}-")
        assert title.startswith(f"# {number}. ")
        assert [line for line in lines if line.startswith("#")] == ["## Context", "## Decision", "## Consequence"]
        assert f"| [{title.removeprefix('# ')}]({path.name}) | " in index
        assert f"](decisions/{path.name})" in TEXT
