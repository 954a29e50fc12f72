"""Segment embeddings of clips and of augmented versions of them, which a run keeps on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sedkit.inference.embedding import EmbeddingModel
from sedkit.inference.model import Model
from training.data.audio import FULL_SCALE, decode, without_padding
from training.data.augment.channel import noisy
from training.data.augment.resampling import at_speed
from training.runtime.files import replacing

VIEWS = 4  # of each clip: as it is, and augmented
SEGMENTS = 16  # of a version of a clip, at most; evenly spaced where there are more
SPEED, GAIN, SNR = 1.15, 10.0, (5.0, 30.0)  # ranges of the augmentation: factor, dB, dB

Embeddings = NDArray[np.float32]


def embed(model: EmbeddingModel, clip: NDArray[np.int16]) -> Embeddings:
    """Embeddings [segments, 1024] of a clip at 16 kHz, without silent segments."""
    if not len(clip):
        return np.zeros((0, 1024), np.float32)
    waveform = (clip / FULL_SCALE).astype(np.float32)
    segments: Embeddings = np.concatenate(list(model.segments([waveform])))
    sounding: Embeddings = segments[segments.any(axis=1)]
    return sounding


def spaced(segments: Embeddings, count: int) -> Embeddings:
    """At most ``count`` segments, evenly spaced."""
    if len(segments) <= count:
        return segments
    chosen: Embeddings = segments[((np.arange(count) + 0.5) * len(segments) / count).astype(int)]
    return chosen


def embedded_views(model: EmbeddingModel, path: str, folder: Path, digest: str) -> list[Embeddings]:
    """Embeddings of the ``VIEWS`` versions of a clip; the first is the clip as it is.

    They are read from ``folder`` if an earlier call has stored them there.

    Parameters
    ----------
    digest : that of the model's file.

    Raises
    ------
    AudioError
        If the clip cannot be read.
    OutputError
        If the embeddings cannot be stored.
    """
    content = hashlib.sha256(Path(path).read_bytes() + digest.encode()).hexdigest()
    stored = folder / f"{content[:32]}.npz"
    if not stored.exists():
        clip, random = without_padding(decode(path)), np.random.default_rng(int(content[:16], 16))
        versions = [clip, *(augmented(clip, random) for _ in range(VIEWS - 1))] if len(clip) else [clip] * VIEWS
        embedded = [spaced(embed(model, version), SEGMENTS) for version in versions]
        with replacing(stored) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, *(rows.astype(np.float16) for rows in embedded))
    with np.load(stored) as views:
        return [views[f"arr_{number}"].astype(np.float32) for number in range(VIEWS)]


def augmented(clip: NDArray[np.int16], random: np.random.Generator) -> NDArray[np.int16]:
    """``clip`` at another speed and level, and for one in two with noise."""
    speed = SPEED ** random.uniform(-1, 1)
    waveform = torch.from_numpy(clip / np.float32(FULL_SCALE))[None]
    sound = at_speed(waveform, torch.tensor([speed], dtype=torch.float32), max(1, int(len(clip) / speed)))[0].numpy()
    louder = np.rint(sound * 10 ** (random.uniform(-GAIN, GAIN) / 20) * FULL_SCALE)
    changed = np.clip(louder, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return noisy(changed, random.uniform(*SNR), random) if random.random() < 0.5 else changed


def embedding_model(path: Path) -> EmbeddingModel:
    """The model at ``path``, on one thread of the CPU."""
    return EmbeddingModel(Model(path, "cpu", threads=1))
