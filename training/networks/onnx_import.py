"""The network in a model file, back in torch: to go on from (``--fine-tune wels=MODEL``) and to teach.

In the file each batch normalisation is part of the convolution before it (training.networks.float16). What is read here
therefore normalises by nothing, and adds the biases; :func:`refit_batch_norm` gives it statistics to go on with.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sedkit.contract import Contract
from sedkit.errors import ContractError, SedkitError
from sedkit.install import install_remedy
from training.data.clips import FULL_SCALE
from training.networks.wels import Network, Pooling, Width, resolve_filters

LAYERS = ("B1.0", "B2.0", "B3.0", "B4.0", "L1", "L2")  # of which Table 1 gives the filters


class OnnxImportError(SedkitError):
    """A model file cannot be read back as a network."""


class OnnxNetwork(NamedTuple):
    """A model file: what it says of itself, and the state of its network."""

    contract: Contract
    weights: dict[str, Tensor]
    width: Width
    pooling: Pooling


def read_onnx(path: Path) -> OnnxNetwork:
    """The network in a file of training.release.export, in float32 or stored in float16; its scores are those of the file.

    Raises
    ------
    OnnxImportError
        If it cannot be read, is no WELS-Net, or is in 8-bit integers.
    """
    try:
        import onnx
        from onnx import numpy_helper

        from training.networks.float16 import with_float32_weights
    except ImportError as error:
        raise OnnxImportError(f"{path}: reading a model file needs {error.name}: {install_remedy('train')}") from None
    try:
        model = onnx.load(path)
        about = Contract.from_metadata({entry.key: entry.value for entry in model.metadata_props})
    except OSError as error:
        raise OnnxImportError(f"{path}: cannot be read ({error.strerror})") from None
    except ContractError as error:
        raise OnnxImportError(f"{path}: {error}") from None
    except Exception:  # of protobuf, which has several
        raise OnnxImportError(
            f"{path}: is no ONNX file, or a damaged one; name a model of python -m training.secost"
        ) from None
    if about.precision != "fp32":
        raise OnnxImportError(
            f"{path}: is in 8-bit integers, and a network learns in float; name the model it was made of"
        )
    try:
        held = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
            for tensor in with_float32_weights(model).graph.initializer
            if tensor.name.startswith(("wels.", "frontend."))
        }
        filters = [len(held[f"wels.{layer}.0.weight"]) for layer in LAYERS]
        width = about.lineage.get("width", filters)
        if resolve_filters(width) != filters:
            width = filters
        pooling: Pooling = "attention" if "wels.weights.weight" in held else "mean"
        network = Network(len(about.labels), width, pooling=pooling)
        state = {}
        for layer, (_, norm) in _normalised(network).items():
            bias = held.get(f"{layer}.0.bias", torch.zeros(norm.num_features))  # one of zeros is not in the file
            state |= _by_nothing(f"{layer}.1", bias, norm.eps)
        for name, value in network.state_dict().items():
            if name not in state:
                state[name] = held.get(name, torch.zeros_like(value)) if name.endswith(".bias") else held[name]
        network.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError):
        raise OnnxImportError(f"{path}: is no WELS-Net of python -m training.secost; name one") from None
    return OnnxNetwork(about, state, width, pooling)


def _by_nothing(name: str, bias: Tensor, eps: float) -> dict[str, Tensor]:
    """State of a batch normalisation that adds ``bias``, and divides by 1."""
    return {
        f"{name}.weight": torch.ones_like(bias),
        f"{name}.bias": bias,
        f"{name}.running_mean": torch.zeros_like(bias),
        f"{name}.running_var": torch.full_like(bias, 1 - eps),
        f"{name}.num_batches_tracked": torch.tensor(0),
    }


def _normalised(network: Network) -> dict[str, tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Every convolution with the batch normalisation after it, by the name of the layer that they are in."""
    return {
        name: (layer[0], layer[1])
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Sequential) and isinstance(layer[0], nn.Conv2d) and isinstance(layer[1], nn.BatchNorm2d)
    }


@torch.no_grad()
def refit_batch_norm(network: Network, crops: Iterable[NDArray[np.int16]]) -> None:
    """Let each batch normalisation divide by what its convolution gives on ``crops``, and multiply by the same.

    The network computes what it did; but with statistics of batches in place of these, as in training, it computes
    nearly the same, where it would have gone to pieces.
    """
    layers = _normalised(network).values()
    sums = {norm: torch.zeros(2, norm.num_features, dtype=torch.float64) for _, norm in layers}
    counts = dict.fromkeys(sums, 0)

    def hook(norm: nn.BatchNorm2d) -> object:
        def add(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            values = output.transpose(0, 1).flatten(1).double()
            sums[norm] += torch.stack([values.sum(1), values.square().sum(1)])
            counts[norm] += values.shape[1]

        return add

    hooks = [conv.register_forward_hook(hook(norm)) for conv, norm in layers]
    network.eval()
    for crop in crops:
        network(torch.from_numpy(crop / np.float32(FULL_SCALE))[None])
    for one in hooks:
        one.remove()
    for norm, total in sums.items():
        mean, square = total / counts[norm]
        variance = (square - mean.square()).clamp_min(0)
        was = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.bias += was * (mean.float() - norm.running_mean)
        norm.weight.copy_(was * (variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
