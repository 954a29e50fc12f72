"""The model file with own classes: the installed one with other rows in its last layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from sedkit.contract import Contract, Label
from sedkit.errors import ContractError, ModelError
from sedkit.model_file import with_digest
from sedkit.timeline.calibration import Calibration
from training.networks.wels import SILENCE
from training.release.own.head import Rows

LAYER = "wels.L4"


class OwnClasses(NamedTuple):
    """What the new file says about own classes, in order.

    Attributes
    ----------
    calibration : None: not calibrated.
    thresholds, timeline_thresholds : of tags and of segments.
    """

    labels: tuple[Label, ...]
    rows: Rows
    calibration: Calibration | None
    thresholds: NDArray[np.float64]
    timeline_thresholds: NDArray[np.float64]


def known_rows(path: Path, labels: Sequence[Label], own: Sequence[Label]) -> Rows:
    """The rows of the model at ``path`` for ``own`` classes that it knows, and those of new classes for the others."""
    weights, biases = (numpy_helper.to_array(tensor) for tensor in _layer(onnx.load(path), path))
    rows = Rows.new(len(own))
    for place, label in enumerate(own):
        if label in labels:
            rows.weights[place] = weights[labels.index(label), :, 0, 0]
            rows.biases[place] = biases[labels.index(label)]
    return rows


def with_own_classes(
    path: Path, about: Contract, own: OwnClasses, name: str, lineage: dict[str, Any], only: bool
) -> bytes:
    """The content of the model at ``path`` with own classes in place of its classes, or besides them.

    The scores of its other classes do not change. An own class that it knows takes that class's place.

    Parameters
    ----------
    about : its contract.
    lineage : entries to add to its lineage.

    Raises
    ------
    ModelError
        If it is not a WELS-Net with a plain mean over segments.
    """
    model = onnx.load(path)
    layer = _layer(model, path)
    labels = own.labels if only else (*about.labels, *(label for label in own.labels if label not in about.labels))
    source = [own.labels.index(label) if label in own.labels else None for label in labels]
    rows_of = list(zip(layer, (own.rows.weights[..., None, None], own.rows.biases), strict=True))
    exempt = np.array([label.mid == SILENCE for label in own.labels])  # from scoring 0 in silent segments
    rows_of += [(tensor, exempt) for tensor in model.graph.initializer if tensor.name == "exempt"]
    for tensor, rows in rows_of:
        known = numpy_helper.to_array(tensor)
        new = [known[at] if place is None else rows[place].astype(known.dtype) for at, place in enumerate(source)]
        tensor.CopyFrom(numpy_helper.from_array(np.stack(new), tensor.name))
    for output in model.graph.output:
        if output.name in ("segments", "clip"):
            output.type.tensor_type.shape.dim[-1].dim_value = len(labels)

    def merged(old: Sequence[float], new: NDArray[np.float64]) -> tuple[float, ...]:
        return tuple(float(old[at] if place is None else new[place]) for at, place in enumerate(source))

    calibration: dict[str, Any] = {"kind": "none"}
    plain = np.ones(len(own.labels)), np.zeros(len(own.labels))
    before = about.calibration if about.calibration["kind"] == "platt" else None
    if own.calibration or (before and not only):
        slopes, offsets = (own.calibration.slope, own.calibration.offset) if own.calibration else plain
        scaling = before or {"slope": [1.0] * len(about.labels), "offset": [0.0] * len(about.labels)}
        calibration = {
            "kind": "platt",
            "slope": merged(scaling["slope"], slopes),
            "offset": merged(scaling["offset"], offsets),
        }
    description = replace(
        about,
        name=name,
        labels=labels,
        calibration=calibration,
        thresholds=merged(about.thresholds, own.thresholds),
        timeline_thresholds=merged(about.timeline_thresholds, own.timeline_thresholds),
        lineage=_lineage(about, only) | lineage,
    )
    onnx.helper.set_model_props(model, description.to_metadata())
    return with_digest(model.SerializeToString(deterministic=True))


def _lineage(about: Contract, only: bool) -> dict[str, Any]:
    """The lineage of the model without what holds for its classes only, if they are replaced."""
    dropped = ("metrics", "calibrated_on", "quantisation") if only else ()
    return {key: value for key, value in about.lineage.items() if key not in dropped}


def _layer(model: onnx.ModelProto, path: Path) -> tuple[onnx.TensorProto, onnx.TensorProto]:
    """Weights and biases of the last layer."""
    tensors = {tensor.name.removesuffix(".float16"): tensor for tensor in model.graph.initializer}
    try:
        if "wels.weights.weight" in tensors:
            raise ContractError("weights", "the model weights segments, which own classes do not support", str(path))
        return tensors[f"{LAYER}.weight"], tensors[f"{LAYER}.bias"]
    except KeyError:
        raise ModelError(f"{path}: not a WELS-Net: install sedkit-audio again") from None
