"""The distribution's name and extras, the install commands in texts, and the astronomy package of the same name."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

import sedkit
from sedkit import install
from sedkit.cli import main

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = set(PROJECT["optional-dependencies"])
THIRD_PARTY = {"onnxruntime-gpu", "tensorrt", "matplotlib", "pandas", "pyarrow", "uv"}
TEXTS = [
    ROOT / "README.md",
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("models/*.md"),
    *ROOT.glob("training/**/*.md"),
    *(path for package in ("sedkit", "training", "benchmarks", "examples") for path in ROOT.glob(f"{package}/**/*.py")),
    *(path for path in ROOT.glob("tests/**/*.py") if path != Path(__file__)),
]


def installed_requirements(text: str) -> list[str]:
    """The first requirement of each ``pip install`` command in a text."""
    command = r"""pip install (?:-c \S+ |--?[\w-]+ )*['"]?([^\s'"`,;)[]+(?:\[[\w,-]+\])?)"""
    found = [requirement.rstrip(".") or "." for requirement in re.findall(command, text.replace("\\", ""))]
    return [requirement for requirement in found if not requirement.startswith(("-", "requirements/"))]


def problem(requirement: str) -> str | None:
    """What is wrong with a requirement, or None."""
    match = re.fullmatch(r"([\w.-]+)(?:\[([\w,-]+)\])?", requirement)
    if match is None:
        return "is not a requirement"
    name, extras = match[1], set(match[2].split(",")) if match[2] else set()
    if name in THIRD_PARTY:
        return None
    if name not in (".", install.DISTRIBUTION):
        return f"installs {name}"
    return f"names unknown extras {extras - EXTRAS}" if extras - EXTRAS else None


def test_install_command():
    assert install.install_command() == "pip install sedkit-audio"
    assert install.install_command("cluster") == "pip install 'sedkit-audio[cluster]'"
    assert install.install_command("listen", "train") == "pip install 'sedkit-audio[listen,train]'"


def test_name_and_extras_are_those_of_the_project():
    assert PROJECT["name"] == install.DISTRIBUTION
    own = metadata.distribution(install.DISTRIBUTION)
    assert set(own.metadata.get_all("Provides-Extra")) == EXTRAS, "run: pip install --no-deps -e ."
    scripts = {script.name: script.value for script in own.entry_points if script.group == "console_scripts"}
    assert scripts == PROJECT["scripts"] == {"sedkit": "sedkit.cli:run", "sedkit-train": "training.__main__:run"}
    assert sedkit.__version__ == install.version() == PROJECT["version"]
    for requirements in PROJECT["optional-dependencies"].values():
        assert not [each for each in requirements if re.match(r"sedkit\b(?!-audio)", each)]


def test_version_of_a_source_tree_that_was_never_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(install, "DISTRIBUTION", "sedkit-nonesuch")
    assert install.version() == "0+uninstalled"


def test_install_commands_in_texts_name_this_project_and_existing_extras():
    problems = []
    for path in TEXTS:
        text = path.read_text("utf-8")
        for requirement in installed_requirements(text):
            if not set("{*") & set(requirement) and problem(requirement):
                problems.append(f"{path.relative_to(ROOT)}: pip install {requirement}: {problem(requirement)}")
        for arguments in re.findall(r"\binstall_(?:command|remedy)\(([^)]*)\)", text):
            for extra in re.findall(r"[\"']([\w-]+)[\"']", arguments):
                if extra not in EXTRAS:
                    problems.append(f"{path.relative_to(ROOT)}: there is no extra {extra}")
        problems += re.findall(r"\bsedkit\\?\[(?:" + "|".join(EXTRAS) + ")", text)
    assert problems == []


def test_requirements_of_install_commands_are_found():
    text = "pip install -c lock.txt -e '.[dev]' && pip install \"sedkit[train]\", or `pip install numpy`; pip install ."
    assert installed_requirements(text) == [".[dev]", "sedkit[train]", "numpy", "."]
    assert [problem(each) for each in installed_requirements(text)] == [
        None,
        *(f"installs {x}" for x in ("sedkit", "numpy")),
        None,
    ]
    assert problem("sedkit-audio[nonesuch]") == "names unknown extras {'nonesuch'}"


@pytest.fixture
def namesake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes the astronomy package ``sedkit`` appear installed; returns the expected notice."""
    assert install.conflict() is None
    folder = tmp_path / "sedkit-2.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: sedkit\nVersion: 2.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return (
        "the package sedkit 2.1 is installed too, and it overwrites files of sedkit-audio: "
        "pip uninstall sedkit && pip install --force-reinstall --no-deps sedkit-audio"
    )


def test_conflict_is_part_of_remedies(namesake: str):
    assert install.conflict() == namesake
    assert install.install_remedy("train") == f"pip install 'sedkit-audio[train]'; {namesake}"
    assert install.version() == PROJECT["version"]


def test_conflict_is_printed_by_version_and_info(namesake: str, model_path: Path):
    for arguments in (["--version"], ["info", str(model_path)]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0
        assert result.stdout
        assert result.stderr == f"sedkit: {namesake}\n"


def test_failed_import_suggests_a_repair(namesake: str, monkeypatch: pytest.MonkeyPatch):
    def fail(name: str) -> None:
        raise ImportError(f"cannot import {name}")

    monkeypatch.setattr("sedkit.cli.import_module", fail)
    monkeypatch.delenv("SEDKIT_DEBUG", raising=False)
    result = CliRunner().invoke(main, ["models"])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("sedkit: error: ImportError: cannot import sedkit.cli.models ")
    assert line.endswith(f"to repair the installation: pip install sedkit-audio; {namesake}")
