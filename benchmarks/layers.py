"""Where the time of a network goes, layer by layer, in float32 and int8; writes a table of docs/benchmarks.md.

    python -m benchmarks.layers MODEL.onnx...

The int8 form of a model lies beside it. Times are those of ONNX Runtime's profiler, on pieces of real audio and one
thread.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.audio import Recordings, Samples, data_folder
from benchmarks.report import PAGE, write
from benchmarks.scale import markdown
from sedkit.inference.onnx_runtime import onnxruntime

LENGTH, ROUNDS = 31, 15  # seconds; pieces
CONVOLUTIONS = ("Conv", "QLinearConv", "FusedConv", "NhwcFusedConv")
LAYERS = ("B1", "B1", "B2", "B2", "B3", "B3", "B4", "B4", "L1", "L2", "L3", "L4")  # of each convolution
BEFORE, AFTER = "front end", "pooling"  # of the scores
MARKS = ("<!-- layers -->\n", "<!-- /layers -->\n")


def profiled(model: Path, pieces: Iterable[Samples]) -> list[list[dict[str, Any]]]:
    """The events of all nodes that ran, in order, for each piece."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as scratch:
        options.profile_file_prefix = str(Path(scratch, "profile"))
        session = onnxruntime.InferenceSession(str(model), options, ["CPUExecutionProvider"])
        for piece in pieces:
            session.run(None, {"waveform": piece[None]})
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    starts = [event["ts"] for event in events if event["name"] == "model_run"]
    runs: list[list[dict[str, Any]]] = [[] for _ in starts]
    for event in events:
        if event["name"].endswith("_kernel_time"):
            runs[bisect(starts, event["ts"]) - 1].append(event)
    return [sorted(run, key=lambda event: event["ts"]) for run in runs]


def layers_of(run: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The layer of each event. What follows a convolution is of its layer, but for the last."""
    convolutions = 0
    for event in run:
        is_convolution = event["args"]["op_name"] in CONVOLUTIONS
        convolutions += is_convolution
        after = convolutions == len(LAYERS) and not is_convolution
        yield AFTER if after else LAYERS[convolutions - 1] if convolutions else BEFORE, event


def times_of(model: Path, pieces: list[Samples]) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds of each layer, the medians over the pieces; and its multiply-adds, of a model in float32."""
    _, *runs = profiled(model, pieces)  # the first one allocates memory
    times = [defaultdict[str, float](float) for _ in runs]
    products = defaultdict[str, float](float)
    for run, time in zip(runs, times, strict=True):
        for layer, event in layers_of(run):
            time[layer] += event["dur"] / 1000
    for layer, event in layers_of(runs[0]):
        products[layer] += multiply_adds(event["args"])
    return {layer: statistics.median(time[layer] for time in times) for layer in times[0]}, products


def multiply_adds(arguments: Mapping[str, Any]) -> float:
    """Those of a convolution: of one output, times the number of outputs; 0 for everything else.

    The profiler does not tell the shape of weights that are packed, as those in int8 are.
    """
    shapes = [shape for given in arguments["input_type_shape"] for shape in given.values()]
    weights = [shape for shape in shapes[1:] if len(shape) == 4]
    if arguments["op_name"] not in CONVOLUTIONS or not weights:
        return 0.0
    (output,) = arguments["output_type_shape"][0].values()
    return float(math.prod(weights[0][1:]) * math.prod(output))


def rows(model: Path, pieces: list[Samples]) -> Iterator[tuple[str, ...]]:
    """A row for each layer of a model."""
    fp32, products = times_of(model, pieces)
    int8, _ = times_of(model.with_name(f"{model.stem}-int8.onnx"), pieces)
    whole, all_fp32, all_int8 = (sum(figures.values()) for figures in (products, fp32, int8))
    for layer in dict.fromkeys([BEFORE, *LAYERS, AFTER]):
        first, second = fp32[layer], int8[layer]
        shares = [f"{first / all_fp32:.0%}", f"{second / all_int8:.0%}"]
        arithmetic = f"{products[layer] / whole:.1%}" if products[layer] else ""
        yield (
            model.stem,
            layer,
            arithmetic,
            f"{first:.1f}",
            shares[0],
            f"{second:.1f}",
            shares[1],
            f"{first / second:.2f}",
        )
    yield (
        model.stem,
        "all",
        f"{whole / 1e9:.2f} G",
        f"{all_fp32:.1f}",
        "",
        f"{all_int8:.1f}",
        "",
        f"{all_fp32 / all_int8:.2f}",
    )


def main(models: list[Path]) -> None:
    pieces = list(Recordings(data_folder()).many(ROUNDS + 1, LENGTH))
    table = [("model", "layer", "multiply-adds", "fp32, ms", "share", "int8, ms", "share", "fp32 / int8")]
    for model in models:
        table += rows(model, pieces)
    cpu = machine.describe()["machine"]["cpu"]
    conditions = f"{cpu}, one thread, pieces of {LENGTH} s; ONNX Runtime {onnxruntime.__version__}."
    text = "\n".join([conditions, "", *markdown(iter(table)), ""])
    write(PAGE, text, MARKS)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m benchmarks.layers MODEL.onnx...")
    main([Path(name) for name in sys.argv[1:]])
