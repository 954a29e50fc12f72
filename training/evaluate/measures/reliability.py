"""How often scores are right: what was scored 0.7 should be right 7 times in 10; and what a threshold finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 10
FAINTEST = 0.05  # lowest score of a tag that counts: of the many fainter ones nearly all are wrong, and rightly faint


class Bin(NamedTuple):
    """The tags with scores in [low, high): how many there are, their mean score, and the share that is right."""

    low: float
    high: float
    tags: int
    score: float
    right: float


def reliability(scores: NDArray[np.floating], targets: NDArray[np.floating]) -> list[Bin]:
    """The tags of at least 0.05 in ten bins of equal width, without empty ones. Both are [clips, classes]."""
    chosen = scores >= FAINTEST
    return _bins(scores[chosen], targets[chosen])


def calibration_error(scores: NDArray[np.floating], targets: NDArray[np.floating]) -> float:
    """Expected calibration error (Guo et al., 2017) of the tags of at least 0.05; NaN without any."""
    return _error(reliability(scores, targets))


def highest_calibration_error(scores: NDArray[np.floating], targets: NDArray[np.floating]) -> float:
    """That of the highest tag of each clip alone."""
    places = np.arange(len(scores)), scores.argmax(1)
    return _error(_bins(scores[places], targets[places]))


def f1_scores(called: NDArray[np.bool_], targets: NDArray[np.floating]) -> tuple[float, float]:
    """Micro-averaged F1, and the mean over the classes that have positives. Both are [..., classes]."""
    classes = called.shape[-1]
    called, truth = called.reshape(-1, classes), targets.reshape(-1, classes) > 0
    hits, sums = (called & truth).sum(0), called.sum(0) + truth.sum(0)
    heard = truth.any(0)
    return float(2 * hits.sum() / max(sums.sum(), 1)), float((2 * hits[heard] / sums[heard]).mean())


def _bins(scores: NDArray[np.floating], right: NDArray[np.floating]) -> list[Bin]:
    place = np.minimum(scores * BINS, BINS - 1).astype(int)
    made = []
    for number in np.unique(place).tolist():
        held = place == number
        means = float(scores[held].mean()), float(right[held].mean())
        made.append(Bin(number / BINS, (number + 1) / BINS, int(held.sum()), *means))
    return made


def _error(bins: list[Bin]) -> float:
    total = sum(bin.tags for bin in bins)
    return sum(bin.tags * abs(bin.score - bin.right) for bin in bins) / total if total else float("nan")


def diagram(bins: Sequence[Bin]) -> str:
    """The bins as an SVG: score to the right, share that is right upwards, dots by the number of tags."""
    side, margin = 320, 40
    most = max((bin.tags for bin in bins), default=1)

    def place(score: float, right: float) -> tuple[float, float]:
        return margin + score * side, margin + (1 - right) * side

    lines = [f'<path d="M{margin} {margin + side}L{margin + side} {margin}" stroke="#999" stroke-dasharray="4"/>']
    for step in range(0, 11, 2):
        (x, y), text = place(step / 10, step / 10), f"{step / 10:g}"
        lines.append(f'<text x="{x:.0f}" y="{margin + side + 18}" text-anchor="middle">{text}</text>')
        lines.append(f'<text x="{margin - 8}" y="{y + 4:.0f}" text-anchor="end">{text}</text>')
    points = [(*place(bin.score, bin.right), 2 + 6 * (bin.tags / most) ** 0.5) for bin in bins]
    lines.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)}" fill="none" stroke="#06c"/>')
    lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="#06c"/>' for x, y, radius in points]
    size, middle = side + 2 * margin, margin + side / 2
    lines.append(f'<text x="{middle:g}" y="{size - 4}" text-anchor="middle">score of a tag</text>')
    turned = f'text-anchor="middle" transform="rotate(-90 12 {middle:g})"'
    lines.append(f'<text x="12" y="{middle:g}" {turned}>share that is right</text>')
    frame = f'<rect x="{margin}" y="{margin}" width="{side}" height="{side}" fill="white" stroke="#333"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" width="{size}" font-size="11"'
    return "\n".join([f'{head} font-family="sans-serif">', frame, *lines, "</svg>", ""])
