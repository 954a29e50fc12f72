"""YAMNet as a torch network, from its published TFLite file: what listeners and fine-tuned networks begin with.

It has the rounding of the file's weights and not that of its activations.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.networks import yamnet_tflite as peers
from training.runtime.checkpoint import CheckpointError
from training.runtime.checkpoint import load as load_state

COLUMN, STEP, POINTS = 400, 160, 512  # samples under the analysis window, and between two; DFT points
BINS, BANDS = POINTS // 2 + 1, 64
PATCH = 1 + (peers.WINDOW - COLUMN) // STEP  # columns of log-mel in a frame of YAMNet, and between two of them
PATCH_HOP = peers.HOP // STEP
FIRST = 32  # filters of the first layer; then of each depthwise-separable pair, with its stride
PAIRS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *5 * ((512, 1),), (1024, 2), (1024, 1))
FEATURES = 2 * peers.EMBEDDING


class Yamnet(nn.Module):
    """Waveform [batch, samples], 16 kHz in [-1, 1] -> features [batch, 2048], those of ``peers.Heard.features``.

    The front end is float32 whatever autocast says; the convolutions follow it. No weight has a gradient.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("spectrum", spectrum(), persistent=False)
        self.register_buffer("mel", torch.zeros(BINS, BANDS))
        self.register_buffer("floor", torch.ones(BANDS))  # added to the magnitude in every band before the logarithm
        self.layers = layers().to(memory_format=torch.channels_last)
        self.requires_grad_(False)

    def patches(self, waveform: Tensor) -> Tensor:
        """Log-mel of each frame [batch, frames, 96, 64]; silence is appended until the last frame is full."""
        frames = frame_count(waveform.shape[-1])
        samples = peers.WINDOW + peers.HOP * (frames - 1)
        with torch.autocast(waveform.device.type, enabled=False):
            padded = nn.functional.pad(waveform.float(), (0, samples - waveform.shape[-1]))
            logmel = torch.log(magnitudes(padded, self.spectrum) @ self.mel + self.floor)
        return logmel.unfold(1, PATCH, PATCH_HOP).transpose(2, 3)

    def embeddings(self, waveform: Tensor) -> Tensor:
        """What each frame is described by [batch, frames, 1024] float32, 0 to 6."""
        patches = self.patches(waveform)
        maps = self.layers(patches.flatten(0, 1).unsqueeze(1))
        return maps.float().mean((2, 3)).unflatten(0, patches.shape[:2])

    def forward(self, waveform: Tensor) -> Tensor:
        embeddings = self.embeddings(waveform)
        return torch.cat([embeddings.mean(1), embeddings.amax(1)], -1).sqrt()


def layers() -> nn.Sequential:
    """Log-mel [batch, 1, frames, 64] -> maps [batch, 1024, frames / 32, 2], without weights."""
    made, inputs = [_layer(1, FIRST, 3, stride=2)], FIRST
    for filters, stride in PAIRS:
        made += [_layer(inputs, inputs, 3, stride, groups=inputs), _layer(inputs, filters, 1)]
        inputs = filters
    return nn.Sequential(*made)


def spectrum() -> Tensor:
    """[400, 2 x 257]: columns under a periodic Hann window -> real and imaginary part of their DFT."""
    n = np.arange(COLUMN)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / COLUMN)
    angle = 2 * np.pi * np.outer(n, np.arange(BINS)) / POINTS
    return torch.from_numpy(window[:, None] * np.hstack([np.cos(angle), -np.sin(angle)])).float()


def magnitudes(waveform: Tensor, spectrum: Tensor) -> Tensor:
    """Of the DFT of every column of a waveform [batch, samples] that is full: [batch, columns, 257]."""
    real, imaginary = (waveform.unfold(-1, COLUMN, STEP) @ spectrum).chunk(2, -1)
    return torch.sqrt(real * real + imaginary * imaginary)


def _layer(inputs: int, filters: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution and ReLU6. At stride 2, maps of even size are padded at their ends alone, as TensorFlow does."""
    ends = nn.ZeroPad2d((0, 1, 0, 1)) if stride == 2 else nn.Identity()
    convolution = nn.Conv2d(inputs, filters, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups)
    return nn.Sequential(ends, convolution, nn.ReLU6(inplace=True))


def frame_count(samples: int) -> int:
    """How many frames YAMNet hears in so many samples: at least one."""
    return 1 + max(0, -(-(samples - peers.WINDOW) // peers.HOP))


def read_yamnet(model: Path) -> Yamnet:
    """YAMNet with the weights of its TFLite file, or of a listener's, for which LiteRT is not needed.

    Raises
    ------
    PeerError
        If it is neither, or LiteRT is not installed.
    """
    network = Yamnet()
    try:
        if model.suffix == ".pt":
            state = load_state(model)["listener"]
            network.load_state_dict(
                {name.removeprefix("yamnet."): state[name] for name in state if name.startswith("yamnet.")}
            )
            return network
        network.load_state_dict(dict(_weights(peers.YamnetTflite(model)._interpreter, network)))
    except (CheckpointError, LookupError, TypeError):
        raise peers.PeerError(f"{model}: no listener, of which YAMNet could be taken") from None
    except (ValueError, RuntimeError):
        raise peers.PeerError(f"{model}: YAMNet with other layers than its published file has") from None
    return network


def _weights(interpreter: Any, network: Yamnet) -> Iterator[tuple[str, Tensor]]:
    """The state of ``network`` from the tensors of the file: those quantised by channel are the layers', in order."""
    layers = iter(network.layers.state_dict(prefix="layers."))
    named = {"mel_spectrogram": "mel", "add": "floor"}
    for tensor in interpreter.get_tensor_details():
        scales, axis = (tensor["quantization_parameters"][key] for key in ("scales", "quantized_dimension"))
        name = next(layers, None) if len(scales) > 1 else named.get(tensor["name"])
        if name is None:  # the weights of the classes among them
            continue
        value = interpreter.get_tensor(tensor["index"])
        yield name, torch.from_numpy(_dequantised(value, scales, axis) if len(scales) else value.T.copy())


def _dequantised(value: NDArray[np.integer], scales: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """A layer's offsets [filters], or its weights in torch's order of axes: [filters, inputs, height, width].

    They lie there as [filters, height, width, inputs], those of a depthwise layer as [1, height, width, filters].
    """
    scaled = (np.moveaxis(value, axis, -1) * scales).astype(np.float32)
    if value.ndim == 4:
        scaled = scaled.transpose(3, 2, 0, 1) if axis == 0 else scaled.transpose(3, 0, 1, 2)
    return np.ascontiguousarray(scaled)
