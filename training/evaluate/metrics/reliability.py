"""Reliability of calibrated scores: reliability diagram and expected calibration error (ECE; Guo et al., 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 10
LOWEST = 0.05  # tags below are left out: there are very many, they are nearly all wrong and would hide the others


class Bin(NamedTuple):
    """Tags with scores in [low, high): their number, their mean score, and the share that is right."""

    low: float
    high: float
    tags: int
    score: float
    right: float


def reliability(scores: NDArray[np.floating], targets: NDArray[np.floating]) -> list[Bin]:
    """Reliability diagram of the tags with scores of at least 0.05.

    Parameters
    ----------
    scores, targets : [clips, classes], in [0, 1]; 0, 1, or NaN where unknown, which is left out.

    Returns
    -------
    Up to ten bins of equal width; empty bins are left out.
    """
    chosen = (scores >= LOWEST) & ~np.isnan(targets)
    return _bins(scores[chosen], targets[chosen])


def calibration_error(scores: NDArray[np.floating], targets: NDArray[np.floating]) -> float:
    """Expected calibration error of the tags with scores of at least 0.05; NaN if there are none."""
    return _error(reliability(scores, targets))


def highest_calibration_error(scores: NDArray[np.floating], targets: NDArray[np.floating]) -> float:
    """Expected calibration error of the highest tag of each clip, except where its target is unknown."""
    places = np.arange(len(scores)), scores.argmax(1)
    highest, right = scores[places], targets[places]
    return _error(_bins(highest[~np.isnan(right)], right[~np.isnan(right)]))


def _bins(scores: NDArray[np.floating], right: NDArray[np.floating]) -> list[Bin]:
    bin_of = np.minimum(scores * BINS, BINS - 1).astype(int)
    bins = []
    for number in np.unique(bin_of).tolist():
        inside = bin_of == number
        means = float(scores[inside].mean()), float(right[inside].mean())
        bins.append(Bin(number / BINS, (number + 1) / BINS, int(inside.sum()), *means))
    return bins


def _error(bins: list[Bin]) -> float:
    total = sum(bin.tags for bin in bins)
    return sum(bin.tags * abs(bin.score - bin.right) for bin in bins) / total if total else float("nan")


def diagram(bins: Sequence[Bin]) -> str:
    """The reliability diagram as SVG: x is the score, y the share that is right, dot size the number of tags."""
    side, margin = 320, 40
    most = max((bin.tags for bin in bins), default=1)

    def position(score: float, right: float) -> tuple[float, float]:
        return margin + score * side, margin + (1 - right) * side

    lines = [f'<path d="M{margin} {margin + side}L{margin + side} {margin}" stroke="#999" stroke-dasharray="4"/>']
    for step in range(0, 11, 2):
        (x, y), text = position(step / 10, step / 10), f"{step / 10:g}"
        lines.append(f'<text x="{x:.0f}" y="{margin + side + 18}" text-anchor="middle">{text}</text>')
        lines.append(f'<text x="{margin - 8}" y="{y + 4:.0f}" text-anchor="end">{text}</text>')
    points = [(*position(bin.score, bin.right), 2 + 6 * (bin.tags / most) ** 0.5) for bin in bins]
    lines.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)}" fill="none" stroke="#06c"/>')
    lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="#06c"/>' for x, y, radius in points]
    size, middle = side + 2 * margin, margin + side / 2
    lines.append(f'<text x="{middle:g}" y="{size - 4}" text-anchor="middle">score of a tag</text>')
    turned = f'text-anchor="middle" transform="rotate(-90 12 {middle:g})"'
    lines.append(f'<text x="12" y="{middle:g}" {turned}>share that is right</text>')
    frame = f'<rect x="{margin}" y="{margin}" width="{side}" height="{side}" fill="white" stroke="#333"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" width="{size}" font-size="11"'
    return "\n".join([f'{head} font-family="sans-serif">', frame, *lines, "</svg>", ""])
