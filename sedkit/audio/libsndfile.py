"""Decoding with libsndfile (soundfile)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, BinaryIO, cast

from sedkit.audio.channels import cell_length
from sedkit.audio.decoding import BLOCK, Chunk, Decoder, damaged
from sedkit.audio.sniffing import is_plain_ogg
from sedkit.audio.wav import is_plain_wav

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


def is_plain(sound: soundfile.SoundFile, file: BinaryIO) -> bool:
    """Whether libsndfile reads a file to its end and knows its channels; otherwise, FFmpeg is the better reader.

    Parameters
    ----------
    sound : the opened file.
    file : the same file, at its start.
    """
    if not sound.frames or sound.channels > 2:  # no frames: an interrupted recorder leaves a length of 0 in the header
        return False
    if sound.format in ("WAV", "WAVEX", "RF64"):
        return is_plain_wav(file)
    if sound.format == "OGG":
        return is_plain_ogg(file)
    if sound.format == "FLAC":
        return bool(sound.frames < LONGEST_FLAC)
    return bool(sound.format != "MP3")  # libsndfile believes an estimate of the length, or the first Info tag


def decode_soundfile(sound: soundfile.SoundFile, name: str) -> Decoder:
    """Decode a file to its end, then close it.

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
                return
            decoded += len(block)
            yield Chunk(rate, block.T)
