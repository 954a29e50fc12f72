"""Convolution weights stored as float16: half the file size, the same float32 arithmetic.

In the file, each weight is an initializer ``NAME.float16`` and a Cast node that yields NAME in float32. ONNX Runtime
runs the Casts once, when it loads the graph. Biases and the front end are small and stay float32.
"""

from __future__ import annotations

import copy

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sedkit.errors import SedkitError
from training.networks.wels import Network

SUFFIX = ".float16"


@torch.no_grad()
def fold_for_export(network: Network) -> Network:
    """A copy of the network on the CPU, ready for export: batch norms folded, weights rounded to float16.

    Each batch normalisation is folded into the convolution before it. The folded weights
    [filters, channels, height, width] are then rounded to float16 (and kept as float32), so they are rounded once only.

    Raises
    ------
    SedkitError
        If a weight exceeds the range of float16.
    """
    network = copy.deepcopy(network).cpu().eval()
    for pair in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        if isinstance(pair[0], nn.Conv2d) and isinstance(pair[1], nn.BatchNorm2d):
            pair[0], pair[1] = fuse_conv_bn_eval(pair[0], pair[1]), nn.Identity()
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            rounded = layer.weight.half().float()
            if rounded.isinf().any():
                raise SedkitError(
                    f"{name} has a weight of {float(layer.weight.abs().max()):.3g}, beyond float16's limit of 65504; "
                    "train again with a lower --learning-rate or another --seed"
                )
            layer.weight.copy_(rounded)
    return network


def with_float16_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the graph whose convolution weights are stored as float16; they must already be rounded to it."""
    model = _copy(model)
    graph = model.graph
    weights = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    casts = []
    for tensor in graph.initializer:
        if tensor.name in weights:
            name, values = tensor.name, numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + SUFFIX))
            casts.append(helper.make_node("Cast", [tensor.name], [name], name=name, to=onnx.TensorProto.FLOAT))
    _replace_nodes(graph, [*casts, *graph.node])
    return model


def with_float32_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the graph with all weights stored as float32; a graph without float16 weights is copied as it is."""
    model = _copy(model)
    graph = model.graph
    halves = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    casts = [node for node in graph.node if node.op_type == "Cast" and node.input[0] in halves]
    for node in casts:
        tensor = halves[node.input[0]]
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), node.output[0]))
    _replace_nodes(graph, [node for node in graph.node if node not in casts])
    return model


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def _replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    del graph.node[:]
    graph.node.extend(nodes)
