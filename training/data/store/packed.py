"""Reading packed sets (training.data.store.pack) from a disk, a network file system or an object store.

Clips can be read in any order. Shards are read in blocks that stay in a cache. In the order of ``sampling.by_shard``,
every block is read once per epoch.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.fs
from numpy.typing import NDArray

from sedkit.errors import AudioError
from training.data.manifest.problems import ManifestError
from training.data.manifest.rows import read_columns
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.store.codecs import decode
from training.data.store.pack import CLIP, FORMAT

BLOCK = 4 << 20  # bytes read at a time
KEPT = 1 << 30  # bytes of cached blocks: two windows of by_shard in FLAC
FILES = 64  # shards open at a time
INDEX = ("index.json", "clips.npy", "manifest.csv", "manifest.labels.csv")


class PackedAudio:
    """Clips of a packed set: ``audio[i]`` belongs to row ``i`` of ``audio.manifest``.

    Attributes
    ----------
    place : directory or URI.
    index : ``index.json``.
    manifest : the clips, in the order of the shards.
    lengths : [clips] int32, samples of each clip.
    """

    def __init__(
        self,
        place: str,
        filesystem: pyarrow.fs.FileSystem,
        folder: str,
        vocabulary: Vocabulary | None = None,
        kept: int = KEPT,
    ) -> None:
        self.place = place
        self._filesystem, self._folder = filesystem, folder
        with self._tables() as tables:
            self.index: dict[str, Any] = json.loads((tables / "index.json").read_text("utf-8"))
            if self.index.get("format") != FORMAT:
                raise ManifestError(f"{place}: packed by another version; pack it again")
            self._clips = np.load(tables / "clips.npy", mmap_mode="r")
            vocabulary = vocabulary or Vocabulary.load(tables / "manifest.labels.csv")
            columns = read_columns(tables / "manifest.csv")
        self.manifest = Manifest.from_columns(columns, vocabulary, Path(folder), where=f"{place}: manifest.csv")
        pyarrow.default_memory_pool().release_unused()
        for kind, left_out in self.index["dropped"].items():
            self.manifest.dropped.add(kind, *left_out["examples"], count=left_out["clips"])
        if self._clips.dtype != CLIP or not len(self._clips) == len(self.manifest) == self.index["clips"]:
            raise ManifestError(f"{place}: index.json does not match manifest.csv; pack it again")
        self.lengths: NDArray[np.int32] = self._clips["samples"]
        self._file = lru_cache(FILES)(self._open)
        self._blocks = Blocks(self._read, kept // BLOCK) if kept else None

    @classmethod
    def open(cls, place: str | Path, vocabulary: Vocabulary | None = None, kept: int = KEPT) -> PackedAudio:
        """Open a packed set.

        Parameters
        ----------
        place : directory, or URI that Arrow supports, e.g. ``s3://bucket/set``.
        vocabulary : the classes, if not those that the set was packed with.
        kept : bytes of cached blocks; 0: read clip by clip, for random orders.

        Raises
        ------
        ManifestError
            If there is no packed set at ``place``, or if a shard is missing or has another size.
        """
        place = str(place)
        try:
            if "://" in place:
                filesystem, folder = pyarrow.fs.FileSystem.from_uri(place)
            else:
                filesystem, folder = pyarrow.fs.LocalFileSystem(), str(Path(place).absolute())
            packed = cls(place, filesystem, folder, vocabulary, kept)
        except (OSError, ValueError, KeyError) as error:
            cause = str(error).partition("\n")[0]
            raise ManifestError(
                f"{place}: no complete packed set ({cause}); make or complete it with sedkit-train data pack"
            ) from None
        packed._check_sizes()
        return packed

    def shards(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of ``rows`` (ascending) in each shard that has any, as ``sampling.by_shard`` takes them."""
        return np.unique(self._clips["shard"][rows], return_counts=True)[1]

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, row: int) -> NDArray[np.int16]:
        """Samples [samples] int16 of a clip, 16 kHz, full scale 32768.

        Raises
        ------
        ManifestError
            If its shard is damaged or missing.
        """
        clip = self._clips[row]
        shard = self.index["shards"][clip["shard"]]
        offset, size = int(clip["offset"]), int(clip["size"])
        try:
            content = (self._blocks.read if self._blocks else self._read)(shard["name"], offset, size)
            if zlib.crc32(content) != clip["crc32"]:
                raise AudioError(f"clip {clip['row']:08} has another CRC-32")
            samples = decode(content)
        except (OSError, AudioError) as error:
            raise self._damaged(shard["name"], str(error)) from None
        return samples

    def verify(self, workers: int = 8) -> Iterator[tuple[str, str]]:
        """Read every shard and compare its checksum; yields its name and its fault, which is empty if it is sound."""

        def check(shard: dict[str, Any]) -> tuple[str, str]:
            digest = hashlib.sha256()
            try:
                with self._filesystem.open_input_stream(f"{self._folder}/{shard['name']}") as file:
                    while block := file.read(BLOCK):
                        digest.update(block)
            except OSError as error:
                return shard["name"], str(error)
            return shard["name"], "" if digest.hexdigest() == shard["sha256"] else "another SHA-256"

        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(check, self.index["shards"])

    def _check_sizes(self) -> None:
        """Raise if a shard is missing or has another size than in the index."""
        selector = pyarrow.fs.FileSelector(self._folder)
        sizes = {file.base_name: file.size for file in self._filesystem.get_file_info(selector)}
        for shard in self.index["shards"]:
            if sizes.get(shard["name"]) != shard["bytes"]:
                size = sizes.get(shard["name"])
                raise self._damaged(shard["name"], "missing" if size is None else f"{size} bytes, not {shard['bytes']}")

    def _damaged(self, name: str, cause: str) -> ManifestError:
        return ManifestError(
            f"{self.place}: shard {name} is damaged ({cause}); copy it again, "
            "or remove it and pack again: only missing shards are made"
        )

    @contextmanager
    def _tables(self) -> Iterator[Path]:
        """A folder with the files that are not shards; for a remote set, a temporary copy."""
        if isinstance(self._filesystem, pyarrow.fs.LocalFileSystem):
            yield Path(self._folder)
            return
        with tempfile.TemporaryDirectory() as copies:
            for name in INDEX:
                with self._filesystem.open_input_stream(f"{self._folder}/{name}") as source:
                    Path(copies, name).write_bytes(source.read())
            yield Path(copies)

    def _open(self, name: str) -> pyarrow.NativeFile:
        return self._filesystem.open_input_file(f"{self._folder}/{name}")

    def _read(self, name: str, offset: int, size: int) -> bytes:
        content: bytes = self._file(name).read_at(size, offset)
        return content


class Blocks:
    """A thread-safe LRU cache of blocks of files.

    Parameters
    ----------
    read : ``read(name, offset, size)`` returns bytes of a file.
    most : number of blocks that are kept.
    """

    def __init__(self, read: Callable[[str, int, int], bytes], most: int) -> None:
        self._source, self._most = read, most
        self._cached: dict[tuple[str, int], Future[bytes]] = {}
        self._lock = threading.Lock()

    def read(self, name: str, offset: int, size: int) -> bytes:
        """``size`` bytes of the file ``name`` from ``offset`` on."""
        first, last = offset // BLOCK, (offset + size - 1) // BLOCK
        content = b"".join(self._block(name, block) for block in range(first, last + 1))
        return content[offset - first * BLOCK :][:size]

    def _block(self, name: str, block: int) -> bytes:
        with self._lock:
            future = self._cached.pop((name, block), None)
            missing = future is None
            future = future or Future()
            self._cached[name, block] = future  # the most recent is last
            if len(self._cached) > self._most:
                del self._cached[next(iter(self._cached))]
        if missing:
            try:
                future.set_result(self._source(name, block * BLOCK, BLOCK))
            except BaseException as error:
                with self._lock:
                    self._cached.pop((name, block), None)
                future.set_exception(error)
        return future.result()
