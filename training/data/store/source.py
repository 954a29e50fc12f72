"""Open the audio of a training set: a packed set, or a manifest with its store of decoded clips."""

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
    """Open the clips of a packed set or of a manifest. A manifest's clips are decoded first if necessary.

    Parameters
    ----------
    place : directory or URI of a packed set, or file of a manifest.
    vocabulary : file of the classes, if not those of the set.
    progress : called with the number of clips done and their total while decoding.
    in_order : clips will be read roughly in the order of the shards (``sampling.by_shard``). Otherwise
        (``sampling.balanced``), a packed set is read clip by clip.

    Raises
    ------
    ManifestError
        If there is no such set, or if it has faults and ``on_error`` is ``stop``.
    OutputError
        If decoded audio cannot be written.
    """
    if "://" in str(place) or Path(place).is_dir():
        classes = Vocabulary.load(vocabulary) if vocabulary else None
        return PackedAudio.open(place, classes, KEPT if in_order else 0)
    manifest = Manifest.load(place, vocabulary, on_error)
    return AudioStore.open_or_build(manifest, Path(place).parent / "decoded", on_error, progress)
