"""``sedkit-train evaluate run``: summary of a finished run in Markdown, ready for a results file."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from training.runs.config import read_config
from training.runs.reports import read_epochs
from training.runtime.files import readable


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
def command(run: Path) -> None:
    """Summarise a finished RUN in Markdown: command, data, hardware, speed and every generation's metrics.

    \b
    Examples:
      sedkit-train evaluate run runs/first
    """
    config = read_config(run)
    with readable(run / "report.md", f"finish the run first: sedkit-train secost --resume {run}"):
        table = (run / "report.md").read_text("utf-8")
    with readable(run / "config.json", "restore it, or begin a new run"):
        about, crop = describe(config), float(config["settings"]["crop"])
        generations = [run / f"generation-{number}" for number in range(len(config["supervision"]))]
    speeds, seconds = list[float](), list[float]()
    for generation in generations:
        for epoch in read_epochs(generation, "clips_per_second", "seconds"):
            speeds.append(epoch["clips_per_second"])
            seconds.append(epoch["seconds"])
    click.echo(
        f"{about}\n"
        f"- speed: {statistics.median(speeds):.1f} training clips/s of {crop:g} s (median epoch), "
        f"{sum(seconds) / 60:.0f} min in {len(seconds)} epochs\n\n{table}"
    )


def describe(config: Mapping[str, Any]) -> str:
    """Name, command, commit, device, data and seed of a run, from its ``config.json``, as lines of Markdown."""
    clips = config["clips"]
    return (
        f"## {config['date']}: {config['model']['name']}\n\n"
        f"- command: `{config['command']}`\n"
        f"- commit: {config['git_revision']}\n"
        f"- device: {config['device']}; torch {config['versions']['torch']}\n"
        f"- data: {clips['train']} training, {clips['validation']} validation, {clips['test']} test clips, "
        f"{len(config['labels'])} classes, manifest SHA-256 {config['manifest_sha256'][:16]}\n"
        f"- seed: {config['seed']}"
    )
