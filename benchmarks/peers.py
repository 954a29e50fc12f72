"""Other audio taggers with random weights, built from the tables of their papers.

Cnn10, Cnn14 and MobileNetV1: Kong et al., *PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern
Recognition* (2020), tables 1 and 4. MobileNetV3-Large: Howard et al., *Searching for MobileNetV3* (2019), table 1,
which EfficientAT's mn10 uses (Schmid et al., *Efficient Large-Scale Audio Tagging Via Transformer-to-CNN
Knowledge Distillation*, 2023).

All map a log-mel [batch, 1, frames, bands] to probabilities [batch, 527]. Their front ends are left out, which favours
them.
"""

from __future__ import annotations

from torch import Tensor, nn

CLASSES = 527


def conv(inputs: int, filters: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias, padded to keep its size, and its batch normalisation."""
    layer = nn.Conv2d(inputs, filters, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(filters)]


class Panns(nn.Module):
    """The common parts of PANNs: normalised bands, a body, mean over bands, mean + max over time, two linear layers."""

    def __init__(self, body: nn.Module, width: int, bands: int = 64) -> None:
        super().__init__()
        self.bands = nn.BatchNorm2d(bands)
        self.body = body
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CLASSES), nn.Sigmoid())

    def forward(self, logmel: Tensor) -> Tensor:
        x = self.bands(logmel.transpose(1, 3)).transpose(1, 3)
        x = self.body(x).mean(3)
        return self.head(x.amax(2) + x.mean(2))


def cnn(*widths: int) -> Panns:
    """Blocks of two 3 x 3 convolutions with 2 x 2 average pooling between blocks."""
    layers: list[nn.Module] = []
    for inputs, filters in zip((1, *widths), widths, strict=False):
        if layers:
            layers.append(nn.AvgPool2d(2))
        layers += [*conv(inputs, filters, 3), nn.ReLU(), *conv(filters, filters, 3), nn.ReLU()]
    return Panns(nn.Sequential(*layers), widths[-1])


def cnn10() -> Panns:
    return cnn(64, 128, 256, 512)


def cnn14() -> Panns:
    return cnn(64, 128, 256, 512, 1024, 2048)


def mobilenet_v1() -> Panns:
    """Depthwise separable convolutions; average pooling between the two halves of a block."""
    layers: list[nn.Module] = [*conv(1, 32, 3), nn.AvgPool2d(2), nn.ReLU()]
    inputs = 32
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for filters, pool in blocks:
        depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        layers += [depthwise, nn.AvgPool2d(pool), nn.BatchNorm2d(inputs), nn.ReLU()]
        layers += [*conv(inputs, filters, 1), nn.ReLU()]
        inputs = filters
    return Panns(nn.Sequential(*layers), inputs)


class Squeeze(nn.Module):
    """Squeeze-and-excitation: channels weighted by a function of all channel means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = (channels // 4 + 4) // 8 * 8  # the multiple of 8 nearest to a quarter
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, inner, 1),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weights(x)


class Bottleneck(nn.Module):
    """Inverted residual block: expansion, depthwise convolution, squeeze-and-excitation, projection."""

    def __init__(self, kernel: int, inputs: int, inner: int, filters: int, squeeze: bool, swish: bool, stride: int):
        super().__init__()
        activation = nn.Hardswish if swish else nn.ReLU
        expand = [*conv(inputs, inner, 1), activation()] if inner != inputs else []
        weight = [Squeeze(inner)] if squeeze else []
        depthwise = [*conv(inner, inner, kernel, stride, groups=inner), activation()]
        self.path = nn.Sequential(*expand, *depthwise, *weight, *conv(inner, filters, 1))
        self.residual = stride == 1 and inputs == filters

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x) if self.residual else self.path(x)


MOBILENET_V3 = (  # kernel, inner, filters, squeeze, swish, stride
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


def mobilenet_v3() -> nn.Module:
    layers: list[nn.Module] = [*conv(1, 16, 3, 2), nn.Hardswish()]
    inputs = 16
    for kernel, inner, filters, squeeze, swish, stride in MOBILENET_V3:
        layers.append(Bottleneck(kernel, inputs, inner, filters, squeeze, swish, stride))
        inputs = filters
    layers += [*conv(inputs, 960, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers += [nn.Linear(960, 1280), nn.Hardswish(), nn.Linear(1280, CLASSES), nn.Sigmoid()]
    return nn.Sequential(*layers)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


PEERS = {  # name: (network, bands)
    "Cnn14": (cnn14, 64),
    "Cnn10": (cnn10, 64),
    "MobileNetV1": (mobilenet_v1, 64),
    "mn10": (mobilenet_v3, 128),
}
