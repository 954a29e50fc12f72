"""A run: its directory, its settings and its data, opened from ``config.json``.

``training.runs.start`` makes the directory; ``training.secost`` describes its layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sedkit.contract import Label
from training.data.augment.augmentation import Augmentation
from training.data.clips import Clips, Subset, WeakLabels
from training.data.manifest.problems import OnError
from training.data.manifest.splits import Splitting
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.readers.folders import folders
from training.data.sampling import class_weights
from training.data.store.packed import INDEX, PackedAudio
from training.data.store.source import Audio, open_audio
from training.loop.schedule import WARMUP
from training.loop.settings import Settings
from training.runs.config import RunError, read_config, read_supervision
from training.runs.reports import read_generation
from training.runtime.files import write_json
from training.runtime.progress import decoding
from training.supervision.equations import Supervision

MANIFEST = "manifest.csv"  # in the run directory, if the run was started from a folder of recordings
VALIDATION_SHARE = 0.2  # of a folder of recordings


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes
    ----------
    supervision : one entry per generation, Teacher-0 first.
    data : SHA-256 of the manifest.
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
        """Number of training clips without known labels."""
        return int((~self.manifest.labels.known).sum())

    @property
    def is_backbone(self) -> bool:
        """Whether its networks are pretrained backbones, which serve as teachers and are not exported."""
        return self.settings.network != "wels"

    def reports(self) -> list[dict[str, Any]]:
        """The reports of all generations (training.runs.reports), Teacher-0 first."""
        return [read_generation(self.generation(number)) for number in range(len(self.supervision))]

    def generation(self, number: int) -> Path:
        """Directory of a generation."""
        return self.directory / f"generation-{number}"

    def clips(self, split: str, labelled: bool = False) -> Clips:
        """The clips of a split, read from disk on access; training clips lose the padding at their ends.

        ``labelled`` leaves out clips whose labels are not known. Memory use is one or two numbers per clip.
        """
        rows = self.manifest.labelled(split) if labelled else self.manifest.indices(split)
        labels = WeakLabels(self.manifest, rows)
        if split != "train":
            return Clips(Subset(self.audio, rows), labels, self.labels)
        weights, shards = None, None
        if self.settings.sampling == "balanced":
            weights = class_weights(self.manifest.labels.take(rows), len(self.labels))
        elif isinstance(self.audio, PackedAudio):
            shards = self.audio.shards(rows)
        return Clips(Subset(self.audio, rows, trimmed=True), labels, self.labels, weights, shards)

    @classmethod
    def open(cls, directory: Path, moved: str | None = None) -> Run:
        """Open an existing run.

        ``moved`` is the new place of its manifest (with the classes beside it), packed set or folder of recordings.

        Raises
        ------
        RunError
            If the directory holds no run, or the data changed since the run began.
        """
        config = read_config(directory)
        try:
            augmentation = Augmentation(**config["settings"]["augmentation"])
            settings = Settings(**config["settings"] | {"augmentation": augmentation})
            if settings.schedule not in WARMUP:
                raise RunError(f"{directory}: schedule {settings.schedule!r} no longer exists; begin a new run")
            supervision, seed = read_supervision(config), config["seed"]
            manifest, on_error, digest = config["manifest"], config["on_error"], config["manifest_sha256"]
            vocabulary = Path(config["vocabulary"]) if config["vocabulary"] else None
            if moved and not holds_recordings(moved):
                manifest, vocabulary = moved, None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"{directory}: config.json is not that of a run ({error!r}); begin a new run") from None
        if moved and holds_recordings(moved):
            found = read_recordings(moved, vocabulary, seed, on_error)
            if found.sha256() != digest:
                raise RunError(f"{directory}: {moved} changed since the run began; begin a new run")
            found.save(directory / MANIFEST)
            manifest, vocabulary = str(directory / MANIFEST), None
        audio = load_data(manifest, vocabulary, on_error, settings)
        if audio.manifest.sha256() != digest:
            raise RunError(f"{directory}: {manifest} changed since the run began; begin a new run")
        return cls(directory, settings, supervision, seed, audio, digest)

    def change_model(self, **changes: str) -> None:
        """Change the ``name`` of the exported model, or which generation it ``export``s, in ``config.json``."""
        config = read_config(self.directory)
        config["model"] |= changes
        write_json(self.directory / "config.json", config)

    def moved_to(self, place: str) -> None:
        """Write into ``config.json`` where the data lies now: at ``place``, from which the run was opened."""
        if holds_recordings(place):
            place = str(self.directory / MANIFEST)
        about = {"manifest": place if "://" in place else str(Path(place).absolute()), "vocabulary": None}
        write_json(self.directory / "config.json", read_config(self.directory) | about)

    def sweep(self) -> None:
        """Remove temporary files of a killed process; call it while holding the run's lock."""
        for leftover in self.directory.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        for done in self.directory.glob("generation-*/network.pt"):
            done.with_name("checkpoint.pt").unlink(missing_ok=True)


def holds_recordings(place: str) -> bool:
    """Whether ``place`` is a folder of recordings, one folder per class, and not a manifest or a packed set."""
    return "://" not in place and Path(place).is_dir() and not (Path(place) / INDEX[0]).exists()


def read_recordings(folder: str, vocabulary: Path | None, seed: int, on_error: OnError) -> Manifest:
    """The manifest of a folder with one folder of recordings per class.

    ``VALIDATION_SHARE`` of each class becomes the validation split; there is no test split.

    Raises
    ------
    ManifestError
        If the recordings cannot be used.
    """
    classes = Vocabulary.load(vocabulary) if vocabulary else None
    return folders(folder, Splitting(validation_share=VALIDATION_SHARE, seed=seed), classes, on_error)


def load_data(manifest: str, vocabulary: Path | None, on_error: OnError, settings: Settings) -> Audio:
    """Open the data of a run: a packed set, or a manifest whose clips are decoded once into ``decoded`` beside it.

    Raises
    ------
    ManifestError
        If the data cannot be read.
    RunError
        If a split has too few labelled clips.
    """
    with decoding() as progress:
        audio = open_audio(manifest, vocabulary, on_error, progress, in_order=settings.sampling == "shuffled")
    for split, least in (("train", 2), ("validation", 1)):  # batch normalisation needs two clips
        count = len(audio.manifest.labelled(split))
        if count < least:
            raise RunError(
                f"{manifest}: the split {split!r} has {count} clips with known labels and needs {least}; "
                "sedkit-train data makes splits; with few clips, give it --validation-share 0.3"
            )
    return audio
