"""A public network to be compared with, and to learn from: YAMNet, which knows 521 of AudioSet's classes.

It runs through LiteRT (``ai-edge-litert``). The model is the one file that Google publishes, ``yamnet.tflite``, which
holds the names of its classes: they are AudioSet's display names.
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

NAMES = "yamnet_label_list.txt"  # in the model file, which is a ZIP file too
WINDOW, HOP = 15_600, 7_680  # samples: a frame looks at 0.975 s, and there is one every 0.48 s
BETWEEN_WRITES = 250  # clips
POOLED, EMBEDDING = "reduce_mean", 1024  # name and size of the last features
Held = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]  # clip → mean scores [521], features [2048]


class PeerError(SedkitError):
    """A peer is not there, or cannot be run."""


class Heard(NamedTuple):
    """Of each frame: ``scores`` [frames, 521] in [0, 1]; ``embeddings`` [frames, 1024], 0 to 6, from which they are."""

    scores: NDArray[np.float32]
    embeddings: NDArray[np.float32]

    def features(self) -> NDArray[np.float64]:
        """Of the clip [2048], for a regression: roots of the embeddings' means, and of their maxima."""
        return np.sqrt(np.concatenate([self.embeddings.mean(0), self.embeddings.max(0)]).astype(np.float64))


class YamnetTflite:
    """YAMNet on the CPU, one thread.

    Attributes
    ----------
    labels : its classes, under AudioSet's names.
    window, hop : seconds; frame ``i`` looks at ``[hop i, hop i + window)``.

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
            raise PeerError(f"YAMNet needs ai-edge-litert: {install_remedy('evaluation')}") from None
        self.labels = class_names(model)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of memory, of which YAMNet needs little
                self._interpreter = Interpreter(str(model), num_threads=1, experimental_preserve_all_tensors=True)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise PeerError(f"{model}: LiteRT cannot run it ({error})") from None
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._pooled = self._embedding(model)

    def _embedding(self, model: Path) -> Callable[[], NDArray[np.float32]]:
        """What reads the embedding of the frame that was run last."""
        for tensor in self._interpreter.get_tensor_details():
            if tensor["name"].endswith(POOLED) and tensor["shape"].tolist() == [1, 1, 1, EMBEDDING]:
                index, (scale, zero) = tensor["index"], tensor["quantization"]
                return lambda: np.float32(scale or 1) * (self._interpreter.get_tensor(index).ravel() - np.float32(zero))
        raise PeerError(f"{model}: YAMNet without the pooled features that its published file has")

    def __call__(self, waveform: NDArray[np.float32]) -> Heard:
        """What it hears in a recording, [samples] float32 in [-1, 1] at 16 kHz.

        Silence is appended until the last frame is full, as YAMNet's own code does; there is at least one frame.
        """
        frames = 1 + max(0, -(-(len(waveform) - WINDOW) // HOP))
        padded = np.zeros(WINDOW + HOP * (frames - 1), np.float32)
        padded[: len(waveform)] = waveform
        heard = Heard(np.empty((frames, len(self.labels)), np.float32), np.empty((frames, EMBEDDING), np.float32))
        for frame in range(frames):
            self._interpreter.set_tensor(self._input, padded[HOP * frame : HOP * frame + WINDOW])
            self._interpreter.invoke()
            heard.scores[frame] = self._interpreter.get_tensor(self._output)[0]
            heard.embeddings[frame] = self._pooled()
        return heard


def class_names(model: Path) -> tuple[Label, ...]:
    """YAMNet's classes, in the order of its scores.

    Raises
    ------
    PeerError
        If the file is not YAMNet's.
    """
    try:
        with zipfile.ZipFile(model) as file:
            return tuple(Label(name) for name in file.read(NAMES).decode().splitlines())
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise PeerError(f"{model}: not YAMNet's TFLite file with the names of its classes in it ({error})") from None


@dataclass(frozen=True)
class ClipScores:
    """YAMNet's scores of whole clips, means over their frames, float32 [clips, 521]; features [clips, 2048]."""

    scores: NDArray[np.float32]
    features: NDArray[np.float32]


def clip_scores(
    model: Path | None,
    names: Sequence[str],
    waveform: Callable[[int], NDArray[np.float32]],
    cache: Path,
    progress: Callable[[int], None] = lambda clips: None,
) -> ClipScores:
    """YAMNet's scores of clips, from ``cache`` (NPZ: ``names``, ``scores``, ``features``) so far as it holds them.

    The others are added to it, some at a time, so that what was interrupted goes on.

    Parameters
    ----------
    model : None where the cache is known to hold all of them (``cached``).
    names : of the clips; a cache is of one data set, in which a name stands for one clip.
    waveform : clip number → [samples] float32.
    progress : called with the number of clips that were scored since the last call.

    Raises
    ------
    PeerError, OutputError
        If the model cannot be run, or the cache cannot be written.
    """
    held = _read(cache)
    if missing := [clip for clip, name in enumerate(names) if name not in held]:
        if model is None:
            raise PeerError(f"{cache}: holds no scores of {len(missing)} clips; name the model: --peer yamnet=FILE")
        peer = YamnetTflite(model)
        for done, clip in enumerate(missing, start=1):
            heard = peer(waveform(clip))
            held[names[clip]] = heard.scores.mean(0), heard.features().astype(np.float32)
            if done % BETWEEN_WRITES == 0 or done == len(missing):
                _write(cache, held)
            progress(1)
    return ClipScores(*(np.stack([held[name][part] for name in names]) for part in (0, 1)))


def is_cached(cache: Path, names: Iterable[str]) -> bool:
    """Does ``cache`` hold the scores of all these clips?

    Raises
    ------
    PeerError
        If it is damaged.
    """
    held = _read(cache)
    return bool(held) and all(name in held for name in names)


def _write(cache: Path, held: Held) -> None:
    scores, features = (np.stack([pair[part] for pair in held.values()]) for part in (0, 1))
    with replacing(cache) as temporary, temporary.open("wb") as file:
        np.savez(file, names=np.array(list(held)), scores=scores, features=features)


def _read(cache: Path) -> Held:
    try:
        with np.load(cache, allow_pickle=False) as file:
            return dict(zip(file["names"].tolist(), zip(file["scores"], file["features"], strict=True), strict=True))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise PeerError(f"{cache}: no scores can be read from it; remove it, and they are made anew") from None


def match_classes(scores: NDArray[np.float32], known: Sequence[Label], wanted: Sequence[Label]) -> NDArray[np.float32]:
    """The columns of ``scores`` [n, known] for the wanted classes, [n, wanted], by name; 0 for those not known."""
    place = {label.name: column for column, label in enumerate(known)}
    made = np.zeros((len(scores), len(wanted)), np.float32)
    for column, label in enumerate(wanted):
        if label.name in place:
            made[:, column] = scores[:, place[label.name]]
    return made


def parse_peer(context: click.Context, option: click.Parameter, text: str | None) -> Path | None:
    """Callback of an option ``--peer yamnet=FILE``: the file.

    Raises
    ------
    click.BadParameter
        If it is another peer, or there is no such file.
    """
    if text is None:
        return None
    name, _, file = text.partition("=")
    if name != "yamnet" or not Path(file).is_file():
        raise click.BadParameter(f"{text!r} is not yamnet=FILE with YAMNet's TFLite file")
    return Path(file)
