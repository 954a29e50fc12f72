"""YAMNet as Google publishes it, for comparison and as a teacher: 521 of AudioSet's classes, run with LiteRT.

The model is ``yamnet.tflite``, which contains the names of its classes; they are AudioSet's display names. It needs
``ai-edge-litert``. Scores of clips are cached in an NPZ file: ``names`` [clips], ``scores`` [clips, 521] (means over
frames) and ``features`` [clips, 2048], both float32.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.errors import SedkitError
from sedkit.geometry import SAMPLE_RATE
from sedkit.install import install_remedy
from training.runtime.files import replacing

NAMES = "yamnet_label_list.txt"  # in the model file, which is also a ZIP file
WINDOW, HOP = 15_600, 7_680  # samples of a frame and between frames: 0.975 s and 0.48 s
CLIPS_PER_WRITE = 250  # of the cache
POOLED, EMBEDDING = "reduce_mean", 1024  # name and size of the embedding's tensor

Cache = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]  # clip -> mean scores [521], features [2048]


class PeerError(SedkitError):
    """YAMNet is missing or cannot be run."""


class YamnetFrames(NamedTuple):
    """YAMNet's output for each frame of a recording."""

    scores: NDArray[np.float32]  # [frames, 521] in [0, 1]
    embeddings: NDArray[np.float32]  # [frames, 1024] in [0, 6], the input of the classifier

    def features(self) -> NDArray[np.float64]:
        """Features of the clip [2048] for a regression: square roots of the embeddings' means and maxima over time."""
        return np.sqrt(np.concatenate([self.embeddings.mean(0), self.embeddings.max(0)]).astype(np.float64))


class YamnetTflite:
    """YAMNet's TFLite file, run by LiteRT on one CPU thread.

    Parameters
    ----------
    model : path of the file.

    Attributes
    ----------
    labels : its classes, with AudioSet's names.
    window, hop : seconds; frame ``i`` covers ``[hop i, hop i + window)``.
    interpreter : LiteRT's interpreter of the file.

    Raises
    ------
    PeerError
        If ``model`` is not YAMNet's TFLite file, or LiteRT is not installed.
    """

    window, hop = WINDOW / SAMPLE_RATE, HOP / SAMPLE_RATE

    def __init__(self, model: Path) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise PeerError(f"YAMNet needs ai-edge-litert: {install_remedy('benchmarks')}") from None
        self.labels = class_names(model)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # about the memory of preserved tensors, which is small
                self.interpreter = Interpreter(str(model), num_threads=1, experimental_preserve_all_tensors=True)
            self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise PeerError(f"{model}: LiteRT cannot run it ({error}); give YAMNet's original TFLite file") from None
        self._input = self.interpreter.get_input_details()[0]["index"]
        self._output = self.interpreter.get_output_details()[0]["index"]
        self._embedding = self._embedding_reader(model)

    def _embedding_reader(self, model: Path) -> Callable[[], NDArray[np.float32]]:
        """A function that returns the embedding [1024] of the frame that was run last."""
        for tensor in self.interpreter.get_tensor_details():
            if tensor["name"].endswith(POOLED) and tensor["shape"].tolist() == [1, 1, 1, EMBEDDING]:
                index, (scale, zero) = tensor["index"], tensor["quantization"]
                return lambda: np.float32(scale or 1) * (self.interpreter.get_tensor(index).ravel() - np.float32(zero))
        raise PeerError(f"{model}: lacks the embedding of the published YAMNet; give its original TFLite file")

    def __call__(self, waveform: NDArray[np.float32]) -> YamnetFrames:
        """Scores and embeddings of a recording, float32 [samples] in [-1, 1] at 16 kHz.

        The recording is zero-padded to fill the last frame, as in YAMNet's own code. There is at least one frame.
        """
        frames = 1 + max(0, -(-(len(waveform) - WINDOW) // HOP))
        padded = np.zeros(WINDOW + HOP * (frames - 1), np.float32)
        padded[: len(waveform)] = waveform
        output = YamnetFrames(
            np.empty((frames, len(self.labels)), np.float32), np.empty((frames, EMBEDDING), np.float32)
        )
        for frame in range(frames):
            self.interpreter.set_tensor(self._input, padded[HOP * frame : HOP * frame + WINDOW])
            self.interpreter.invoke()
            output.scores[frame] = self.interpreter.get_tensor(self._output)[0]
            output.embeddings[frame] = self._embedding()
        return output


def class_names(model: Path) -> tuple[Label, ...]:
    """YAMNet's classes in the order of its scores.

    Raises
    ------
    PeerError
        If the file is not YAMNet's TFLite file.
    """
    try:
        with zipfile.ZipFile(model) as file:
            return tuple(Label(name) for name in file.read(NAMES).decode().splitlines())
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise PeerError(
            f"{model}: not YAMNet's TFLite file with the names of its classes ({error}); give Google's original"
        ) from None


@dataclass(frozen=True)
class ClipScores:
    """YAMNet's scores and features of whole clips."""

    scores: NDArray[np.float32]  # [clips, 521], means over frames
    features: NDArray[np.float32]  # [clips, 2048]


def clip_scores(
    model: Path | None,
    names: Sequence[str],
    waveform: Callable[[int], NDArray[np.float32]],
    cache: Path,
    progress: Callable[[int], None] = lambda clips: None,
) -> ClipScores:
    """YAMNet's scores of clips: read from ``cache`` where it has them, else computed and added to it.

    The cache is written every 250 clips, so an interrupted call resumes where it stopped.

    Parameters
    ----------
    model : YAMNet's TFLite file; None if the cache is known to be complete (:func:`is_cached`).
    names : names of the clips, unique within the data set that the cache belongs to.
    waveform : clip index -> float32 [samples] at 16 kHz.
    cache : NPZ file (module docstring); it need not exist.
    progress : called with the number of clips scored since the last call.

    Raises
    ------
    PeerError
        If the model cannot be run, or the cache is damaged.
    OutputError
        If the cache cannot be written.
    """
    cached = _read(cache)
    if missing := [clip for clip, name in enumerate(names) if name not in cached]:
        if model is None:
            raise PeerError(f"{cache}: lacks the scores of {len(missing)} clips; give the model: --peer yamnet=FILE")
        yamnet = YamnetTflite(model)
        for done, clip in enumerate(missing, start=1):
            output = yamnet(waveform(clip))
            cached[names[clip]] = output.scores.mean(0), output.features().astype(np.float32)
            if done % CLIPS_PER_WRITE == 0 or done == len(missing):
                _write(cache, cached)
            progress(1)
    return ClipScores(*(np.stack([cached[name][part] for name in names]) for part in (0, 1)))


def is_cached(cache: Path, names: Iterable[str]) -> bool:
    """Whether ``cache`` has the scores of all these clips.

    Raises
    ------
    PeerError
        If the cache is damaged.
    """
    cached = _read(cache)
    return bool(cached) and all(name in cached for name in names)


def _write(cache: Path, cached: Cache) -> None:
    scores, features = (np.stack([pair[part] for pair in cached.values()]) for part in (0, 1))
    with replacing(cache) as temporary, temporary.open("wb") as file:
        np.savez(file, names=np.array(list(cached)), scores=scores, features=features)


def _read(cache: Path) -> Cache:
    try:
        with np.load(cache, allow_pickle=False) as file:
            names, scores, features = file["names"].tolist(), file["scores"], file["features"]
        if not ((scores >= 0) & (scores <= 1)).all() or not np.isfinite(features).all():
            raise ValueError("scores outside [0, 1]")
        return dict(zip(names, zip(scores, features, strict=True), strict=True))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        raise PeerError(f"{cache}: damaged cache of scores; delete it, and it is rebuilt") from None


def match_classes(scores: NDArray[np.float32], known: Sequence[Label], wanted: Sequence[Label]) -> NDArray[np.float32]:
    """Columns of ``scores`` [n, known] rearranged for the wanted classes [n, wanted], matched by name; 0 if unknown."""
    columns = {label.name: column for column, label in enumerate(known)}
    matched = np.zeros((len(scores), len(wanted)), np.float32)
    for column, label in enumerate(wanted):
        if label.name in columns:
            matched[:, column] = scores[:, columns[label.name]]
    return matched


def parse_peer(context: click.Context, option: click.Parameter, text: str | None) -> Path | None:
    """Click callback of the option ``--peer yamnet=FILE``; returns FILE.

    Raises
    ------
    click.BadParameter
        If the value names another network, or the file does not exist.
    """
    if text is None:
        return None
    name, _, file = text.partition("=")
    if name != "yamnet" or not Path(file).is_file():
        raise click.BadParameter(f"{text!r} is not yamnet=FILE, where FILE is YAMNet's TFLite file")
    return Path(file)
