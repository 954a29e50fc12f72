"""``config.json`` of a run directory: everything that decides the run's result."""

from __future__ import annotations

import contextlib
import json
import subprocess
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from sedkit.errors import SedkitError
from training.data.augment.augmentation import Augmentation
from training.loop.settings import Settings
from training.supervision.equations import Supervision, key_of

BEFORE = {"students": "random"}  # what runs did before there was a setting with another default


class RunError(SedkitError):
    """A run directory cannot be started or resumed."""


def read_config(directory: Path) -> dict[str, Any]:
    """``config.json`` of a run; settings that older runs did not have get their defaults, or what they did before.

    Raises
    ------
    RunError
        If the file is missing or damaged.
    """
    try:
        config: dict[str, Any] = json.loads((directory / "config.json").read_text("utf-8"))
    except OSError as error:
        raise RunError(f"{directory}: not a run directory: config.json: {error.strerror}") from None
    except ValueError as error:
        raise RunError(f"{directory}: config.json is damaged ({error}); begin a new run") from None
    with contextlib.suppress(KeyError, TypeError):  # callers that need settings report what is missing
        settings = asdict(Settings()) | BEFORE | config["settings"]
        settings["augmentation"] = asdict(Augmentation()) | settings["augmentation"]
        config["settings"] = settings
    return config


def is_backbone(directory: Path) -> bool:
    """Whether the run's networks are pretrained backbones instead of WELS-Nets.

    Raises
    ------
    RunError
        If the directory holds no run.
    """
    try:
        return bool(read_config(directory)["settings"]["network"] != "wels")
    except (KeyError, TypeError):
        raise RunError(f"{directory}: config.json is not that of a run; begin a new run") from None


def read_supervision(config: dict[str, Any]) -> list[Supervision]:
    """The supervision of every generation, from ``config.json``."""
    return [{key_of(name): weight for name, weight in stage.items()} for stage in config["supervision"]]


@cache
def git_revision() -> str:
    """Commit of the source tree, with ``-dirty`` if it has changes; ``unknown`` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
