"""``sedkit-train evaluate report``: the paper's tables and figures for finished runs, beside the paper's numbers."""

from __future__ import annotations

import math
from pathlib import Path

import click

from training.evaluate.tables import paper_results
from training.evaluate.tables.figures import draw
from training.evaluate.tables.markdown import table
from training.evaluate.tables.run_comparison import Line, ReportError, Study, alphas, relative, studies, supervision
from training.networks.wels import describe_network
from training.runtime.files import replacing


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write report.md and figures to this folder.",
)
def command(runs: tuple[Path, ...], output: Path | None) -> None:
    """Compare finished RUNs with the paper: its tables and figures, beside the numbers it prints.

    Runs with the same data and settings are compared with each other. Runs that differ only in their seed are
    averaged: the tables show mean and standard deviation. --output also draws the figures as PNG and SVG, which needs
    matplotlib.

    \b
    Examples:
      sedkit-train evaluate report runs/audioset/*
      sedkit-train evaluate report runs/audioset/* --output report
    """
    all_studies, problems = studies([run for run in runs if run.is_dir() or not run.exists()])
    if not all_studies:
        raise ReportError("; ".join(problems) or "no run directory among the arguments: name finished runs")
    parts = []
    for number, study in enumerate(all_studies, start=1):
        figures = []
        if output:
            figures = draw(study, output, f"-{number}" if len(all_studies) > 1 else "")
        parts.append(document(study, figures))
    text = "\n".join(parts)
    click.echo(text, nl=False)
    if output:
        with replacing(output / "report.md") as temporary:
            temporary.write_text(text, "utf-8")
    for problem in problems:
        click.echo(f"left out: {problem}", err=True)


def document(study: Study, figures: list[str]) -> str:
    """Report of a study in Markdown. ``figures``: file names of the images to embed."""
    sections = [about(study), table2(study), *(stages(study, line) for line in study.cascades if len(line) > 2)]
    sections += [sweep(study), ranges(study), classes(study)]
    sections += [f"![{Path(name).stem}]({name})\n" for name in figures]
    return "\n".join(section for section in sections if section)


def about(study: Study) -> str:
    """Data, settings, seeds and hardware of the runs."""
    first, configs = study.configs[0], study.configs
    settings, clips = first["settings"], first["clips"]

    def all_of(key: str) -> str:
        return "; ".join(dict.fromkeys(str(config[key]) for config in configs))

    lines = [
        f"## {len(configs)} run{'s' * (len(configs) > 1)}, {all_of('date')}\n",
        f"- data: {clips['train']} training, {clips['validation']} validation, {clips['test']} test clips, "
        f"{len(first['labels'])} classes, manifest SHA-256 {first['manifest_sha256'][:16]}",
        f"- networks: {describe_network(settings)}, {settings['epochs']} epochs, crops of {settings['crop']:g} s, "
        f"batch size {settings['batch_size']}, learning rate {settings['learning_rate']:g}",
        f"- seeds: {', '.join(map(str, sorted({config['seed'] for config in configs})))}",
        f"- commit: {all_of('git_revision')}",
        f"- device: {all_of('device')}",
        f"- metrics: {study.split} split, mean and standard deviation over seeds; changes are computed per seed. "
        f"Columns marked 'paper': AudioSet results printed by {paper_results.TITLE}",
        "- per-class tables: the student with the highest validation mAP\n",
    ]
    return "\n".join(lines)


def table2(study: Study) -> str:
    """Table 2 of the paper: Teacher-0 and the last student of every cascade."""
    last = sorted((line for line in study.cascades if len(line) > 1), key=lambda line: (len(line), alphas(line) or ()))
    first = [line for line in study.networks if len(line) == 1]
    rows = []
    for line in [*first, *last]:
        change = study.gain(line).text("+.1%") if len(line) > 1 else ""
        known = alphas(line)
        from_paper = [printed(printed_as(known), metric) for metric in (paper_results.MAP, paper_results.MAUC)]
        numbers = (study.metric(line, name).text() for name in ("mAP", "mAUC"))
        seeds = len(study.networks[line])
        rows.append([study.method(line), str(len(line) - 1), str(seeds), *numbers, change, *from_paper])
    head = ["method", "stages", "seeds", "mAP", "mAUC", "mAP over Teacher-0", "paper mAP", "paper mAUC"]
    return "### Table 2: the last student of every cascade\n\n" + table(head, rows)


def printed_as(known: paper_results.Alphas | None) -> paper_results.Alphas | None:
    """Alphas of the row in the paper's Table 2 for a cascade.

    The paper reports its variable schedule at its best stage, the fourth. Longer cascades with the same first four
    alphas are compared with that row.
    """
    variable = (0.3, 0.3, 0.2, 0.1)
    return variable if known is not None and known[: len(variable)] == variable else known


def stages(study: Study, line: Line) -> str:
    """Fig. 2 (right) and Fig. 3 as a table: one cascade, stage by stage."""
    rows = []
    for stage in range(len(line)):
        part = line[: stage + 1]
        known = alphas(part)
        in_paper = relative(paper_results.MAP[()], paper_results.MAP[known]) if known in paper_results.MAP else None
        rows.append(
            [
                "Teacher-0" if not stage else f"Student {stage}",
                supervision(part),
                *(study.metric(part, name).text() for name in ("mAP", "mAUC")),
                study.gain(part).text("+.1%") if stage else "",
                printed(known),
                f"{in_paper:+.1%}" if stage and in_paper is not None else "",
            ]
        )
    head = ["network", "targets", "mAP", "mAUC", "over Teacher-0", "paper mAP", "paper over Teacher-0"]
    return f"### Stages: {study.method(line)}\n\n" + table(head, rows)


def sweep(study: Study) -> str:
    """Fig. 2 (left) as a table: the first student against the teacher's weight."""
    points = study.first_students()
    if len(points) < 2:
        return ""
    rows = []
    for share, line in points:
        gain = study.gain(line).text("+.1%")
        rows.append([f"{share:g}", f"{1 - share:g}", study.metric(line, "mAP").text(), gain, printed(alphas(line))])
    head = ["teacher's weight 1 - alpha", "alpha", "mAP", "over Teacher-0", "paper mAP"]
    return "### Fig. 2, left: the first student against the teacher's weight\n\n" + table(head, rows)


def ranges(study: Study) -> str:
    """Fig. 4 as a table: change of mean AP of classes, grouped by their AP under Teacher-0."""
    if len(study.best()) < 2:
        return ""
    rows = []
    for low, high, count, change in study.by_range():
        from_paper = paper_results.RANGES.get((low, high))
        text = "" if from_paper is None else f"{from_paper:+.1%}"
        rows.append([f"{low:g} to {high:g}", str(count), percent(change), text])
    head = ["AP of Teacher-0", "classes", "change of mean AP", "paper"]
    return f"### Fig. 4: classes by difficulty; {study.chosen()}\n\n" + table(head, rows)


def classes(study: Study) -> str:
    """The paper's class analysis: how many classes improve, and which change most."""
    line = study.best()
    if len(line) < 2:
        return ""
    before, after = study.classes(line)
    changes = {name: change for name in before if not math.isnan(change := relative(before[name], after[name]))}
    if not changes:
        return ""
    order = sorted(changes, key=lambda name: changes[name])

    def share(count: int, of: int) -> str:
        return f"{count} of {of} ({count / of:.0%})"

    def row(change: str, count: int, count_in_paper: int) -> list[str]:
        return [change, share(count, len(changes)), share(count_in_paper, paper_results.CLASSES)]

    def with_changes(names: list[str]) -> str:
        return ", ".join(f"{name} {changes[name]:+.0%}" for name in names)

    values = changes.values()
    rows = [
        row("better", sum(value > 0 for value in values), paper_results.IMPROVED),
        row("better by more than 20 %", sum(value > 0.2 for value in values), paper_results.IMPROVED_BY_20),
        row("better by more than 100 %", sum(value > 1 for value in values), paper_results.IMPROVED_BY_100),
        row("worse by more than 10 %", sum(value < -0.1 for value in values), paper_results.WORSE_BY_10),
        ["best", with_changes(order[::-1][:3]), f"{', '.join(paper_results.BEST)}, each over +100%"],
        ["worst", with_changes(order[:3]), f"{paper_results.WORST[0]} {paper_results.WORST[1]:+.0%}"],
    ]
    return f"### Classes; {study.chosen()}\n\n" + table(["change of AP", "these runs", "paper"], rows)


def printed(known: paper_results.Alphas | None, metric: dict[paper_results.Alphas, float] = paper_results.MAP) -> str:
    """The paper's number for a cascade as text; empty where the paper prints none."""
    return f"{metric[known]:.3f}" if known in metric else ""


def percent(value: float) -> str:
    """``+6.3%``; ``-`` for NaN."""
    return "-" if math.isnan(value) else f"{value:+.1%}"
