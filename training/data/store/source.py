"""Where a training's clips come from: a packed set, or a manifest whose clips are decoded once into a store."""

from __future__ import annotations

from pathlib import Path

from training.data.manifest.problems import OnError
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.store.decoded import AudioStore, Progress
from training.data.store.packed import KEPT, PackedAudio

Audio = AudioStore | PackedAudio  # len(), [row] → int16 samples, .lengths, .manifest


def open_audio(
    place: str | Path,
    vocabulary: Path | None = None,
    on_error: OnError = "stop",
    progress: Progress | None = None,
    in_order: bool = True,
) -> Audio:
    """The clips of a packed set (a directory or URI), or of a manifest; those are decoded first where they are not.

    ``in_order``: clips will be asked for about as they lie in the shards (``sampling.by_shard``); if not
    (``sampling.balanced``), a packed set is read clip by clip.

    Raises
    ------
    ManifestError, OutputError
        If there are none, or if they cannot be used as they are.
    """
    if "://" in str(place) or Path(place).is_dir():
        classes = Vocabulary.load(vocabulary) if vocabulary else None
        return PackedAudio.open(place, classes, KEPT if in_order else 0)
    manifest = Manifest.load(place, vocabulary, on_error)
    return AudioStore.open_or_build(manifest, Path(place).parent / "decoded", on_error, progress)
