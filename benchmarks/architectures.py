"""(5) Other audio taggers with random weights, on 10 s of audio, against WELS-Net at full width in int8.

The other networks start from a log-mel, because their front ends are left out; WELS-Net starts from the waveform.
Each of them runs in eager PyTorch, as in its authors' code, and exported in ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Row, Setup, at_least, packages, race, ratios, seconds
from benchmarks.networks import fit_statistics, full_width, multiply_adds
from sedkit.geometry import HOP
from sedkit.inference.model import Model
from sedkit.inference.session import open_session
from sedkit.model_file import ModelFile

if TYPE_CHECKING:
    from torch import Tensor, nn

Runner: TypeAlias = Callable[[dict[Any, Any]], Any]

OWN = "WELS-Net int8"
GOALS = {"Cnn14, torch eager": at_least(11.0)}
SECONDS = 10.0
FITTING = 4  # recordings for the statistics of batch normalisation
QUICK = ("mn10",)


def measure(setup: Setup) -> Iterator[Row]:
    with packages():
        import torch

        from benchmarks.peers import PEERS
    model = Model(full_width(setup).int8, "cpu")
    torch.set_num_threads(setup.threads)
    length, peers = (2.56, QUICK) if setup.quick else (SECONDS, tuple(PEERS))
    prepared = prepare(setup.recordings.many(FITTING + 1 + setup.repeats, length))
    fitting = [next(prepared) for _ in range(FITTING)]
    contenders: dict[str, Callable[[Any], Any]] = {OWN: lambda item: list(model.segments([item["waveform"]]))}
    costs = {}
    for peer in peers:
        eager, exported, costs[peer] = contestants(peer, fitting, setup)
        contenders |= {f"{peer}, torch eager": eager, f"{peer}, ONNX Runtime": exported}
    rounds = race(contenders, prepared, warm_up=next(prepared))
    own = 1e3 * seconds(rounds, OWN)
    for name in [name for name in contenders if name != OWN]:
        cost = costs[name.split(",")[0]]
        time, work = 1e3 * seconds(rounds, name), cost["multiply_adds"] / 1e9
        yield Row(
            5,
            f"{name} / {OWN}, {length:g} s",
            ratios(rounds, name, OWN),
            figure=f"{time:.0f} / {own:.0f} ms; {work:.1f} G multiply-adds",
            goal=GOALS.get(name),
            details={"seconds_of_sound": length, **cost},
        )


def prepare(waveforms: Iterable[NDArray[np.float32]]) -> Iterator[dict[Any, Any]]:
    """Inputs of all contenders: under "waveform" the samples, under 64 and 128 a log-mel [1, 1, frames, bands]."""
    import torch
    from torch.nn import functional as F

    from training.networks.logmel import LogMel

    front = LogMel()
    for waveform in waveforms:
        with torch.no_grad():
            logmel = front(torch.from_numpy(waveform[None]))[:, :, : len(waveform) // HOP]  # dB, without the padding
            logmel = logmel / 30 + 1  # -60 to 0 dB become -1 to 1
        yield {"waveform": waveform, 64: logmel, 128: F.interpolate(logmel, scale_factor=(1, 2))}


def contestants(peer: str, fitting: list[dict[Any, Any]], setup: Setup) -> tuple[Runner, Runner, dict[str, int]]:
    """Runners of a network in PyTorch and in ONNX Runtime, and its size."""
    import onnx
    import torch

    from benchmarks.peers import PEERS, parameters

    make, bands = PEERS[peer]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make()
    fit_statistics(network, [torch.cat([item[bands] for item in fitting])])
    example = fitting[0][bands]
    path = setup.scratch / f"{peer}.onnx"
    export(network, example, path)
    session, *_ = open_session(ModelFile(path), "cpu", setup.threads)
    size = {"parameters": parameters(network), "multiply_adds": multiply_adds(onnx.load(path), example.shape)}
    path.unlink()

    def eager(item: dict[Any, Any]) -> Any:
        with torch.inference_mode():
            return network(item[bands])

    return eager, lambda item: session.run(None, {"logmel": item[bands].numpy()}), size


def export(network: nn.Module, example: Tensor, path: Path) -> None:
    import logging
    import warnings

    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from the exporter, about torch's internals
        names = {"input_names": ["logmel"], "output_names": ["scores"]}
        torch.onnx.export(network, (example,), path, dynamo=True, external_data=False, verbose=False, **names)
