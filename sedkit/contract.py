"""What an ONNX file must hold to be a sedkit model: names, shapes and metadata.

==============  ========  ====================================================
input           float32   ``waveform`` [batch, samples], 16 kHz mono in [-1, 1]
output          float32   ``segments`` [batch, K, classes], probabilities
output          float32   ``clip`` [batch, classes], probabilities
output          float32   ``embedding`` [batch, K, 1024]
output          float32   ``weights`` [batch, K, classes], at least 0: what each
                          segment counts for in a class's clip score; 0 where it
                          is silent. Without it, all that are not count alike
==============  ========  ====================================================

``batch``, ``samples`` and ``K`` are dynamic; K follows from ``samples`` (sedkit.geometry).
The log-mel front end is inside the graph. Weights may be stored in float16, each before a Cast to float32.

``metadata_props`` (text, JSON where structured):

==============================  ==================================================================
``sedkit.contract``             version of this contract: ``1``
``sedkit.name``                 name of the model
``sedkit.labels``               JSON list, one entry a class in output order: ``{"index", "mid",
                                "name"}``; index and MID are AudioSet's, both null for a class of
                                one's own
``sedkit.sample_rate``          Hz: ``16000``
``sedkit.segment_hop``          samples between segments: ``5120``
``sedkit.segment_span``         samples a segment nominally spans: ``15360``
``sedkit.receptive_field``      samples a segment's scores depend on: ``34016``
``sedkit.thresholds``           JSON list, one number in (0, 1) a class: the score of a tag, calibrated if scores
                                are, at which the class counts as present in a recording
``sedkit.timeline_thresholds``  the same of segment scores, for timelines; where it is missing,
                                ``sedkit.thresholds``
``sedkit.tag_segments``         as many segments as the clips had whose labels the model learnt, 1 to 1000: a
                                clip score is the mean over so many that follow each other, silent ones left
                                out, by their weights; the highest such mean of a recording with more. Where
                                it is missing, ``30`` (10 s)
``sedkit.timeline.calibration``          JSON object: how clip scores become scores of tags.
                                ``{"kind": "none"}``: they are; ``{"kind": "platt", "slope": [...], "offset":
                                [...]}``, one number a class, every slope above 0: as sedkit.timeline.calibration has it.
                                Segment scores stay as they are
``sedkit.lineage``              JSON object: how the weights came to be (dataset hash, stages, alpha
                                of each stage, git revision, seed, metrics); of a network its ``width``, a factor
                                on its filters or a list of their numbers in B1 to L2, and
                                ``multiply_adds`` for 10 s; ``quantisation`` in it stands for integers, with
                                what they lost on held-out clips, ``calibrated_on`` for calibration and
                                thresholds fitted to such
``sedkit.license``              licence of the weights
==============================  ==================================================================
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from sedkit import geometry
from sedkit.errors import ContractError

VERSION = "1"
PREFIX = "sedkit."
INPUT = "waveform"
OUTPUTS = ("segments", "clip", "embedding")
WEIGHTS = "weights"
EMBEDDING = 1024
TAG_SEGMENTS, MOST_TAG_SEGMENTS = 30, 1000  # 10 s, the length of AudioSet's clips; 320 s
STEEPEST = 100.0  # of a calibration's slopes and offsets
NUMBERS = {
    "sample_rate": geometry.SAMPLE_RATE,
    "segment_hop": geometry.SEGMENT_HOP,
    "segment_span": geometry.SEGMENT_SPAN,
    "receptive_field": geometry.RECEPTIVE_FIELD,
}


@dataclass(frozen=True, slots=True)
class Label:
    """One class. ``index`` (0-526) and ``mid`` are AudioSet's, or None for a class of one's own."""

    name: str
    mid: str | None = None
    index: int | None = None


@dataclass(frozen=True)
class Contract:
    """The metadata of a sedkit model.

    Attributes
    ----------
    name : name of the model.
    labels : one a class, in the order of the outputs.
    thresholds : the tag's score from which on each class counts as present, in (0, 1).
    calibration : how scores of tags are calibrated; ``{"kind": "none"}`` where they are not.
    lineage : how the weights came to be.
    license : licence of the weights.
    timeline_thresholds : the segment score from which on each class counts as present; without them, ``thresholds``.
    tag_segments : how many neighbouring segments a clip score is the mean of.
    """

    name: str
    labels: tuple[Label, ...]
    thresholds: tuple[float, ...]
    calibration: Mapping[str, Any]
    lineage: Mapping[str, Any]
    license: str
    timeline_thresholds: tuple[float, ...] = ()
    tag_segments: int = TAG_SEGMENTS

    def __post_init__(self) -> None:
        if not self.timeline_thresholds:
            object.__setattr__(self, "timeline_thresholds", self.thresholds)

    @property
    def precision(self) -> Literal["fp32", "int8"]:
        """Of the arithmetic: float32, whatever the weights are stored in, or 8-bit integers."""
        return "int8" if "quantisation" in self.lineage else "fp32"

    @property
    def lost(self) -> float | None:
        """mAP that the integers lost on held-out clips; None if this is not known, or there are none."""
        try:
            loss = self.lineage["quantisation"]["loss"]
            return float(loss["test" if "test" in loss else "validation"]["mAP"])
        except (KeyError, TypeError, ValueError):
            return None

    def to_metadata(self) -> dict[str, str]:
        """The ``metadata_props`` of the ONNX file; equal contracts give equal text."""
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
        fields |= {key: str(value) for key, value in NUMBERS.items()}
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
            raise ContractError(PREFIX + "contract", f"version {version!r}; this sedkit reads version {VERSION}")
        for key, expected in NUMBERS.items():
            found = _text(metadata, key)
            if found != str(expected):
                raise ContractError(PREFIX + key, f"{found!r}; it must be {expected}")
        labels = _labels(_parsed(metadata, "labels", list))
        timeline = "timeline_thresholds" if PREFIX + "timeline_thresholds" in metadata else "thresholds"
        return cls(
            name=_text(metadata, "name"),
            labels=labels,
            thresholds=_thresholds(metadata, "thresholds", len(labels)),
            calibration=_calibration(metadata, len(labels)),
            lineage=_parsed(metadata, "lineage", dict),
            license=_text(metadata, "license"),
            timeline_thresholds=_thresholds(metadata, timeline, len(labels)),
            tag_segments=_tag_segments(metadata),
        )


def metadata_of(path: Path) -> dict[str, str]:
    """``metadata_props`` of an ONNX file, without loading its graph; of a damaged file, what can be read.

    In protobuf: each is field 14 of a ModelProto, its key in field 1 and its value in field 2.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    found = {}
    with path.open("rb") as file:
        for _, entry in _messages(file, {14}):
            parts = dict(_messages(io.BytesIO(entry), {1, 2}))
            found[parts.get(1, b"").decode(errors="replace")] = parts.get(2, b"").decode(errors="replace")
    return found


def _messages(file: BinaryIO, wanted: set[int]) -> Iterator[tuple[int, bytes]]:
    """Fields of a protobuf message that have these numbers and a length."""
    while (tag := _varint(file)) is not None:
        if tag & 7 == 0:
            _varint(file)
            continue
        size = {1: 8, 5: 4}.get(tag & 7) or (_varint(file) if tag & 7 == 2 else None)
        if size is None:
            return
        if tag & 7 == 2 and tag >> 3 in wanted:
            yield tag >> 3, file.read(size)
        else:
            file.seek(size, io.SEEK_CUR)


def _varint(file: BinaryIO) -> int | None:
    """A number of 7 bits a byte, the lowest first; None at the end."""
    value = 0
    for shift in range(0, 64, 7):
        if not (byte := file.read(1)):
            return None
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    return None


def check_tensors(inputs: Mapping[str, Sequence[Any]], outputs: Mapping[str, Sequence[Any]], classes: int) -> None:
    """Check names and shapes of a graph, a dynamic axis being anything but an int.

    Raises
    ------
    ContractError
        If the input or an output is missing, has another rank, or fixes an axis it must not.
    """
    wanted: dict[str, tuple[int | None, ...]] = {
        INPUT: (None, None),
        "segments": (None, None, classes),
        "clip": (None, classes),
        "embedding": (None, None, EMBEDDING),
    }
    if WEIGHTS in outputs:
        wanted[WEIGHTS] = (None, None, classes)
    if list(inputs) != [INPUT]:
        raise ContractError(INPUT, f"it must be the only input; the file has {', '.join(inputs) or 'none'}")
    for name, shape in wanted.items():
        found = inputs.get(name, outputs.get(name))
        if found is None:
            raise ContractError(name, "this output is missing")
        matches = len(found) == len(shape) and all(
            (isinstance(axis, int) and axis == size) if size is not None else not isinstance(axis, int)
            for axis, size in zip(found, shape, strict=True)
        )
        if not matches:
            text = ", ".join("dynamic" if size is None else str(size) for size in shape)
            raise ContractError(name, f"shape {list(found)}; it must be [{text}]")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _text(metadata: Mapping[str, str], key: str) -> str:
    value = metadata.get(PREFIX + key, "").strip()
    if not value:
        raise ContractError(PREFIX + key, "missing")
    return value


def _parsed(metadata: Mapping[str, str], key: str, kind: type) -> Any:
    try:
        value = json.loads(_text(metadata, key))
    except json.JSONDecodeError as error:
        raise ContractError(PREFIX + key, f"not JSON ({error})") from None
    if not isinstance(value, kind):
        raise ContractError(PREFIX + key, f"must be a JSON {'object' if kind is dict else 'list'}")
    return value


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
        labels.append(Label(name, mid, index))
    for what, values in (("name", [x.name for x in labels]), ("mid", [x.mid for x in labels if x.mid])):
        if len(set(values)) != len(values):
            raise ContractError(field, f"a {what} stands there twice")
    return tuple(labels)


def _thresholds(metadata: Mapping[str, str], key: str, classes: int) -> tuple[float, ...]:
    values = _parsed(metadata, key, list)
    if len(values) != classes:
        raise ContractError(PREFIX + key, f"{len(values)} numbers for {classes} classes")
    if not all(isinstance(value, int | float) and 0 < value < 1 for value in values):
        raise ContractError(PREFIX + key, "every threshold must lie between 0 and 1")
    return tuple(float(value) for value in values)


def _tag_segments(metadata: Mapping[str, str]) -> int:
    text = metadata.get(PREFIX + "tag_segments", str(TAG_SEGMENTS))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_TAG_SEGMENTS):
        raise ContractError(PREFIX + "tag_segments", f"{text!r}; it must be a number from 1 to {MOST_TAG_SEGMENTS}")
    return int(text)


def _calibration(metadata: Mapping[str, str], classes: int) -> dict[str, Any]:
    field = PREFIX + "calibration"
    value: dict[str, Any] = _parsed(metadata, "calibration", dict)
    if value.get("kind") not in ("none", "platt"):
        raise ContractError(field, f"kind {value.get('kind')!r}; this sedkit knows 'none' and 'platt'")
    if value["kind"] == "platt":
        for name in ("slope", "offset"):
            numbers = value.get(name)
            if not isinstance(numbers, list) or len(numbers) != classes:
                raise ContractError(field, f"{name} must be a list of {classes} numbers, one a class")
            if not all(type(number) in (int, float) and abs(number) <= STEEPEST for number in numbers):
                raise ContractError(field, f"{name} must hold numbers from {-STEEPEST:g} to {STEEPEST:g}")
        if min(value["slope"]) <= 0:
            raise ContractError(field, "every slope must lie above 0: a higher score cannot mean less")
    return value
