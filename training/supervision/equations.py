"""Eqs. 2 and 6: the target of a clip is a convex combination of its labels and its teachers' scores.

The *supervision* of a network maps ``LABELS``, earlier generations by number (0 is Teacher-0) and external teachers by
name to their weights alpha_k, which sum to one. Eq. 2 is the case of one teacher, the generation before. Where a label
is unknown, its weight goes to the teachers in proportion.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import SedkitError

LABELS = "labels"
Key = str | int  # LABELS or the name of an external teacher; the number of a generation
Supervision = dict[Key, float]  # {"labels": 0.3, 0: 0.7}


class SupervisionError(SedkitError):
    """The weights are not a convex combination, or a teacher does not exist yet."""


def single_teacher(stages: int, alpha: Sequence[float]) -> list[Supervision]:
    """Algorithm 1: stage ``s`` learns from the labels (alpha) and from generation ``s - 1`` (1 - alpha), Eq. 2.

    ``alpha`` is one number for all stages or one per stage, each in [0, 1]; 0 means the teacher only.

    Raises
    ------
    SupervisionError
        If the number of alphas does not match, or one lies outside [0, 1].
    """
    if stages < 0:
        raise SupervisionError(f"{stages} stages: the number of stages cannot be negative")
    if len(alpha) not in (1, stages):
        raise SupervisionError(f"{len(alpha)} values of alpha for {stages} stages: give one, or one per stage")
    schedule = list(alpha) * stages if len(alpha) == 1 else list(alpha)
    return [checked({LABELS: a, stage - 1: 1 - a}, stage) for stage, a in enumerate(schedule, start=1)]


def parse(text: str, stage: int, external: Collection[str] = ()) -> Supervision:
    """Eq. 6 as text: ``labels=0.3,0=0.3,1=0.4`` weights the labels and generations 0 and 1.

    ``external`` holds the names of external teachers, which may occur as well.

    Raises
    ------
    SupervisionError
        If the text is malformed, or is not a supervision that ``stage`` can have.
    """
    weights: Supervision = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        key = _key(name.strip(), text, external)
        try:
            weight = float(value)
        except ValueError:
            raise SupervisionError(f"{text!r}: {value!r} is not a weight") from None
        if key in weights:
            raise SupervisionError(f"{text!r}: {name.strip()} occurs twice")
        weights[key] = weight
    return checked(weights, stage)


def key_of(name: str) -> Key:
    """The key for a name in a supervision that was written as JSON."""
    return int(name) if name.isdigit() else name


def checked(weights: Supervision, stage: int) -> Supervision:
    """``weights`` without the zeros.

    Raises
    ------
    SupervisionError
        If a weight lies outside [0, 1], they do not sum to one, or a teacher is not an earlier generation.
    """
    if not all(0 <= weight <= 1 for weight in weights.values()):
        raise SupervisionError(f"stage {stage}: every weight must lie in [0, 1]: {weights}")
    if not math.isclose(sum(weights.values()), 1, abs_tol=1e-6):
        raise SupervisionError(f"stage {stage}: the weights sum to {sum(weights.values()):g}, not to 1: {weights}")
    for key in weights:
        if isinstance(key, int) and not 0 <= key < stage:
            teachers = f"its teachers are 0 to {stage - 1}" if stage else "Teacher-0 has no teacher before it"
            raise SupervisionError(f"stage {stage}: generation {key} does not exist yet; {teachers}")
    return {key: weight for key, weight in weights.items() if weight > 0}


def targets(
    weights: Supervision, labels: NDArray[np.float32], predictions: Mapping[Key, NDArray[np.floating]]
) -> NDArray[np.float32]:
    """Eq. 6: targets [clips, classes] in [0, 1] from labels and teachers' clip probabilities of the same shape.

    ``labels`` are 0, 1, or NaN where unknown. There the target is the mean of the teachers' predictions, weighted by
    alpha_k / (1 - alpha_labels). Predictions may be NaN too, and then do not count either. The target is NaN where
    nothing is known.
    """
    known = np.zeros(labels.shape)
    for key, weight in weights.items():
        known += weight * ~np.isnan(labels if key == LABELS else predictions[key])
    with np.errstate(invalid="ignore"):  # 0 / 0: unknown
        return (weighted_sum(weights, labels, predictions) / known).astype(np.float32)


def softened(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.floating]:
    """Probabilities with their logits divided by ``temperature``; 0 and 1 stay what they are."""
    if temperature == 1:
        return probabilities
    p = probabilities.astype(np.float64)
    present, absent = p ** (1 / temperature), (1 - p) ** (1 / temperature)
    return np.asarray(present / (present + absent))


def weighted_sum(
    weights: Supervision, labels: NDArray[np.float32], predictions: Mapping[Key, NDArray[np.floating]]
) -> NDArray[np.float64]:
    """Weighted sum [clips, classes] of labels and predictions; what is unknown counts as 0."""
    total = np.zeros(labels.shape, np.float64)
    for key, weight in weights.items():
        total += weight * np.nan_to_num(np.asarray(labels if key == LABELS else predictions[key], np.float64))
    return total


def known_weight(weights: Supervision, labels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum of the weights [clips, classes] of what is known: 1, or that of the teachers where a label is NaN."""
    return np.where(np.isnan(labels), 1 - weights.get(LABELS, 0.0), 1.0)


def latest_generation(weights: Supervision) -> int | None:
    """The latest generation among the teachers; None without one."""
    return max((key for key in weights if isinstance(key, int)), default=None)


def has_teacher(weights: Supervision) -> bool:
    """Whether any weight belongs to a teacher."""
    return any(key != LABELS for key in weights)


def _key(name: str, text: str, external: Collection[str]) -> Key:
    if name == LABELS or name in external:
        return name
    if name.isdigit():
        return int(name)
    raise SupervisionError(
        f"{text!r}: {name!r} is neither '{LABELS}', nor the number of a generation, nor the name of a --teacher"
    )
