"""The contract of a sedkit model: the tensors and the metadata that an ONNX file must have.

==============  ========  ====================================================
input           float32   ``waveform`` [batch, samples], mono in [-1, 1] at ``sedkit.sample_rate``
output          float32   ``segments`` [batch, K, classes], probabilities
output          float32   ``clip`` [batch, classes], probabilities
output          float32   ``embedding`` [batch, K, D]; D = 1024 for WELS-Net
output          float32   ``weights`` [batch, K, classes], >= 0, optional: weight of
                          each segment in the mean that is the clip score; 0 if the
                          segment is silent. Without this output, all segments that
                          are not silent have equal weight
==============  ========  ====================================================

``batch``, ``samples`` and ``K`` are dynamic axes; K depends on ``samples`` (:mod:`sedkit.geometry`): the graph pads the
waveform with zeros, so that the last segment ends where the padding ends. The log-mel front end is part of the graph.
Network weights may be stored as float16, each followed by a Cast to float32.

``metadata_props`` (plain text, or JSON where noted):

==============================  ==================================================================
``sedkit.contract``             version of this contract: ``1``
``sedkit.name``                 name of the model
``sedkit.labels``               JSON list, one entry per class in output order: ``{"index", "mid",
                                "name"}``; index and MID are AudioSet's, both null for a class
                                that AudioSet lacks
``sedkit.sample_rate``          Hz, 8000 to 96000, a multiple of 100; ``16000`` for WELS-Net
``sedkit.segment_hop``          samples between segments, whole frames of 10 ms; ``5120``
``sedkit.segment_span``         samples in a segment's nominal span: longer than the hop by a multiple of 20 ms,
                                at most 60 s; ``15360``
``sedkit.receptive_field``      samples that a segment's scores depend on at most, the span in their middle: at
                                least the span, at most 120 s; ``34016``
``sedkit.thresholds``           JSON list, one number in (0, 1) per class: a recording contains the
                                class if its tag score (calibrated, if the model is) reaches it
``sedkit.timeline_thresholds``  JSON list: the same for segment scores, used in timelines; default:
                                ``sedkit.thresholds``
``sedkit.tag_segments``         number of segments, 1 to 1000, in the clips that the weak labels
                                describe. The clip score of a class is the weighted mean over its
                                segments, silent ones left out; for longer recordings, it is the
                                maximum over a sliding window of this length. Default: ``30`` (10 s)
``sedkit.calibration``          JSON object: how clip scores become tag scores
                                (:mod:`sedkit.timeline.calibration`). ``{"kind": "none"}``:
                                unchanged; ``{"kind": "platt", "slope": [...], "offset": [...]}``:
                                Platt scaling, one number per class, slopes > 0. Segment scores are
                                never calibrated
``sedkit.postprocessing``       JSON object: settings of the post-processing of timelines, as in a TOML file
                                (:mod:`sedkit.timeline.settings`); optional, default: sedkit's own
``sedkit.lineage``              JSON object: how the weights were trained (dataset hash, stages,
                                alpha of each stage, git revision, seed, metrics); ``width``: a
                                factor on the number of filters, or the list of these numbers in B1
                                to L2; ``stem``: ``patches`` if the first convolution takes patches of
                                2 x 2; ``multiply_adds`` for 10 s; ``quantisation``: present for an
                                8-bit integer model, with its loss on held-out clips;
                                ``calibrated_on``: the held-out clips used for calibration and
                                thresholds; ``thresholds``: ``"unknown"`` if no clips were used for them
``sedkit.license``              licence of the weights
``sedkit.digest``               SHA-256 of the graph and its weights (:mod:`sedkit.model_file`),
                                checked when the model is loaded; optional
==============================  ==================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sedkit.errors import ContractError
from sedkit.geometry import FRAMES_PER_SECOND, WELS_NET, Geometry
from sedkit.model_file import metadata_of as metadata_of

VERSION = "1"
PREFIX = "sedkit."
INPUT = "waveform"
OUTPUTS = ("segments", "clip", "embedding")
WEIGHTS = "weights"
EMBEDDING = 1024  # numbers in the embedding of a segment of WELS-Net, layer L3
TAG_SEGMENTS, MOST_TAG_SEGMENTS = 30, 1000  # 10 s, the length of AudioSet's clips; 320 s
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")  # line breaks and terminal sequences
MAX_COEFFICIENT = 100.0  # of a calibration: largest absolute slope or offset
RATES = (8_000, 96_000)  # Hz
LONGEST_SPAN, WIDEST_FIELD = 60, 120  # seconds
UNKNOWN = "unknown"  # lineage entry ``thresholds`` of a model whose thresholds were not chosen on data


@dataclass(frozen=True, slots=True)
class Label:
    """One class. ``index`` (0-526) and ``mid`` are AudioSet's; None for a class that AudioSet lacks."""

    name: str
    mid: str | None = None
    index: int | None = None


@dataclass(frozen=True)
class Contract:
    """The metadata of a sedkit model.

    Attributes
    ----------
    name : name of the model.
    labels : one per class, in the order of the outputs.
    thresholds : one per class, in (0, 1): the lowest tag score at which the class counts as present.
    calibration : how clip scores become tag scores; ``{"kind": "none"}`` if they are not calibrated.
    lineage : how the weights were trained.
    license : licence of the weights.
    timeline_thresholds : one per class: the lowest segment score at which the class counts as present. Default:
        ``thresholds``.
    tag_segments : length, in segments, of the sliding window over which segment scores are averaged to a clip score.
    postprocessing : how segment scores become events, where it differs from sedkit's defaults
        (:class:`sedkit.timeline.settings.PostProcessing`).
    geometry : sample rate, and position and length of the segments.
    """

    name: str
    labels: tuple[Label, ...]
    thresholds: tuple[float, ...]
    calibration: Mapping[str, Any]
    lineage: Mapping[str, Any]
    license: str
    timeline_thresholds: tuple[float, ...] = ()
    tag_segments: int = TAG_SEGMENTS
    postprocessing: Mapping[str, Any] = field(default_factory=dict)
    geometry: Geometry = WELS_NET

    def __post_init__(self) -> None:
        if not self.timeline_thresholds:
            object.__setattr__(self, "timeline_thresholds", self.thresholds)

    @property
    def precision(self) -> Literal["fp32", "int8"]:
        """Precision of the arithmetic: ``"fp32"`` (weights may be stored as float16) or ``"int8"``."""
        return "int8" if "quantisation" in self.lineage else "fp32"

    @property
    def has_thresholds(self) -> bool:
        """Whether the thresholds were chosen on data."""
        return self.lineage.get("thresholds") != UNKNOWN

    @property
    def quantisation_loss(self) -> float | None:
        """Loss in mAP on held-out clips due to quantisation; None if unknown or if the model is not quantised."""
        try:
            loss = self.lineage["quantisation"]["loss"]
            return float(loss["test" if "test" in loss else "validation"]["mAP"])
        except (KeyError, TypeError, ValueError):
            return None

    def to_metadata(self) -> dict[str, str]:
        """The ``metadata_props`` of the ONNX file. Equal contracts give equal text."""
        fields = {
            "contract": VERSION,
            "name": self.name,
            "labels": _json([asdict(label) for label in self.labels]),
            "thresholds": _json([round(t, 6) for t in self.thresholds]),
            "timeline_thresholds": _json([round(t, 6) for t in self.timeline_thresholds]),
            "tag_segments": str(self.tag_segments),
            "calibration": _json(self.calibration),
            "lineage": _json(self.lineage),
            "license": self.license,
        }
        if self.postprocessing:
            fields["postprocessing"] = _json(self.postprocessing)
        fields |= {key: str(value) for key, value in asdict(self.geometry).items()}
        return {PREFIX + key: fields[key] for key in sorted(fields)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Contract:
        """Read and check ``metadata_props``.

        Raises
        ------
        ContractError
            If a field is missing, unreadable or contradicts this version of the contract.
        """
        version = _text(metadata, "contract")
        if version != VERSION:
            raise ContractError(
                PREFIX + "contract", f"version {version!r} is not supported; this sedkit reads version {VERSION}"
            )
        labels = _labels(_parsed(metadata, "labels", list))
        timeline = "timeline_thresholds" if PREFIX + "timeline_thresholds" in metadata else "thresholds"
        return cls(
            name=_line(metadata, "name"),
            labels=labels,
            thresholds=_thresholds(metadata, "thresholds", len(labels)),
            calibration=_calibration(metadata, len(labels)),
            lineage=_parsed(metadata, "lineage", dict),
            license=_line(metadata, "license"),
            timeline_thresholds=_thresholds(metadata, timeline, len(labels)),
            tag_segments=_tag_segments(metadata),
            postprocessing=_parsed(metadata, "postprocessing", dict) if PREFIX + "postprocessing" in metadata else {},
            geometry=_geometry(metadata),
        )


def check_tensors(inputs: Mapping[str, Sequence[Any]], outputs: Mapping[str, Sequence[Any]], classes: int) -> None:
    """Check the names and shapes of a graph's inputs and outputs.

    Parameters
    ----------
    inputs, outputs : shape of each tensor by name; an axis is dynamic if it is not an int.
    classes : number of classes.

    Raises
    ------
    ContractError
        If the input or an output is missing, has the wrong rank, or has a fixed axis that must be dynamic.
    """
    size = embedding_size(outputs)
    required: dict[str, tuple[int | None, ...]] = {
        INPUT: (None, None),
        "segments": (None, None, classes),
        "clip": (None, classes),
        "embedding": (None, None, size),
    }
    if WEIGHTS in outputs:
        required[WEIGHTS] = (None, None, classes)
    if list(inputs) != [INPUT]:
        raise ContractError(INPUT, f"must be the only input; the file has {', '.join(inputs) or 'none'}")
    for name, shape in required.items():
        actual = inputs.get(name, outputs.get(name))
        if actual is None:
            raise ContractError(name, "output is missing")
        matches = len(actual) == len(shape) and all(
            (isinstance(axis, int) and axis == size) if size is not None else not isinstance(axis, int)
            for axis, size in zip(actual, shape, strict=True)
        )
        if not matches:
            text = ", ".join("dynamic" if size is None else str(size) for size in shape)
            raise ContractError(name, f"shape must be [{text}], not {list(actual)}")


def embedding_size(outputs: Mapping[str, Sequence[Any]]) -> int:
    """Numbers in the embedding of a segment, from the shapes of a graph's outputs.

    Raises
    ------
    ContractError
        If the output is missing, or has no fixed last axis.
    """
    if "embedding" not in outputs:
        raise ContractError("embedding", "output is missing")
    shape = list(outputs["embedding"])
    if not (shape and type(shape[-1]) is int and shape[-1] > 0):
        raise ContractError("embedding", f"the last axis must have a fixed size, not {shape}")
    return int(shape[-1])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _text(metadata: Mapping[str, str], key: str) -> str:
    value = metadata.get(PREFIX + key, "").strip()
    if not value:
        raise ContractError(PREFIX + key, "missing")
    return value


def _line(metadata: Mapping[str, str], key: str) -> str:
    value = _text(metadata, key)
    if CONTROL.search(value):
        raise ContractError(PREFIX + key, "contains control characters")
    return value


def _parsed(metadata: Mapping[str, str], key: str, kind: type) -> Any:
    try:
        value = json.loads(_text(metadata, key))
    except ValueError as error:  # also numbers of thousands of digits
        raise ContractError(PREFIX + key, f"is not valid JSON ({error})") from None
    except RecursionError:
        raise ContractError(PREFIX + key, "is JSON that is nested too deeply") from None
    if not isinstance(value, kind):
        raise ContractError(PREFIX + key, f"must be a JSON {'object' if kind is dict else 'list'}")
    return value


def _geometry(metadata: Mapping[str, str]) -> Geometry:
    """The four numbers of :class:`Geometry`, each checked against those before it."""

    def number(key: str, lowest: int, highest: int, multiple: int, base: int) -> int:
        text = _text(metadata, key)
        value = int(text) if text.isascii() and text.isdigit() and len(text) <= 8 else -1
        if not lowest <= value <= highest or (value - base) % multiple:
            steps = f"{base} plus a multiple of {multiple}" if base else f"a multiple of {multiple}"
            raise ContractError(PREFIX + key, f"must be {steps} from {lowest} to {highest}, not {text[:40]!r}")
        return value

    rate = number("sample_rate", *RATES, FRAMES_PER_SECOND, 0)
    frame = rate // FRAMES_PER_SECOND
    hop = number("segment_hop", frame, LONGEST_SPAN * rate, frame, 0)
    span = number("segment_span", hop + 2 * frame, LONGEST_SPAN * rate, 2 * frame, hop)
    return Geometry(rate, hop, span, number("receptive_field", span, WIDEST_FIELD * rate, 2, span))


def _labels(entries: list[Any]) -> tuple[Label, ...]:
    field = PREFIX + "labels"
    if not entries:
        raise ContractError(field, "empty")
    labels = []
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict) or set(entry) != {"index", "mid", "name"}:
            raise ContractError(field, f"entry {position} must have index, mid and name")
        index, mid, name = entry["index"], entry["mid"], entry["name"]
        if not isinstance(name, str) or not name:
            raise ContractError(field, f"entry {position} has no name")
        if not (mid is None or isinstance(mid, str)) or not (index is None or type(index) is int):
            raise ContractError(field, f"entry {position} ({name}): mid must be text or null, index a number or null")
        if CONTROL.search(name + (mid or "")):
            raise ContractError(field, f"entry {position} ({name!r}) contains control characters")
        labels.append(Label(name, mid, index))
    for what, values in (("name", [x.name for x in labels]), ("mid", [x.mid for x in labels if x.mid])):
        if len(set(values)) != len(values):
            raise ContractError(field, f"two classes have the same {what}")
    return tuple(labels)


def _thresholds(metadata: Mapping[str, str], key: str, classes: int) -> tuple[float, ...]:
    values = _parsed(metadata, key, list)
    if len(values) != classes:
        raise ContractError(PREFIX + key, f"has {len(values)} numbers for {classes} classes")
    if not all(isinstance(value, int | float) and 0 < value < 1 for value in values):
        raise ContractError(PREFIX + key, "every threshold must be between 0 and 1")
    return tuple(float(value) for value in values)


def _tag_segments(metadata: Mapping[str, str]) -> int:
    text = metadata.get(PREFIX + "tag_segments", str(TAG_SEGMENTS))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_TAG_SEGMENTS):
        raise ContractError(PREFIX + "tag_segments", f"must be an integer from 1 to {MOST_TAG_SEGMENTS}, not {text!r}")
    return int(text)


def _calibration(metadata: Mapping[str, str], classes: int) -> dict[str, Any]:
    field = PREFIX + "calibration"
    value: dict[str, Any] = _parsed(metadata, "calibration", dict)
    if value.get("kind") not in ("none", "platt"):
        raise ContractError(field, f"kind must be 'none' or 'platt', not {value.get('kind')!r}")
    if value["kind"] == "platt":
        for name in ("slope", "offset"):
            numbers = value.get(name)
            if not isinstance(numbers, list) or len(numbers) != classes:
                raise ContractError(field, f"{name} must be a list of {classes} numbers, one per class")
            if not all(type(number) in (int, float) and abs(number) <= MAX_COEFFICIENT for number in numbers):
                raise ContractError(
                    field, f"every {name} must be a number from {-MAX_COEFFICIENT:g} to {MAX_COEFFICIENT:g}"
                )
        if min(value["slope"]) <= 0:
            raise ContractError(field, "every slope must be greater than 0")
    return value
