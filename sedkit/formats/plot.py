"""Pictures of results with matplotlib: PNG, SVG and PDF.

A timeline is its spectrogram above one lane per class, on one time axis. A lane shows the score of its class in each
segment as a filled curve, and outlines its events. The height of the picture and its ticks depend on what is in it. A
tagging is a bar per tag.

Figures are made without pyplot: they need no display, and belong to nobody but their caller.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

import numpy as np

from sedkit.errors import SedkitError
from sedkit.formats.lanes import Lane, lanes_of, time_step
from sedkit.results import Tagging, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTHS = (9.0, 14.0)  # inches; of a short and of a long recording
LONG = 600.0  # seconds, from which on a recording has the full width
SPECTROGRAM, LANE, MARGIN = 1.7, 0.34, 0.75  # heights in inches
MAX_LANES = 24
MAX_POINTS = 1200  # of a lane's curve
DPI = 150
INK, QUIET, RULE = "#1f2328", "#656d76", "#d0d7de"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7b4fa3", "#5f6b6d")  # Okabe and Ito's
FREQUENCIES = (100, 500, 1000, 2000, 4000, 8000)  # Hz; ticks
CONTRAST = (5.0, 99.7)  # percentiles of the levels that are black and white


def draw_timeline(timeline: Timeline) -> Figure:
    """Draw a timeline.

    Parameters
    ----------
    timeline : with an overview, or there is no spectrogram, and lanes are as coarse as the grid.

    Returns
    -------
    A figure of its own, 9 to 14 inches wide; ``figure.savefig("out.png")`` writes it.

    Raises
    ------
    SedkitError
        If matplotlib is not installed.
    """
    lanes = lanes_of(timeline, MAX_LANES)
    overview = timeline.overview
    heights = [SPECTROGRAM] if overview is not None and overview.levels.size else []
    heights.append(LANE * max(1, len(lanes)) + 0.1)
    narrow, wide = WIDTHS
    width = narrow + (wide - narrow) * min(1.0, timeline.duration / LONG)
    figure = _figure(width, sum(heights) + MARGIN)
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    if len(heights) > 1:
        _draw_spectrogram(axes[0], timeline)
    _draw_lanes(axes[-1], timeline, lanes)
    _draw_time(axes[-1], timeline.duration, width)
    _title(axes[0], timeline.file, timeline.duration)
    return figure


def draw_tagging(tagging: Tagging) -> Figure:
    """Draw the tags of a recording as bars. Raises :class:`SedkitError` if matplotlib is not installed."""
    tags = tagging.tags[:MAX_LANES]
    figure = _figure(7.0, LANE * max(1, len(tags)) + MARGIN)
    axes = figure.subplots()
    rows = np.arange(len(tags))
    axes.barh(rows, [tag.score for tag in tags], height=0.62, color=COLOURS[0])
    for row, tag in zip(rows.tolist(), tags, strict=True):
        axes.text(tag.score + 0.01, row, f"{tag.score:.2f}", va="center", color=QUIET, fontsize=8)
    if not tags:
        axes.text(0.5, 0, "nothing heard: no class scores high enough", ha="center", va="center", color=QUIET)
    axes.set(xlim=(0, 1.06), ylim=(max(1, len(tags)) - 0.5, -0.5), yticks=rows, xlabel="score")
    axes.set_yticklabels([tag.label for tag in tags], parse_math=False)
    _bare(axes)
    _title(axes, tagging.file, tagging.duration)
    return figure


def save(figure: Figure, stream: IO[bytes], image_format: str) -> None:
    """Write a figure as ``"png"``, ``"svg"`` or ``"pdf"``; equal figures give equal files."""
    import matplotlib

    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(image_format, {})
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": "sedkit"}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # an empty box shows it
        figure.savefig(stream, format=image_format, dpi=DPI, metadata=metadata)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        from sedkit.install import install_remedy

        raise SedkitError(f"pictures need matplotlib, which is not installed: {install_remedy('plot')}") from None
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _draw_spectrogram(axes: Axes, timeline: Timeline) -> None:
    overview = timeline.overview
    assert overview is not None
    levels = overview.levels
    low, high = np.percentile(levels, CONTRAST)
    bands, columns = levels.shape
    extent = (0, columns * overview.seconds, 0, bands)
    axes.imshow(
        levels, cmap="magma", vmin=low, vmax=max(high, low + 40), origin="lower", aspect="auto", extent=extent,
        interpolation="antialiased",
    )  # fmt: skip
    axes.set_yticks([band_of(frequency, bands) for frequency in FREQUENCIES])
    axes.set_yticklabels([f"{f // 1000} kHz" if f >= 1000 else f"{f} Hz" for f in FREQUENCIES])
    axes.set_ylim(0, bands)
    axes.tick_params(labelsize=8, labelcolor=QUIET, color=RULE, labelbottom=False, length=3)
    axes.spines[:].set_visible(False)


def _draw_lanes(axes: Axes, timeline: Timeline, lanes: Sequence[Lane]) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    if not lanes:
        axes.text(
            0.5, 0.5, "no class reaches its threshold", transform=axes.transAxes, ha="center", va="center", color=QUIET
        )
    thinnest = timeline.duration / MAX_POINTS  # seconds; a shorter event would be invisible
    for row, lane in enumerate(lanes):
        colour = COLOURS[row % len(COLOURS)]
        edges, scores = lane.at_most(MAX_POINTS)
        base = len(lanes) - row - 0.92  # the first lane on top
        tops = base + 0.84 * np.append(scores, scores[-1:])
        axes.fill_between(edges, base, tops, step="post", color=colour, alpha=0.55, linewidth=0)
        boxes = [
            Rectangle((event.onset, base), max(event.offset - event.onset, thinnest), 0.84) for event in lane.events
        ]
        axes.add_collection(
            PatchCollection(boxes, facecolor=(*_rgb(colour), 0.10), edgecolor=colour, linewidth=0.9), autolim=False
        )
        axes.axhline(base - 0.08, color=RULE, linewidth=0.6, zorder=0)
    axes.set_ylim(0, max(1, len(lanes)))
    axes.set_yticks([len(lanes) - row - 0.5 for row in range(len(lanes))])
    axes.set_yticklabels([lane.label for lane in lanes], parse_math=False)
    _bare(axes)


def _draw_time(axes: Axes, duration: float, width: float) -> None:
    from sedkit.formats.terminal import clock

    step = time_step(duration, width * 1.1)
    ticks = np.arange(0, duration + step * 1e-6, step)
    axes.set_xlim(0, duration)
    digits = 1 if step < 1 else 0
    axes.set_xticks(ticks, [clock(tick, duration, digits) for tick in ticks.tolist()])
    unit = "s" if duration < 60 else "min:s" if duration < 3600 else "h:min:s"
    axes.set_xlabel(f"time ({unit})", fontsize=8, color=QUIET)


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(axis="y", length=0, labelsize=9, labelcolor=INK)
    axes.tick_params(axis="x", length=3, color=RULE, labelsize=8, labelcolor=QUIET)


def _title(axes: Axes, file: str, duration: float) -> None:
    from sedkit.formats.terminal import clock, printable

    name = "standard input" if file == "-" else printable(file)
    name = name if len(name) <= 80 else "…" + name[-79:]
    long = f"{duration:.1f} s" if duration < 60 else clock(duration, duration)
    text = axes.set_title(f"{name}   {long}", loc="left", fontsize=10, color=INK)
    text.set_parse_math(False)


def band_of(frequency: float, bands: int) -> float:
    """Position of a frequency in Hz on the axis of the overview's mel bands, 0 to ``bands``."""
    from sedkit.timeline.overview import HIGHEST, LOWEST

    mel = 2595 * np.log10(1 + np.array([LOWEST, HIGHEST, frequency]) / 700)
    return float((mel[2] - mel[0]) / (mel[1] - mel[0]) * bands)


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
