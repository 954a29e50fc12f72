"""``sedkit-train evaluate run``: summary of a finished run in Markdown, ready for a results file."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
def command(run: Path) -> None:
    """Summarise a finished RUN in Markdown: command, data, hardware, speed and every generation's metrics.

    \b
    Examples:
      sedkit-train evaluate run runs/first
    """
    try:
        config = json.loads((run / "config.json").read_text("utf-8"))
        table = (run / "report.md").read_text("utf-8")
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}: finish the run first") from None
    logs = sorted(run.glob("generation-*/metrics.jsonl"))
    epochs = [json.loads(line) for log in logs for line in log.read_text("utf-8").splitlines()]
    clips = config["clips"]
    click.echo(
        f"## {config['date']}: {config['model']['name']}\n\n"
        f"- command: `{config['command']}`\n"
        f"- commit: {config['git_revision']}\n"
        f"- device: {config['device']}; torch {config['versions']['torch']}\n"
        f"- data: {clips['train']} training, {clips['validation']} validation, {clips['test']} test clips, "
        f"{len(config['labels'])} classes, manifest SHA-256 {config['manifest_sha256'][:16]}\n"
        f"- seed: {config['seed']}\n"
        f"- speed: {statistics.median(row['clips_per_second'] for row in epochs):.1f} training clips/s "
        f"of {config['settings']['crop']:g} s (median epoch), {sum(row['seconds'] for row in epochs) / 60:.0f} min "
        f"in {len(epochs)} epochs\n\n{table}"
    )
