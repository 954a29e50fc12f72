"""sedkit.inference.session: what is missing for a GPU, on Linux and on Windows, and ONNX Runtime's settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sedkit.inference import session

MISSING = {
    "linux": OSError("libcudnn.so.9: cannot open shared object file: No such file or directory"),
    "win32": FileNotFoundError("Could not find module 'onnxruntime_providers_cuda.dll' (or one of its dependencies)."),
}
LIBRARY = {"linux": "libonnxruntime_providers_cuda.so", "win32": "onnxruntime_providers_cuda.dll"}
MESSAGE = {
    "linux": "libcudnn.so.9 is missing; pip install",
    "win32": "onnxruntime_providers_cuda.dll, or a library that it needs, is missing; pip install",
}


@pytest.fixture(params=["linux", "win32"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A system with a GPU, and an ONNX Runtime that could use it."""
    from sedkit.inference.onnx_runtime import onnxruntime

    monkeypatch.setattr(sys, "platform", request.param)
    monkeypatch.setattr(session, "_driver_problem", lambda: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(session.PROVIDERS.values()))
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    return str(request.param)


def test_missing_library_is_named(system: str, monkeypatch: pytest.MonkeyPatch):
    loaded = []

    def load(path: str) -> None:
        loaded.append(Path(path).name)
        raise MISSING[system]

    monkeypatch.setattr("ctypes.CDLL", load)
    assert session._gpu_problem("cuda").startswith(MESSAGE[system])
    assert loaded == [LIBRARY[system]]


def test_provider_that_loads_only_within_onnx_runtime_is_no_problem(system: str, monkeypatch: pytest.MonkeyPatch):
    def load(path: str) -> None:
        raise OSError(f"{path}: undefined symbol: Provider_GetHost")

    monkeypatch.setattr("ctypes.CDLL", load)
    assert session._gpu_problem("cuda") is None


PROGRAM = """
import sys
from sedkit.inference.onnx_runtime import onnxruntime
from sedkit.inference.model import Model
onnxruntime.set_default_logger_severity = lambda level: sys.exit("changed the log level of the whole process")
Model(sys.argv[1], "cpu")
"""


def test_models_on_the_cpu_leave_onnx_runtimes_log_level_alone(model_path: Path):
    run = subprocess.run([sys.executable, "-c", PROGRAM, model_path], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
