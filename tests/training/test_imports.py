"""The layout of ``training``: imports point one way between its packages, and there are no import circles."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = (
    "runtime",
    "data",
    "networks",
    "supervision",
    "loop",
    "runs",
    "evaluate",
    "release",
    "own",
    "secost",
    "__main__",
)
DATA_LAYERS = (
    "audio",
    "manifest",
    "store",
    "options",
    "lineage",
    "leave_out",
    "augment",
    "sampling",
    "clips",
    "demo",
    "readers",
    "commands",
)
LATE = ("sedkit.results", {"sedkit.formats.plot", "sedkit.formats.notebook"})  # a result imports them to draw itself
NAMES = 12  # at the top level of the package, at most


def modules(package: str) -> dict[str, Path]:
    """Modules of a package by their dotted names."""
    found = {}
    for path in (ROOT / package).rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """The ``known`` modules that a file imports, inside functions and under TYPE_CHECKING included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in known else str(node.module))
    return found & known


@pytest.fixture(scope="module", params=["sedkit", "training"])
def graph(request: pytest.FixtureRequest) -> dict[str, set[str]]:
    """Module → modules of the same package that it imports."""
    paths = modules(request.param)
    return {
        name: imports(path, set(paths)) - {name} - (LATE[1] if name == LATE[0] else set())
        for name, path in paths.items()
    }


def test_no_import_circles(graph: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def _upward(prefix: str, layers: tuple[str, ...]) -> list[str]:
    paths = modules("training")

    def layer(name: str) -> int:
        part = name.removeprefix(prefix).split(".")[0]
        assert part in layers, f"{name}: new; say in this test where it belongs"
        return layers.index(part)

    inside = {name: path for name, path in paths.items() if name.startswith(prefix)}
    return [
        f"{name} imports {imported}"
        for name, path in inside.items()
        for imported in imports(path, set(inside))
        if layer(imported) > layer(name)
    ]


def test_packages_of_training_import_lower_ones_only() -> None:
    assert _upward("training.", LAYERS) == []


def test_packages_of_training_data_import_lower_ones_only() -> None:
    assert _upward("training.data.", DATA_LAYERS) == []


def test_the_top_level_of_training_is_short() -> None:
    names = [path.name for path in (ROOT / "training").iterdir() if path.name != "__pycache__"]
    assert len(names) <= NAMES, sorted(names)
