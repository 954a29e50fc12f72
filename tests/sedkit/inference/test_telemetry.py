"""sedkit is private: its processes open no socket, and create no file but those that the documentation names."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import soundfile

from tests.conftest import make_sound

ROOT = Path(__file__).parents[3]
DOOR = ROOT / "sedkit" / "inference" / "onnx_runtime.py"
RUNTIME = "onnxruntime"
VARIABLE = "ORT_DISABLE_TELEMETRY"
LOOKUP = 9.0  # seconds from the import of ONNX Runtime (1.29 to 1.32) until it looks up its collector
OPEN = LOOKUP + 0.4  # seconds that a Tagger stays open
HEAD_START = 1.2  # seconds in which `listen` and the Tagger import ONNX Runtime, before the other commands start
CHUNK = 0.5  # seconds of audio in one write to the pipe of `listen`
RATE = 16000

TAGGER = """
import sys, time
from sedkit import Tagger
tagger = Tagger(sys.argv[1], "cpu")
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    assert tagger.tag(sys.argv[2]).tags
    time.sleep(1)
"""
SPAWNED = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from sedkit import Tagger

def tag(arguments):
    return Tagger(arguments[0], "cpu").tag(arguments[1]).tags

if __name__ == "__main__":
    assert tag(sys.argv[1:])
    for method in ("fork", "spawn"):
        with ProcessPoolExecutor(1, get_context(method)) as pool:
            assert list(pool.map(tag, [sys.argv[1:]]))
"""
PARITY = """
import sys
from pathlib import Path
import numpy as np
from training.networks.onnx_import import read_onnx
from training.networks.wels import Network
from training.release.export import parity
path = Path(sys.argv[1])
found = read_onnx(path)
network = Network(len(found.contract.labels), found.width, pooling=found.pooling, stem=found.stem)
network.load_state_dict(found.weights)
(difference,) = parity([network.eval()], path.read_bytes(), [np.zeros(16000, np.float32)])
assert difference < 1e-3
"""


def can_trace() -> bool:
    """Whether ``strace`` is installed and may follow a process."""
    command = ["strace", "-f", "-e", "trace=network", "true"]
    return shutil.which("strace") is not None and subprocess.run(command, capture_output=True).returncode == 0


@dataclass
class Run:
    """A command that runs, or has run, with a home of its own.

    Attributes
    ----------
    home : $HOME and the working directory, empty at the start.
    trace : where ``strace`` writes network calls; None without it.
    """

    home: Path
    trace: Path | None
    process: subprocess.Popen[bytes]
    errors: bytes = b""

    def files(self) -> set[str]:
        """Files in the home, relative to it."""
        return {str(path.relative_to(self.home)) for path in self.home.rglob("*") if not path.is_dir()}

    def sockets(self) -> list[str]:
        """Calls that created an internet socket."""
        if self.trace is None:
            pytest.skip("needs strace, and the permission to trace: sockets of native code are invisible otherwise")
        calls = self.trace.read_text(errors="replace").splitlines()
        assert "exited with 0" in calls[-1]
        return [call for call in calls if "socket(AF_INET" in call]


def start(folder: Path, command: list[str | Path], *, traced: bool, **variables: str) -> Run:
    """Start a command in an empty home, with no variable of this process but PATH; variables of CI, for example,
    would switch telemetry off."""
    home, trace = folder / "home", folder / "strace.log" if traced else None
    home.mkdir(parents=True)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        **variables,
    }
    prefix: list[str | Path] = (
        ["strace", "-f", "-e", "trace=network", "-e", "signal=none", "-o", trace] if trace else []
    )
    pipe = subprocess.PIPE
    process = subprocess.Popen([*prefix, *command], cwd=home, env=environment, stdin=pipe, stdout=pipe, stderr=pipe)
    return Run(home, trace, process)


SEDKIT = [sys.executable, "-m", "sedkit"]
SLOW = ("Tagger", "listen")
FAST = ("tag", "timeline", "models", "info", "info model", "spawned", "parity", "default cache")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """All commands, side by side, each run to its end."""
    folder = tmp_path_factory.mktemp("private")
    model = ROOT / "models" / "wels-secost-small.onnx"
    clip, script = folder / "clip.wav", folder / "spawned.py"
    soundfile.write(clip, make_sound(4), RATE)
    script.write_text(SPAWNED)
    commands: dict[str, list[str | Path]] = {
        "Tagger": [sys.executable, "-c", TAGGER, model, clip, str(OPEN)],
        "listen": [*SEDKIT, "listen", "-", "--rate", str(RATE), "--format", "jsonl", "--model", model],
        "tag": [*SEDKIT, "tag", clip],
        "timeline": [*SEDKIT, "timeline", "--model", model, clip],
        "models": [*SEDKIT, "models"],
        "info": [*SEDKIT, "info", clip],
        "info model": [*SEDKIT, "info", model],
        "spawned": [sys.executable, script, model, clip],
        "default cache": [*SEDKIT, "tag", "--model", model, clip],
    }
    if find_spec("torch") and find_spec("onnx"):
        commands["parity"] = [sys.executable, "-c", PARITY, model]
    traced = can_trace()
    running: dict[str, Run] = {}

    def start_all(names: Sequence[str]) -> None:
        for name in [name for name in names if name in commands]:
            variables = {} if name == "default cache" else {"SEDKIT_CACHE": str(folder / "cache")}
            running[name] = start(folder / name.replace(" ", "-"), commands[name], traced=traced, **variables)

    try:
        start_all(SLOW)
        time.sleep(HEAD_START)
        start_all(FAST)
        speak(running["listen"], OPEN)
        for run in running.values():
            _, run.errors = run.process.communicate(timeout=60)
        yield running
    finally:
        for run in running.values():
            run.process.kill()
            run.process.wait()


def speak(listener: Run, seconds: float) -> None:
    """Write sound to the standard input of ``listen`` as it would arrive from a microphone."""
    sound = (make_sound(CHUNK) * 32767).astype("<i2").tobytes()
    assert listener.process.stdin is not None
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        listener.process.stdin.write(sound)
        listener.process.stdin.flush()
        time.sleep(CHUNK)


@pytest.mark.parametrize("name", [*SLOW, *FAST])
def test_commands_create_no_files_in_the_home(runs: dict[str, Run], name: str) -> None:
    if name not in runs:
        pytest.skip("needs torch and onnx")
    run = runs[name]
    assert run.process.returncode == 0, run.errors.decode()
    assert run.errors == b""
    if name == "default cache":
        entries = {Path(file).parts for file in run.files()}
        assert {parts[:3] for parts in entries} == {(".cache", "sedkit", "graphs")}
    else:
        assert run.files() == set()


@pytest.mark.parametrize("name", [*SLOW, *FAST])
def test_commands_open_no_internet_socket(runs: dict[str, Run], name: str) -> None:
    if name not in runs:
        pytest.skip("needs torch and onnx")
    assert runs[name].sockets() == []


def test_a_variable_that_is_set_wins(tmp_path: Path) -> None:
    """The embedding program may keep the telemetry. This also shows that the other tests would find it."""
    code = "import os; from sedkit.inference.onnx_runtime import VARIABLE; print(os.environ[VARIABLE])"
    run = start(tmp_path, [sys.executable, "-c", code], traced=False, **{VARIABLE: "0"})
    output, errors = run.process.communicate(timeout=60)
    assert (output, errors) == (b"0\n", b"")
    if not run.files():
        pytest.skip("this build of ONNX Runtime has no telemetry")
    assert all(file.startswith(".cache/Microsoft/DeveloperTools/.onnxruntime/") for file in run.files())


@pytest.mark.parametrize("module", ["training", "benchmarks", "sedkit.inference.onnx_runtime"])
def test_variable_is_set_by_the_import_of(module: str) -> None:
    plain = {name: value for name, value in os.environ.items() if name != VARIABLE}
    code = f"import {module}, os; print(os.environ[{VARIABLE!r}])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=plain, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("1\n", "")


def runtime_imports(path: Path) -> list[int]:
    """Lines that import ONNX Runtime directly, by a statement or by ``import_module`` and ``__import__``."""
    code = path.read_text("utf-8")
    lines = []
    for node in ast.walk(ast.parse(code)) if RUNTIME in code else ():
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        elif isinstance(node, ast.Call):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in ("import_module", "__import__"):
                names = [str(value.value) for value in node.args if isinstance(value, ast.Constant)]
        lines += [node.lineno for name in names if name.split(".")[0] == RUNTIME]
    return lines


def test_one_module_imports_onnx_runtime() -> None:
    packages = ("sedkit", "training", "benchmarks", "docs", "examples")
    paths = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert [path for path in paths if runtime_imports(path)] == [DOOR]


@pytest.mark.parametrize(
    "code",
    [
        "import numpy, onnxruntime as ort",
        "def f():\n    from onnxruntime.capi import x",
        "import importlib\nimportlib.import_module('onnxruntime')",
    ],
)
def test_direct_imports_are_found(tmp_path: Path, code: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(code)
    assert runtime_imports(path)
