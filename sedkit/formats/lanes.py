"""What a picture of a timeline shows: one lane per class, with its scores over time and its events."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import WELS_NET, Geometry
from sedkit.results import Event, Timeline

STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


@dataclass(frozen=True)
class Lane:
    """One class: ``scores`` [n] between ``edges`` [n + 1] in seconds, and its events."""

    label: str
    edges: NDArray[np.float64]
    scores: NDArray[np.float64]
    events: tuple[Event, ...]

    def at_most(self, points: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Edges and scores of at most so many cells: the maximum of neighbours."""
        group = max(1, math.ceil(len(self.scores) / points))
        starts = np.arange(0, len(self.scores), group)
        return np.append(self.edges[starts], self.edges[-1]), np.maximum.reduceat(self.scores, starts)


def lanes_of(timeline: Timeline, limit: int) -> list[Lane]:
    """The lanes of the classes that have events, in order of first appearance.

    Parameters
    ----------
    limit : number of lanes; of more classes, those that are present for the longest time.
    """
    by_class: dict[str, list[Event]] = {}
    for event in timeline.events:
        by_class.setdefault(event.label, []).append(event)
    present = {label: sum(event.offset - event.onset for event in events) for label, events in by_class.items()}
    shown = set(sorted(present, key=lambda label: -present[label])[:limit])
    edges, scores = _scores(timeline, [label for label in by_class if label in shown])
    return [Lane(label, edges, scores[label], tuple(by_class[label])) for label in by_class if label in shown]


def segment_edges(segments: int, duration: float, geometry: Geometry = WELS_NET) -> NDArray[np.float64]:
    """Edges of the tiles of all segments of a recording, [segments + 1] in seconds."""
    starts = [geometry.tile_start(segment) for segment in range(segments)]
    return np.minimum([*starts, max(duration, starts[-1] if starts else 0.0)], duration)


def time_step(duration: float, ticks: float) -> float:
    """Seconds between ticks, so that there are about so many."""
    return next((step for step in STEPS if duration / step <= ticks), STEPS[-1])


def _scores(timeline: Timeline, labels: list[str]) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Edges of cells, and the scores of some classes in them: of segments if they were kept, otherwise of the grid."""
    positions = {label.name: position for position, label in enumerate(timeline.labels)}
    if (overview := timeline.overview) is not None and overview.tracks.size:
        rows = {position: row for row, position in enumerate(overview.classes)}
        edges = segment_edges(overview.tracks.shape[1], timeline.duration, overview.geometry)
        return edges, {label: overview.tracks[rows[positions[label]]] / 255 for label in labels}
    edges = np.array([second.start for second in timeline.seconds] + [timeline.duration])
    if timeline.scores is not None:
        return edges, {label: timeline.scores[:, positions[label]].astype(float) for label in labels}
    cells = [{tag.label: tag.score for tag in second.tags} for second in timeline.seconds]
    return edges, {label: np.array([cell.get(label, 0.0) for cell in cells]) for label in labels}
