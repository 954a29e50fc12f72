"""Cache of graphs that ONNX Runtime has optimised for this machine; makes loading a model faster.

Optimising the graph takes most of the time of loading a model. ONNX Runtime also copies the weights of a model file,
but memory-maps those of a cached graph. On disk, in the user's cache folder or ``$SEDKIT_CACHE``::

    graphs/KEY/graph.onnx     the optimised graph
    graphs/KEY/weights.bin    its weights
    graphs/KEY/seal.json      key, and SHA-256 of the two files

KEY is a hash of the model's graph and weights, the build of ONNX Runtime and the processor's instruction sets: an
optimised graph has its weights in the layout of one processor, and would give wrong scores on another. Entries are
renamed into place when complete, and never modified. An entry whose seal does not match is replaced. If the cache
cannot be written, sedkit silently works without it. ``SEDKIT_CACHE=off`` turns the cache off.

A seal finds damage, not forgery. So folders and files that belong to another user, or that others may write, are not
used (:func:`unsafe`). On Windows, where the cache is in the user's profile, this is not checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

FORMAT = 2
VARIABLE = "SEDKIT_CACHE"
OFF = ("", "0", "off", "none")
GRAPH, WEIGHTS, SEAL = "graph.onnx", "weights.bin", "seal.json"
DAMAGED = (OSError, ValueError, RecursionError, TypeError, LookupError)  # what reading a damaged entry raises
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


def key(digest: str, runtime: str) -> str | None:
    """The key of a model's entry; None if the processor is unknown.

    Parameters
    ----------
    digest : of the model's graph and weights (:mod:`sedkit.model_file`).
    runtime : version and build of ONNX Runtime.
    """
    try:
        parts = [str(FORMAT), digest, runtime, platform.machine(), _processor()]
    except (OSError, AttributeError):  # AttributeError: a system library without the function
        return None
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def unsafe(folder: Path) -> str | None:
    """Why the cache must not be used, in one line; None if it is new, or only this user and root can write to it."""
    if (problem := _writable_by_others(folder)) is not None:
        return f"the cache of optimised graphs is not used: {problem}; correct this, or set {VARIABLE}"
    return None


def find(folder: Path, key: str) -> Path | None:
    """The graph of an entry that is safe and matches its seal, or None. :func:`weights_match` checks the weights."""
    entry = folder / key
    try:
        if any(_writable_by_others(path) for path in (entry, entry / GRAPH, entry / WEIGHTS, entry / SEAL)):
            return None
        sealed = _read_seal(entry)
        if (sealed["key"], sealed[GRAPH]) != (key, _sha256(entry / GRAPH)):
            return None
        os.utime(entry / SEAL)  # marks the entry as used
    except DAMAGED:
        return None
    return entry / GRAPH


def weights_match(graph: Path) -> bool:
    """Whether the weights of an entry match its seal. They have no influence on whether ONNX Runtime loads the graph.

    So they may be read while it does; a session whose weights do not match must not be used.
    """
    try:
        return bool(_read_seal(graph.parent)[WEIGHTS] == _sha256(graph.with_name(WEIGHTS)))
    except DAMAGED:
        return False


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[Path | None]:
    """Yield a temporary folder for GRAPH and WEIGHTS, or None if the cache cannot be written; :func:`keep` keeps it."""
    import shutil
    import tempfile

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=folder))
    except OSError:
        yield None
        return
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def keep(temporary: Path, folder: Path, key: str) -> None:
    """Make a temporary folder the entry of a key. If several processes write the same entry, one of them wins."""
    with contextlib.suppress(OSError):
        (temporary / SEAL).write_text(json.dumps(seal(temporary, key)), "utf-8")
        for name in (GRAPH, WEIGHTS, SEAL):
            (temporary / name).chmod(0o600)
        discard(folder / key)
        temporary.rename(folder / key)
        prune(folder)


def _writable_by_others(path: Path) -> str | None:
    """How a user other than this one and root could change a folder or file; None if not, or if it does not exist."""
    if not hasattr(os, "geteuid"):
        return None
    try:
        about = path.stat()
    except OSError:
        return None
    if about.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user"
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} can be written by others"
    return None


def seal(entry: Path, key: str) -> dict[str, str]:
    """The content of the file SEAL: the key, and SHA-256 of the other files."""
    return {"key": key, **{name: _sha256(entry / name) for name in (GRAPH, WEIGHTS)}}


def _read_seal(entry: Path) -> dict[str, str]:
    sealed: dict[str, str] = json.loads((entry / SEAL).read_text("utf-8"))
    return sealed


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def discard(entry: Path) -> None:
    """Remove an entry atomically: it is renamed first."""
    import tempfile

    with (
        contextlib.suppress(FileNotFoundError),
        tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=entry.parent, ignore_cleanup_errors=True) as trash,
    ):
        entry.rename(Path(trash) / entry.name)


def prune(folder: Path) -> None:
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
        discard(entry)


def _processor() -> str:
    """The processor's instruction sets, which decide the layout that ONNX Runtime chooses for weights.

    Raises
    ------
    OSError, AttributeError
        If they cannot be read.
    """
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.lower().startswith(("flags", "features", "isa")):
                    return line
        return platform.node()
    import ctypes

    if sys.platform == "win32":  # one bit per instruction set that the system offers to programs
        present = ctypes.windll.kernel32.IsProcessorFeaturePresent
        features = "".join(str(int(bool(present(number)))) for number in range(128))
        return f"{os.environ.get('PROCESSOR_IDENTIFIER')} {features}"
    if sys.platform == "darwin":  # the model, such as "Apple M2"; the host name, which changes, is not part of it
        name, size = ctypes.create_string_buffer(256), ctypes.c_size_t(256)
        if ctypes.CDLL(None).sysctlbyname(b"machdep.cpu.brand_string", name, ctypes.byref(size), None, 0):
            raise OSError("sysctl machdep.cpu.brand_string")
        return name.value.decode(errors="replace")
    return f"{platform.processor()} {platform.node()}"
