"""A teacher that can be asked of any sound while a network learns: YAMNet in torch, and what its features mean.

A clip that the regressions were fitted on is told by one that never saw its group; the file, of training.runtime.checkpoint,
therefore belongs to one manifest: ``listener``, its state (convolutions float16); ``parts``; and ``about``, with hash
of the manifest, classes, what the teacher is and how good it is on each split.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sedkit.contract import Label
from training.data.augment.augmentation import crop, without_padding
from training.data.clips import FULL_SCALE
from training.data.manifest.splits import parts as parts_of
from training.data.store.source import Audio
from training.networks.yamnet import FEATURES, Yamnet
from training.runtime.checkpoint import CheckpointError
from training.runtime.checkpoint import load as load_state
from training.runtime.checkpoint import save as save_state
from training.supervision.predictions import TeacherError
from training.supervision.regression import Regression, without_each_part

PARTS = 5  # of the training clips, by group; each is told by what was fitted on the others
CROPS, SAMPLES = 2, 40_960  # crops of each training clip that are fitted to beside the whole; 2.56 s
STRENGTHS = (10.0, 30.0, 100.0)  # of the regressions' regularisation, to choose from


class Listener(nn.Module):
    """Waveform [batch, samples], part [batch] int64 -> probabilities [batch, classes] float32.

    Regression ``part`` of ``parts`` + 1 tells: number p < ``parts`` was fitted on the clips that are not in part p, the
    last on all. They take features in standard deviations, ``spread``, from ``mean``.
    """

    def __init__(self, parts: int, classes: int) -> None:
        super().__init__()
        self.yamnet = Yamnet()
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("spread", torch.ones(FEATURES))
        self.register_buffer("weight", torch.zeros(parts + 1, FEATURES, classes))
        self.register_buffer("offset", torch.zeros(parts + 1, classes))

    def forward(self, waveform: Tensor, part: Tensor) -> Tensor:
        return self.told(self.yamnet(waveform), part)

    def told(self, features: Tensor, part: Tensor) -> Tensor:
        """What features [batch, 2048] mean: probabilities [batch, classes]."""
        with torch.autocast(features.device.type, enabled=False):
            logits = (features.float() - self.mean) / self.spread @ self.weight  # [parts + 1, batch, classes]
            return torch.sigmoid(logits[part, torch.arange(len(part), device=part.device)] + self.offset[part])

    def take(self, fitted: Sequence[Regression]) -> None:
        """Tell as ``fitted`` do, each in the terms of the last."""
        mean, spread = fitted[-1].mean, fitted[-1].spread
        for part, one in enumerate(fitted):
            logits = one.offset + (mean - one.mean) / one.spread @ one.weight  # of the mean
            self.offset[part] = torch.from_numpy(logits)
            self.weight[part] = torch.from_numpy(one.weight * (spread / one.spread)[:, None])
        self.mean.copy_(torch.from_numpy(mean))
        self.spread.copy_(torch.from_numpy(spread))


@dataclass(frozen=True)
class Fitted:
    """A listener, and which of its regressions tells each clip of a manifest.

    Attributes
    ----------
    parts : [clips] int64; the last, of clips that none was fitted on.
    about : what it is, and its metrics.
    """

    listener: Listener
    parts: NDArray[np.int64]
    about: dict[str, Any]


def fit(yamnet: Yamnet, audio: Audio) -> tuple[Fitted, NDArray[np.float32]]:
    """A listener that knows the classes of a manifest, and what it says of its clips as a whole [clips, classes].

    It is fitted on the labelled training clips, each as a whole and ``CROPS`` times in part, where ``yamnet`` lies.

    Raises
    ------
    ManifestError
        If these are of fewer than ``PARTS`` groups.
    """
    manifest = audio.manifest
    parts = parts_of(manifest, PARTS)
    train = np.flatnonzero(parts >= 0)
    whole, crops = heard(yamnet, audio, train)
    views = np.concatenate([whole[train, None], crops], 1)
    often = views.shape[1]
    features, targets = views.reshape(-1, FEATURES).astype(np.float64), np.repeat(manifest.targets(train), often, 0)
    listener = Listener(PARTS, len(manifest.vocabulary))
    listener.yamnet.load_state_dict(yamnet.state_dict())
    part = np.repeat(parts[train], often)
    listener.take(without_each_part(features, targets, part, STRENGTHS, yamnet.mel.device))
    parts[parts < 0] = PARTS
    said = listener.told(torch.from_numpy(whole), torch.from_numpy(parts)).numpy()
    return Fitted(listener, parts, {}), said


def heard(yamnet: Yamnet, audio: Audio, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features of all clips as a whole [clips, 2048], and of random crops of those at ``rows`` [rows, CROPS, 2048].

    Zeros at the ends of a clip are not heard.
    """
    random = np.random.default_rng(0)
    whole = np.empty((len(audio), FEATURES), np.float32)
    crops = np.empty((len(rows), CROPS, FEATURES), np.float32)
    places = {int(row): place for place, row in enumerate(rows)}
    with click.progressbar(range(len(audio)), label="YAMNet", file=sys.stderr) as bar:
        for row in bar:
            clip = without_padding(audio[row])
            whole[row] = _features(yamnet, clip[None])
            if row in places:
                crops[places[row]] = _features(yamnet, np.stack([crop(clip, SAMPLES, p) for p in random.random(CROPS)]))
    return whole, crops


def _features(yamnet: Yamnet, clips: NDArray[np.int16]) -> NDArray[np.float32]:
    """Features [clips, 2048] of clips [clips, samples]."""
    waveforms = torch.from_numpy(clips / np.float32(FULL_SCALE))
    features: NDArray[np.float32] = yamnet(waveforms.to(yamnet.mel.device)).cpu().numpy()
    return features


def save(path: Path, fitted: Fitted, data: str, labels: Sequence[Label]) -> None:
    """Write a listener for the manifest with hash ``data``, atomically.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    about = fitted.about | {"manifest_sha256": data, "labels": [asdict(label) for label in labels]}
    listener = {
        name: value.half() if name.startswith("yamnet.layers.") else value
        for name, value in fitted.listener.state_dict().items()
    }
    save_state({"listener": listener, "parts": torch.from_numpy(fitted.parts), "about": about}, path)


def load(path: Path, data: str, labels: Sequence[Label]) -> Fitted:
    """The listener for the manifest with hash ``data``, on the CPU.

    Raises
    ------
    TeacherError
        If the file cannot be read, or is about another manifest or other classes.
    """
    try:
        state = load_state(path)
        about, parts = state["about"], state["parts"].numpy()
        count, _, classes = state["listener"]["weight"].shape
        listener = Listener(count - 1, classes)
        listener.load_state_dict(state["listener"])
        theirs = about.pop("manifest_sha256"), about.pop("labels")
    except (CheckpointError, AttributeError, LookupError, TypeError, ValueError, RuntimeError):
        what = "it is damaged, or something else" if path.is_file() else "no such file"
        raise TeacherError(
            f"{path}: a listener cannot be read ({what}); sedkit-train teachers listener makes one"
        ) from None
    if theirs != (data, [asdict(label) for label in labels]):
        raise TeacherError(f"{path}: a listener for another manifest, or for other classes; make it anew for this one")
    if not all(value.isfinite().all() for value in listener.state_dict().values()):
        raise TeacherError(f"{path}: weights that are not finite; make it anew")
    return Fitted(listener, parts, about)
