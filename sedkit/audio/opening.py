"""Which decoder reads a recording: our own for PCM in WAV, libsndfile where it reads all of it, otherwise FFmpeg.

The content decides, not the name.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from sedkit.audio.container import Opened, check_track, open_libav
from sedkit.audio.decoding import Decoder, Notify
from sedkit.audio.ffmpeg import decode_libav
from sedkit.audio.libsndfile import decode_soundfile, open_soundfile
from sedkit.audio.pcm import decode_pcm
from sedkit.audio.sniffing import is_for_libsndfile
from sedkit.audio.sources import FromHere, head
from sedkit.audio.wav import WavLength, is_wav, wav_length
from sedkit.errors import AudioError, SedkitError

if TYPE_CHECKING:
    import soundfile


@contextmanager
def opened(
    file: BinaryIO, name: str, notify: Notify, path: str | None = None
) -> Iterator[soundfile.SoundFile | Opened]:
    """Open a recording with the decoder that reads all of it; closes the decoder, but not the file.

    Whatever a decoder raises in the ``with`` block becomes an AudioError.

    Parameters
    ----------
    file : at the start of the recording.
    path : of the same recording; None if libsndfile has to read `file`.

    Raises
    ------
    AudioError
        If no decoder knows the format.
    """
    with _guarded(name), ExitStack() as stack:
        yield _decoder(stack, file, name, notify, path)


@contextmanager
def _guarded(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an AudioError."""
    try:
        yield
    except SedkitError:
        raise
    except Exception as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise AudioError(f"{name}: cannot be decoded ({cause}); convert it to wav or flac first") from error


def _decoder(
    stack: ExitStack, file: BinaryIO, name: str, notify: Notify, path: str | None
) -> soundfile.SoundFile | Opened:
    start = file.tell() if file.seekable() else 0
    readable: BinaryIO | str = path or (cast("BinaryIO", FromHere(file)) if start else file)  # libsndfile seeks to 0
    sound = open_soundfile(readable) if file.seekable() and is_for_libsndfile(file) else None
    if sound:
        if sound.frames and sound.channels <= 2:  # FFmpeg knows the layout of more channels
            return stack.enter_context(sound)
        sound.close()
    if file.seekable():
        file.seek(start)
    try:
        source = open_libav(file, name, notify)
    except AudioError:
        if not sound:
            raise
        file.seek(start)
        sound = open_soundfile(readable)
        if not sound:
            raise
        return stack.enter_context(sound)
    stack.enter_context(source.container)
    return source


def decode(file: BinaryIO, name: str, notify: Notify, track: int | None, path: str | None = None) -> Decoder:
    """Decode a recording; parameters and errors as in :func:`opened` and :func:`sedkit.audio.ffmpeg.decode_libav`."""
    length = wav_length(file) if file.seekable() and is_wav(head(file, 12)) else WavLength(False)
    if length.pcm:
        check_track(name, track, 1)
        with _guarded(name):
            yield from decode_pcm(file, length.pcm, notify, length.lacks)
        return
    with opened(file, name, notify, path) as source:
        if isinstance(source, Opened):
            yield from decode_libav(source, name, notify, track)
        else:
            check_track(name, track, 1)
            yield from decode_soundfile(source, name, notify, length.lacks)


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
