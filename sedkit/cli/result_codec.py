"""Results as bytes, and back, exactly: all numbers keep their full precision.

A packed result is compressed: the length of a JSON object in 4 bytes, the object, then the contents of its arrays one
after the other. Cells and events refer to a table of the classes that occur. The labels of a timeline are those of the
whole run, and are not packed.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit import results
from sedkit.results import Event, Tag, Tagging, Timeline
from sedkit.timeline.seconds import Seconds

if TYPE_CHECKING:
    from sedkit.contract import Label

LENGTH = struct.Struct("<I")
FASTEST = 1  # compression level
Classes: TypeAlias = dict[tuple[str, str | None], int]  # position in the table, by label and MID


def pack(result: Tagging | Timeline) -> bytes:
    """The bytes of a result."""
    classes: Classes = {}
    arrays: list[NDArray[Any]] = []
    record: dict[str, Any] = {"type": type(result).__name__}
    for name in (field.name for field in fields(result)):
        value = getattr(result, name)
        if name == "tags":
            record[name] = _pack_tags(value, classes)
        elif name == "seconds":
            record[name] = _pack_seconds(Seconds.of(value), classes, arrays)
        elif name == "events":
            record[name] = _pack_events(value, classes, arrays)
        elif name != "labels":
            record[name] = _pack(value, arrays)
    record["classes"] = list(classes)
    text = json.dumps(record, separators=(",", ":")).encode("ascii")
    contents = [np.ascontiguousarray(array).tobytes() for array in arrays]
    return zlib.compress(b"".join([LENGTH.pack(len(text)), text, *contents]), FASTEST)


def unpack(data: bytes, labels: tuple[Label, ...] = ()) -> Tagging | Timeline:
    """The result of some bytes. `labels` are those of a timeline."""
    contents = memoryview(zlib.decompress(data))
    (length,) = LENGTH.unpack_from(contents)
    record = json.loads(bytes(contents[LENGTH.size : LENGTH.size + length]))
    arrays = contents[LENGTH.size + length :]
    kind = record.pop("type")
    classes = [(name, mid) for name, mid in record.pop("classes")]
    for name, value in record.items():
        if name == "tags":
            record[name] = _unpack_tags(value, classes)
        elif name == "seconds":
            (spans, counts, positions, scores), arrays = _unpack(value, arrays)
            record[name] = Seconds(spans, counts, positions, scores, classes)
        elif name == "events":
            (positions, numbers), arrays = _unpack(value, arrays)
            found = zip([classes[position] for position in positions.tolist()], numbers.tolist(), strict=True)
            record[name] = tuple([Event(onset, end, label, mid, score) for (label, mid), (onset, end, score) in found])
        else:
            record[name], arrays = _unpack(value, arrays)
    return Timeline(**record, labels=labels) if kind == "Timeline" else Tagging(**record)


def _position(tag: Tag | Event, classes: Classes) -> int:
    return classes.setdefault((tag.label, tag.mid), len(classes))


def _pack_seconds(seconds: Seconds, classes: Classes, arrays: list[NDArray[Any]]) -> Any:
    """Spans, counts, positions in the table, and scores."""
    used, order = np.unique(seconds.positions, return_inverse=True)
    table = [classes.setdefault(seconds.classes[position], len(classes)) for position in used.tolist()]
    positions = np.array(table, np.int32)[order.reshape(-1)]
    return _pack((seconds.spans, seconds.counts, positions, seconds.scores), arrays)


def _pack_events(events: Sequence[Event], classes: Classes, arrays: list[NDArray[Any]]) -> Any:
    """Positions in the table; onset, offset and score, [events, 3]."""
    positions = np.array([_position(event, classes) for event in events], np.int32)
    numbers = np.array([(event.onset, event.offset, event.score) for event in events], np.float64)
    return _pack((positions, numbers.reshape(-1, 3)), arrays)


def _pack_tags(tags: Iterable[Tag], classes: Classes) -> list[tuple[int, float]]:
    return [(_position(tag, classes), tag.score) for tag in tags]


def _unpack_tags(tags: Iterable[tuple[int, float]], classes: Sequence[tuple[str, str | None]]) -> tuple[Tag, ...]:
    return tuple([Tag(*classes[position], score) for position, score in tags])


def _pack(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """A JSON value for any field: of plain values, times, arrays, sequences, and dataclasses of these."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": [value.dtype.str, value.shape]}
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    if is_dataclass(value):
        values = {field.name: _pack(getattr(value, field.name), arrays) for field in fields(value)}
        return {"object": [type(value).__name__, values]}
    if isinstance(value, tuple | list):
        return {"sequence": [_pack(item, arrays) for item in value]}
    return value


def _unpack(value: Any, arrays: memoryview) -> tuple[Any, memoryview]:
    """The value of a field, and the arrays that are left."""
    if not isinstance(value, dict):
        return value, arrays
    ((kind, content),) = value.items()
    if kind == "time":
        return datetime.fromisoformat(content), arrays
    if kind == "array":
        dtype, shape = np.dtype(content[0]), content[1]
        size = dtype.itemsize * int(np.prod(shape))
        return np.frombuffer(arrays[:size], dtype).reshape(shape), arrays[size:]
    if kind == "sequence":
        items = []
        for item in content:
            unpacked, arrays = _unpack(item, arrays)
            items.append(unpacked)
        return tuple(items), arrays
    values = {}
    for name, item in content[1].items():
        values[name], arrays = _unpack(item, arrays)
    return getattr(results, content[0])(**values), arrays
