"""A data set of soundscapes on disk, with weak labels for training and strong labels for evaluation.

::

    audio/train/00000.flac ...             16 kHz mono
    manifest.csv, manifest.labels.csv      weak labels
    train.tsv, validation.tsv, test.tsv    strong labels (training.data.manifest.strong_labels)
    sources.csv                            source clip, onset, offset and level of every event
    recipe.json                            settings

A soundscape mixes clips of its own split only. It depends only on the seed, its split and its number, so an
interrupted call can be repeated and makes only what is missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sedkit.formats.delimited import row_writer
from sedkit.geometry import SAMPLE_RATE
from training.data.augment.soundscapes import Plan, Recipe, Sources
from training.data.lineage import most_specific
from training.data.manifest.problems import ManifestError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.strong_labels import Event, write_events
from training.data.manifest.table import SPLITS, Manifest
from training.data.manifest.vocabulary import UNKNOWN
from training.data.store.codecs import encoder
from training.data.store.decoded import Progress
from training.data.store.source import Audio
from training.runtime.files import replacing, write_json
from training.runtime.prefetch import prefetch


class Soundscape(NamedTuple):
    """One soundscape: its file, plan, events (onset and offset in seconds, class), and those that may be there."""

    path: str
    plan: Plan
    labels: list[tuple[float, float, int]]
    unchecked: list[tuple[float, float, int]]


def build(
    audio: Audio,
    directory: Path,
    count: int,
    recipe: Recipe,
    backgrounds: Sequence[str] = (),
    seed: int = 0,
    split: str | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Write ``count`` soundscapes and return their manifest.

    Parameters
    ----------
    audio : the source clips; those of a single sound (``training.data.lineage``) are used.
    count : number of soundscapes, divided among the splits in proportion to their source clips.
    backgrounds : MIDs or names of the classes whose clips are backgrounds.
    split : use only this split; all if None.
    progress : called with the number of soundscapes done and ``count``.

    Raises
    ------
    ManifestError
        If ``directory`` holds other soundscapes, or if there are no suitable source clips.
    OutputError
        If a file cannot be written.
    """
    manifest = audio.manifest
    background_classes = [_class_of(manifest, name) for name in backgrounds]
    specific = most_specific(manifest)
    rows = {name: np.flatnonzero(manifest.splits.equals(name) & (specific >= 0)) for name in SPLITS}
    sizes = [len(rows[name]) if split in (None, name) else 0 for name in SPLITS]
    if not any(sizes):
        where = f"in the split {split!r}" if split else "in any split"
        raise ManifestError(f"no clip {where} has a single label, or one and its parents; soundscapes need such clips")
    counts = _shares(count, sizes)
    about = {**asdict(recipe), "count": count, "seed": seed, "backgrounds": list(backgrounds), "split": split}
    if not recipe.bouts[1]:
        del about["bouts"]  # as in sets that were made before there were bouts
    _claim(directory / "recipe.json", about | {"manifest_sha256": manifest.sha256()})
    made: dict[str, list[Soundscape]] = {}
    for number, (name, recordings) in enumerate(zip(SPLITS, counts, strict=True)):
        labels = manifest.labels.take(rows[name])
        sources = Sources(audio, rows[name], specific[rows[name]], background_classes, labels, labels.unchecked)
        if recordings and not sources.by_class:
            raise ManifestError(f"no clips for events in the split {name!r}: all their classes are backgrounds")
        if recordings and not any(sources.sounding(clip) for clips in sources.by_class for clip in clips.tolist()):
            raise ManifestError(f"no clips for events in the split {name!r}: all of them are silent")
        make = partial(_make, sources, recipe, directory, name, (seed, number))
        made[name] = []
        for soundscape in prefetch(make, range(recordings), os.cpu_count() or 1):
            made[name].append(soundscape)
            if progress:
                progress(sum(map(len, made.values())), count)
    return _write(manifest, directory, made)


def _make(
    sources: Sources, recipe: Recipe, directory: Path, split: str, seed: Sequence[int], number: int
) -> Soundscape:
    """Draw a soundscape, and write it if its file does not exist."""
    name = f"audio/{split}/{number:05}.flac"
    random = np.random.default_rng((*seed, number))
    plan = sources.plan(recipe, random)
    while not plan.sounds:
        plan = sources.plan(recipe, random)
    if not (directory / name).exists():
        with replacing(directory / name) as temporary:
            temporary.write_bytes(encoder("flac", 0)(sources.render(plan, recipe, random)))
    return Soundscape(name, plan, sources.labels(plan, recipe), sources.unchecked(plan, recipe))


def _shares(count: int, sizes: Sequence[int]) -> list[int]:
    """Divide ``count`` in proportion to ``sizes``."""
    bounds = np.rint(np.cumsum([0, *sizes]) / sum(sizes) * count).astype(int)
    shares: list[int] = np.diff(bounds).tolist()
    return shares


def _class_of(manifest: Manifest, name: str) -> int:
    index = manifest.vocabulary.find(name)
    if index is None:
        raise ManifestError(f"background {name!r} is not a class of the manifest; name one of its classes")
    return index


def _claim(path: Path, about: dict[str, object]) -> None:
    """Write the settings, or check that those in ``path`` are the same."""
    about = json.loads(json.dumps(about))
    try:
        existing = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if path.parent.is_dir() and any(path.parent.iterdir()):
            raise ManifestError(f"{path.parent}: not empty; name another directory") from None
        write_json(path, about)
        return
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read ({error}); name another directory") from None
    if different := [name for name in about if existing.get(name) != about[name]]:
        raise ManifestError(
            f"{path.parent}: holds soundscapes made with another {' and '.join(different)}; name another directory"
        )


def _write(manifest: Manifest, directory: Path, made: dict[str, list[Soundscape]]) -> Manifest:
    """Write the tables of the set and return its manifest."""
    keys = [manifest.vocabulary.key(index) for index in range(len(manifest.vocabulary))]
    names, lines, clips = manifest.names(), [], []
    for split, soundscapes in made.items():
        events = []
        for path, plan, labels, unchecked in soundscapes:
            mixed = sorted({sound.clip for sound in plan.sounds} | ({plan.background} - {-1}))
            present, unknown = ({index for *_, index in events} for events in (labels, unchecked))
            marks = [keys[index] for index in sorted(present)]
            marks += [f"{UNKNOWN}{keys[index]}" for index in sorted(unknown - present)]
            licenses = _join_distinct((manifest.licenses[clip] for clip in mixed), "; ")
            attributions = _join_distinct((manifest.attributions[clip] for clip in mixed), " | ")
            clips.append(Row(path, labels=";".join(marks), split=split, license=licenses, attribution=attributions))
            events += [Event(Path(path).name, onset, offset, keys[index]) for onset, offset, index in labels]
            for sound in plan.sounds:
                seconds = (f"{sample / SAMPLE_RATE:.3f}" for sample in (sound.onset, sound.offset, sound.start))
                lines.append((path, names[sound.clip], *seconds, f"{sound.snr:.1f}"))
            if plan.background >= 0:
                lines.append((path, names[plan.background], "", "", "", ""))
        if soundscapes:
            write_events(directory / f"{split}.tsv", events)
    with replacing(directory / "sources.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = row_writer(file)
        writer.writerow(("path", "source", "onset", "offset", "from", "snr"))
        writer.writerows(lines)
    soundscape_manifest = Manifest.from_rows(clips, manifest.vocabulary, directory)
    left_out = Tally()
    for kind, mask in (
        ("clip with several labels", (manifest.labels.lengths > 1) & (most_specific(manifest) < 0)),
        ("clip without a split", manifest.splits.equals("")),
    ):
        if mask.any():
            left_out.add(kind, *(names[row] for row in np.flatnonzero(mask)[:3]), count=int(mask.sum()))
    soundscape_manifest.dropped.update(left_out)
    soundscape_manifest.save(directory / "manifest.csv")
    return soundscape_manifest


def _join_distinct(texts: Iterable[str], by: str) -> str:
    """The distinct texts that are not empty, joined by ``by``."""
    return by.join(dict.fromkeys(text for text in texts if text))
