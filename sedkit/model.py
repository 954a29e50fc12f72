"""One ONNX graph on one device, over recordings of any length in bounded memory."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit import contract
from sedkit.contract import Contract
from sedkit.errors import ArgumentError, ContractError, DeviceError, ModelError
from sedkit.geometry import REACH, SEGMENT_HOP, SPAN_FRAMES, STEP_FRAMES, segment_count

if TYPE_CHECKING:
    import onnxruntime

Device: TypeAlias = Literal["auto", "cpu", "cuda"]
Scores: TypeAlias = NDArray[np.float32]

DEFAULT = "wels-secost"
SUFFIX = ".onnx"

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}  # the exhaustive default costs seconds for every new length
SILENT, USUAL = 4, 2  # ONNX Runtime's log levels "fatal" and "warning"; what goes wrong is raised, so nothing is lost

# In segments, that is, in hops of 0.32 s:
BLOCK = 96  # computed at once: about 31 s of sound
SPAN = SPAN_FRAMES // STEP_FRAMES  # nominal span of one segment
CONTEXT = -(-REACH // STEP_FRAMES)  # what a segment sees before its span, and after it


class Model:
    """A sedkit model, loaded.

    Parameters
    ----------
    path : an ONNX file that keeps the contract (sedkit.contract).
    device : ``"cpu"``; ``"cuda"``, an error where CUDA does not work; ``"auto"``, CUDA where there is
        an NVIDIA GPU and CUDA works, else the CPU.

    Attributes
    ----------
    path : of the file.
    contract : its metadata.
    device : ``"cpu"`` or ``"cuda"``, what it runs on.
    notice : one line for the user, or None. It says that ``auto`` found a GPU which it cannot use, and
        why; on a machine without a GPU there is nothing to say.

    Raises
    ------
    ModelError
        If the file is missing or not a readable ONNX file.
    ContractError
        If it is not a sedkit model; names the field.
    DeviceError
        If `device` is ``"cuda"`` and CUDA does not work; says what is missing.
    """

    def __init__(self, path: str | os.PathLike[str], device: Device = "auto") -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise ArgumentError(f"a device is auto, cpu or cuda, not {device!r}")
        self.path = Path(path)
        if not self.path.is_file():
            raise ModelError(f"{self.path}: no such model file; {_installed_text()}")
        self.device: Literal["cpu", "cuda"] = "cpu"
        self.notice: str | None = None
        wants_cuda = device == "cuda" or (device == "auto" and _driver_problem() is None)
        if wants_cuda:
            session, problem = _cuda_session(self.path)
            if session is not None:
                self.device = "cuda"
            elif device == "cuda":
                raise DeviceError(f"device cuda does not work: {problem}")
            else:
                self.notice = f"running on the CPU: there is a GPU, but {problem}"
                session = _session(self.path, [CPU])
        else:
            session = _session(self.path, [CPU])
        self._session = session
        self.contract = self._read_contract()

    def _read_contract(self) -> Contract:
        session = self._session
        try:
            read = Contract.from_metadata(session.get_modelmeta().custom_metadata_map)
            inputs = {tensor.name: tensor.shape for tensor in session.get_inputs()}
            outputs = {tensor.name: tensor.shape for tensor in session.get_outputs()}
            contract.check_tensors(inputs, outputs, len(read.labels))
        except ContractError as error:
            raise ContractError(error.field, error.problem, str(self.path)) from None
        return read

    def segments(self, blocks: Iterable[Scores]) -> Iterator[Scores]:
        """Segment scores of one recording, as they come.

        The recording is run in pieces, each with the context that its first and last segment see, so
        that the scores equal those of one pass over the whole.

        Parameters
        ----------
        blocks : the recording, 16 kHz mono, float32 [samples] each, cut anywhere.

        Yields
        ------
        Scores in [0, 1], [k, classes]; K in all, ``sedkit.geometry.segment_count`` of the samples.
        """
        held = np.zeros(0, np.float32)  # from hop max(0, first - CONTEXT) on
        first = 0  # the segment that comes next
        for block in blocks:
            held = np.concatenate([held, block])
            while True:
                context = min(first, CONTEXT)
                hops = context + BLOCK - 1 + SPAN + CONTEXT
                if len(held) < hops * SEGMENT_HOP:
                    break
                yield self._run(held[: hops * SEGMENT_HOP])[context : context + BLOCK]
                first += BLOCK
                held = held[(context + BLOCK - CONTEXT) * SEGMENT_HOP :]
        if len(held):
            yield self._run(held)[min(first, CONTEXT) :]

    def _run(self, samples: Scores) -> Scores:
        """Segment scores [K, classes] of samples [samples]; the graph pads them to whole hops."""
        try:
            (batch,) = self._session.run(["segments"], {contract.INPUT: samples[None]})
        except Exception as error:  # ONNX Runtime's errors have no base class of their own
            raise ModelError(f"{self.path}: ONNX Runtime cannot run it on {self.device}: {_one_line(error)}") from error
        scores: Scores = batch[0]
        expected = (segment_count(len(samples)), len(self.contract.labels))
        if scores.shape != expected:
            problem = f"{len(samples)} samples give scores of shape {scores.shape}, not {expected}"
            raise ContractError("segments", problem, str(self.path))
        if not (scores.min() >= 0 and scores.max() <= 1):
            raise ContractError("segments", "scores that are not in [0, 1]", str(self.path))
        return scores


def installed_models() -> list[Path]:
    """The model files that came with sedkit, by name."""
    package = Path(__file__).parent
    folder = package / "models"  # in a wheel; in a source checkout it stands beside the package
    folder = folder if folder.is_dir() else package.parent / "models"
    return sorted(folder.glob("*" + SUFFIX))


def find_model(name_or_path: str | os.PathLike[str] | None = None) -> Path:
    """The file of a model: of an installed one by its name, of any other by its path.

    Parameters
    ----------
    name_or_path : None is the default model, ``"wels-secost"``.

    Raises
    ------
    ModelError
        If there is no such model; lists what is installed.
    """
    wanted = os.fspath(DEFAULT if name_or_path is None else name_or_path)
    installed = {path.stem: path for path in installed_models()}
    if wanted in installed:
        return installed[wanted]
    if Path(wanted).is_file():
        return Path(wanted)
    raise ModelError(f"{wanted}: no such model; {_installed_text()}")


def _installed_text() -> str:
    names = [path.stem for path in installed_models()]
    return f"installed: {', '.join(names)}" if names else "none is installed: give the path of an ONNX file"


def _session(path: Path, providers: list[Any]) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = _usable_cpus()
    onnxruntime.set_default_logger_severity(SILENT)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors have no base class of their own
        raise ModelError(
            f"{path}: not an ONNX file that ONNX Runtime can load ({_one_line(error)}); export or copy it again"
        ) from None
    finally:
        onnxruntime.set_default_logger_severity(USUAL)


def _usable_cpus() -> int:
    """Stated to ONNX Runtime, which otherwise counts the machine's cores and not the ones it may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cuda_session(path: Path) -> tuple[onnxruntime.InferenceSession | None, str]:
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
    session = _session(path, [(CUDA, CUDA_OPTIONS), CPU])
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


def _one_line(error: Exception) -> str:
    """What ONNX Runtime says, without its prefix ``[ONNXRuntimeError] : 7 : INVALID_PROTOBUF :``."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(str(error).split()))
    return text[:300].strip(" .")
