"""The online YAMNet teacher: YAMNet in torch and logistic regressions from its features to the manifest's classes.

The regressions are cross-fitted: a training clip is scored by one that was not fitted on clips of its group. The file
(training.runtime.checkpoint) therefore belongs to one manifest::

    listener   state of the module, convolutions in float16
    parts      [clips] int64, the regression that scores each clip
    about      SHA-256 of the manifest, classes, what the teacher is, and its metrics on each split
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
from training.data.audio import FULL_SCALE, crop, without_padding
from training.data.manifest.splits import assign_parts
from training.data.store.source import Audio
from training.networks.yamnet import FEATURES, Yamnet
from training.runtime.checkpoint import CheckpointError
from training.runtime.checkpoint import load as load_state
from training.runtime.checkpoint import save as save_state
from training.supervision.predictions import TeacherError
from training.supervision.regression import Regression, cross_fitted

PARTS = 5  # of the training clips, by group; each is scored by a regression fitted on the others
CROPS, SAMPLES = 2, 40_960  # random crops of each training clip that are fitted beside the whole clip; 2.56 s
STRENGTHS = (10.0, 30.0, 100.0)  # candidates for the strength of the regularisation


class YamnetTeacher(nn.Module):
    """Waveform [batch, samples], part [batch] int64 → probabilities [batch, classes] float32.

    There are ``parts`` + 1 regressions. Number p < ``parts`` was fitted without part p; the last was fitted on all
    clips. All take the same standardised features (``mean``, ``spread``).
    """

    mean: Tensor
    spread: Tensor
    weight: Tensor
    offset: Tensor

    def __init__(self, parts: int, classes: int) -> None:
        super().__init__()
        self.yamnet = Yamnet()
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("spread", torch.ones(FEATURES))
        self.register_buffer("weight", torch.zeros(parts + 1, FEATURES, classes))
        self.register_buffer("offset", torch.zeros(parts + 1, classes))

    def forward(self, waveform: Tensor, part: Tensor) -> Tensor:
        return self.classify(self.yamnet(waveform), part)

    def classify(self, features: Tensor, part: Tensor) -> Tensor:
        """Probabilities [batch, classes] from features [batch, 2048]."""
        with torch.autocast(features.device.type, enabled=False):
            logits = (features.float() - self.mean) / self.spread @ self.weight  # [parts + 1, batch, classes]
            return torch.sigmoid(logits[part, torch.arange(len(part), device=part.device)] + self.offset[part])

    def set_regressions(self, fitted: Sequence[Regression]) -> None:
        """Use ``fitted``, converted to the features' mean and spread of the last one."""
        mean, spread = fitted[-1].mean, fitted[-1].spread
        for part, one in enumerate(fitted):
            logits = one.offset + (mean - one.mean) / one.spread @ one.weight  # at the common mean
            self.offset[part] = torch.from_numpy(logits)
            self.weight[part] = torch.from_numpy(one.weight * (spread / one.spread)[:, None])
        self.mean.copy_(torch.from_numpy(mean))
        self.spread.copy_(torch.from_numpy(spread))


@dataclass(frozen=True)
class Fitted:
    """A teacher and the regression that scores each clip of its manifest.

    Attributes
    ----------
    parts : [clips] int64; the last regression for clips that none was fitted on.
    about : what it is, and its metrics.
    """

    teacher: YamnetTeacher
    parts: NDArray[np.int64]
    about: dict[str, Any]


def fit(yamnet: Yamnet, audio: Audio, strengths: Sequence[float] = STRENGTHS) -> tuple[Fitted, NDArray[np.float32]]:
    """Fit a teacher to a manifest; returns it with its scores for whole clips [clips, classes].

    The regressions are fitted on the labelled training clips, each as a whole and as ``CROPS`` random crops. YAMNet
    runs on the device that it is on. ``strengths``: candidates for the regularisation.

    Raises
    ------
    ManifestError
        If the training clips belong to fewer than ``PARTS`` groups.
    """
    manifest = audio.manifest
    parts = assign_parts(manifest, PARTS)
    train = np.flatnonzero(parts >= 0)
    whole, crops = features_of(yamnet, audio, train)
    views = np.concatenate([whole[train, None], crops], 1)
    repeats = views.shape[1]
    features, targets = views.reshape(-1, FEATURES).astype(np.float64), np.repeat(manifest.targets(train), repeats, 0)
    teacher = YamnetTeacher(PARTS, len(manifest.vocabulary))
    teacher.yamnet.load_state_dict(yamnet.state_dict())
    part = np.repeat(parts[train], repeats)
    teacher.set_regressions(cross_fitted(features, targets, part, strengths, yamnet.mel.device))
    parts[parts < 0] = PARTS
    scores: NDArray[np.float32] = teacher.classify(torch.from_numpy(whole), torch.from_numpy(parts)).numpy()
    return Fitted(teacher, parts, {}), scores


def features_of(
    yamnet: Yamnet, audio: Audio, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features of all whole clips [clips, 2048], and of random crops of those at ``rows`` [rows, CROPS, 2048].

    Zeros at the ends of a clip are cut off.
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
    """Write a teacher for the manifest with SHA-256 ``data``, atomically.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    about = fitted.about | {"manifest_sha256": data, "labels": [asdict(label) for label in labels]}
    state = {
        name: value.half() if name.startswith("yamnet.layers.") else value
        for name, value in fitted.teacher.state_dict().items()
    }
    save_state({"listener": state, "parts": torch.from_numpy(fitted.parts), "about": about}, path)


def load(path: Path, data: str, labels: Sequence[Label]) -> Fitted:
    """The teacher for the manifest with SHA-256 ``data``, on the CPU.

    Raises
    ------
    TeacherError
        If the file cannot be read, or belongs to another manifest or other classes.
    """
    try:
        state = load_state(path)
        about, parts = state["about"], state["parts"].numpy()
        count, _, classes = state["listener"]["weight"].shape
        teacher = YamnetTeacher(count - 1, classes)
        teacher.load_state_dict(state["listener"])
        belongs_to = about.pop("manifest_sha256"), about.pop("labels")
    except (CheckpointError, AttributeError, LookupError, TypeError, ValueError, RuntimeError):
        reason = "it is damaged, or something else" if path.is_file() else "no such file"
        raise TeacherError(
            f"{path}: an online YAMNet teacher cannot be read ({reason}); make one with sedkit-train teachers "
            "yamnet-online"
        ) from None
    if belongs_to != (data, [asdict(label) for label in labels]):
        raise TeacherError(f"{path}: a teacher for another manifest or other classes; make it again for this one")
    if not all(value.isfinite().all() for value in teacher.state_dict().values()):
        raise TeacherError(f"{path}: weights that are not finite; make it again")
    return Fitted(teacher, parts, about)
