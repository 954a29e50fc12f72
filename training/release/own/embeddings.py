"""Segment embeddings of clips, which a run keeps on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import EMBEDDING
from sedkit.errors import OutputError
from sedkit.inference.embedding import EmbeddingModel
from sedkit.inference.model import Model
from training.data.audio import FULL_SCALE, decode
from training.runtime.files import replacing

SEGMENTS = 32  # of a clip, at most: those of 10 s; evenly spaced in longer clips

Embeddings = NDArray[np.float32]


def embed(model: EmbeddingModel, clip: NDArray[np.int16]) -> Embeddings:
    """Embeddings [segments, 1024] of a clip at 16 kHz, without silent segments."""
    if not len(clip):
        return np.zeros((0, EMBEDDING), np.float32)
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


def stored_embeddings(model: EmbeddingModel, path: str, folder: Path, digest: str) -> Embeddings:
    """Embeddings of a clip, from ``folder`` if an earlier call has stored them there.

    Parameters
    ----------
    digest : that of the model's file.

    Raises
    ------
    AudioError
        If the clip cannot be read.
    OutputError
        If the embeddings cannot be stored, or stored ones are damaged.
    """
    with open(path, "rb") as clip:
        content = hashlib.file_digest(clip, "sha256")
    content.update(digest.encode())
    stored = folder / f"{content.hexdigest()[:32]}.npy"
    if not stored.exists():
        segments = spaced(embed(model, decode(path)), SEGMENTS)
        with replacing(stored) as temporary, temporary.open("wb") as file:
            np.save(file, segments.astype(np.float16))
    try:
        return np.asarray(np.load(stored), np.float32)
    except (OSError, ValueError, EOFError):
        raise OutputError(f"{stored}: damaged: remove it, and it is made again") from None


def embedding_model(path: Path) -> EmbeddingModel:
    """The model at ``path``, on one thread of the CPU."""
    return EmbeddingModel(Model(path, "cpu", threads=1))
