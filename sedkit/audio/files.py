"""Names of recordings, and checks of a path before a recording is opened."""

from __future__ import annotations

import os
import stat

from sedkit.errors import AudioError

_SUFFIXES = """
    .wav .wave .w64 .rf64 .flac .ogg .oga .opus .mp3 .m4a .m4b .aac .aif .aiff .aifc .au .caf .wma .amr
    .mp4 .m4v .mov .webm .mkv .mka .avi .3gp .mpg
"""
AUDIO_SUFFIXES = tuple(_SUFFIXES.split())  # of files in a folder that count as recordings


def is_regular(name: str) -> bool:
    """Whether the path is a regular file, not a pipe or a device. Raises AudioError if it cannot be read."""
    try:
        status = os.stat(name)
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(f"{name}: is a folder; pass the files in it")
        regular = stat.S_ISREG(status.st_mode)
        if regular:
            with open(name, "rb"):  # raises if permission is denied
                pass
    except FileNotFoundError:
        raise AudioError(f"{name}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{name}: cannot be opened ({reason}); check the path and its permissions") from None
    if regular and not status.st_size:
        raise AudioError(f"{name}: empty (0 bytes); record or copy it again")
    return regular
