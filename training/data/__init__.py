"""Data sets for training.

manifest    the format that training reads: one row per clip; splits, strong labels
store       decoded audio on disk, and packed sets of compressed clips
augment     augmentation in training; soundscapes, negative recordings and label noise as data sets
readers     one module for each published or home-made kind of data set
clips       waveforms and labels of a batch; ``sampling`` has the order of an epoch
commands    ``sedkit-train data``
"""

from training.data.manifest.problems import ManifestError
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.store.decoded import AudioStore

__all__ = ["AudioStore", "Manifest", "ManifestError", "Vocabulary"]
