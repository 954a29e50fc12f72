"""Files that FFmpeg (PyAV) has opened: their audio tracks, and how long their header says they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from sedkit.audio.decoding import Notify, not_audio
from sedkit.audio.flac import FlacStreams
from sedkit.audio.sniffing import MAX_ID3, Mp3Length, after_id3, mp3_length
from sedkit.audio.sources import Nameless, Pipe, Source, head
from sedkit.audio.wav import WavAudio, is_plain_wav, is_wav
from sedkit.errors import AudioError

if TYPE_CHECKING:
    import av
    import av.container

GENERIC_INDEX = 0x0100  # FFmpeg's AVFMT_GENERIC_INDEX: a raw stream of packets without an index
TAIL = 5.0  # seconds before the end in which to look for the last packet, at first


class Opened(NamedTuple):
    """A file that PyAV has opened.

    Attributes
    ----------
    source : the file as FFmpeg reads it.
    length : of an MP3 file, by its Info tag; None if it has none.
    """

    container: av.container.InputContainer
    source: Source
    length: Mp3Length | None = None


def open_libav(file: BinaryIO, name: str, notify: Notify) -> Opened:
    """Open a file with PyAV. FFmpeg reads MP3, FLAC and WAV files from front to back, as from a pipe.

    Raises
    ------
    AudioError
        If FFmpeg does not know the format.
    """
    if not file.seekable():
        return _open_pipe(Pipe(file), name, notify)
    if is_wav(head(file, 12)):  # FFmpeg believes the sizes in the header, and allocates that much memory
        return _open_pipe(Pipe(file), name, notify, is_plain_wav(file))
    start = file.tell()
    source = Nameless(file)
    container = _open(source, name)
    if container.format.name not in ("mp3", "flac"):
        return Opened(container, source)
    container.close()
    file.seek(start)
    return _open_pipe(Pipe(file), name, notify)


def _open_pipe(pipe: Pipe, name: str, notify: Notify, plain: bool = False) -> Opened:
    length = None
    if is_wav(pipe.peek(12)):
        pipe = WavAudio(cast("BinaryIO", pipe), notify, plain)
    elif (at := after_id3(pipe)) < MAX_ID3 and pipe.peek(at + 4)[at:] == b"fLaC":
        pipe = FlacStreams(cast("BinaryIO", pipe))
    else:
        length = mp3_length(pipe)
    pipe.renew()
    return Opened(_open(pipe, name), pipe, length)


def open_next(source: FlacStreams, name: str) -> Opened | None:
    """Open the next stream of a joined FLAC file; None if there is none."""
    return Opened(_open(source, name), source) if source.advance() else None


def _open(source: Source, name: str) -> av.container.InputContainer:
    import av

    # No protocols: a playlist disguised as audio must not make FFmpeg open the files or URLs that it lists.
    options = {"protocol_whitelist": "none"}
    file = cast("BinaryIO", source)
    try:
        return av.open(file, "r", metadata_errors="ignore", options=options)
    except av.FFmpegError as error:
        raise not_audio(name, source.start, error.strerror, source.piped) from None


def audio_track(container: av.container.InputContainer, name: str, number: int | None = None) -> av.AudioStream:
    """An audio track: that with the given number, from 1 on; None is the default one, otherwise the first.

    Raises
    ------
    AudioError
        If there is none, or FFmpeg has no decoder for it.
    """
    import av.stream

    tracks = container.streams.audio
    if not tracks:
        raise AudioError(f"{name}: has no audio track; use a file with audio")
    check_track(name, number, len(tracks))
    if number is not None:
        chosen = tracks[number - 1]
    else:
        chosen = next((track for track in tracks if track.disposition & av.stream.Disposition.default), tracks[0])
    if not chosen.codec_context:
        raise AudioError(
            f"{name}: its audio track has a codec that sedkit cannot decode; convert it to wav or flac first"
        )
    return chosen


def check_track(name: str, number: int | None, tracks: int) -> None:
    """Raise AudioError if a recording has fewer tracks."""
    if number is not None and number > tracks:
        has = "1 audio track" if tracks == 1 else f"{tracks} audio tracks"
        raise AudioError(f"{name}: has {has}, no track {number}; sedkit info lists them")


def duration(source: Opened, track: av.AudioStream, count: bool) -> float | None:
    """Seconds from the start of the container to the end of a track; None if unknown.

    Parameters
    ----------
    count : whether to count packets where the header does not give the length, which reads the whole file.
    """
    seconds = _stream_duration(source, track, count)
    if seconds is None or not count or not isinstance(source.source, FlacStreams):
        return seconds
    try:
        while (following := open_next(source.source, "")) is not None:
            with following.container as joined:
                seconds += _stream_duration(following, audio_track(joined, ""), count) or 0.0
    except AudioError:  # damaged
        return None
    return seconds


def _stream_duration(source: Opened, track: av.AudioStream, count: bool) -> float | None:
    import av

    container, file, length = source
    if isinstance(file, WavAudio):
        return file.measure(count)
    start = (container.start_time or 0) / 1e6
    if length and not count:
        return length.samples / track.codec_context.sample_rate
    if count and container.format.flags & GENERIC_INDEX and track.time_base and track.codec_context.sample_rate:
        # A raw stream (mp3, aac, ac3) has no duration, and FFmpeg's estimate can be far off: add up the packets.
        rate = track.codec_context.sample_rate  # time stamps of ac3 are rounded, so count samples
        try:
            samples = sum(round((packet.duration or 0) * track.time_base * rate) for packet in container.demux(track))
        except av.FFmpegError:  # damaged
            return None
        total = samples / rate
        if length and abs(samples - length.frames * length.frame) <= length.frame:
            return length.samples / rate
        return max(0.0, total - start)
    promised = promised_length(container, track)
    if promised is not None:
        return promised
    end = _last_packet(container, track)
    if end is not None:
        return max(0.0, end - start)
    return container.duration / 1e6 if container.duration else None


def promised_length(container: av.container.InputContainer, track: av.AudioStream) -> float | None:
    """Seconds from the start of the container to the end of a track by its header; None if it has none."""
    if track.duration is None or not track.time_base:
        return None
    start = (container.start_time or 0) / 1e6
    return max(0.0, float(((track.start_time or 0) + track.duration) * track.time_base) - start)


def _last_packet(container: av.container.InputContainer, track: av.AudioStream) -> float | None:
    """Time stamp at the end of a track in seconds, by its last packets; None if the file has no index to find them."""
    import av

    end, back = (container.duration or 0) / 1e6, TAIL
    while container.duration:
        at = max(0.0, end - back)
        try:
            container.seek(int((at + (container.start_time or 0) / 1e6) * 1e6))
            ends = [
                float((packet.pts + (packet.duration or 0)) * packet.time_base)
                for packet in container.demux(track)
                if packet.pts is not None and packet.time_base
            ]
        except av.FFmpegError:
            return None
        if ends:
            return max(ends)
        if not at:
            return None
        back *= 4
    return None
