"""YAMNet as a torch network with the weights of its published TFLite file.

Online YAMNet teachers (training.supervision.yamnet_teacher) and fine-tuned networks (training.networks.pretrained)
start from it. The weights are rounded as in the file; the activations are not quantised.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.networks import yamnet_tflite
from training.runtime.checkpoint import CheckpointError
from training.runtime.checkpoint import load as load_state

COLUMN, STEP, POINTS = 400, 160, 512  # analysis window and hop in samples; DFT points
BINS, BANDS = POINTS // 2 + 1, 64
PATCH = 1 + (yamnet_tflite.WINDOW - COLUMN) // STEP  # log-mel columns per frame of YAMNet
PATCH_HOP = yamnet_tflite.HOP // STEP  # log-mel columns between frames
FIRST = 32  # filters of the first layer
PAIRS = (  # filters and stride of each depthwise-separable pair
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *5 * ((512, 1),),
    (1024, 2),
    (1024, 1),
)
FEATURES = 2 * yamnet_tflite.EMBEDDING


class Yamnet(nn.Module):
    """Waveform [batch, samples], 16 kHz in [-1, 1] -> features [batch, 2048].

    The features are those of ``yamnet_tflite.YamnetFrames.features``. The front end always runs in float32; the
    convolutions follow autocast. The weights are frozen.
    """

    spectrum: Tensor
    mel: Tensor
    floor: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("spectrum", spectrum(), persistent=False)
        self.register_buffer("mel", torch.zeros(BINS, BANDS))
        self.register_buffer("floor", torch.ones(BANDS))  # added to each band before the logarithm
        self.layers = layers().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in stubs
        self.requires_grad_(False)

    def patches(self, waveform: Tensor) -> Tensor:
        """Log-mel of each frame [batch, frames, 96, 64]. The waveform is zero-padded to fill the last frame."""
        frames = frame_count(waveform.shape[-1])
        samples = yamnet_tflite.WINDOW + yamnet_tflite.HOP * (frames - 1)
        with torch.autocast(waveform.device.type, enabled=False):
            padded = nn.functional.pad(waveform.float(), (0, samples - waveform.shape[-1]))
            logmel = torch.log(magnitudes(padded, self.spectrum) @ self.mel + self.floor)
        return logmel.unfold(1, PATCH, PATCH_HOP).transpose(2, 3)

    def embeddings(self, waveform: Tensor) -> Tensor:
        """Embedding of each frame [batch, frames, 1024], float32 in [0, 6]."""
        patches = self.patches(waveform)
        maps: Tensor = self.layers(patches.flatten(0, 1).unsqueeze(1))
        embeddings: Tensor = maps.float().mean((2, 3)).unflatten(0, patches.shape[:2])
        return embeddings

    def forward(self, waveform: Tensor) -> Tensor:
        embeddings = self.embeddings(waveform)
        return torch.cat([embeddings.mean(1), embeddings.amax(1)], -1).sqrt()


def layers() -> nn.Sequential:
    """Log-mel [batch, 1, frames, 64] -> maps [batch, 1024, frames / 32, 2], with random weights."""
    stack, inputs = [_layer(1, FIRST, 3, stride=2)], FIRST
    for filters, stride in PAIRS:
        stack += [_layer(inputs, inputs, 3, stride, groups=inputs), _layer(inputs, filters, 1)]
        inputs = filters
    return nn.Sequential(*stack)


def spectrum() -> Tensor:
    """Matrix [400, 2 x 257] of a periodic Hann window and a 512-point DFT: real parts, then imaginary parts."""
    n = np.arange(COLUMN)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / COLUMN)
    angle = 2 * np.pi * np.outer(n, np.arange(BINS)) / POINTS
    return torch.from_numpy(window[:, None] * np.hstack([np.cos(angle), -np.sin(angle)])).float()


def magnitudes(waveform: Tensor, spectrum: Tensor) -> Tensor:
    """DFT magnitudes [batch, columns, 257] of all complete columns of a waveform [batch, samples]."""
    real, imaginary = (waveform.unfold(-1, COLUMN, STEP) @ spectrum).chunk(2, -1)
    return torch.sqrt(real * real + imaginary * imaginary)


def _layer(inputs: int, filters: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution and ReLU6. At stride 2, maps of even size are padded at the end only, as TensorFlow does."""
    ends = nn.ZeroPad2d((0, 1, 0, 1)) if stride == 2 else nn.Identity()
    convolution = nn.Conv2d(inputs, filters, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups)
    return nn.Sequential(ends, convolution, nn.ReLU6(inplace=True))


def frame_count(samples: int) -> int:
    """Number of frames that YAMNet scores for so many samples, at least one."""
    return 1 + max(0, -(-(samples - yamnet_tflite.WINDOW) // yamnet_tflite.HOP))


def read_yamnet(model: Path) -> Yamnet:
    """YAMNet with the weights of its TFLite file, or of an online YAMNet teacher (``.pt``), which does not need LiteRT.

    Raises
    ------
    PeerError
        If the file is neither, or LiteRT is not installed.
    """
    network = Yamnet()
    try:
        if model.suffix == ".pt":
            state = load_state(model)["listener"]
            network.load_state_dict(
                {name.removeprefix("yamnet."): state[name] for name in state if name.startswith("yamnet.")}
            )
            return network
        network.load_state_dict(dict(_weights(yamnet_tflite.YamnetTflite(model).interpreter, network)))
    except (CheckpointError, LookupError, TypeError):
        raise yamnet_tflite.PeerError(f"{model}: not a YAMNet teacher; give one, or YAMNet's TFLite file") from None
    except (ValueError, RuntimeError):
        raise yamnet_tflite.PeerError(
            f"{model}: layers differ from those of the published YAMNet; give its original TFLite file"
        ) from None
    return network


def _weights(interpreter: Any, network: Yamnet) -> Iterator[tuple[str, Tensor]]:
    """State of ``network`` from the tensors of the file. Those quantised per channel are the layers', in order."""
    names = iter(network.layers.state_dict(prefix="layers."))
    front_end = {"mel_spectrogram": "mel", "add": "floor"}
    for tensor in interpreter.get_tensor_details():
        scales, axis = (tensor["quantization_parameters"][key] for key in ("scales", "quantized_dimension"))
        name = next(names, None) if len(scales) > 1 else front_end.get(tensor["name"])
        if name is None:  # among them the classifier's weights
            continue
        value = interpreter.get_tensor(tensor["index"])
        yield name, torch.from_numpy(_dequantised(value, scales, axis) if len(scales) else value.T.copy())


def _dequantised(value: NDArray[np.integer], scales: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Biases [filters], or weights in torch's order of axes [filters, inputs, height, width].

    The file has weights as [filters, height, width, inputs], or [1, height, width, filters] for a depthwise layer.
    """
    scaled = (np.moveaxis(value, axis, -1) * scales).astype(np.float32)
    if value.ndim == 4:
        scaled = scaled.transpose(3, 2, 0, 1) if axis == 0 else scaled.transpose(3, 0, 1, 2)
    return np.ascontiguousarray(scaled)
