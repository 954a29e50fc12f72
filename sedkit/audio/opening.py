"""Which decoder reads a recording: libsndfile where it reads all of it, otherwise FFmpeg. The content decides."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from sedkit.audio.decoding import Decoder, Notify
from sedkit.audio.ffmpeg import Opened, check_track, decode_libav, open_libav
from sedkit.audio.libsndfile import decode_soundfile, is_plain, open_soundfile
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
    sound = None
    if file.seekable():
        start = file.tell()
        sound = open_soundfile(path if path is not None else file)
        position = file.tell()
        file.seek(start)
        plain = sound is not None and is_plain(sound, file)
        if sound is not None:
            if plain:
                file.seek(position)
                with sound:
                    yield sound
                return
            if path is None:
                sound.close()
                file.seek(start)
    try:
        container = open_libav(file, name, notify)
    except AudioError:
        if sound is None:
            raise
        if path is None:
            file.seek(start)
            sound = open_soundfile(file)
            assert sound is not None
        with sound:
            yield sound
        return
    if sound is not None:
        sound.close()
    with container.container:
        yield container


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
