"""Decoding with FFmpeg (PyAV), on the clock of the container.

Time 0 is the start of the container, which is that of the film if there is one. Where the time stamps leave a gap (the
audio starts later, packets were lost), the decoder yields silence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np

from sedkit.audio.decoding import (
    BLOCK,
    Chunk,
    Decoder,
    Notify,
    Samples,
    damaged,
    not_audio,
    notify_if_truncated,
    to_float,
)
from sedkit.audio.sniffing import Mp3Length, mp3_length
from sedkit.audio.sources import PATIENCE, Nameless, Pipe, Source, head
from sedkit.audio.wav import WavAudio, is_plain_wav, is_wav
from sedkit.errors import AudioError

if TYPE_CHECKING:
    import av
    import av.container
    import soxr

GENERIC_INDEX = 0x0100  # FFmpeg's AVFMT_GENERIC_INDEX: a raw stream of packets without an index
SMALLEST_GAP = 0.015  # seconds; shorter gaps are jitter of the time stamps
LARGEST_GAP = 4 * 3600.0  # seconds; a longer one is an error of the time stamps
RESET = -1.0  # seconds; time stamps that jump back further start a new clock, as in joined files
LARGEST_PADDING = 4096  # samples that an encoder adds to fill its last frame
SHORTEST_PADDING = 0.002  # seconds; less is a rounding error of the time stamps
SAMPLE_FORMATS = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}  # FFmpeg's name: dtype
LONGEST_SILENCE = 600.0  # seconds of gaps; more only if there is a hundredth as much sound
WEIGHTS = {  # of the channels in the mix: ITU-R BS.775-4, Annex 4, Table 2, for mono, relative to left and right
    **dict.fromkeys(("LFE", "LFE2"), 0.0),
    "FC": math.sqrt(2),
    **dict.fromkeys(("SL", "SR", "BL", "BR", "BC"), math.sqrt(0.5)),
}
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
    """Open a file with PyAV. FFmpeg reads MP3 and WAV files from front to back, as from a pipe.

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
    if container.format.name != "mp3":
        return Opened(container, source)
    container.close()
    file.seek(start)
    return _open_pipe(Pipe(file), name, notify)


def _open_pipe(pipe: Pipe, name: str, notify: Notify, plain: bool = False) -> Opened:
    length = None
    if is_wav(pipe.peek(12)):
        pipe = WavAudio(cast("BinaryIO", pipe), notify, plain)
    else:
        length = mp3_length(pipe)
    pipe.renew()
    return Opened(_open(pipe, name), pipe, length)


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


def decode_libav(source: Opened, name: str, notify: Notify, track: int | None = None) -> Decoder:
    """Decode one audio track.

    Packets that cannot be decoded are skipped before the first samples and at the end (truncated files), and between
    the frames of MP3 streams, where joined files leave their tags. Anywhere else they are an error.

    Parameters
    ----------
    track : see :func:`audio_track`.

    Raises
    ------
    AudioError
        If no samples can be decoded, or the file is damaged.
    """
    stream = audio_track(source.container, name, track)
    tracks = source.container.streams.audio
    if len(tracks) > 1 and track is None:
        number = tracks.index(stream) + 1
        notify(f"has {len(tracks)} audio tracks; sedkit analyses track {number}; choose another one with --track")
    clock = _Clock(source, stream, name)
    yield from clock.chunks()
    if clock.silence and source.container.format.name == "flac":  # whose time stamps have gaps only where it is damaged
        notify(f"damaged at {clock.first_gap:.1f} s; {clock.silence:.1f} s that cannot be decoded count as silence")
    notify_if_truncated(notify, clock.now, clock.promised())


class _Part(NamedTuple):
    """A frame of a track, or silence in a gap.

    Attributes
    ----------
    kind : sample rate, layout of the channels, sample format. Parts of one kind are decoded at once.
    """

    kind: tuple[int, str, str]
    channels: int
    samples: int
    frame: av.AudioFrame | None = None


class _Clock:
    """Places the frames of a track on the clock of the container."""

    def __init__(self, source: Opened, stream: av.AudioStream, name: str) -> None:
        self.container, self.source, self.length = source
        self.stream, self.name = stream, name
        self.now = 0.0  # seconds decoded so far, with silence
        self.silence, self.first_gap = 0.0, 0.0  # seconds of it, and where it begins
        self.origin = (self.container.start_time or 0) / 1e6  # the container's time stamp at 0 s, in seconds
        self.first_packet: float | None = None  # its time stamp in seconds
        self.last_packet = 0.0  # end of the last packet, in seconds
        self.time_base = float(stream.time_base or 0)
        self.rate = 0

    def chunks(self) -> Decoder:
        """Decode the track, in chunks of at most about BLOCK samples, at the sample rate of the first one."""
        import soxr

        resampler, shape = None, (0, 0)
        nothing = np.zeros((0, 0), np.float32)
        for chunk in chain(self._chunks(), [Chunk(0, nothing)]):  # chunks at other rates occur in joined MP3 files
            rate, samples = int(chunk.rate), chunk.samples
            self.rate = self.rate or rate
            if resampler is not None and shape != (rate, len(samples)):
                yield Chunk(self.rate, _resampled(resampler, np.zeros((shape[1], 0), np.float32), last=True))
                resampler = None
            if rate not in (self.rate, 0):
                if resampler is None:
                    shape = (rate, len(samples))
                    resampler = soxr.ResampleStream(rate, self.rate, len(samples), dtype="float32", quality="HQ")
                samples = _resampled(resampler, samples)
            if samples.size:
                yield chunk._replace(rate=self.rate, samples=samples)

    def promised(self) -> float | None:
        """Seconds that the header of the container gives; None if it gives none, or none that can be trusted."""
        if self.length:
            return self.length.samples / self.rate
        if isinstance(self.source, WavAudio):
            return self.now + self.source.lacks
        if self.container.format.name == "flac" or "mp4" in self.container.format.name:
            return _promised(self.container, self.stream)
        return None

    def _chunks(self) -> Decoder:
        """Parts of one kind as chunks, without the padding of the encoder at the end."""
        pending, size = list[_Part](), 0  # what is pending is at least the padding that may have to be cut off
        for part in self._parts():
            if pending and part.kind != pending[0].kind:
                yield _decoded(pending)
                pending, size = [], 0
            if (size + part.samples) * part.channels > BLOCK and size > LARGEST_PADDING:
                kept = 0
                while sum(late.samples for late in pending[len(pending) - kept :]) < LARGEST_PADDING:
                    kept += 1
                if kept < len(pending):
                    yield _decoded(pending[: len(pending) - kept])
                    pending = pending[len(pending) - kept :]
                    size = sum(late.samples for late in pending)
            pending.append(part)
            size += part.samples
        if pending:
            chunk = _decoded(pending)
            self.rate = self.rate or int(chunk.rate)
            yield chunk._replace(samples=chunk.samples[:, : max(1, chunk.samples.shape[1] - self._padding())])

    def _padding(self) -> int:
        """Samples after the end of the recording, which fill the encoder's last frame."""
        end = None
        if self.length:
            end = self.length.samples / self.rate
        elif "mp4" in self.container.format.name:
            end = self.last_packet - self.origin
        excess = self.now - end if end is not None else 0.0
        if not SHORTEST_PADDING < excess < LARGEST_PADDING / self.rate:
            return 0
        self.now -= excess
        return round(excess * self.rate)

    def _parts(self) -> Iterator[_Part]:
        """Frames and silence, in the order of the clock."""
        held: av.AudioFrame | None = None
        held_at: float | None = None
        for frame in chain(self._frames(), [None]):
            at = None if frame is None or frame.pts is None else frame.pts * self.time_base
            if held is None:
                held, held_at = frame, at
                starts = self.container.start_time is None or (self.first_packet or 0.0) <= self.origin
                if frame is not None and starts:
                    self.origin = at or 0.0  # the audio starts the container: the encoder's delay is no gap
                continue
            layout, rate = held.layout, held.sample_rate
            part = _Part((rate, layout.name, held.format.name), layout.nb_channels, held.samples, held)
            yield from self._gap(part, held_at, at)
            yield part
            self.now += part.samples / rate
            held, held_at = frame, at

    def _gap(self, part: _Part, at: float | None, following: float | None) -> Iterator[_Part]:
        """Silence before a part with this time stamp; the next part has the time stamp `following`."""
        if at is None:
            return
        rate = part.kind[0]
        gap = at - self.origin - self.now
        if following is not None:  # a gap that the next frame does not confirm is a fault of one time stamp
            gap = min(gap, following - self.origin - self.now - part.samples / rate)
        most = max(LONGEST_SILENCE, 100 * (self.now - self.silence)) - self.silence
        if gap < RESET or gap > min(LARGEST_GAP, most):
            self.origin += gap
        elif gap > SMALLEST_GAP:
            block = max(1, BLOCK // part.channels)
            silent = round(gap * rate)
            self.first_gap = self.first_gap if self.silence else self.now
            for start in range(0, silent, block):
                yield part._replace(samples=min(block, silent - start), frame=None)
            self.now += silent / rate
            self.silence += silent / rate

    def _frames(self) -> Iterator[av.AudioFrame]:
        """Decode the packets."""
        import av

        decoded = 0
        rate = 0
        damage: av.FFmpegError | None = None
        packets = self.container.demux(self.stream)
        joined = self.container.format.name == "mp3"
        while True:
            try:
                packet = next(packets, None)
                frames = [frame for frame in packet.decode() if frame.samples] if packet else []
            except av.FFmpegError as error:
                damage = error
                frames = []
                continue
            finally:
                if self.source.exhausted:
                    where = f"at {decoded / rate:.1f} s" if rate else "at its start"
                    raise damaged(self.name, where, f"no audio found in {PATIENCE:g} s")
            if packet is None:
                break
            self._note_packet(packet)
            for frame in frames:
                rate = rate or frame.sample_rate
                if damage and decoded and packet.size and not joined:  # size 0: the last one, which flushes the decoder
                    raise damaged(self.name, f"at {decoded / rate:.1f} s", damage.strerror)
                decoded += frame.samples
                yield frame
            if frames:
                damage = None
                self.source.renew()
        if damage and not decoded:
            raise not_audio(self.name, self.source.start, damage.strerror, self.source.piped)

    def _note_packet(self, packet: av.Packet[Any]) -> None:
        pts = packet.pts
        if pts is not None:
            if self.first_packet is None:
                self.first_packet = pts * self.time_base
            self.last_packet = max(self.last_packet, (pts + (packet.duration or 0)) * self.time_base)


def _resampled(resampler: soxr.ResampleStream, samples: Samples, last: bool = False) -> Samples:
    resampled: Samples = resampler.resample_chunk(np.ascontiguousarray(samples.T), last=last)
    return resampled.reshape(-1, len(samples)).T


def _decoded(parts: list[_Part]) -> Chunk:
    """Parts of one kind as a chunk."""
    (rate, layout, form), channels = parts[0].kind, parts[0].channels
    dtype = np.dtype(SAMPLE_FORMATS[form.removesuffix("p")])
    planes = channels if form.endswith("p") else 1
    width = channels // planes
    silence = np.full(max(part.samples for part in parts) * width, 128 if form.startswith("u8") else 0, dtype)
    samples = np.empty((planes, sum(part.samples for part in parts) * width), dtype)
    at = 0
    for part in parts:
        size = part.samples * width
        # Not by PyAV's to_ndarray: it crashes on more than eight planes, and does not know 64-bit integers.
        buffers: Sequence[Any] = part.frame.planes if part.frame else [silence] * planes
        for plane in range(planes):
            samples[plane, at : at + size] = np.frombuffer(buffers[plane], dtype, size)
        at += size
    floats = to_float(samples)
    return Chunk(rate, floats if planes > 1 or width == 1 else floats.reshape(-1, channels).T, layout_weights(layout))


def frame_samples(frame: av.AudioFrame) -> Samples:
    """Samples [channels, samples] of a decoded frame."""
    kind = frame.sample_rate, frame.layout.name, frame.format.name
    return _decoded([_Part(kind, frame.layout.nb_channels, frame.samples, frame)]).samples


@cache
def layout_weights(layout: str) -> tuple[float, ...] | None:
    """Weights of the channels of a layout, by FFmpeg's name; None if they are equal."""
    import av

    try:
        weights = tuple(WEIGHTS.get(channel.name, 1.0) for channel in av.AudioLayout(layout).channels)
    except ValueError:  # no named layout, such as "12 channels"
        return None
    return weights if len(set(weights)) > 1 else None


def duration(source: Opened, track: av.AudioStream, count: bool) -> float | None:
    """Seconds from the start of the container to the end of a track; None if unknown.

    Parameters
    ----------
    count : whether to count packets where the header does not give the length, which reads the whole file.
    """
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
    promised = _promised(container, track)
    if promised is not None:
        return promised
    end = _last_packet(container, track)
    if end is not None:
        return max(0.0, end - start)
    return container.duration / 1e6 if container.duration else None


def _promised(container: av.container.InputContainer, track: av.AudioStream) -> float | None:
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
