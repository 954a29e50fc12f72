"""Read a sedkit ONNX file back as a torch network: to fine-tune it (``--fine-tune wels=MODEL``) or to teach with it.

The file has its batch norms folded into the convolutions (training.networks.float16). The network that is read
therefore has batch norms that only add a bias; :func:`refit_batch_norm` gives them statistics to train with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sedkit.contract import Contract
from sedkit.errors import ContractError, SedkitError
from sedkit.install import install_remedy
from training.data.audio import FULL_SCALE
from training.networks.wels import Network, Pooling, Stem, Width, resolve_filters

LAYERS = ("B1.0", "B2.0", "B3.0", "B4.0", "L1", "L2")  # their filter counts are the width of the network


class OnnxImportError(SedkitError):
    """An ONNX file cannot be read back as a network."""


class OnnxNetwork(NamedTuple):
    """A network read from an ONNX file, with the file's metadata."""

    contract: Contract
    weights: dict[str, Tensor]
    width: Width
    pooling: Pooling
    stem: Stem
    gate: bool


def read_onnx(path: Path) -> OnnxNetwork:
    """Read the network in a file of training.release.export. It computes the same scores as the file.

    Weights may be stored as float32 or float16.

    Raises
    ------
    OnnxImportError
        If the file cannot be read, is not a WELS-Net, or is quantised to 8 bits.
    """
    try:
        import onnx
        from onnx import numpy_helper

        from training.networks.float16 import with_float32_weights
    except ImportError as error:
        raise OnnxImportError(f"{path}: reading a model file needs {error.name}: {install_remedy('train')}") from None
    try:
        model = onnx.load(path)
        contract = Contract.from_metadata({entry.key: entry.value for entry in model.metadata_props})
    except OSError as error:
        raise OnnxImportError(f"{path}: cannot be read ({error.strerror})") from None
    except ContractError as error:
        raise OnnxImportError(f"{path}: {error}") from None
    except Exception:  # protobuf has several
        raise OnnxImportError(f"{path}: not an ONNX file, or damaged; give a model of sedkit-train secost") from None
    if contract.precision != "fp32":
        raise OnnxImportError(
            f"{path}: is quantised to 8 bits and cannot be trained; give the float model it was made from"
        )
    try:
        stored = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
            for tensor in with_float32_weights(model).graph.initializer
            if tensor.name.startswith(("wels.", "frontend.")) or tensor.name == "exempt"
        }
        filters = [len(stored[f"wels.{layer}.0.weight"]) for layer in LAYERS]
        width = contract.lineage.get("width", filters)
        if resolve_filters(width) != filters:
            width = filters
        pooling: Pooling = "attention" if "wels.weights.weight" in stored else "mean"
        gate = contract.lineage.get("settings", {}).get("gate", True)
        stem: Stem = "patches" if stored["wels.B1.0.0.weight"].shape[-1] == 2 else "full"
        network = Network(len(contract.labels), width, pooling=pooling, gate=gate, stem=stem)
        state: dict[str, Tensor] = {}
        for layer, (_, norm) in _convolutions_with_batch_norm(network).items():
            bias = stored.get(f"{layer}.0.bias", torch.zeros(norm.num_features))  # zero biases are not stored
            state |= _bias_only(f"{layer}.1", bias, norm.eps)
        for name, value in network.state_dict().items():
            if name == "exempt":
                state[name] = stored.get(name, torch.zeros_like(value))
            elif name not in state:
                state[name] = stored.get(name, torch.zeros_like(value)) if name.endswith(".bias") else stored[name]
        network.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError):
        raise OnnxImportError(f"{path}: not a WELS-Net; give a model of sedkit-train secost") from None
    return OnnxNetwork(contract, state, width, pooling, stem, gate)


def _bias_only(name: str, bias: Tensor, eps: float) -> dict[str, Tensor]:
    """State of a batch norm that adds ``bias`` and divides by 1."""
    return {
        f"{name}.weight": torch.ones_like(bias),
        f"{name}.bias": bias,
        f"{name}.running_mean": torch.zeros_like(bias),
        f"{name}.running_var": torch.full_like(bias, 1 - eps),
        f"{name}.num_batches_tracked": torch.tensor(0),
    }


def _convolutions_with_batch_norm(network: Network) -> dict[str, tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution and the batch norm after it, by the name of the layer that contains both."""
    return {
        name: (layer[0], layer[1])
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Sequential) and isinstance(layer[0], nn.Conv2d) and isinstance(layer[1], nn.BatchNorm2d)
    }


@torch.no_grad()
def refit_batch_norm(network: Network, crops: Iterable[NDArray[np.int16]]) -> None:
    """Give each batch norm the statistics of its input on ``crops`` (int16 [samples] each); the output stays the same.

    The weights and biases of the batch norms compensate for the new statistics, so in eval mode the network computes
    what it did before. In training mode, where batch statistics replace these, it computes nearly the same; without
    this step its scores would become useless.
    """
    layers = _convolutions_with_batch_norm(network).values()
    sums = {norm: torch.zeros(2, norm.num_features, dtype=torch.float64) for _, norm in layers}
    counts = dict.fromkeys(sums, 0)

    def summing(norm: nn.BatchNorm2d) -> Callable[[nn.Module, Any, Tensor], None]:
        def add(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            values = output.transpose(0, 1).flatten(1).double()
            sums[norm] += torch.stack([values.sum(1), values.square().sum(1)])
            counts[norm] += values.shape[1]

        return add

    hooks = [conv.register_forward_hook(summing(norm)) for conv, norm in layers]
    network.eval()
    for crop in crops:
        network(torch.from_numpy(crop / np.float32(FULL_SCALE))[None])
    for hook in hooks:
        hook.remove()
    for norm, total in sums.items():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, square = total / counts[norm]
        variance = (square - mean.square()).clamp_min(0)
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.bias.add_(gain * (mean.float() - norm.running_mean))
        norm.weight.copy_(gain * (variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
