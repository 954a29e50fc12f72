"""ONNX Runtime sessions: choice of execution provider, threads, and messages about what is missing for a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, get_args
from weakref import WeakSet

from sedkit.errors import ArgumentError, DeviceError, ModelError
from sedkit.inference import graph_cache as cache
from sedkit.inference.cpus import usable_cpus
from sedkit.model_file import ModelFile

if TYPE_CHECKING:
    from sedkit.inference.onnx_runtime import onnxruntime

Device: TypeAlias = Literal["auto", "cpu", "cuda", "tensorrt"]
Gpu: TypeAlias = Literal["cuda", "tensorrt"]
T = TypeVar("T")

CPU = "CPUExecutionProvider"
PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}  # the exhaustive default costs seconds per new length
REMEDIES = {
    "cuda": "pip install 'onnxruntime-gpu[cuda,cudnn]'",
    "tensorrt": "pip install 'onnxruntime-gpu[cuda,cudnn]' tensorrt, and put TensorRT's libraries on LD_LIBRARY_PATH",
}
LOG_FATAL, LOG_WARNING = 4, 2  # ONNX Runtime's log levels; errors are raised as exceptions, so logs are redundant


def open_session(
    file: ModelFile, device: Device, threads: int | None = None
) -> tuple[onnxruntime.InferenceSession, Literal["cpu", Gpu], str | None]:
    """Check a model file and load its graph on a device.

    Parameters
    ----------
    file : an ONNX file.
    device : see :class:`sedkit.inference.model.Model`.
    threads : CPU threads per run; None takes all CPUs that this process may use.

    Returns
    -------
    session
    device : ``"cpu"``, ``"cuda"`` or ``"tensorrt"``
        The device in use.
    notice : str or None
        One line that says why ``"auto"`` does not use the GPU that it found, or why the cache is not used.

    Raises
    ------
    ModelError
        If the file is not a valid ONNX file.
    ContractError
        If it was changed after its export, or refers to files outside its folder.
    DeviceError
        If `device` is ``"cuda"`` or ``"tensorrt"`` and does not work; says what is missing.
    ArgumentError
        If `device` is invalid.
    """
    if device not in get_args(Device):
        raise ArgumentError(f"device must be auto, cpu, cuda or tensorrt, not {device!r}")
    threads = threads or usable_cpus()
    if device == "cpu":
        session, notice = _cpu_session(file, threads)
        return session, "cpu", notice
    gpu: Gpu = "cuda" if device == "auto" else device
    problem = _gpu_problem(gpu)
    if problem is None:
        file.check()
        session = _gpu_session(file, gpu, threads)
        if PROVIDERS[gpu] in session.get_providers():  # ONNX Runtime falls back to the CPU silently
            return session, gpu, None
        problem = f"ONNX Runtime cannot start it (mismatched library versions?); {REMEDIES[gpu]}"
    if device != "auto":
        raise DeviceError(f"device {device} does not work: {problem}")
    session, notice = _cpu_session(file, threads)
    return session, "cpu", notice if _driver_problem() else f"running on the CPU: there is a GPU, but {problem}"


def expects_gpu(device: Device) -> bool:
    """Whether a model would be loaded on a GPU: `device` is one, or it is ``"auto"`` and CUDA seems to work."""
    return device in ("cuda", "tensorrt") or (device == "auto" and _gpu_problem("cuda") is None)


def one_line(error: Exception) -> str:
    """The message of an ONNX Runtime error, without its prefix ``[ONNXRuntimeError] : 7 : INVALID_PROTOBUF :``."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(str(error).split()))
    return text[:300].strip(" .")


def _cpu_session(file: ModelFile, threads: int) -> tuple[onnxruntime.InferenceSession, str | None]:
    """Check a file and open a session on the CPU, and say why the cache is not used.

    Loads the optimised graph from the cache if there is one, otherwise caches it. A cached graph is loaded while its
    weights and the model file are checked; ONNX Runtime does not get a model file that was not checked.
    """
    from sedkit.inference.onnx_runtime import onnxruntime

    folder = cache.folder()
    notice = cache.unsafe(folder) if folder else None
    key = None if folder is None or notice else cache.key(file.stated_digest, _runtime())
    if folder is None or key is None:
        file.check()
        return _session(file.path, [CPU], threads), notice
    if (graph := cache.find(folder, key)) is not None:
        intact = _Beside(lambda: cache.weights_match(graph))
        checked = _Beside(file.check)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # already optimised
        session = None
        with contextlib.suppress(ModelError):
            session = _session(graph, [CPU], threads, options)
        checked.outcome()
        if intact.outcome() and session is not None:
            return session, None
    file.check()
    if file.external:
        return _session(file.path, [CPU], threads), None
    with cache.writing(folder) as entry:
        if entry is not None:
            options = onnxruntime.SessionOptions()
            options.optimized_model_filepath = str(entry / cache.GRAPH)
            options.add_session_config_entry("session.optimized_model_external_initializers_file_name", cache.WEIGHTS)
            with contextlib.suppress(ModelError):  # for example, if the disk is full
                session = _session(file.path, [CPU], threads, options)
                cache.keep(entry, folder, key)
                return session, None
    return _session(file.path, [CPU], threads), None


class _Beside(Thread, Generic[T]):
    """Runs a function in a thread, while this one does something else."""

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._result: T | Exception
        self.start()

    def run(self) -> None:
        try:
            self._result = self._work()
        except Exception as error:
            self._result = error

    def outcome(self) -> T:
        """Wait for the end; returns what the function returned, or raises what it raised."""
        self.join()
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


def _session(
    path: Path, providers: list[Any], threads: int, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    from sedkit.inference.onnx_runtime import onnxruntime

    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = LOG_FATAL
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leaves idle time to decoding
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors have no common base class
        raise ModelError(
            f"{path}: not an ONNX file that ONNX Runtime can load ({one_line(error)}); export or copy it again"
        ) from None
    _sessions.add(session)
    return session


def _keep_sessions() -> None:
    """Never destroy the present sessions. In a forked child, that would wait for threads that only the parent has."""
    for session in _sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


_sessions = WeakSet["onnxruntime.InferenceSession"]()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_sessions)


def _gpu_session(file: ModelFile, gpu: Gpu, threads: int) -> onnxruntime.InferenceSession:
    """Open a session on a GPU. Nodes that TensorRT cannot run use CUDA; nodes that CUDA cannot run use the CPU.

    Written from the documentation of ONNX Runtime's providers; not yet tried on a GPU. Pieces are not padded to common
    lengths: padding the last piece would change its scores, and a new length costs little with the HEURISTIC search.
    TensorRT builds an engine for each new length, which takes minutes, and keeps it in the cache.
    """
    from sedkit.inference.onnx_runtime import onnxruntime

    providers: list[Any] = [(PROVIDERS["cuda"], CUDA_OPTIONS), CPU]
    if gpu == "tensorrt":
        folder = cache.folder()
        safe = folder is not None and not (file.external or cache.unsafe(folder) or cache.unsafe(folder.parent))
        key = cache.key(file.digest, _runtime()) if safe else None
        place = {"trt_engine_cache_path": str(folder.parent / "tensorrt" / key)} if folder and key else {}
        options = {"trt_engine_cache_enable": bool(place), "trt_timing_cache_enable": bool(place), **place}
        providers.insert(0, (PROVIDERS["tensorrt"], options))
    onnxruntime.set_default_logger_severity(LOG_FATAL)  # a provider that cannot start is reported by open_session
    try:
        return _session(file.path, providers, threads)
    finally:
        onnxruntime.set_default_logger_severity(LOG_WARNING)  # its default; what it was cannot be asked for


def _runtime() -> str:
    """Version and build of ONNX Runtime, as part of the cache key."""
    from sedkit.inference.onnx_runtime import onnxruntime

    return f"{onnxruntime.__version__} {onnxruntime.get_build_info()}"


def _gpu_problem(gpu: Gpu) -> str | None:
    """Why ONNX Runtime cannot use a GPU, as far as this shows without a graph; None if no problem was found."""
    if problem := _driver_problem():
        return problem
    from sedkit.inference.onnx_runtime import onnxruntime

    if PROVIDERS[gpu] not in onnxruntime.get_available_providers():
        return f"the installed onnxruntime has no {gpu} provider; pip uninstall onnxruntime, then {REMEDIES[gpu]}"
    if hasattr(onnxruntime, "preload_dlls"):  # finds the CUDA libraries that pip installs
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    windows = sys.platform == "win32"
    library = f"onnxruntime_providers_{gpu}.dll" if windows else f"libonnxruntime_providers_{gpu}.so"
    try:
        ctypes.CDLL(str(Path(onnxruntime.__file__).parent / "capi" / library))
    except OSError as error:
        if missing := re.match(r"(\S+): cannot open shared object", str(error)):
            return f"{missing[1]} is missing; {REMEDIES[gpu]}"
        if windows and isinstance(error, FileNotFoundError):  # Windows does not name it
            return f"{library}, or a library that it needs, is missing; {REMEDIES[gpu]}"
    return None


def _driver_problem() -> str | None:
    """Why there is no usable NVIDIA GPU; None if the driver finds one."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return f"no NVIDIA driver ({name} is missing); install it, or use device cpu"
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "the NVIDIA driver finds no GPU; check nvidia-smi, or use device cpu"
    return None
