"""Store of decoded audio: the clips of a manifest as 16 kHz mono int16, in one memory-mapped file.

On disk, below a directory::

    KEY/audio.int16    samples of all clips, one after the other
    KEY/offsets.npy    int64 [clips + 1]: clip i is audio[offsets[i]:offsets[i + 1]]
    KEY/bytes.npy      int64 [clips]: size of each clip's file when it was decoded
    KEY/store.json     format, counts, and the clips that could not be decoded

KEY is a hash of the clips (name, start, duration, order). It depends neither on labels and splits nor on the folder of
the audio, so a store can be copied to a machine without the audio files. A store is rebuilt if its files contradict
each other or the size of an audio file that exists.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import AudioError, OutputError
from training.data.audio import decode, fault
from training.data.manifest.problems import Faults, OnError
from training.data.manifest.table import Manifest
from training.runtime.prefetch import prefetch

FORMAT = 2
Progress = Callable[[int, int], None]


class AudioStore:
    """Decoded clips: ``store[i]`` belongs to row ``i`` of ``store.manifest``.

    Attributes
    ----------
    folder : the store's folder.
    manifest : the manifest of the call, without the clips that could not be decoded.
    lengths : [clips] int64, samples of each clip.
    """

    def __init__(self, folder: Path, manifest: Manifest, audio: NDArray[np.int16], starts: NDArray[np.int64],
                 lengths: NDArray[np.int64]) -> None:  # fmt: skip
        self.folder = folder
        self.manifest = manifest
        self.lengths = lengths
        self._audio = audio
        self._starts = starts

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, clip: int) -> NDArray[np.int16]:
        """Samples [samples] int16 of a clip, 16 kHz, full scale 32768, as a read-only view of the file."""
        start = self._starts[clip]
        return self._audio[start : start + self.lengths[clip]]

    @classmethod
    def open_or_build(
        cls,
        manifest: Manifest,
        directory: str | Path,
        on_error: OnError = "stop",
        progress: Progress | None = None,
    ) -> AudioStore:
        """Open the store of ``manifest`` below ``directory``; build it first if it does not exist.

        Parameters
        ----------
        progress : called with the number of clips done and their total while decoding.

        Raises
        ------
        ManifestError
            If clips cannot be decoded and ``on_error`` is ``stop``, or if none can.
        OutputError
            If the store cannot be written.
        """
        folder = Path(directory) / key(manifest)
        faults = _faults(folder, manifest)
        if faults is None:
            try:
                _build(folder, manifest, on_error, progress)
            except OSError as error:
                raise OutputError(
                    f"{folder}: decoded audio cannot be written ({error.strerror}); "
                    "free disk space or name another directory"
                ) from None
            faults = _faults(folder, manifest)
        if faults is None:
            raise OutputError(f"{folder}: decoded audio does not read back as written; name another directory")
        kept = manifest.without(faults, on_error, "decoding")
        rows = np.flatnonzero(~faults.rows)
        offsets = np.load(folder / "offsets.npy")
        audio = np.memmap(folder / "audio.int16", np.int16, "r")
        return cls(folder, kept, audio, offsets[rows], np.diff(offsets)[rows])


def key(manifest: Manifest) -> str:
    """Name of the folder of a manifest's store: 16 hexadecimal digits."""
    digest = hashlib.sha256(b"%d" % FORMAT)
    digest.update("\n".join(manifest.names()).encode())
    digest.update(manifest.starts.tobytes())
    digest.update(manifest.durations.tobytes())
    return digest.hexdigest()[:16]


def _faults(folder: Path, manifest: Manifest) -> Faults | None:
    """The clips that the store lists as faulty; None if the store is missing or damaged."""
    try:
        about = json.loads((folder / "store.json").read_text("utf-8"))
        offsets, sizes = np.load(folder / "offsets.npy"), np.load(folder / "bytes.npy")
        length = (folder / "audio.int16").stat().st_size
        kinds = {int(row): kind for row, kind in about["faults"].items()}
        consistent = about["format"] == FORMAT and len(sizes) == len(offsets) - 1 == len(manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not consistent or length != 2 * offsets[-1] or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        return None
    for path, size in zip(manifest.paths, sizes.tolist(), strict=True):
        if (current := _size(path)) is not None and current != size:
            return None
    faults = Faults(len(manifest))
    for row, kind in kinds.items():
        faults.add(row, kind, manifest.paths[row])
    return faults


def _build(folder: Path, manifest: Manifest, on_error: OnError, progress: Progress | None) -> None:
    """Decode all clips into a temporary folder, then rename it to ``folder``."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        offsets = np.zeros(len(manifest) + 1, np.int64)
        faults = Faults(len(manifest))
        kinds: dict[str, str] = {}
        with (temporary / "audio.int16").open("wb") as file:
            for row, clip in enumerate(prefetch(partial(decoded, manifest), range(len(manifest)), os.cpu_count() or 1)):
                if isinstance(clip, str):
                    kinds[str(row)] = clip
                    faults.add(row, clip, manifest.paths[row])
                else:
                    file.write(clip.tobytes())
                    offsets[row + 1] = len(clip)
                if progress and (row % 50 == 49 or row + 1 == len(manifest)):
                    progress(row + 1, len(manifest))
        manifest.without(faults, on_error, "decoding")
        np.save(temporary / "offsets.npy", offsets.cumsum())
        np.save(temporary / "bytes.npy", np.array([_size(path) or 0 for path in manifest.paths], np.int64))
        about = {"format": FORMAT, "sample_rate": 16_000, "clips": len(manifest), "faults": kinds}
        (temporary / "store.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process may have built the same store
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def decoded(manifest: Manifest, row: int) -> NDArray[np.int16] | str:
    """Samples [samples] of a clip, or the kind of its fault."""
    path = manifest.paths[row]
    try:
        samples = decode(path, float(manifest.starts[row]), float(manifest.durations[row]))
    except AudioError:
        return fault(path) or "audio that does not decode"
    return samples if len(samples) else "clip beyond the end of its file"


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None
