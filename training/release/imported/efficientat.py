"""EfficientAT's MobileNets ``mn01_as`` to ``mn40_as`` (Schmid, Koutini and Widmer, ICASSP 2023).

MobileNetV3-Large on a log-mel of 128 bands at 32 kHz, with squeeze-and-excitation over frequency and time. It scores
whole clips of any length, but every value depends on the whole clip. A segment is therefore a window of 2 s, scored on
its own; one every second.

The layers' sizes are those of the checkpoint. Strides, activations and the front end are not in it: they are those of
the models trained with the default settings (10 ms hop, 128 bands, strides of 2, head of two linear layers).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sedkit.geometry import Geometry
from training.release.imported.checkpoint import ImportModelError, load_into, read_state
from training.release.imported.panns import CLASSES, WINDOWS
from training.release.imported.segmenting import Windows, reflected

RATE, HOP, WINDOW, POINTS, BANDS = 32_000, 320, 800, 1024, 128
BINS = POINTS // 2
LOWEST, HIGHEST = 0.0, 15_000.0  # Hz, of the mel filters
PREEMPHASIS = 0.97
FLOOR = 1e-5
CENTRE, SPREAD = -4.5, 5.0  # of the log-mel
STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1)  # of the blocks
RELU_BLOCKS = 6  # the first ones; the others have Hardswish
EPSILON = 1e-3  # of batch normalisation
FAMILY = "an EfficientAT MobileNet"
REMEDY = "give a file such as mn10_as_mAP_471.pt"
OTHER_SETTINGS = ("_hop_", "_mels_", "_fc", "dymn")  # in the names of published files


class LogMel(nn.Module):
    """Waveform [n, samples] at 32 kHz → normalised log-mel [n, 1, 128, frames]; no weights of its own."""

    spectrum: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        n = np.arange(WINDOW)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * n / (WINDOW - 1))
        angle = 2 * np.pi * np.outer(n, np.arange(BINS)) / POINTS  # no filter reaches the last bin
        spectrum = window[:, None] * np.hstack([np.cos(angle), np.sin(angle)])
        self.register_buffer("spectrum", torch.from_numpy(spectrum).float(), persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filters()).float(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        emphasised = waveform[:, 1:] - PREEMPHASIS * waveform[:, :-1]
        frames = reflected(emphasised, WINDOW // 2).unfold(-1, WINDOW, HOP)
        real, imaginary = (frames @ self.spectrum).chunk(2, -1)
        logmel = torch.log((real.square() + imaginary.square()) @ self.filters + FLOOR)
        return ((logmel - CENTRE) / SPREAD).transpose(1, 2).unsqueeze(1)


def mel_filters() -> NDArray[np.float64]:
    """Mel filters as in Kaldi [512 bins, 128 bands]: triangles on the scale 1127 ln(1 + f / 700)."""

    def mel(frequency: NDArray[np.floating] | float) -> NDArray[np.floating]:
        return np.asarray(1127 * np.log(1 + np.asarray(frequency) / 700))

    corners = np.linspace(mel(LOWEST), mel(HIGHEST), BANDS + 2)
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    bins = mel(np.arange(BINS) * (RATE / POINTS))[:, None]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    filters: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return filters


class Layer(nn.Sequential):
    """Convolution, batch normalisation and an activation."""

    def __init__(self, inputs: int, filters: int, kernel: int, stride: int, groups: int, activation: nn.Module) -> None:
        convolution = nn.Conv2d(inputs, filters, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(filters, EPSILON), activation)


class Excitation(nn.Module):
    """Squeeze-and-excitation of the channels."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        part = nn.ModuleDict({"fc1": nn.Linear(channels, squeezed), "fc2": nn.Linear(squeezed, channels)})
        self.conc_se_layers = nn.ModuleList([part])

    def forward(self, maps: Tensor) -> Tensor:
        part = self.conc_se_layers[0]
        scale = part["fc2"](part["fc1"](maps.mean((2, 3))).relu())  # type: ignore[index]
        return maps * torch.sigmoid(scale)[:, :, None, None]


class Block(nn.Module):
    """Inverted residual block with the sizes in a checkpoint: expansion, depthwise convolution, excitation, projection.

    The first block has no expansion, and some have no excitation.
    """

    def __init__(self, state: Mapping[str, Tensor], prefix: str, inputs: int, stride: int, relu: bool) -> None:
        super().__init__()
        count = len({name.split(".")[3] for name in state if name.startswith(prefix + ".")})
        layers: list[nn.Module] = []
        channels = inputs
        for number in range(count):
            squeezed = state.get(f"{prefix}.{number}.conc_se_layers.0.fc1.weight")
            if squeezed is not None:
                layers.append(Excitation(channels, len(squeezed)))
                continue
            filters, per_group, kernel, _ = state[f"{prefix}.{number}.0.weight"].shape
            depthwise = per_group == 1
            activation = nn.Identity() if number == count - 1 else nn.ReLU() if relu else nn.Hardswish()
            groups = channels if depthwise else 1
            layers.append(Layer(channels, filters, kernel, stride if depthwise else 1, groups, activation))
            channels = filters
        self.block = nn.Sequential(*layers)
        self.filters, self.residual = channels, stride == 1 and channels == inputs

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = self.block(maps)
        return result + maps if self.residual else result


class MobileNet(nn.Module):
    """Waveform [n, samples] at 32 kHz → probabilities [n, classes] and embeddings, the pooled features."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.logmel = LogMel()
        filters = len(state["features.0.0.weight"])
        layers: list[nn.Module] = [Layer(1, filters, 3, 2, 1, nn.Hardswish())]
        for number, stride in enumerate(STRIDES, start=1):
            block = Block(state, f"features.{number}.block", filters, stride, number <= RELU_BLOCKS)
            layers.append(block)
            filters = block.filters
        size = len(state[f"features.{len(layers)}.0.weight"])
        layers.append(Layer(filters, size, 1, 1, 1, nn.Hardswish()))
        self.features = nn.Sequential(*layers)
        hidden, classes = len(state["classifier.2.weight"]), len(state["classifier.5.weight"])
        flat = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.classifier = nn.Sequential(
            *flat, nn.Linear(size, hidden), nn.Hardswish(), nn.Identity(), nn.Linear(hidden, classes)
        )

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.features(self.logmel(waveform))
        return torch.sigmoid(self.classifier(maps)), maps.mean((2, 3))


def read_efficientat(path: Path, geometry: Geometry = WINDOWS) -> Windows:
    """A MobileNet with the weights of a published checkpoint.

    Parameters
    ----------
    geometry : the windows.

    Raises
    ------
    ImportModelError
        If the file cannot be read, or is another network.
    """
    if any(part in path.name for part in OTHER_SETTINGS):
        raise ImportModelError(f"{path}: by its name, it has another front end or head; {REMEDY}")
    state = read_state(path)
    try:
        network = MobileNet(state).eval()
    except (KeyError, ValueError, RuntimeError, TypeError, ZeroDivisionError):
        raise ImportModelError(f"{path}: not {FAMILY}: its layers have other names or shapes; {REMEDY}") from None
    load_into(network, state, path, FAMILY, REMEDY)
    if (classes := len(state["classifier.5.bias"])) != CLASSES:
        raise ImportModelError(f"{path}: scores {classes} classes, not AudioSet's {CLASSES}; {REMEDY}")
    return Windows(network, geometry).eval()
