"""Data sets for training: manifests, readers that build them, and decoded audio."""

from training.data.manifest.problems import ManifestError
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.store.decoded import AudioStore

__all__ = ["AudioStore", "Manifest", "ManifestError", "Vocabulary"]
