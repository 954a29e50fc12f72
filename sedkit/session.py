"""ONNX Runtime sessions: which provider runs a graph, with how many threads, and what is missing where one cannot."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sedkit import cache
from sedkit.errors import ArgumentError, DeviceError, ModelError

if TYPE_CHECKING:
    import onnxruntime

Device: TypeAlias = Literal["auto", "cpu", "cuda"]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}  # the exhaustive default costs seconds for every new length
SILENT, USUAL = 4, 2  # ONNX Runtime's log levels "fatal" and "warning"; what goes wrong is raised, so nothing is lost


def open_session(
    path: Path, device: Device, threads: int | None = None
) -> tuple[onnxruntime.InferenceSession, Literal["cpu", "cuda"], str | None]:
    """Load a graph on a device.

    Parameters
    ----------
    device : as of :class:`sedkit.model.Model`.
    threads : CPU threads of one run; None takes every CPU that this process may use.

    Returns
    -------
    The session; ``"cpu"`` or ``"cuda"``, what it runs on; and one line for the user, or None. The line says that
    ``auto`` found a GPU which it cannot use, and why; on a machine without a GPU there is nothing to say.

    Raises
    ------
    ModelError
        If the file is not a readable ONNX file.
    DeviceError
        If `device` is ``"cuda"`` and CUDA does not work; says what is missing.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ArgumentError(f"a device is auto, cpu or cuda, not {device!r}")
    threads = threads or usable_cpus()
    if device == "cpu" or (device == "auto" and _driver_problem() is not None):
        return _cpu_session(path, threads), "cpu", None
    session, problem = _cuda_session(path, threads)
    if session is not None:
        return session, "cuda", None
    if device == "cuda":
        raise DeviceError(f"device cuda does not work: {problem}")
    return _cpu_session(path, threads), "cpu", f"running on the CPU: there is a GPU, but {problem}"


def usable_cpus() -> int:
    """Stated to ONNX Runtime, which otherwise counts the machine's cores and not the ones it may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_line(error: Exception) -> str:
    """What ONNX Runtime says, without its prefix ``[ONNXRuntimeError] : 7 : INVALID_PROTOBUF :``."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(str(error).split()))
    return text[:300].strip(" .")


def _cpu_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """A session on the CPU, of the graph that an earlier one has optimised, where there is one."""
    import onnxruntime

    folder = cache.folder()
    key = cache.key(path, f"{onnxruntime.__version__} {onnxruntime.get_build_info()} {CPU}") if folder else None
    if folder is None or key is None:
        return _session(path, [CPU], threads)
    if (graph := cache.find(folder, key)) is not None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it is optimised
        with contextlib.suppress(ModelError):
            return _session(graph, [CPU], threads, options)
    with cache.writing(folder, key) as entry:
        if entry is not None:
            options = onnxruntime.SessionOptions()
            options.optimized_model_filepath = str(entry / cache.GRAPH)
            options.add_session_config_entry("session.optimized_model_external_initializers_file_name", cache.WEIGHTS)
            with contextlib.suppress(ModelError):  # no room?
                return _session(path, [CPU], threads, options)
        return _session(path, [CPU], threads)


def _session(
    path: Path, providers: list[Any], threads: int, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = threads
    onnxruntime.set_default_logger_severity(SILENT)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors have no base class of their own
        raise ModelError(
            f"{path}: not an ONNX file that ONNX Runtime can load ({one_line(error)}); export or copy it again"
        ) from None
    finally:
        onnxruntime.set_default_logger_severity(USUAL)


def _cuda_session(path: Path, threads: int) -> tuple[onnxruntime.InferenceSession | None, str]:
    """A session on CUDA, or None and what is missing.

    ONNX Runtime lists CUDA as available wherever it was compiled in, and falls back without a word:
    only the finished session tells.
    """
    import onnxruntime

    if problem := _driver_problem():
        return None, problem
    if CUDA not in onnxruntime.get_available_providers():
        return None, (
            "the installed onnxruntime has no CUDA provider; "
            "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )
    if hasattr(onnxruntime, "preload_dlls"):  # finds the CUDA libraries that pip installs
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    session = _session(path, [(CUDA, CUDA_OPTIONS), CPU], threads)
    if CUDA in session.get_providers():
        return session, ""
    return None, f"{_missing_library()}; pip install 'onnxruntime-gpu[cuda,cudnn]'"


def _driver_problem() -> str | None:
    """None if the NVIDIA driver sees a GPU."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return f"no NVIDIA driver ({name} is missing); install it, or use device cpu"
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "the NVIDIA driver sees no GPU; check nvidia-smi, or use device cpu"
    return None


def _missing_library() -> str:
    """Which library keeps ONNX Runtime's CUDA provider from loading."""
    import onnxruntime

    provider = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(provider))
    except OSError as error:
        if missing := re.match(r"(\S+): cannot open shared object", str(error)):
            return f"{missing[1]} is missing"
    return "ONNX Runtime cannot start its CUDA provider (it needs CUDA and cuDNN of matching versions)"
