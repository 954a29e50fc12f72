"""Cache of graphs that ONNX Runtime has optimised for this machine; makes loading a model faster.

Optimising the graph takes most of the time of loading a model. ONNX Runtime also copies the weights of a model file,
but memory-maps those of a cached graph. On disk, in the user's cache folder or ``$SEDKIT_CACHE``::

    graphs/KEY/graph.onnx     the optimised graph
    graphs/KEY/weights.bin    its weights
    graphs/KEY/seal.json      key, and SHA-256 of the two files

KEY is a hash of the model file, the build of ONNX Runtime and the processor's instruction sets: an optimised graph has
its weights in the layout of one processor, and would give wrong scores on another. Entries are renamed into place when
complete, and never modified. An entry whose seal does not match is replaced. If the cache cannot be written, sedkit
silently works without it. ``SEDKIT_CACHE=off`` turns the cache off.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

FORMAT = 1
VARIABLE = "SEDKIT_CACHE"
OFF = ("", "0", "off", "none")
GRAPH, WEIGHTS, SEAL = "graph.onnx", "weights.bin", "seal.json"
MAX_ENTRIES = 8  # the most recently used ones are kept
ABANDONED = 3600  # seconds; a temporary folder older than this belongs to a process that died


def folder() -> Path | None:
    """The folder of the entries, in ``$SEDKIT_CACHE`` or the user's cache folder; None if the cache is off."""
    if (chosen := os.environ.get(VARIABLE)) is not None:
        return None if chosen.strip().lower() in OFF else Path(chosen) / "graphs"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:  # XDG Base Directory Specification: relative paths are ignored
        base = Path(os.environ.get("XDG_CACHE_HOME") or "")
        base = base if base.is_absolute() else home / ".cache"
    return base / "sedkit" / "graphs"


def key(model: Path, runtime: str) -> str | None:
    """The key of a model's entry; None if the file cannot be read or stores weights in other files.

    Parameters
    ----------
    runtime : version and build of ONNX Runtime.
    """
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(b"location") >= 0:  # TensorProto.external_data: weights in other files
                return None
            parts = [str(FORMAT), hashlib.sha256(content).hexdigest(), runtime, platform.machine(), _processor()]
    except (OSError, ValueError):  # ValueError: an empty file
        return None
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def find(folder: Path, key: str) -> Path | None:
    """The graph of an entry whose seal matches, or None."""
    entry = folder / key
    try:
        if json.loads((entry / SEAL).read_text("utf-8")) != _seal(entry, key):
            return None
        os.utime(entry / SEAL)  # marks the entry as used
    except (OSError, ValueError):
        return None
    return entry / GRAPH


@contextlib.contextmanager
def writing(folder: Path, key: str) -> Iterator[Path | None]:
    """Write an entry: yields the folder for GRAPH and WEIGHTS, or None if the cache cannot be written.

    The entry is kept if the ``with`` block creates both files. If several processes write the same entry at the same
    time, one of them wins.
    """
    import shutil
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=folder))
    except OSError:
        yield None
        return
    try:
        yield temporary
        with contextlib.suppress(OSError):
            (temporary / SEAL).write_text(json.dumps(_seal(temporary, key)), "utf-8")
            _discard(folder / key)
            temporary.rename(folder / key)
            _prune(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _seal(entry: Path, key: str) -> dict[str, str]:
    seal = {"key": key}
    for name in (GRAPH, WEIGHTS):
        with (entry / name).open("rb") as file:
            seal[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return seal


def _discard(entry: Path) -> None:
    """Remove an entry atomically: it is renamed first."""
    import tempfile

    with (
        contextlib.suppress(FileNotFoundError),
        tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=entry.parent, ignore_cleanup_errors=True) as trash,
    ):
        entry.rename(Path(trash) / entry.name)


def _prune(folder: Path) -> None:
    """Remove the least recently used entries, and abandoned temporary folders."""
    import shutil
    import time

    used = {}
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):
            if not entry.name.startswith("."):
                used[entry] = (entry / SEAL).stat().st_mtime
            elif time.time() - entry.stat().st_mtime > ABANDONED:
                shutil.rmtree(entry, ignore_errors=True)
    for entry in sorted(used, key=lambda entry: used[entry])[:-MAX_ENTRIES]:
        _discard(entry)


def _processor() -> str:
    """The processor's instruction sets, which decide the layout that ONNX Runtime chooses for weights.

    Raises
    ------
    OSError
        If they cannot be read.
    """
    if sys.platform != "linux":  # there is no list of instruction sets; use the machine's name
        return f"{platform.processor()} {platform.node()}"
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.lower().startswith(("flags", "features", "isa")):
                return line
    return platform.node()
