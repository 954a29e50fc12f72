"""A model file, read without loading its graph: its metadata, its digest, and the files that it refers to.

An ONNX file is a protobuf message: a sequence of fields, each with its number, the length of its content, and the
content. Field 7 is the graph with the weights. Each field 14 is an entry of the metadata, with its key in field 1 and
its value in field 2.

The *digest* is the SHA-256 of all fields but the metadata, in the order of the file. :func:`with_digest` stores it as
the metadata entry ``sedkit.digest``; a model without this entry is not checked.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sedkit.errors import ContractError, ModelError

DIGEST = "sedkit.digest"
GRAPH, METADATA = 7, 14  # fields of a ModelProto
KEY, VALUE = 1, 2  # fields of a StringStringEntryProto
EXTERNAL_DATA = 13  # field of a TensorProto: where its data is, in entries like those of the metadata
# from a ModelProto to its tensors: the fields that hold a message of interest, and what this message is
NESTED = {
    "model": {GRAPH: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
LARGEST = (1 << 31) - 1  # bytes; what protobuf reads
LONGEST_ENTRY = 4 << 20  # bytes of metadata; 10,000 classes take less than 1 MB
MOST_FIELDS, MOST_NESTED = 10_000, 200_000  # of metadata, and of graph and weights; bounds the time
DEEPEST = 32  # graphs within graphs
CHUNK = 1 << 20  # bytes
LOCATION = b"location"  # the key of a path in external_data


class ModelFile:
    """A model file.

    Parameters
    ----------
    path : path of the file.

    Attributes
    ----------
    metadata : the ``metadata_props``.

    Raises
    ------
    ModelError
        If the path is not a file, or the file cannot be read or is not an ONNX file.
    ContractError
        If an entry of the metadata is too long.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = metadata_of(path)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the graph and its weights, in hexadecimal digits."""
        return self._hashed[0]

    @property
    def stated_digest(self) -> str:
        """What the metadata says that ``digest`` is, if they say it; to be checked."""
        return self.metadata.get(DIGEST) or self.digest

    @cached_property
    def external(self) -> frozenset[str]:
        """Paths, as the file has them, of other files with weights."""
        if not self._hashed[1]:
            return frozenset()
        with _opened(self.path) as (file, size):
            return frozenset(_external_files(_Walk(file, self.path, MOST_NESTED), "model", 0, size, 0))

    def check(self) -> None:
        """Check the digest, if the metadata has one, and the paths of other files.

        Raises
        ------
        ContractError
            If the graph or the weights are not those that were exported, or another file is outside the model's folder.
        """
        if self.metadata.get(DIGEST, self.digest) != self.digest:
            problem = "the graph or its weights have changed since the export (copy the file again)"
            raise ContractError(DIGEST, problem)
        folder = self.path.parent.resolve()
        for name in self.external:
            if not (folder / name).resolve().is_relative_to(folder) or Path(name).is_absolute():
                raise ContractError("external_data", f"{name!r} is outside the model's folder")

    @cached_property
    def _hashed(self) -> tuple[str, bool]:
        """The digest, and whether the graph contains the word without which there are no other files."""
        digest, found = hashlib.sha256(), False
        overlap = len(LOCATION) - 1
        buffer = bytearray(overlap + CHUNK)  # the end of the chunk before, and a chunk
        with _opened(self.path) as (file, size), memoryview(buffer) as view:
            for field in _Walk(file, self.path).fields(0, size):
                if field.number == METADATA:
                    continue
                file.seek(field.start)
                left = field.end - field.start
                while left and (count := file.readinto(view[overlap : overlap + min(left, CHUNK)])):
                    digest.update(view[overlap : overlap + count])
                    found = found or buffer.find(LOCATION, 0, overlap + count) >= 0
                    view[:overlap] = bytes(view[count : count + overlap])
                    left -= count
        return digest.hexdigest(), found


def metadata_of(path: Path) -> dict[str, str]:
    """Read the ``metadata_props`` of an ONNX file.

    Raises
    ------
    ModelError
        If the path is not a file, or the file cannot be read or is not an ONNX file.
    ContractError
        If an entry of the metadata is too long.
    """
    metadata, has_graph = {}, False
    with _opened(path) as (file, size):
        walk = _Walk(file, path)
        for field in walk.fields(0, size):
            has_graph |= field.number == GRAPH
            if field.number != METADATA:
                continue
            entry = dict.fromkeys((KEY, VALUE), "")
            for part in walk.fields(field.content, field.end):
                if part.end - part.content > LONGEST_ENTRY:
                    name = entry[KEY] or "metadata"
                    raise ContractError(name, f"is longer than {LONGEST_ENTRY >> 20} MB", str(path))
                if part.number in entry:
                    file.seek(part.content)
                    entry[part.number] = file.read(part.end - part.content).decode(errors="replace")
            metadata[entry[KEY]] = entry[VALUE]
    if not has_graph:
        raise _not_onnx(path, "it has no graph")
    return metadata


def with_digest(content: bytes) -> bytes:
    """Return the content of a model file with its digest as the last entry of the metadata; other bytes are kept."""
    kept = io.BytesIO()
    digest = hashlib.sha256()
    walk = _Walk(io.BytesIO(content), Path("<model>"))
    for field in walk.fields(0, len(content)):
        if field.number != METADATA:
            digest.update(content[field.start : field.end])
        elif content[field.content : field.end].startswith(_text(KEY, DIGEST)):
            continue
        kept.write(content[field.start : field.end])
    entry = _text(KEY, DIGEST) + _text(VALUE, digest.hexdigest())
    return kept.getvalue() + bytes([METADATA << 3 | 2, len(entry)]) + entry


def _text(number: int, text: str) -> bytes:
    """A field with a short text."""
    return bytes([number << 3 | 2, len(text)]) + text.encode()


class _Field(NamedTuple):
    """Position of a field in the file: from ``start`` to ``end``, its content from ``content`` on."""

    number: int
    start: int
    content: int
    end: int


class _Walk:
    """Reads the fields of messages, up to a total number. Raises ModelError if they are not valid."""

    def __init__(self, file: BinaryIO, path: Path, most: int = MOST_FIELDS) -> None:
        self.file, self.path, self.left = file, path, most

    def fields(self, start: int, end: int) -> Iterator[_Field]:
        """The fields of the message from byte ``start`` to byte ``end``."""
        while start < end:
            self.left -= 1
            self.file.seek(start)
            head = self.file.read(min(20, end - start))
            tag, used = self._varint(head, 0)
            if tag & 7 == 0:
                _, used = self._varint(head, used)
            size = {0: 0, 1: 8, 5: 4}.get(tag & 7)
            if tag & 7 == 2:
                size, used = self._varint(head, used)
            if size is None or start + used + size > end or self.left < 0:
                raise _not_onnx(self.path, "it is cut short or damaged")
            yield _Field(tag >> 3, start, start + used, start + used + size)
            start += used + size

    def _varint(self, head: bytes, used: int) -> tuple[int, int]:
        """A number (7 bits per byte, lowest first), and the position after it."""
        value = 0
        for shift, byte in enumerate(head[used : used + 10]):
            value |= (byte & 127) << (7 * shift)
            if byte < 128:
                return value, used + shift + 1
        raise _not_onnx(self.path, "it is cut short or damaged")


def _external_files(walk: _Walk, kind: str, start: int, end: int, depth: int) -> Iterator[str]:
    """The locations in the external_data of all tensors in a message of this kind."""
    if depth > DEEPEST:
        raise _not_onnx(walk.path, "its graphs are nested too deeply")
    for field in list(walk.fields(start, end)):
        if kind == "tensor" and field.number == EXTERNAL_DATA:
            entry = {part.number: part for part in list(walk.fields(field.content, field.end))}
            texts = []
            for number in (KEY, VALUE):
                part = entry.get(number, _Field(number, 0, 0, 0))
                walk.file.seek(part.content)
                texts.append(walk.file.read(min(part.end - part.content, LONGEST_ENTRY)).decode(errors="replace"))
            if texts[0] == LOCATION.decode():
                yield texts[1]
        elif (nested := NESTED.get(kind, {}).get(field.number)) is not None:
            yield from _external_files(walk, nested, field.content, field.end, depth + 1)


def check_is_file(path: Path) -> None:
    """Raise a ModelError if an existing path is a folder, a pipe or a device."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise ModelError(f"{path}: is {'a folder' if stat.S_ISDIR(mode) else 'a pipe or a device'}, not a model file")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BufferedReader, int]]:
    """Open a model file for reading; yields it and its size. Raises ModelError if it cannot be read."""
    try:
        check_is_file(path)
        file = path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise ModelError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    with file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST:
            raise _not_onnx(path, "it is larger than 2 GB")
        yield file, size


def _not_onnx(path: Path, problem: str) -> ModelError:
    return ModelError(f"{path}: not an ONNX file that can be loaded: {problem}; export or copy it again")
