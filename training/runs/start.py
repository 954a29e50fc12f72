"""Start a run: make its directory, copy its external teachers and its warm start, write ``config.json``."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from training.data.manifest.problems import OnError
from training.loop.settings import Settings
from training.runs.config import RunError, git_revision
from training.runs.run import MANIFEST, Run, holds_recordings, load_data, read_recordings
from training.runs.teacher_files import copy_teacher
from training.runs.warm_start import FILE as WARM_START
from training.runs.warm_start import WarmStart
from training.runtime import distributed
from training.runtime.checkpoint import digest_of, save
from training.runtime.device import describe_device
from training.runtime.files import write_json
from training.runtime.lock import Lock
from training.supervision.equations import Supervision


def start(
    directory: Path,
    manifest: str,
    vocabulary: Path | None,
    settings: Settings,
    supervision: list[Supervision],
    seed: int,
    on_error: OnError,
    model: dict[str, str],
    device: torch.device,
    arguments: Sequence[str],
    teachers: Mapping[str, Path] | None = None,
    warm_start: WarmStart | None = None,
) -> Run:
    """Make the run directory and write ``config.json``.

    Parameters
    ----------
    model : ``name`` and ``license`` of the exported model, and which generation to ``export`` (training.runs.chosen).
    arguments : of the command line, for the record.
    teachers : external teachers by name: score files, online teachers, finished runs or model files. They are copied
        into the directory.
    warm_start : initial weights of all networks; None: random.

    Raises
    ------
    RunError
        If the directory already holds a run, or the warm start does not fit.
    ManifestError
        If the data cannot be used.
    TeacherError
        If a teacher belongs to other data or other classes.
    OutputError
        If the directory cannot be written to.
    """
    _refuse_existing(directory)
    manifest = _manifest_of(manifest, directory, vocabulary, seed, on_error)
    audio = load_data(manifest, vocabulary, on_error, settings)
    with Lock(directory):
        _refuse_existing(directory)
        run = Run(directory, settings, supervision, seed, audio, audio.manifest.sha256())
        external = {
            name: copy_teacher(path, directory, name, settings.teachers_hear, run.data, run.labels, len(run.manifest))
            for name, path in (teachers or {}).items()
        }
        if warm_start:
            warm_start, clips = warm_start.for_classes(run.labels), run.clips("train").waveforms
            initial = warm_start.with_statistics(clips, settings.samples, seed)
            initial = initial.with_stem(settings.stem, clips, settings.samples, seed).widened(settings.width, seed)
            save(initial.weights, directory / WARM_START)
        about = {
            "manifest": manifest if "://" in manifest else str(Path(manifest).absolute()),
            "vocabulary": str(vocabulary.absolute()) if vocabulary else None,
            "on_error": on_error,
            "model": model,
            "device": describe_device(device),
            "teachers": external,
            "begun_with": warm_start.about if warm_start else None,
            "begun_sha256": digest_of(warm_start.weights) if warm_start else None,
        }
        write_json(directory / "config.json", about | _config(run, arguments))
    return run


def _config(run: Run, arguments: Sequence[str]) -> dict[str, Any]:
    """The part of ``config.json`` that the run itself knows."""
    clips = {split: len(run.manifest.indices(split)) for split in ("train", "validation", "test")}
    if run.unlabelled:
        clips["unlabelled"] = run.unlabelled  # these are part of "train"
    return {
        "manifest_sha256": run.data,
        "clips": clips,
        "dropped": run.manifest.dropped.counts,
        "settings": asdict(run.settings),
        "supervision": [{str(key): weight for key, weight in stage.items()} for stage in run.supervision],
        "seed": run.seed,
        "labels": [asdict(label) for label in run.labels],
        "licenses": sorted(set(run.manifest.select("train").licenses)),
        "git_revision": git_revision(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "processes": distributed.world_size(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["python", "-m", "training.secost", *arguments]),
    }


def _manifest_of(place: str, directory: Path, vocabulary: Path | None, seed: int, on_error: OnError) -> str:
    """``place``, or a manifest in the run directory if it is a folder with one folder of recordings per class.

    Raises
    ------
    RunError
        If there is nothing at ``place``.
    """
    if not Path(place).exists() and "://" not in place:
        raise RunError(
            f"{place}: no such manifest. Name a folder with one folder of recordings per class (--manifest "
            "recordings/), or make a small set to try: sedkit-train data demo --output demo, then "
            "sedkit-train secost --preset demo --manifest demo --stages 4"
        )
    if not holds_recordings(place):
        return place
    read_recordings(place, vocabulary, seed, on_error).save(directory / MANIFEST)
    return str(directory / MANIFEST)


def _refuse_existing(directory: Path) -> None:
    if (directory / "config.json").exists():
        raise RunError(
            f"{directory}: holds a run already; continue it with --resume {directory}, or name another --run"
        )
