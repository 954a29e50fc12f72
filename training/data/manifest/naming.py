"""Names of clips: of the part of a file that a clip is, and of the recording that it comes from."""

from __future__ import annotations

import math

from training.data.manifest.table import Manifest


def clip_names(manifest: Manifest) -> list[str]:
    """A name for every clip: its file name, with start and duration if the clip is part of the file."""
    parts = zip(manifest.names(), manifest.starts.tolist(), manifest.durations.tolist(), strict=True)
    return [name if start == 0 and math.isnan(length) else f"{name} {start} {length}" for name, start, length in parts]


def recordings(manifest: Manifest) -> list[str]:
    """The recording of every clip: its group, or its file if it has none."""
    return [group or name for group, name in zip(manifest.groups, manifest.names(), strict=True)]
