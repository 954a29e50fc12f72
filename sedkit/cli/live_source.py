"""The source that ``sedkit listen`` hears: which one an argument means."""

from __future__ import annotations

import io
import math
import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sedkit.audio.files import AUDIO_SUFFIXES
from sedkit.cli.inputs import STDIN, stdin, stdin_is_piped
from sedkit.cli.messages import print_notice
from sedkit.errors import ArgumentError, AudioError

if TYPE_CHECKING:
    from sedkit.audio.channels import Channel
    from sedkit.audio.live import LiveAudio

PATIENCE = 5.0  # seconds without audio until a notice says that standard input is read
WAITING = "waiting for audio from standard input; to hear a microphone instead, name it: sedkit listen --list"


@dataclass(frozen=True)
class SourceOptions:
    """The options of ``sedkit listen`` about its source, by their names."""

    rate: float | None = None
    channels: int = 1
    encoding: str = "s16le"
    track: int | None = None
    channel: Channel = "mix"
    endless: bool = False
    reconnect: bool = True
    stall: float = math.inf


def open_source(source: str | None, options: SourceOptions) -> LiveAudio:
    """The microphone, standard input, file or stream; a microphone is not yet started.

    Raises
    ------
    SedkitError
        If it cannot be opened.
    """
    from sedkit.audio.live import Recording

    if source == STDIN or (source is None and stdin_is_fed()):
        with nullcontext() if source else waiting_notice():
            return _pipe(io.FileIO(stdin().fileno(), closefd=False), STDIN, options)
    if source is not None and "://" in source:
        from sedkit.audio.network import NetworkStream

        return NetworkStream(source, options.track, options.reconnect, options.stall)
    if source is None or not is_path(source):
        if options.track is not None:
            raise ArgumentError("--track is for files and streams with several audio tracks, not for a microphone")
        return _patient(_microphone(source, options), options)
    if options.rate is None and os.path.isfile(source):
        return Recording(source, print_notice, options.track)
    try:
        file = io.FileIO(source)
    except FileNotFoundError:
        raise AudioError(f"{source}: no such file; check the path") from None
    except OSError as error:
        raise AudioError(f"{source}: cannot be opened ({error.strerror}); check the path") from None
    return _pipe(file, source, options)


def _microphone(name: str | None, options: SourceOptions) -> LiveAudio:
    """A microphone; where there is none of this name, it may be that of a folder."""
    from sedkit.audio.microphone import Microphone, NoMicrophoneError

    try:
        return Microphone(name, options.rate, all_channels=options.channel != "mix")
    except NoMicrophoneError:
        if name is None or not os.path.isdir(name):
            raise
        raise _is_folder(name) from None


def _is_folder(path: str) -> ArgumentError:
    return ArgumentError(f"{path}: is a folder; analyse its files with sedkit timeline {path}")


def _pipe(file: io.RawIOBase, name: str, options: SourceOptions) -> LiveAudio:
    from sedkit.audio.pipe import Pipe

    raw = options.rate, options.channels, options.encoding
    return _patient(Pipe(file, *raw, name, options.track, options.endless), options)


def _patient(live: LiveAudio, options: SourceOptions) -> LiveAudio:
    live.patience = options.stall
    return live


def is_path(source: str) -> bool:
    """Whether a source is a path rather than a microphone. Names of microphones can hold slashes.

    Raises
    ------
    ArgumentError
        If it is a folder, which `listen` does not read.
    """
    looks_like_path = source.startswith((os.sep, "./", "../")) or source.endswith(os.sep)
    if looks_like_path and os.path.isdir(source):
        raise _is_folder(source)
    is_file = os.path.exists(source) and not os.path.isdir(source)
    has_suffix = os.path.splitext(source)[1].lower() in AUDIO_SUFFIXES
    return looks_like_path or has_suffix or (is_file and not source.isdecimal())


def stdin_is_fed() -> bool:
    """Whether standard input is a pipe, a socket or a file, which somebody connected to a program on purpose.

    Under a service manager, cron or ``nohup``, it is the null device.
    """
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode if stdin_is_piped() else 0
    except OSError:  # not a file of the system
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode)


@contextmanager
def waiting_notice() -> Iterator[None]:
    """Print a notice if the block takes long. Over ssh, for example, standard input is a pipe, but often idle."""
    timer = threading.Timer(PATIENCE, print_notice, [WAITING])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
