"""(1) Arithmetic efficiency: the network's multiply-adds per second, as a share of a matrix product's.

The machine's limit is the faster of NumPy (OpenBLAS) and ONNX Runtime at multiplying two large float32 matrices,
measured in the same round. The network is WELS-Net from log-mel to probabilities; benchmark 3 measures the front end.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Row, Setup, at_least, packages, race
from benchmarks.networks import Models, cut, full_width, multiply_adds
from sedkit.inference.session import open_session
from sedkit.model_file import ModelFile

GOALS = {1: 0.90, 2: 0.85}  # by threads
FRAMES = 3072  # about 31 s, one block of sedkit
SIZE = 2048  # rows and columns of the matrices
PRODUCTS = 4  # per measurement; the fastest counts
ROUNDS = 2  # per repeat


def measure(setup: Setup) -> Iterator[Row]:
    models = full_width(setup)
    for threads in sorted({1, min(2, setup.threads)}):
        yield rate(models, threads, setup)


def rate(models: Models, threads: int, setup: Setup) -> Row:
    with packages():
        import onnx
    frames, size = (320, 512) if setup.quick else (FRAMES, SIZE)
    parts = cut(models, models.fp32, setup.scratch)
    work = multiply_adds(onnx.load(parts.body), (1, 1, frames, 64))
    front, body = (open_session(ModelFile(part), "cpu", threads)[0] for part in (parts.front, parts.body))
    products = {
        "NumPy": best_of(numpy_product(size, threads)),
        "ONNX Runtime": best_of(runtime_product(size, threads, setup.scratch)),
    }
    waveforms = setup.recordings.many(1 + ROUNDS * setup.repeats, frames / 100)
    inputs = (front.run(None, {"waveform": waveform[None]})[0] for waveform in waveforms)
    contenders = products | {"network": lambda logmel: body.run(None, {parts.logmel: logmel})}
    rounds = race(contenders, inputs, warm_up=next(inputs))
    reached = [work / one["network"].seconds for one in rounds]
    sgemm = [{name: size**3 / one[name].result for name in products} for one in rounds]
    limits = [max(rates.values()) for rates in sgemm]
    return Row(
        1,
        f"fp32 network / sgemm, {models.name}, {threads} thread{'s' * (threads > 1)}",
        [own / limit for own, limit in zip(reached, limits, strict=True)],
        figure=f"{statistics.median(reached) / 1e9:.1f} of {statistics.median(limits) / 1e9:.1f} G multiply-adds/s",
        goal=at_least(GOALS[threads]),
        details={"frames": frames, "multiply_adds": work, "network_rate": reached, "sgemm_rate": sgemm, "size": size},
    )


def best_of(product: Callable[[], Any]) -> Callable[[Any], float]:
    """A contender that ignores its input, runs a product several times and returns the seconds of the fastest."""

    def run(_: Any) -> float:
        times = []
        for _ in range(PRODUCTS):
            start = perf_counter()
            product()
            times.append(perf_counter() - start)
        return min(times)

    return run


def numpy_product(size: int, threads: int) -> Callable[[], None]:
    with packages():
        from threadpoolctl import threadpool_limits
    left, right = matrices(size)
    result = np.empty((size, size), np.float32)

    def product() -> None:
        with threadpool_limits(threads, user_api="blas"):
            np.matmul(left, right, out=result)

    return product


def runtime_product(size: int, threads: int, scratch: Path) -> Callable[[], Any]:
    """A product with a constant matrix, which ONNX Runtime packs at load as it does weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    left, right = matrices(size)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["left", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", TensorProto.FLOAT, [size, size])],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, [size, size])],
        [numpy_helper.from_array(right, "right")],
    )
    path = scratch / "product.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    session, *_ = open_session(ModelFile(path), "cpu", threads)
    return lambda: session.run(None, {"left": left})


def matrices(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    left, right = np.random.default_rng().standard_normal((2, size, size), np.float32)
    return left, right
