"""A run directory: what decides a run's result, written once when it begins and read again when it resumes."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from sedkit.contract import Label
from sedkit.errors import SedkitError
from training.data import AudioStore, Manifest
from training.data.augmentation import Augmentation, without_padding
from training.data.problems import OnError
from training.files import write_json
from training.fit import Clips, Settings
from training.progress import decoding
from training.supervision import LABELS, Supervision


class RunError(SedkitError):
    """A run directory cannot be begun or resumed."""


@dataclass(frozen=True)
class Run:
    """A run: its directory, its settings and its data.

    Attributes
    ----------
    supervision : one a generation, Teacher-0's (the labels alone) first.
    """

    directory: Path
    settings: Settings
    supervision: list[Supervision]
    seed: int
    manifest: Manifest
    store: AudioStore

    @property
    def labels(self) -> tuple[Label, ...]:
        return self.manifest.vocabulary.labels

    def generation(self, number: int) -> Path:
        """Directory of a generation."""
        return self.directory / f"generation-{number}"

    def clips(self, split: str) -> Clips:
        """The clips of a split; those of the training split without padding at their ends."""
        rows = self.manifest.indices(split)
        waveforms = [self.store[row] for row in rows]
        if split == "train":
            waveforms = [without_padding(waveform) for waveform in waveforms]
        return Clips(waveforms, self.manifest.targets(rows), self.labels)

    @classmethod
    def begin(
        cls,
        directory: Path,
        manifest: Path,
        vocabulary: Path | None,
        settings: Settings,
        supervision: list[Supervision],
        seed: int,
        on_error: OnError,
        model: dict[str, str],
        device: torch.device,
    ) -> Run:
        """Make the run directory and write ``config.json``. ``model``: ``name`` and ``license`` of the export.

        Raises
        ------
        RunError
            If the directory already holds a run.
        ManifestError
            If the data cannot be used as it is.
        OutputError
            If the directory cannot be written to.
        """
        if (directory / "config.json").exists():
            raise RunError(f"{directory}: holds a run already; go on with --resume {directory}, or name another --run")
        data, store = load(manifest, vocabulary, on_error)
        config = {
            "manifest": str(manifest.absolute()),
            "vocabulary": str(vocabulary.absolute()) if vocabulary else None,
            "on_error": on_error,
            "manifest_sha256": data.sha256(),
            "clips": {split: len(data.indices(split)) for split in ("train", "validation", "test")},
            "dropped": data.dropped.counts,
            "settings": asdict(settings),
            "supervision": [{str(key): weight for key, weight in stage.items()} for stage in supervision],
            "seed": seed,
            "model": model,
            "labels": [asdict(label) for label in data.vocabulary.labels],
            "licenses": sorted({data.licenses[row] for row in data.indices("train")}),
            "git_revision": git_revision(),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "date": datetime.now(UTC).date().isoformat(),
            "device": describe_device(device),
            "command": shlex.join(["python", "-m", "training.secost", *sys.argv[1:]]),
        }
        write_json(directory / "config.json", config)
        return cls(directory, settings, supervision, seed, data, store)

    @classmethod
    def resume(cls, directory: Path, moved: Path | None = None) -> Run:
        """Open a run that was begun, and sweep up what a writer that was killed left behind.

        ``moved``: where the manifest, with its classes beside it, lies now, if not where it did.

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
            manifest, on_error, digest = Path(config["manifest"]), config["on_error"], config["manifest_sha256"]
            vocabulary = Path(config["vocabulary"]) if config["vocabulary"] else None
            if moved:
                manifest, vocabulary = moved, None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"{directory}: config.json is not that of a run ({error!r}); begin a new run") from None
        data, store = load(manifest, vocabulary, on_error)
        if data.sha256() != digest:
            raise RunError(f"{directory}: {manifest} changed since the run began; begin a new run")
        for leftover in directory.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        for done in directory.glob("generation-*/network.pt"):
            done.with_name("checkpoint.pt").unlink(missing_ok=True)
        return cls(directory, settings, supervision, seed, data, store)


def load(manifest: Path, vocabulary: Path | None, on_error: OnError) -> tuple[Manifest, AudioStore]:
    """The data of a run: its manifest, and every clip decoded once into ``decoded`` beside the manifest."""
    listed = Manifest.load(manifest, vocabulary, on_error)
    with decoding() as progress:
        store = AudioStore.open_or_build(listed, manifest.parent / "decoded", on_error, progress)
    for split, least in (("train", 2), ("validation", 1)):  # one clip alone cannot be batch-normalised
        count = len(store.manifest.indices(split))
        if count < least:
            raise RunError(
                f"{manifest}: {count} clips of the split {split!r}, at least {least} needed; "
                "python -m training.data makes splits"
            )
    return store.manifest, store


def read_config(directory: Path) -> dict[str, Any]:
    """``config.json`` of a run."""
    try:
        config: dict[str, Any] = json.loads((directory / "config.json").read_text("utf-8"))
    except OSError as error:
        raise RunError(f"{directory}: not a run directory: config.json: {error.strerror}") from None
    except ValueError as error:
        raise RunError(f"{directory}: config.json is damaged ({error}); begin a new run") from None
    return config


def read_supervision(config: dict[str, Any]) -> list[Supervision]:
    """The supervision of every generation, from ``config.json``."""
    return [{key if key == LABELS else int(key): w for key, w in stage.items()} for stage in config["supervision"]]


@cache
def git_revision() -> str:
    """Commit of the source tree, with ``-dirty`` where it has changes; ``unknown`` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def describe_device(device: torch.device) -> str:
    """Name of the accelerator, or of the processor with the number of threads used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        info = Path("/proc/cpuinfo").read_text("utf-8")
        name = next(line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"
