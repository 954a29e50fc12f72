"""Data sets for training: manifests, readers that build them, and decoded audio."""

from training.data.manifest import Manifest
from training.data.problems import ManifestError
from training.data.store import AudioStore
from training.data.vocabulary import Vocabulary

__all__ = ["AudioStore", "Manifest", "ManifestError", "Vocabulary"]
