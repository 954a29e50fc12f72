"""Which decoder reads a recording: libsndfile where it reads all of it, otherwise FFmpeg. The content decides."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from sedkit.audio.decoding import Decoder, Notify
from sedkit.audio.ffmpeg import Opened, check_track, decode_libav, open_libav
from sedkit.audio.libsndfile import decode_soundfile, is_plain, open_soundfile
from sedkit.audio.sniffing import head, may_be_mpeg
from sedkit.errors import AudioError

if TYPE_CHECKING:
    import soundfile


@contextmanager
def opened(
    file: BinaryIO, name: str, notify: Notify, path: str | None = None
) -> Iterator[soundfile.SoundFile | Opened]:
    """Open a recording with the decoder that reads all of it; closes the decoder, but not the file.

    Parameters
    ----------
    file : at the start of the recording.
    path : of the same recording; None if libsndfile has to read `file`.

    Raises
    ------
    AudioError
        If no decoder knows the format.
    """
    start = file.tell() if file.seekable() else 0
    sound = None
    if file.seekable() and not may_be_mpeg(head(file, 3)):
        sound = open_soundfile(file if path is None else path)
        position = file.tell()
        file.seek(start)
        if sound and is_plain(sound, file):
            file.seek(position)
            with sound:
                yield sound
            return
        file.seek(start)
        if sound:
            sound.close()
    try:
        source = open_libav(file, name, notify)
    except AudioError:
        if file.seekable():
            file.seek(start)
            sound = open_soundfile(file if path is None else path)
        if not sound:
            raise
        with sound:
            yield sound
        return
    with source.container:
        yield source


def decode(file: BinaryIO, name: str, notify: Notify, track: int | None, path: str | None = None) -> Decoder:
    """Decode a recording; parameters and errors as in :func:`opened` and :func:`sedkit.audio.ffmpeg.decode_libav`."""
    with opened(file, name, notify, path) as source:
        if isinstance(source, Opened):
            yield from decode_libav(source, name, notify, track)
        else:
            check_track(name, track, 1)
            yield from decode_soundfile(source, name)


def decode_object(file: BinaryIO, name: str, notify: Notify, track: int | None) -> Decoder:
    """Decode a file object from its position, or a pipe.

    Raises
    ------
    AudioError
        If there is nothing to read; otherwise as in :func:`decode`.
    """
    if file.seekable():
        position = file.tell()
        if not file.read(1):
            if position and file.seek(0, io.SEEK_END):
                raise AudioError(f"{name}: the file object is at its end; call its seek(0) first")
            raise AudioError(f"{name}: is empty; pass a recording")
        file.seek(position)
    elif isinstance(file, io.BufferedReader) and not file.peek(1):
        raise AudioError(f"{name}: no data came through the pipe; check the output of the command that feeds it")
    yield from decode(file, name, notify, track)
