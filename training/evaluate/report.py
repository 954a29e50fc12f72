"""``sedkit-train evaluate report``: the paper's tables and figures from finished runs, beside its own numbers."""

from __future__ import annotations

import math
from pathlib import Path

import click

from training.evaluate.tables import paper
from training.evaluate.tables.cascades import Line, ReportError, Study, alphas, relative, studies, supervision
from training.evaluate.tables.figures import draw
from training.evaluate.tables.markdown import table
from training.networks.wels import in_words
from training.runtime.files import replacing


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--output", "-o", type=click.Path(file_okay=False, path_type=Path), help="Write report.md and figures here."
)
def command(runs: tuple[Path, ...], output: Path | None) -> None:
    """Tables and figures of finished RUNs, beside the paper's own numbers.

    Runs on the same data with the same settings are compared; of those that differ in the seed alone, mean and
    standard deviation are given. With --output, figures are drawn as PNG and SVG (needs matplotlib).

    \b
    Examples:
      sedkit-train evaluate report runs/audioset/*
      sedkit-train evaluate report runs/audioset/* --output report
    """
    found, faults = studies([run for run in runs if run.is_dir() or not run.exists()])
    if not found:
        raise ReportError("; ".join(faults) or "none of these is the directory of a run")
    parts = []
    for place, study in enumerate(found, start=1):
        figures = []
        if output:
            figures = draw(study, output, f"-{place}" if len(found) > 1 else "")
        parts.append(document(study, figures))
    text = "\n".join(parts)
    click.echo(text, nl=False)
    if output:
        with replacing(output / "report.md") as temporary:
            temporary.write_text(text, "utf-8")
    for fault in faults:
        click.echo(f"left out: {fault}", err=True)


def document(study: Study, figures: list[str]) -> str:
    """The report of a study in Markdown. ``figures``: file names of pictures."""
    sections = [about(study), table2(study), *(stages(study, line) for line in study.cascades if len(line) > 2)]
    sections += [sweep(study), ranges(study), classes(study)]
    sections += [f"![{Path(name).stem}]({name})\n" for name in figures]
    return "\n".join(section for section in sections if section)


def about(study: Study) -> str:
    """On what the runs were made."""
    first, configs = study.configs[0], study.configs
    settings, clips = first["settings"], first["clips"]

    def all_of(key: str) -> str:
        return "; ".join(dict.fromkeys(str(config[key]) for config in configs))

    lines = [
        f"## {len(configs)} run{'s' * (len(configs) > 1)}, {all_of('date')}\n",
        f"- data: {clips['train']} training, {clips['validation']} validation, {clips['test']} test clips, "
        f"{len(first['labels'])} classes, manifest SHA-256 {first['manifest_sha256'][:16]}",
        f"- networks: {in_words(settings)}, {settings['epochs']} epochs of crops of {settings['crop']:g} s, "
        f"batches of {settings['batch_size']}, learning rate {settings['learning_rate']:g}",
        f"- seeds: {', '.join(map(str, sorted({config['seed'] for config in configs})))}",
        f"- commit: {all_of('git_revision')}",
        f"- device: {all_of('device')}",
        f"- metrics: of the {study.split} split; mean and standard deviation over seeds; changes are seed by seed. "
        f"Beside them AudioSet's, as printed by {paper.TITLE}",
        "- classes: of the student that is best on the validation split\n",
    ]
    return "\n".join(lines)


def table2(study: Study) -> str:
    """Table 2: Teacher-0 and the last student of every cascade."""
    last = sorted((line for line in study.cascades if len(line) > 1), key=lambda line: (len(line), alphas(line) or ()))
    first = [line for line in study.networks if len(line) == 1]
    rows = []
    for line in [*first, *last]:
        change = study.gain(line).text("+.1%") if len(line) > 1 else ""
        known = alphas(line)
        said = [printed(printed_as(known), held) for held in (paper.MAP, paper.MAUC)]
        numbers = (study.metric(line, name).text() for name in ("mAP", "mAUC"))
        seeds = len(study.networks[line])
        rows.append([study.method(line), str(len(line) - 1), str(seeds), *numbers, change, *said])
    head = ["method", "stages", "seeds", "mAP", "mAUC", "mAP over Teacher-0", "paper mAP", "paper mAUC"]
    return "### Table 2: the last student of every cascade\n\n" + table(head, rows)


def printed_as(known: paper.Alphas | None) -> paper.Alphas | None:
    """The paper's row for a cascade: its best stage, where it goes on after that."""
    variable = (0.3, 0.3, 0.2, 0.1)
    return variable if known is not None and known[: len(variable)] == variable else known


def stages(study: Study, line: Line) -> str:
    """Fig. 2, right, and Fig. 3: a cascade stage by stage."""
    rows = []
    for stage in range(len(line)):
        part = line[: stage + 1]
        known = alphas(part)
        rows.append(
            [
                "Teacher-0" if not stage else f"Student {stage}",
                supervision(part),
                *(study.metric(part, name).text() for name in ("mAP", "mAUC")),
                study.gain(part).text("+.1%") if stage else "",
                printed(known),
                f"{relative(paper.MAP[()], paper.MAP[known]):+.1%}" if stage and known in paper.MAP else "",
            ]
        )
    head = ["network", "learns from", "mAP", "mAUC", "over Teacher-0", "paper mAP", "paper over Teacher-0"]
    return f"### Stages: {study.method(line)}\n\n" + table(head, rows)


def sweep(study: Study) -> str:
    """Fig. 2, left: the first student by the teacher's share."""
    found = study.points()
    if len(found) < 2:
        return ""
    rows = []
    for share, line in found:
        gain = study.gain(line).text("+.1%")
        rows.append([f"{share:g}", f"{1 - share:g}", study.metric(line, "mAP").text(), gain, printed(alphas(line))])
    head = ["teacher's share 1 - alpha", "alpha", "mAP", "over Teacher-0", "paper mAP"]
    return "### Fig. 2, left: the first student by the teacher's share\n\n" + table(head, rows)


def ranges(study: Study) -> str:
    """Fig. 4 as a table."""
    if len(study.best()) < 2:
        return ""
    rows = []
    for low, high, count, change in study.by_range():
        said = paper.RANGES.get((low, high))
        rows.append([f"{low:g} to {high:g}", str(count), percent(change), "" if said is None else f"{said:+.1%}"])
    head = ["AP by Teacher-0", "classes", "change of their mean AP", "paper"]
    return f"### Fig. 4: classes by how hard they are; {study.chosen()}\n\n" + table(head, rows)


def classes(study: Study) -> str:
    """The paper's class analysis: how many classes are better, and which are most and least."""
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

    def row(what: str, count: int, said: int) -> list[str]:
        return [what, share(count, len(changes)), share(said, paper.CLASSES)]

    def some(names: list[str]) -> str:
        return ", ".join(f"{name} {changes[name]:+.0%}" for name in names)

    values = changes.values()
    rows = [
        row("better", sum(value > 0 for value in values), paper.IMPROVED),
        row("better by more than 20 %", sum(value > 0.2 for value in values), paper.IMPROVED_BY_20),
        row("better by more than 100 %", sum(value > 1 for value in values), paper.IMPROVED_BY_100),
        row("worse by more than 10 %", sum(value < -0.1 for value in values), paper.WORSE_BY_10),
        ["best", some(order[::-1][:3]), f"{', '.join(paper.BEST)}, each over +100%"],
        ["worst", some(order[:3]), f"{paper.WORST[0]} {paper.WORST[1]:+.0%}"],
    ]
    return f"### Classes; {study.chosen()}\n\n" + table(["change of AP", "here", "paper"], rows)


def printed(known: paper.Alphas | None, held: dict[paper.Alphas, float] = paper.MAP) -> str:
    """The paper's mAP, or another number that it prints, if it does."""
    return f"{held[known]:.3f}" if known in held else ""


def percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.1%}"
