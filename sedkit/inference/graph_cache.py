"""Graphs as ONNX Runtime has optimised them for this machine, kept from one start to the next.

Optimising a graph is most of what loading a model costs, and ONNX Runtime copies the weights of a model file while it
maps those of a cached one. On disk, below the user's cache folder or ``$SEDKIT_CACHE``::

    graphs/KEY/graph.onnx     the optimised graph
    graphs/KEY/weights.bin    its weights
    graphs/KEY/seal.json      key, and SHA-256 of the two

KEY depends on the model's bytes, the build of ONNX Runtime and what the processor can do: an optimised graph holds
weights in the layout of one processor and would give wrong scores on another. An entry appears under its name whole
and is never changed. One whose seal does not fit is replaced. Where nothing can be written, nothing is kept, and
nothing said: a cache that does not work costs time and no results. ``SEDKIT_CACHE=off`` does without.
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
KEPT = 8  # entries, the latest used
ABANDONED = 3600  # seconds after which a temporary folder belongs to a writer that died


def folder() -> Path | None:
    """Where entries lie: below ``$SEDKIT_CACHE``, else in the user's cache folder; None if there shall be none."""
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
    else:  # XDG Base Directory Specification: a relative path is to be ignored
        base = Path(os.environ.get("XDG_CACHE_HOME") or "")
        base = base if base.is_absolute() else home / ".cache"
    return base / "sedkit" / "graphs"


def key(model: Path, runtime: str) -> str | None:
    """Name of a model's entry; None if it can have none: the model cannot be read, or keeps weights in other files.

    Parameters
    ----------
    runtime : what tells one build of ONNX Runtime from another.
    """
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(b"location") >= 0:  # TensorProto.external_data: its bytes are not all there is to it
                return None
            about = [str(FORMAT), hashlib.sha256(content).hexdigest(), runtime, platform.machine(), _processor()]
    except (OSError, ValueError):  # ValueError: an empty file
        return None
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:32]


def find(folder: Path, key: str) -> Path | None:
    """The graph of a sound entry, or None."""
    entry = folder / key
    try:
        if json.loads((entry / SEAL).read_text("utf-8")) != _seal(entry, key):
            return None
        os.utime(entry / SEAL)  # it was used
    except (OSError, ValueError):
        return None
    return entry / GRAPH


@contextlib.contextmanager
def writing(folder: Path, key: str) -> Iterator[Path | None]:
    """Where to put GRAPH and WEIGHTS, or None if nothing can be written; they are kept if the block puts both there.

    Processes that write the same entry at once do not see each other: one of them wins.
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
    """Remove an entry; at no moment does a part of it stand under its name."""
    import tempfile

    with (
        contextlib.suppress(FileNotFoundError),
        tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=entry.parent, ignore_cleanup_errors=True) as grave,
    ):
        entry.rename(Path(grave) / entry.name)


def _prune(folder: Path) -> None:
    """Remove entries that were not used for longest, and what writers that died left behind."""
    import shutil
    import time

    used = {}
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):
            if not entry.name.startswith("."):
                used[entry] = (entry / SEAL).stat().st_mtime
            elif time.time() - entry.stat().st_mtime > ABANDONED:
                shutil.rmtree(entry, ignore_errors=True)
    for entry in sorted(used, key=lambda entry: used[entry])[:-KEPT]:
        _discard(entry)


def _processor() -> str:
    """What decides the layout that ONNX Runtime chooses: the processor's instruction sets.

    Raises
    ------
    OSError
        If that cannot be read.
    """
    if sys.platform != "linux":  # no list of instruction sets; the machine stands for them
        return f"{platform.processor()} {platform.node()}"
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.lower().startswith(("flags", "features", "isa")):
                return line
    return platform.node()
