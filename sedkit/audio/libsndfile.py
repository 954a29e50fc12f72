"""Decoding with libsndfile (soundfile)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, BinaryIO, cast

from sedkit.audio.channels import cell_length
from sedkit.audio.decoding import BLOCK, Chunk, Decoder, Notify, damaged, notify_if_truncated

if TYPE_CHECKING:
    import soundfile

LONGEST_FLAC = 1 << 36  # samples; libsndfile reports more if the header does not give the length


def open_soundfile(source: str | BinaryIO) -> soundfile.SoundFile | None:
    """Open a file with libsndfile; None if libsndfile cannot read it.

    RAW means that libsndfile knows the format from the file's name alone, as for .au, .snd, .vox and .gsm.
    """
    import soundfile

    if isinstance(source, str):
        source = cast(
            "BinaryIO", os.fsencode(source) if sys.platform != "win32" else source
        )  # names need not be valid UTF-8
    try:
        sound = soundfile.SoundFile(source)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a name that ends in .raw
        return None
    if sound.format != "RAW":
        return sound
    sound.close()
    return None


def decode_soundfile(sound: soundfile.SoundFile, name: str, notify: Notify, lacks: float = 0.0) -> Decoder:
    """Decode a file to its end, then close it.

    Parameters
    ----------
    lacks : seconds that the header promises and the file does not have.

    Raises
    ------
    AudioError
        If the file is damaged.
    """
    import soundfile

    decoded = 0
    with sound:
        rate = sound.samplerate
        cell = cell_length(rate)
        frames = max(1, BLOCK // sound.channels // cell) * cell  # whole cells are mixed without a copy
        while True:
            try:
                block = sound.read(frames, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                where = f"between {decoded / rate:.0f} and {(decoded + frames) / rate:.0f} s"
                raise damaged(name, where, error.error_string.removeprefix("Error :")) from None
            if not len(block):
                notify_if_truncated(notify, decoded / rate, decoded / rate + lacks)
                return
            decoded += len(block)
            yield Chunk(rate, block.T)
