"""Weights of convolutions in float16: half the file for the same float32 arithmetic.

In the file each is an initializer ``NAME.float16`` and a Cast that gives NAME in float32. ONNX Runtime computes the
Casts once, when it loads the graph. Biases and the front end, which take little room, stay float32.
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
    """What goes into a file: a copy, on the CPU, without batch normalisation and with weights that float16 holds.

    Each batch normalisation becomes part of the convolution before it, whose weights [filters, channels, height, width]
    are rounded after that: what is stored is rounded, and once.

    Raises
    ------
    SedkitError
        If a weight is too large for float16.
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
                    f"{name} has a weight of {float(layer.weight.abs().max()):.3g}, and float16 ends at 65504: "
                    "train anew at a lower --learning-rate, or with another --seed"
                )
            layer.weight.copy_(rounded)
    return network


def with_float16_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with the weights of its convolutions in float16, which they are rounded to."""
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
    """The graph with the same weights in float32, whether they were stored in float16 or not."""
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
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def _replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    del graph.node[:]
    graph.node.extend(nodes)
