"""The paper's figures for finished runs, with the paper's numbers in grey. Only this module imports matplotlib."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from sedkit.errors import SedkitError
from training.evaluate.tables import paper_results
from training.evaluate.tables.run_comparison import Study, relative
from training.runtime.files import replacing

GREY = "0.55"
PAPER = "paper (AudioSet)"
SIZE = (6.4, 4.0)  # inches


class FigureError(SedkitError):
    """A figure cannot be drawn."""


def draw(study: Study, directory: Path, suffix: str = "") -> list[str]:
    """Draw the figures of a study as PNG and SVG. Returns the file names of the PNGs.

    Figures with too few points are skipped.

    Raises
    ------
    FigureError
        If matplotlib is not installed.
    OutputError
        If the directory is not writable.
    """
    try:
        import matplotlib
    except ImportError:
        raise FigureError("figures need matplotlib: pip install matplotlib, or leave out --output") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "sedkit", "font.size": 9, "axes.spines.top": False})
    matplotlib.rcParams["axes.spines.right"] = False
    names = []
    for name, plot in (("stages", plot_stages), ("alpha", plot_alpha), ("classes", plot_classes)):
        figure, axes = pyplot.subplots(figsize=SIZE, layout="constrained")
        if plot(study, axes):
            for kind, metadata in (("png", None), ("svg", {"Date": None})):
                with replacing(directory / f"{name}{suffix}.{kind}") as temporary:
                    figure.savefig(temporary, format=kind, dpi=150, metadata=metadata)
            names.append(f"{name}{suffix}.png")
        pyplot.close(figure)
    return names


def plot_stages(study: Study, axes: Any) -> bool:
    """Fig. 2 (right) and Fig. 3: change of mAP by stage, one curve per cascade. False: nothing to draw."""
    cascades = [line for line in study.cascades if len(line) > 2]
    longest = max(map(len, cascades), default=0)
    for place, line in enumerate(cascades):
        gains = [study.gain(line[: stage + 1]) for stage in range(len(line))]
        spread = [0.0 if math.isnan(gain.deviation) else 100 * gain.deviation for gain in gains]
        moved = [stage + 0.04 * (place - (len(cascades) - 1) / 2) for stage in range(len(line))]
        label = study.method(line)
        axes.errorbar(moved, [100 * gain.mean for gain in gains], spread, marker="o", capsize=3, label=label)
    known = (
        ((0.3, 0.3, 0.3, 0.3), "D", f"{PAPER}, alpha 0.3"),
        ((0.3, 0.3, 0.2, 0.1), "s", f"{PAPER}, variable alpha"),
    )
    for schedule, marker, label in known:
        stages = [stage for stage in range(min(len(schedule) + 1, longest)) if schedule[:stage] in paper_results.MAP]
        axes.plot(stages, [_printed(schedule[:stage]) for stage in stages], marker + "--", color=GREY, label=label)
    if longest > 1:
        axes.plot([0, 1], [0, _printed((0.0,))], "^:", color=GREY, label=f"{PAPER}, alpha 0")
    _finish(axes, "stage (0: Teacher-0)", "mAP over Teacher-0, %")
    axes.set_xticks(range(longest))
    return bool(cascades)


def plot_alpha(study: Study, axes: Any) -> bool:
    """Fig. 2 (left): change of mAP against the teacher's weight. False: too few points."""
    points = study.first_students()
    gains = [study.gain(line) for _, line in points]
    spread = [0.0 if math.isnan(gain.deviation) else 100 * gain.deviation for gain in gains]
    means = [100 * gain.mean for gain in gains]
    axes.errorbar([share for share, _ in points], means, spread, marker="o", capsize=3, label="first student")
    known = sorted((1 - schedule[0], _printed(schedule)) for schedule in paper_results.MAP if len(schedule) == 1)
    axes.plot(*zip(*known, strict=True), "D--", color=GREY, label=PAPER)
    _finish(axes, "teacher's weight 1 - alpha", "mAP over Teacher-0, %")
    return len(points) > 2


def plot_classes(study: Study, axes: Any) -> bool:
    """Fig. 4: change of mean AP of classes, by their AP under Teacher-0. False: there is no student.

    Bars are labelled with the number of classes.
    """
    ranges = study.by_range()
    heights = [0.0 if math.isnan(change) else 100 * change for *_, change in ranges]
    bars = axes.bar(range(len(ranges)), heights, width=0.6, label=study.chosen())
    axes.bar_label(bars, [str(count) for _, _, count, _ in ranges], padding=2)
    known = [(place, paper_results.RANGES.get((low, high))) for place, (low, high, *_) in enumerate(ranges)]
    points = [(place, 100 * change) for place, change in known if change is not None]
    axes.plot(*zip(*points, strict=True), "D", color=GREY, mec="white", ms=8, label=PAPER)
    _finish(axes, "AP of the class under Teacher-0", "change of mean AP, %")
    axes.set_xticks(range(len(ranges)), [f"{low:g} to {high:g}" for low, high, *_ in ranges])
    return len(study.best()) > 1


def _printed(schedule: paper_results.Alphas) -> float:
    """The paper's change of mAP over Teacher-0, in percent."""
    return 100 * relative(paper_results.MAP[()], paper_results.MAP[schedule])


def _finish(axes: Any, x: str, y: str) -> None:
    axes.axhline(0, color="0.85", zorder=0)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.figure.legend(loc="outside lower center", ncols=2, frameon=False)
