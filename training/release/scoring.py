"""Scores of a model's file: the figures in its metadata and on its card are those of the file.

Clip scores are computed by ONNX Runtime alone, and scores of segments and of sliding windows by sedkit's pipeline.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from sedkit import contract
from sedkit.contract import Label
from sedkit.errors import SedkitError
from sedkit.inference.model import Model
from sedkit.inference.pipeline import analyse
from sedkit.metrics import summary
from training.data.audio import FULL_SCALE
from training.data.clips import Clips
from training.data.manifest.table import Manifest
from training.data.store.codecs import encoder

Scores = NDArray[np.float32]
Samples = NDArray[np.int16]

KEYS = ("mAP", "mAUC", "accuracy")  # in the metadata
MOST = 5000  # clips of a split that are scored for the metadata


def columns_of(manifest: Manifest, labels: Sequence[Label]) -> list[int]:
    """The columns of a model's classes in the targets of a manifest, which may have others too.

    Raises
    ------
    SedkitError
        If the manifest lacks a class.
    """
    places = manifest.vocabulary.match(labels)
    if lacking := [label.name for label, place in zip(labels, places, strict=True) if place is None]:
        raise SedkitError(
            f"the manifest lacks {len(lacking)} of the {len(labels)} classes ({', '.join(lacking[:3])}"
            f"{', ...' if len(lacking) > 3 else ''}): give the model's own manifest, or one with more classes"
        )
    return [place for place in places if place is not None]


def as_input(clip: NDArray[np.int16]) -> dict[str, NDArray[np.float32]]:
    """One clip as the input of the graph."""
    return {contract.INPUT: (clip / np.float32(FULL_SCALE)).astype(np.float32)[None]}


def score_file(model: Path | bytes, clips: Sequence[NDArray[np.int16]]) -> NDArray[np.float32]:
    """Clip scores [clips, classes] of the graph, before calibration. The clips are used in full length."""
    from sedkit.inference.onnx_runtime import onnxruntime

    content = model if isinstance(model, bytes) else model.read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.stack([session.run(["clip"], as_input(clip))[0][0] for clip in clips])


def metrics_of_file(model: Path | bytes, splits: dict[str, Clips]) -> dict[str, dict[str, Any]]:
    """mAP, mAUC and accuracy of a model's file on each split, rounded, from at most ``MOST`` clips spread over it."""
    metrics = {}
    for split, clips in splits.items():
        if not len(clips):
            continue
        rows = np.unique(np.linspace(0, len(clips) - 1, min(len(clips), MOST)).astype(np.int64))
        scores = score_file(model, [clips.waveforms[row] for row in rows.tolist()])
        metrics[split] = rounded(summary(clips.labels[rows], scores, clips.classes).to_dict())
    return metrics


def rounded(metrics: dict[str, Any]) -> dict[str, float]:
    """``KEYS`` of a summary, to four digits, where they are defined."""
    return {key: round(metrics[key], 4) for key in KEYS if metrics[key] is not None}


class SegmentScores:
    """A view of sedkit's pipeline that returns the segment scores of a recording, [K, classes]."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.parts: list[Scores] = []

    def add(self, samples: Scores, kept: slice, scores: Scores) -> None:
        self.parts.append(scores[:, : self.classes])

    def finish(self, file: str, duration: float) -> Scores:
        return np.concatenate(self.parts)


def run_model(model: Model, view: Callable[[], Any], sounds: Iterable[Samples], count: int, label: str) -> list[Scores]:
    """The view's result for each of ``count`` sounds (int16, 16 kHz), read and scored as sedkit does."""
    flac = encoder("flac", 0)
    pipeline = analyse(model, view, (io.BytesIO(flac(samples)) for samples in sounds))
    with click.progressbar(pipeline, count, label, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        results: list[Any] = [result for _, result in bar]
    for result in results:
        if isinstance(result, SedkitError):
            raise result
    return results
