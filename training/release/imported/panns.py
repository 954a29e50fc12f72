"""PANNs (Kong et al., IEEE/ACM TASLP 28, 2020): Cnn14, and Cnn14_DecisionLevelMax with a score for every 0.32 s.

The published checkpoints hold the weights under ``model``, with the front end: DFT matrices of 1024 points under a Hann
window, and 64 mel filters. Audio has 32 kHz; frames are 10 ms apart and centred, and the waveform is continued at its
ends by its mirror image.

``panns``
    Cnn14 scores a whole clip. A segment is a window of 2 s, scored on its own; one every second.
``panns-dl``
    Cnn14_DecisionLevelMax scores every step of 0.32 s and takes the maximum of each class as the clip's score. A
    segment spans the three steps that its pooling combines, as in WELS-Net. Its receptive field is finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sedkit.geometry import Geometry
from training.release.imported.checkpoint import ImportModelError, load_into, read_state
from training.release.imported.segmenting import Segmenting, Windows, reflected

RATE, HOP, POINTS, BANDS = 32_000, 320, 1024, 64
BINS = POINTS // 2 + 1
PARTS = ("conv_real", "conv_imag")  # of the DFT
FLOOR = 1e-10  # least power of a mel band
FILTERS = (64, 128, 256, 512, 1024, 2048)  # of the blocks; all but the last halve time and frequency
CLASSES = 527
DECISION_LEVEL = "DecisionLevel"  # in the names of published files
WINDOWS = Geometry(RATE, RATE, 2 * RATE, 2 * RATE)

STEP = 2 ** (len(FILTERS) - 1)  # frames
# A step depends on this many frames before and after it: two 3 x 3 convolutions per block, and the pooling of 3 steps.
REACH = sum(2 * 2**block for block in range(len(FILTERS))) + STEP
FIELD = (STEP + 2 * REACH) * HOP + POINTS  # samples, from the first frame's window to the last one's
FRAMEWISE = Geometry(RATE, STEP * HOP, 3 * STEP * HOP, FIELD)


class Named(nn.Module):
    """A tensor under the name that it has in the checkpoint."""

    def __init__(self, name: str, *shape: int) -> None:
        super().__init__()
        self.register_buffer(name, torch.zeros(shape))


class Block(nn.Module):
    """Two 3 x 3 convolutions, and mean pooling."""

    def __init__(self, inputs: int, filters: int, pool: int) -> None:
        super().__init__()
        self.pool = pool
        self.conv1 = nn.Conv2d(inputs, filters, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters)

    def forward(self, maps: Tensor) -> Tensor:
        for convolution, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2)):
            maps = norm(convolution(maps)).relu()
        return F.avg_pool2d(maps, self.pool) if self.pool > 1 else maps


class Cnn14(nn.Module):
    """Waveform [n, samples] at 32 kHz → probabilities and embeddings of clips. Names as in the checkpoint.

    Parameters
    ----------
    filters : of the six blocks.
    """

    def __init__(self, filters: Sequence[int] = FILTERS) -> None:
        super().__init__()
        self.dft = [Named("weight", BINS, 1, POINTS) for _ in PARTS]
        stft = nn.ModuleDict(dict(zip(PARTS, self.dft, strict=True)))
        self.spectrogram_extractor = nn.ModuleDict({"stft": stft})
        self.logmel_extractor = Named("melW", BINS, BANDS)
        self.bn0 = nn.BatchNorm2d(BANDS)
        for number, (inputs, outputs) in enumerate(pairwise((1, *filters)), start=1):
            setattr(self, f"conv_block{number}", Block(inputs, outputs, 1 if number == len(filters) else 2))
        self.blocks = [getattr(self, f"conv_block{number}") for number in range(1, len(filters) + 1)]
        self.fc1, self.fc_audioset = nn.Linear(filters[-1], filters[-1]), nn.Linear(filters[-1], CLASSES)

    def logmel(self, waveform: Tensor) -> Tensor:
        """Log-mel in dB [n, frames, 64]."""
        frames = reflected(waveform, POINTS // 2).unfold(-1, POINTS, HOP)
        real, imaginary = (frames @ part.get_buffer("weight").squeeze(1).T for part in self.dft)
        power = (real.square() + imaginary.square()) @ self.logmel_extractor.get_buffer("melW")
        return 10 * torch.log10(power.clamp(min=FLOOR))

    def maps(self, waveform: Tensor) -> Tensor:
        """Maps [n, 2048, steps], one step every 0.32 s, of a waveform [n, samples], averaged over frequency."""
        logmel = self.logmel(waveform)
        maps = self.bn0(logmel.transpose(1, 2).unsqueeze(-1)).permute(0, 3, 2, 1)  # [n, 1, frames, 64]
        for block in self.blocks:
            maps = block(maps)
        mean: Tensor = maps.mean(3)
        return mean

    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and embeddings of features [..., 2048]."""
        embedding = self.fc1(features).relu()
        return torch.sigmoid(self.fc_audioset(embedding)), embedding

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(waveform)
        return self.classify(maps.amax(2) + maps.mean(2))


class Framewise(Segmenting):
    """Cnn14_DecisionLevelMax: waveform → scores and embeddings of every step of 0.32 s.

    The first and the last step are left out: a segment is the step in the middle of its span.
    """

    geometry = FRAMEWISE

    def __init__(self, network: Cnn14) -> None:
        super().__init__()
        self.network = network

    def segments(self, padded: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.network.maps(padded)
        pooled = F.max_pool1d(maps, 3, 1) + F.avg_pool1d(maps, 3, 1)
        return self.network.classify(pooled.transpose(1, 2))


def read_panns(path: Path, framewise: bool, geometry: Geometry = WINDOWS) -> Segmenting:
    """Cnn14, or Cnn14_DecisionLevelMax if `framewise`, with the weights of a published checkpoint.

    The weights of the two have the same names and shapes. Only the name of the file tells them apart.

    Parameters
    ----------
    geometry : the windows of Cnn14.

    Raises
    ------
    ImportModelError
        If the file cannot be read, or is another network.
    """
    if DECISION_LEVEL in path.name and not framewise:
        raise ImportModelError(f"{path}: by its name, it scores every 0.32 s; import it as panns-dl, or rename it")
    state = read_state(path, "model")
    network = Cnn14().eval()
    load_into(network, state, path, "PANNs' Cnn14", "give Cnn14_mAP=0.431.pth or Cnn14_DecisionLevelMax_mAP=0.385.pth")
    return Framewise(network).eval() if framewise else Windows(network, geometry).eval()
