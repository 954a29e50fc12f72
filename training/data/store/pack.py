"""Packing: the clips of a manifest → tar shards for sequential reading, in the format of WebDataset.

A packed set is a directory with all that training needs::

    train-00000.tar      clips of one split in random order; two members per clip:
                         00001234.flac (or .opus) and 00001234.json (labels, path, licence ...),
                         named by the clip's row in the manifest that was packed
    manifest.csv, manifest.labels.csv    the clips in the order of the shards
    clips.npy            [clips]: row, shard, offset and size of the audio in bytes, samples, CRC-32
    index.json           format, settings, hash of the manifest, what was left out, and every shard's clips,
                         bytes and SHA-256; written last, so its presence means that the set is complete
    parts/               content of each finished shard, from which an interrupted packing continues

Equal clips and settings give equal bytes, so a shard that was removed is made again exactly.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import SAMPLE_RATE
from training.data.manifest.problems import Faults, ManifestError, OnError
from training.data.manifest.table import SPLITS, Manifest
from training.data.store.codecs import Codec, encoder
from training.data.store.decoded import Progress, decoded
from training.runtime.files import replacing, write_json
from training.runtime.prefetch import prefetch

FORMAT = 2
CLIP = np.dtype(
    [("row", "<i4"), ("shard", "<i4"), ("offset", "<i8"), ("size", "<i4"), ("samples", "<i4"), ("crc32", "<u4")]
)


@dataclass(frozen=True)
class Packing:
    """Settings of a packed set.

    Attributes
    ----------
    codec : ``flac`` or ``opus``.
    bitrate : Opus's, in kbit/s.
    shard_clips : maximum number of clips in a shard.
    seed : seed of the order of the clips.
    """

    codec: Codec = "flac"
    bitrate: int = 48
    shard_clips: int = 1000
    seed: int = 0


class Shard(NamedTuple):
    """A shard to be written: its name without ``.tar``, and the rows of the manifest that it contains."""

    name: str
    rows: NDArray[np.int64]


def plan(manifest: Manifest, packing: Packing) -> list[Shard]:
    """The shards of a manifest: each split in an order drawn with the seed, cut into equal parts."""
    shards = []
    for number, split in enumerate((*SPLITS, "")):
        rows = np.random.default_rng((packing.seed, number)).permutation(manifest.indices(split))
        parts = np.array_split(rows, -(-len(rows) // packing.shard_clips)) if len(rows) else []
        shards += [Shard(f"{split or 'unassigned'}-{part:05}", rows) for part, rows in enumerate(parts)]
    return shards


def pack(
    manifest: Manifest,
    directory: Path,
    packing: Packing = Packing(),
    on_error: OnError = "stop",
    progress: Progress | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Pack ``manifest`` into ``directory``, keeping shards that an earlier call has written.

    Parameters
    ----------
    progress : called with the number of clips done and their total.
    workers : clips decoded at a time; the number of processors if None.

    Returns
    -------
    The content of ``index.json``.

    Raises
    ------
    ManifestError
        If the directory holds a set of other clips or settings. With ``on_error="stop"`` also if clips cannot be
        decoded; the first shard with such clips is then not written.
    OutputError
        If a file cannot be written.
    """
    about = {"format": FORMAT, **asdict(packing), "manifest_sha256": manifest.sha256()}
    _claim(directory, about)
    shards = plan(manifest, packing)
    parts = [_read_part(directory, shard) for shard in shards]
    missing = [shard for shard, part in zip(shards, parts, strict=True) if part is None]
    count = sum(len(shard.rows) for shard in missing)
    with closing(_compressed(manifest, missing, packing, workers or os.cpu_count() or 1)) as clips:
        counted = _counted(clips, len(manifest) - count, len(manifest), progress)
        complete = [
            _write(manifest, directory, shard, counted, packing.codec, on_error) if part is None else part
            for shard, part in zip(shards, parts, strict=True)
        ]
    return _finish(manifest, directory, about, shards, complete)


def _claim(directory: Path, about: dict[str, Any]) -> None:
    """Write ``parts/packing.json``, or check that an existing one has the same settings and clips."""
    path = directory / "parts" / "packing.json"
    try:
        existing = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if any(directory.glob("*.tar")):
            raise ManifestError(f"{directory}: holds other shards; name an empty directory") from None
        write_json(path, about)
        return
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read ({error}); remove {directory} and pack again") from None
    different = [name for name in about if existing.get(name) != about[name]]
    if different:
        raise ManifestError(
            f"{directory}: was packed with another {' and '.join(different)}; name another directory, or remove it"
        )
    for leftover in directory.rglob(".*.tmp"):  # of a killed process
        leftover.unlink(missing_ok=True)


class _Part(NamedTuple):
    """The content of a written shard; ``clips`` has the dtype ``CLIP``, ``faults`` is row → kind of fault."""

    bytes: int
    sha256: str
    clips: NDArray[np.void]
    faults: dict[str, str]


def _read_part(directory: Path, shard: Shard) -> _Part | None:
    """The content of a shard if it has been written, else None."""
    try:
        part = _Part(**json.loads((directory / "parts" / f"{shard.name}.json").read_text("utf-8")))
        size = (directory / f"{shard.name}.tar").stat().st_size
        clips = np.array([tuple(clip) for clip in part.clips], CLIP)
    except (OSError, ValueError, TypeError):
        return None
    return part._replace(clips=clips) if size == part.bytes else None


class _Clip(NamedTuple):
    """A compressed clip, or the kind of its fault."""

    content: bytes
    samples: int
    fault: str = ""


def _compressed(manifest: Manifest, shards: Sequence[Shard], packing: Packing, workers: int) -> Generator[_Clip]:
    """The clips of ``shards`` in order."""
    encode = encoder(packing.codec, packing.bitrate)

    def make(row: np.int64) -> _Clip:
        samples = decoded(manifest, int(row))
        return _Clip(b"", 0, samples) if isinstance(samples, str) else _Clip(encode(samples), len(samples))

    yield from prefetch(make, (row for shard in shards for row in shard.rows), workers)


def _counted(clips: Iterator[_Clip], done: int, total: int, progress: Progress | None) -> Iterator[_Clip]:
    """``clips``, calling ``progress`` as they are taken."""
    for number, clip in enumerate(clips, done + 1):
        if progress and (number % 50 == 0 or number == total):
            progress(number, total)
        yield clip


def _write(
    manifest: Manifest, directory: Path, shard: Shard, clips: Iterator[_Clip], codec: Codec, on_error: OnError
) -> _Part:
    """Write a shard from the next of ``clips``, and then its content to ``parts/``."""
    faults, kinds, clip_rows = Faults(len(manifest)), {}, []
    with replacing(directory / f"{shard.name}.tar") as temporary, temporary.open("wb") as file:
        hashing = _Hashing(file)
        with tarfile.open(mode="w|", fileobj=cast(IO[bytes], hashing), format=tarfile.USTAR_FORMAT) as tar:
            for row, about, clip in zip(shard.rows.tolist(), _metadata(manifest, shard.rows), clips, strict=False):
                if clip.fault:
                    faults.add(row, clip.fault, manifest.paths[row])
                    kinds[str(row)] = clip.fault
                    continue
                crc32, offset = zlib.crc32(clip.content), tar.offset + tarfile.BLOCKSIZE
                about |= {"samples": clip.samples, "sample_rate": SAMPLE_RATE, "crc32": crc32}
                _add(tar, f"{row:08}.{codec}", clip.content)
                _add(tar, f"{row:08}.json", json.dumps(about, ensure_ascii=False).encode())
                clip_rows.append((row, 0, offset, len(clip.content), clip.samples, crc32))
        faults.tally.raise_on_stop(on_error, f"{directory}: {shard.name}")
    part = _Part(hashing.bytes, hashing.digest.hexdigest(), np.array(clip_rows, CLIP), kinds)
    with replacing(directory / "parts" / f"{shard.name}.json") as temporary:
        temporary.write_text(json.dumps(part._asdict() | {"clips": clip_rows}), "utf-8")
    return part


def _metadata(manifest: Manifest, rows: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    """The JSON of each clip; the labels of unlabelled clips are null."""
    part, labels = manifest.take(rows), manifest.vocabulary.labels
    for row, classes, known in zip(part.rows(manifest.root()), part.labels, part.labels.known, strict=True):
        yield row._asdict() | {
            "labels": [manifest.vocabulary.key(index) for index in classes] if known else None,
            "names": [labels[index].name for index in classes] if known else None,
        }


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a member without time or owner, so that equal content gives equal bytes."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


class _Hashing:
    """A file that counts and hashes the bytes written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.bytes, self.digest = file, 0, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.bytes += len(content)
        self.digest.update(content)
        return self.file.write(content)


def _finish(
    manifest: Manifest, directory: Path, about: dict[str, Any], shards: Sequence[Shard], parts: Sequence[_Part]
) -> dict[str, Any]:
    """Write the manifest of the packed clips and the index, which is returned."""
    faults = Faults(len(manifest))
    for part in parts:
        for row, kind in part.faults.items():
            faults.add(int(row), kind, manifest.paths[int(row)])
    table = np.concatenate([part.clips for part in parts])
    if not len(table):
        raise ManifestError(f"{directory}: no clip remains: {faults.tally}")
    table["shard"] = np.repeat(np.arange(len(parts)), [len(part.clips) for part in parts])
    packed = manifest.take(table["row"], faults.tally)
    packed.save(directory / "manifest.csv", packed.root())
    with replacing(directory / "clips.npy") as temporary, temporary.open("wb") as file:
        np.save(file, table)
    index = {
        **about,
        "clips": len(table),
        "hours": round(int(table["samples"].sum(dtype=np.int64)) / SAMPLE_RATE / 3600, 3),
        "bytes": sum(part.bytes for part in parts),
        "dropped": {
            kind: {"clips": count, "examples": packed.dropped.examples[kind]}
            for kind, count in packed.dropped.counts.items()
        },
        "shards": [
            {"name": f"{shard.name}.tar", "clips": len(part.clips), "bytes": part.bytes, "sha256": part.sha256}
            for shard, part in zip(shards, parts, strict=True)
        ],
    }
    write_json(directory / "index.json", index)
    return index
