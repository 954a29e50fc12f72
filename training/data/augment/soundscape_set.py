"""A data set of soundscapes on disk, with weak labels to train on and strong ones to evaluate with::

    audio/train/00000.flac ...             16 kHz mono
    manifest.csv, manifest.labels.csv      weak labels
    train.tsv, validation.tsv, test.tsv    strong labels (training.data.readers.events)
    sources.csv                            which clip is heard where and how loud in which recording
    recipe.json                            how they were made

Sources never cross splits. Each recording is drawn from (seed, split, number) alone, so that an interrupted
call goes on where it was.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import SAMPLE_RATE
from training.data.augment.soundscapes import Plan, Recipe, Sources
from training.data.manifest.problems import ManifestError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.table import SPLITS, Manifest
from training.data.readers.events import Event, write_events
from training.data.store.codecs import encoder
from training.data.store.decoded import Progress
from training.data.store.source import Audio
from training.runtime.files import replacing, write_json
from training.runtime.prefetch import prefetch


class Soundscape(NamedTuple):
    """One recording of the set: its file, what it is made of, and what is heard when (seconds, class)."""

    path: str
    plan: Plan
    labels: list[tuple[float, float, int]]


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
    """Make ``count`` soundscapes of the clips of ``audio``, shared among splits as those are; returns their manifest.

    ``backgrounds`` names classes that are heard behind others. ``split``: the only one to use.

    Raises
    ------
    ManifestError
        If ``directory`` holds other soundscapes, or there is nothing to make them of.
    OutputError
        If it cannot be written.
    """
    manifest = audio.manifest
    behind = [_place(manifest, name) for name in backgrounds]
    rows = {name: _usable(manifest, name) for name in SPLITS}
    sizes = [len(rows[name]) if split in (None, name) else 0 for name in SPLITS]
    if not any(sizes):
        where = f"of the split {split!r} has" if split else "has a split and"
        raise ManifestError(f"no clip {where} a single label; soundscapes are made of such clips")
    counts = _shares(count, sizes)
    about = {**asdict(recipe), "count": count, "seed": seed, "backgrounds": list(backgrounds), "split": split}
    _claim(directory / "recipe.json", about | {"manifest_sha256": manifest.sha256()})
    made: dict[str, list[Soundscape]] = {}
    for number, (name, recordings) in enumerate(zip(SPLITS, counts, strict=True)):
        sources = Sources(audio, rows[name], manifest.labels.take(rows[name]).classes, behind)
        if recordings and not sources.by_class:
            raise ManifestError(f"no clip of the split {name!r} is left to place: all are backgrounds")
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
    """Draw a recording, and write it if it is not there."""
    name = f"audio/{split}/{number:05}.flac"
    random = np.random.default_rng((*seed, number))
    plan = sources.plan(recipe, random)
    while not plan.sounds:
        plan = sources.plan(recipe, random)
    if not (directory / name).exists():
        with replacing(directory / name) as temporary:
            temporary.write_bytes(encoder("flac", 0)(sources.render(plan, recipe, random)))
    return Soundscape(name, plan, sources.labels(plan, recipe))


def _usable(manifest: Manifest, split: str) -> NDArray[np.int64]:
    """Clips of a split with one label: what is heard in them is known to be that."""
    return np.flatnonzero(manifest.splits.equals(split) & (manifest.labels.lengths == 1))


def _shares(count: int, sizes: Sequence[int]) -> list[int]:
    """``count`` shared out in proportion to ``sizes``."""
    bounds = np.rint(np.cumsum([0, *sizes]) / sum(sizes) * count).astype(int)
    return np.diff(bounds).tolist()


def _place(manifest: Manifest, name: str) -> int:
    place = manifest.vocabulary.find(name)
    if place is None:
        raise ManifestError(f"background {name!r} is no class of the manifest")
    return place


def _claim(path: Path, about: dict[str, object]) -> None:
    """Write how the set is made, unless it is there and the same."""
    about = json.loads(json.dumps(about))
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if path.parent.is_dir() and any(path.parent.iterdir()):
            raise ManifestError(f"{path.parent}: is not empty; name another directory") from None
        write_json(path, about)
        return
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read ({error}); name another directory") from None
    if different := [name for name in about if found.get(name) != about[name]]:
        raise ManifestError(
            f"{path.parent}: holds soundscapes made with another {' and '.join(different)}; name another directory"
        )


def _write(manifest: Manifest, directory: Path, made: dict[str, list[Soundscape]]) -> Manifest:
    """The tables of the set."""
    keys = [manifest.vocabulary.key(place) for place in range(len(manifest.vocabulary))]
    names, lines, clips = manifest.names(), [], []
    for split, soundscapes in made.items():
        events = []
        for path, plan, labels in soundscapes:
            heard = sorted({sound.clip for sound in plan.sounds} | ({plan.background} - {-1}))
            weak = ";".join(keys[place] for place in sorted({place for *_, place in labels}))
            licenses = _once((manifest.licenses[clip] for clip in heard), "; ")
            attributions = _once((manifest.attributions[clip] for clip in heard), " | ")
            clips.append(Row(path, labels=weak, split=split, license=licenses, attribution=attributions))
            events += [Event(Path(path).name, onset, offset, keys[place]) for onset, offset, place in labels]
            for sound in plan.sounds:
                seconds = (f"{place / SAMPLE_RATE:.3f}" for place in (sound.onset, sound.offset, sound.start))
                lines.append((path, names[sound.clip], *seconds, f"{sound.snr:.1f}"))
            if plan.background >= 0:
                lines.append((path, names[plan.background], "", "", "", ""))
        if soundscapes:
            write_events(directory / f"{split}.tsv", events)
    with replacing(directory / "sources.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "source", "onset", "offset", "from", "snr"))
        writer.writerows(lines)
    found = Manifest.from_rows(clips, manifest.vocabulary, directory)
    left_out = Tally()
    for kind, mask in (
        ("clip with several labels", manifest.labels.lengths > 1),
        ("clip without a split", manifest.splits.equals("")),
    ):
        if mask.any():
            left_out.add(kind, *(names[row] for row in np.flatnonzero(mask)[:3]), count=int(mask.sum()))
    found.dropped.update(left_out)
    found.save(directory / "manifest.csv")
    return found


def _once(texts: Iterable[str], by: str) -> str:
    return by.join(dict.fromkeys(text for text in texts if text))
