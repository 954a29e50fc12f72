"""Other runtimes than ONNX Runtime, on pieces of 31 s and one thread; writes a table of docs/benchmarks.md.

    python -m benchmarks.runtimes MODEL.onnx...

The packages ``openvino`` and ``MNN`` must be installed. MNN converts the model first, with its command ``mnnconvert``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.audio import Recordings, data_folder
from benchmarks.harness import Round, race, ratios, seconds
from benchmarks.report import PAGE, write
from benchmarks.scale import markdown
from sedkit.inference.model import Model

Samples = NDArray[np.float32]
Scorer = Callable[[Samples], Samples]  # waveform [1, samples] -> scores [1, K, classes]

LENGTH, ROUNDS = 31, 7
PACKAGES = ("onnxruntime-gpu", "openvino", "mnn")
MARKS = ("<!-- runtimes -->\n", "<!-- /runtimes -->\n")


def onnx_runtime(path: Path, scratch: Path) -> Scorer:
    return Model(path, "cpu", threads=1).batch


def openvino(path: Path, scratch: Path) -> Scorer:
    import openvino

    model = openvino.Core().read_model(path)
    model.reshape({"waveform": [1, LENGTH * 16_000]})
    options = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
    return lambda waveform: np.array(request.infer({"waveform": waveform})["segments"])


def mnn(path: Path, scratch: Path) -> Scorer:
    import MNN

    converted, program = scratch / f"{path.stem}.mnn", Path(sys.executable).with_name("mnnconvert")
    command = [program, "-f", "ONNX", "--modelFile", path, "--MNNModel", converted, "--bizCode", "sedkit"]
    subprocess.run(command, check=True, capture_output=True)
    settings = {"backend": "CPU", "numThread": 1, "precision": "high"}
    manager = MNN.nn.create_runtime_manager((settings,))
    network = MNN.nn.load_module_from_file(str(converted), ["waveform"], ["segments"], runtime_manager=manager)

    def score(waveform: Samples) -> Samples:
        given = MNN.expr.const(waveform, list(waveform.shape), MNN.expr.data_format.NCHW)
        return np.array(network.forward([given])[0].read())

    return score


RUNTIMES = {"ONNX Runtime": onnx_runtime, "OpenVINO": openvino, "MNN": mnn}


def row(model: Path, name: str, rounds: list[Round], scorers: dict[str, Scorer], sound: Samples) -> tuple[str, ...]:
    values = ratios(rounds, "ONNX Runtime", name)
    difference = float(np.abs(scorers[name](sound) - scorers["ONNX Runtime"](sound)).max())
    return (
        model.stem,
        name,
        f"{statistics.median(values):.2f}",
        f"{min(values):.2f} … {max(values):.2f}",
        f"{1e3 * seconds(rounds, name):.0f}",
        f"{difference:.0e}",
    )


def main(models: list[Path]) -> None:
    recordings = Recordings(data_folder())
    rows = [("model", "runtime", "ONNX Runtime / it", "range", "ms", "largest score difference")]
    with tempfile.TemporaryDirectory() as scratch:
        for model in models:
            scorers = {name: load(model, Path(scratch)) for name, load in RUNTIMES.items()}
            sounds = [sound[None] for sound in recordings.many(ROUNDS + 1, LENGTH)]
            rounds = race(scorers, sounds[1:], warm_up=sounds[0])
            rows += [row(model, name, rounds, scorers, sounds[0]) for name in scorers if name != "ONNX Runtime"]
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    conditions = f"{machine.describe()['machine']['cpu']}, one thread; {versions}."
    text = "\n".join([conditions, "", *markdown(iter(rows)), ""])
    write(PAGE, text, MARKS)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m benchmarks.runtimes MODEL.onnx...")
    main([Path(name) for name in sys.argv[1:]])
