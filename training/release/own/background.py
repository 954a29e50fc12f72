"""Other sounds: embeddings that come with the package (``background.npz``), so that own classes need no recordings of
what they are not.

They are the small model's, of clips that it was trained on, of which only those under CC0 and CC BY were taken, and of
generated noise, hum and tones. Their authors are in ``models/wels-secost-small-attribution.csv``. Embeddings belong to
one network: ``python -m training.release.own.background MANIFEST`` makes the file again for a new small model, from a
manifest of ``sedkit-train data shipped``.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from sedkit.errors import ModelError
from sedkit.geometry import SAMPLE_RATE
from sedkit.inference.embedding import EmbeddingModel
from sedkit.inference.installed import names
from sedkit.model_file import ModelFile
from training.data.augment.negatives import LEVELS, background_noise, tone
from training.data.readers.shipped import FREE, MUSIC
from training.data.store.source import Audio, open_audio
from training.release.own.embeddings import Embeddings, embed, embedding_model, spaced
from training.runtime.files import replacing

FILE = Path(__file__).with_name("background.npz")
SEGMENTS = 3  # of each clip
SPEECH = 100  # clips of speech; there are 400, all alike
NOISES, TONES, SECONDS = 150, 100, 5  # generated recordings, and their length
STEPS = 63  # of a value; a value above the 99.9th percentile of its dimension is cut off


class Background(NamedTuple):
    """Clips of other sounds.

    Attributes
    ----------
    segments : [n, 1024] embeddings.
    clips : [n] the clip of each segment.
    seconds : [clips] length of each clip.
    labels : of each clip, MIDs; none for generated sounds.
    """

    segments: Embeddings
    clips: NDArray[np.int64]
    seconds: NDArray[np.float64]
    labels: tuple[frozenset[str], ...]


@cache
def small_model() -> tuple[Path, str]:
    """Path and digest of the small installed model.

    Raises
    ------
    ModelError
        If it is not installed.
    """
    path = names().get("small")
    if path is None:
        raise ModelError("the model wels-secost-small is not installed: install sedkit-audio again")
    return path, ModelFile(path).digest


def read_background() -> Background:
    """The sounds that come with the package.

    Raises
    ------
    ModelError
        If they belong to another small model than the installed one.
    """
    with np.load(FILE) as stored:
        if str(stored["digest"]) != small_model()[1]:
            raise ModelError(
                f"{FILE}: of another small model: python -m training.release.own.background makes it again"
            )
        segments = stored["segments"] * (stored["scale"] / np.float32(STEPS))
        labels = tuple(frozenset(filter(None, str(text).split(";"))) for text in stored["labels"])
        return Background(segments, stored["clips"].astype(np.int64), stored["seconds"].astype(np.float64), labels)


def write_background(audio: Audio, path: Path) -> int:
    """Write the embeddings of the training and validation clips of ``audio`` that may be used; returns their number."""
    model_path, digest = small_model()
    model, random = embedding_model(model_path), np.random.default_rng(0)
    manifest = audio.manifest
    kept, speech = [], 0
    for row in np.concatenate([manifest.indices("train"), manifest.indices("validation")]).tolist():
        mids = {manifest.vocabulary.key(place) for place in np.flatnonzero(manifest.targets([row])[0] == 1).tolist()}
        is_speech = mids == {"/m/09x0r"}
        speech += is_speech
        if manifest.licenses[row] in FREE and MUSIC.mid not in mids and not (is_speech and speech > SPEECH):
            kept.append((row, ";".join(sorted(mids))))
    clips: list[Embeddings] = []
    labels: list[str] = []
    seconds: list[float] = []
    with click.progressbar(kept, label="clips", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        for row, text in bar:
            _append(model, audio[row], text, clips, labels, seconds)
    for number in range(NOISES + TONES):
        make = background_noise if number < NOISES else tone
        _append(model, make(SECONDS * SAMPLE_RATE, LEVELS, random), "", clips, labels, seconds)
    segments = np.concatenate(clips)
    scale = np.percentile(segments, 99.9, axis=0).astype(np.float32).clip(1e-6)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            segments=np.rint(np.minimum(segments / scale, 1) * STEPS).astype(np.uint8),
            scale=scale,
            clips=np.repeat(np.arange(len(clips)), [len(rows) for rows in clips]).astype(np.uint16),
            seconds=np.array(seconds, np.float32),
            labels=np.array(labels),
            digest=np.array(digest),
        )
    return len(clips)


def _append(
    model: EmbeddingModel,
    sound: NDArray[np.int16],
    text: str,
    clips: list[Embeddings],
    labels: list[str],
    seconds: list[float],
) -> None:
    segments = spaced(embed(model, sound), SEGMENTS)
    if len(segments):
        clips.append(segments)
        labels.append(text)
        seconds.append(len(sound) / SAMPLE_RATE)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False))
def main(manifest: str) -> None:
    """Embed other sounds with the small model, for own classes.

    \b
    Example:
      python -m training.release.own.background shipped.csv
    """
    click.echo(f"{FILE}: {write_background(open_audio(manifest), FILE)} clips, {FILE.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
