"""A run directory: what decides a run's result, written once when it begins and read again when it resumes."""

from __future__ import annotations

import contextlib
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.errors import SedkitError
from training.runs import teacher_files as asked
from training.runtime import distributed
from training.runs.config import RunError, describe_device, git_revision, read_config, read_supervision
from training.runs.warm_start import Beginning
from training.runtime.checkpoint import digest_of, save
from training.data.clips import Clips, Some, WeakLabels
from training.data.manifest.table import Manifest
from training.data.augment.augmentation import Augmentation
from training.data.store.packed import PackedAudio
from training.data.manifest.problems import OnError
from training.data.sampling import class_weights
from training.data.store.source import Audio, open_audio
from training.runtime.files import write_json
from training.runtime.lock import Lock
from training.supervision.predictions import read_predictions, write_predictions
from training.runtime.progress import decoding
from training.loop.settings import Settings
from training.supervision.equations import Key, Supervision, key_of, taught
from training.supervision.online import Asked


@dataclass(frozen=True)
class Run:
    """A run: its directory, its settings and its data.

    Attributes
    ----------
    supervision : one a generation, Teacher-0's first.
    data : hash of the manifest.
    """

    directory: Path
    settings: Settings
    supervision: list[Supervision]
    seed: int
    audio: Audio
    data: str

    @property
    def manifest(self) -> Manifest:
        return self.audio.manifest

    @property
    def labels(self) -> tuple[Label, ...]:
        return self.manifest.vocabulary.labels

    @property
    def unlabelled(self) -> int:
        """How many training clips there are whose labels are not known."""
        return int((~self.manifest.labels.known).sum())

    def generation(self, number: int) -> Path:
        """Directory of a generation."""
        return self.directory / f"generation-{number}"

    @property
    def begun(self) -> Path:
        """What networks begin with that do not begin from scratch."""
        return self.directory / "begun.pt"

    @property
    def fine_tuned(self) -> bool:
        """Are its networks no WELS-Nets? Then they teach, and are not exported."""
        return self.settings.network != "wels"

    def external(self, teacher: str, suffix: str = ".npz") -> Path:
        """What is kept of an external teacher: its predictions, or itself (``.pt``)."""
        return self.directory / "teachers" / f"{teacher}{suffix}"

    def said(self, teacher: str) -> NDArray[np.float16]:
        """What an external teacher predicts of the training split, [clips, classes]."""
        said = read_predictions(self.external(teacher), self.data, self.labels)
        return said.probabilities[self.manifest.indices("train")]

    def asks(self, teacher: Key) -> bool:
        """Is it an external teacher that is asked of what the student hears?"""
        return isinstance(teacher, str) and self.external(teacher, ".pt").exists()

    def teacher(self, name: str) -> Asked:
        """Such a teacher, for the clips of the training split."""
        found = asked.read(self.external(name, ".pt"), self.data, self.labels, len(self.manifest))
        return found._replace(parts=found.parts[self.manifest.indices("train")])

    def has(self, generation: int, name: str) -> bool:
        """Has a generation left the file ``name``? As rank 0 sees it, on every rank."""
        return distributed.on_first((self.generation(generation) / name).exists)

    def clips(self, split: str, labelled: bool = False) -> Clips:
        """The clips of a split, read as they are asked for; those of the training split without padding at their ends.

        ``labelled``: those alone whose labels are known. It takes one or two numbers a clip in memory, whatever their
        lengths.
        """
        rows = self.manifest.labelled(split) if labelled else self.manifest.indices(split)
        labels = WeakLabels(self.manifest, rows)
        if split != "train":
            return Clips(Some(self.audio, rows), labels, self.labels)
        weights, shards = None, None
        if self.settings.sampling == "balanced":
            weights = class_weights(self.manifest.labels.take(rows), len(self.labels))
        elif isinstance(self.audio, PackedAudio):
            shards = self.audio.shards(rows)
        return Clips(Some(self.audio, rows, trimmed=True), labels, self.labels, weights, shards)

    @classmethod
    def begin(
        cls,
        directory: Path,
        manifest: str,
        vocabulary: Path | None,
        settings: Settings,
        supervision: list[Supervision],
        seed: int,
        on_error: OnError,
        model: dict[str, str],
        device: torch.device,
        teachers: Mapping[str, Path] | None = None,
        beginning: Beginning | None = None,
    ) -> Run:
        """Make the run directory and write ``config.json``.

        Parameters
        ----------
        model : ``name`` and ``license`` of the export.
        teachers : files of external teachers (training.supervision.predictions, training.runs.teacher_files), or finished runs or models, which
            are copied into the directory.
        beginning : what networks begin with, if not from scratch.

        Raises
        ------
        RunError
            If the directory already holds a run, or its networks cannot begin so.
        ManifestError
            If the data cannot be used as it is.
        TeacherError
            If the predictions are not of this data.
        OutputError
            If the directory cannot be written to.
        """
        _refuse_begun(directory)
        audio = load(manifest, vocabulary, on_error, settings)
        with Lock(directory):
            _refuse_begun(directory)
            run = cls(directory, settings, supervision, seed, audio, audio.manifest.sha256())
            external = {name: run._bring(name, path) for name, path in (teachers or {}).items()}
            if beginning:
                beginning, clips = beginning.of_classes(run.labels), run.clips("train").waveforms
                save(beginning.standardised(clips, settings.samples, seed).weights, run.begun)
            about = {
                "manifest": manifest if "://" in manifest else str(Path(manifest).absolute()),
                "vocabulary": str(vocabulary.absolute()) if vocabulary else None,
                "on_error": on_error,
                "model": model,
                "device": describe_device(device),
                "teachers": external,
                "begun_with": beginning.about if beginning else None,
                "begun_sha256": digest_of(beginning.weights) if beginning else None,
            }
            write_json(directory / "config.json", about | run._config())
        return run

    def _bring(self, name: str, teacher: Path) -> dict[str, Any]:
        """Copy an external teacher into the directory; returns what there is to say of it."""
        for suffix in (".npz", ".pt"):  # of a run that could not be begun
            self.external(name, suffix).unlink(missing_ok=True)
        hear = self.settings.teachers_hear
        network = teacher.is_dir() or teacher.suffix.lower() == asked.MODEL
        if hear == "sounds" and not network:
            raise RunError(
                f"{teacher}: is no run; with --teachers-hear sounds only networks teach, of runs or model files"
            )
        if network or teacher.suffix == ".pt":
            if hear == "clip":
                raise RunError(f"{teacher}: is asked of what the student hears: add --teachers-hear view")
            return asked.bring(teacher, self.external(name, ".pt"), self.data, self.labels)
        said = read_predictions(teacher, self.data, self.labels)
        write_predictions(self.external(name), said, self.data, self.labels)
        return said.about

    def _config(self) -> dict[str, Any]:
        """What decides the result, so far as the run itself knows it."""
        clips = {split: len(self.manifest.indices(split)) for split in ("train", "validation", "test")}
        if self.unlabelled:
            clips["unlabelled"] = self.unlabelled  # of those in train
        return {
            "manifest_sha256": self.data,
            "clips": clips,
            "dropped": self.manifest.dropped.counts,
            "settings": asdict(self.settings),
            "supervision": [{str(key): weight for key, weight in stage.items()} for stage in self.supervision],
            "seed": self.seed,
            "labels": [asdict(label) for label in self.labels],
            "licenses": sorted(set(self.manifest.select("train").licenses)),
            "git_revision": git_revision(),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "processes": distributed.ranks(),
            "date": datetime.now(UTC).date().isoformat(),
            "command": shlex.join(["python", "-m", "training.secost", *sys.argv[1:]]),
        }

    @classmethod
    def open(cls, directory: Path, moved: str | None = None) -> Run:
        """A run that was begun.

        ``moved``: where the manifest with its classes beside it, or the packed set, lies now, if not where it did.

        Raises
        ------
        RunError
            If there is none, or its data changed since.
        """
        config = read_config(directory)
        try:
            augmentation = Augmentation(**config["settings"]["augmentation"])
            settings = Settings(**config["settings"] | {"augmentation": augmentation})
            supervision, seed = read_supervision(config), config["seed"]
            manifest, on_error, digest = config["manifest"], config["on_error"], config["manifest_sha256"]
            vocabulary = Path(config["vocabulary"]) if config["vocabulary"] else None
            if moved:
                manifest, vocabulary = moved, None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"{directory}: config.json is not that of a run ({error!r}); begin a new run") from None
        audio = load(manifest, vocabulary, on_error, settings)
        if audio.manifest.sha256() != digest:
            raise RunError(f"{directory}: {manifest} changed since the run began; begin a new run")
        return cls(directory, settings, supervision, seed, audio, digest)

    def rename(self, model: str) -> None:
        """Give the model that the run exports another name, in ``config.json``."""
        config = read_config(self.directory)
        config["model"]["name"] = model
        write_json(self.directory / "config.json", config)

    def sweep(self) -> None:
        """Remove what a writer that was killed left behind; for the one process that works on the run."""
        for leftover in self.directory.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        for done in self.directory.glob("generation-*/network.pt"):
            done.with_name("checkpoint.pt").unlink(missing_ok=True)

    def origin(self) -> str:
        """What to say of where its networks begin, if not from scratch."""
        begun = read_config(self.directory).get("begun_with")
        if not begun:
            return ""
        known, classes = begun.get("known"), len(self.labels)
        some = f", which knows {known} of the {classes} classes" if known not in (None, classes) else ""
        return f", going on from {begun['run']}{some}"

    def warnings(self) -> list[str]:
        """Classes that a split has no clip of; clips that were perhaps heard before, or that no network learns from."""
        lines = []
        for split, so in (
            ("train", "what the networks say of them means nothing"),
            ("validation", "they have no part in choosing the best epoch"),
        ):
            held = self.manifest.labels.take(self.manifest.indices(split)).counts(len(self.labels))
            missing = [label.name for label, count in zip(self.labels, held, strict=True) if not count]
            if missing:
                names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
                lines.append(
                    f"{len(missing)} of {len(held)} classes have no clip of the split '{split}' ({names}): {so}"
                )
        config = read_config(self.directory)
        begun = config.get("begun_with")
        strangers = [f"networks go on from {begun['run']}"] if begun and begun["manifest_sha256"] != self.data else []
        for name, about in (config.get("teachers") or {}).items():
            if about.get("manifest_sha256", self.data) != self.data:  # which a model file's about holds
                strangers.append(f"{name} teaches")
        lines += [
            f"{who}, which had another manifest: if it heard test clips of this one, figures on them mean little"
            for who in strangers
        ]
        if self.unlabelled and not any(map(taught, self.supervision)):
            lines.append(
                f"{self.unlabelled} unlabelled clips are never used: no network has a teacher (--stages, --alpha)"
            )
        return lines


def _refuse_begun(directory: Path) -> None:
    if (directory / "config.json").exists():
        raise RunError(f"{directory}: holds a run already; go on with --resume {directory}, or name another --run")


def load(manifest: str, vocabulary: Path | None, on_error: OnError, settings: Settings) -> Audio:
    """The data of a run: a packed set, or a manifest whose clips are decoded once into ``decoded`` beside it."""
    with decoding() as progress:
        audio = open_audio(manifest, vocabulary, on_error, progress, in_order=settings.sampling == "shuffled")
    for split, least in (("train", 2), ("validation", 1)):  # one clip alone cannot be batch-normalised
        count = len(audio.manifest.labelled(split))
        if count < least:
            raise RunError(
                f"{manifest}: {count} clips of the split {split!r} with known labels, at least {least} needed; "
                "sedkit-train data makes splits, of few clips with --validation-share 0.3"
            )
    return audio
