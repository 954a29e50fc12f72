"""The commands in the guides and in the comments of presets have options, settings and values that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest

from training.__main__ import main
from training.runs.options import training
from training.runs.presets import presets

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / "docs" / name for name in ("training.md", "data.md", "import.md")),
    *sorted((ROOT / "training" / "runs" / "presets").glob("*.toml")),
]
BLOCK = re.compile(r"^```(?:sh)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
PASSED_ON = {"experiments", "crossval"}  # commands that take the options of a training, too


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command of sedkit-train on a page, from the name of the command on."""
    text = page.read_text("utf-8")
    if page.suffix == ".toml":
        blocks = ["\n".join(re.findall(r"^#   (.*)$", text, re.MULTILINE))]
    else:
        blocks = BLOCK.findall(text)
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"\s*(?:sedkit-train|torchrun .*-m training\.secost)\s(.*)", line)
            if found:
                name = [] if line.lstrip().startswith("sedkit-train") else ["secost"]
                yield name + shlex.split(found[1], comments=True)


def check(words: list[str]) -> None:
    """Fail unless the command exists and has the options of ``words``, and their settings are valid."""
    command: click.Command = main
    name, context = "sedkit-train", click.Context(main, **main.context_settings)
    while isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, name
        command, context = found, click.Context(found, context, name, **found.context_settings)
    known = {option for parameter in command.params for option in parameter.opts}
    if name in PASSED_ON:
        known |= {option for parameter in training.params for option in parameter.opts}
    else:
        command.make_parser(context).parse_args(list(words))
    assert {word for word in words if re.match("--[a-z]", word)} <= known, words
    for word, value in pairwise(words):
        if word == "--set":
            training.make_context("secost", ["--set", value])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_are_valid(page: Path) -> None:
    found = list(commands(page))
    assert found
    for words in found:
        check(words)


def test_settings_and_flags_named_in_the_guide_exist() -> None:
    text = (ROOT / "docs" / "training.md").read_text("utf-8")
    for setting in re.findall(r"--set\s([a-z-]+=[^`\s]+)", BLOCK.sub("", text)):
        training.make_context("secost", ["--set", setting])


def test_the_guide_lists_every_preset() -> None:
    table = (
        (ROOT / "docs" / "training.md").read_text("utf-8").partition("| preset | content |\n")[2].partition("\n\n")[0]
    )
    named = {name for row in table.splitlines() for name in re.findall("`([a-z0-9-]+)`", row.split("|")[1])}
    assert named - {"---"} == set(presets())


@pytest.mark.parametrize("line", ["secost --epoch 3", "secost --set emma=0.9", "data folder x", "evaluate run --gpu r"])
def test_a_wrong_command_is_found(line: str) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        check(line.split())
