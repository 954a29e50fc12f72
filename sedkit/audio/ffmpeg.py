"""Decoding with FFmpeg (PyAV), on the clock of the container.

Time 0 is the start of the container, which is that of the film if there is one. Where the time stamps leave a gap (the
audio starts later, packets were lost), the decoder yields silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np

from sedkit.audio.decoding import BLOCK, Chunk, Decoder, Notify, Samples, damaged, not_audio, to_float
from sedkit.audio.sniffing import Mp3Length, Nameless, Pipe, head, mp3_length
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
TAIL = 5.0  # seconds before the end in which to look for the last packet, at first


class Opened(NamedTuple):
    """A file that PyAV has opened.

    Attributes
    ----------
    file : as FFmpeg reads it.
    length : of an MP3 file, by its Info tag; None if it has none.
    """

    container: av.container.InputContainer
    file: BinaryIO
    length: Mp3Length | None = None


def open_libav(file: BinaryIO, name: str, notify: Notify) -> Opened:
    """Open a file with PyAV. FFmpeg reads MP3, and WAV files with a wrong header, from front to back, as from a pipe.

    Raises
    ------
    AudioError
        If FFmpeg does not know the format.
    """
    if not file.seekable():
        return _open_pipe(Pipe(file), name, notify)
    start = file.tell()
    if is_wav(head(file, 12)) and not is_plain_wav(file):
        return _open_pipe(Pipe(file), name, notify)
    nameless = cast("BinaryIO", Nameless(file))
    container = _open(nameless, name)
    if container.format.name != "mp3":
        return Opened(container, nameless)
    container.close()
    file.seek(start)
    return _open_pipe(Pipe(file), name, notify)


def _open_pipe(pipe: Pipe, name: str, notify: Notify) -> Opened:
    length = None
    if is_wav(pipe.peek(12)):
        pipe = WavAudio(cast("BinaryIO", pipe), notify)
    else:
        length = mp3_length(pipe)
    file = cast("BinaryIO", pipe)
    return Opened(_open(file, name), file, length)


def _open(file: BinaryIO, name: str) -> av.container.InputContainer:
    import av

    # No protocols: a playlist disguised as audio must not make FFmpeg open the files or URLs that it lists.
    options = {"protocol_whitelist": "none"}
    try:
        return av.open(file, "r", metadata_errors="ignore", options=options)
    except av.FFmpegError as error:
        raise not_audio(file, name, error.strerror) from None


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
    yield from _Clock(source, stream, name).chunks()


class _Clock:
    """Places the frames of a track on the clock of the container."""

    def __init__(self, source: Opened, stream: av.AudioStream, name: str) -> None:
        self.container, self.file, self.length = source
        self.stream, self.name = stream, name
        self.now = 0.0  # seconds decoded so far, with silence
        self.origin = (self.container.start_time or 0) / 1e6  # the container's time stamp at 0 s, in seconds
        self.first_packet: float | None = None  # its time stamp in seconds
        self.last_packet = 0.0  # end of the last packet, in seconds
        self.time_base = float(stream.time_base or 0)
        self.rate = 0

    def chunks(self) -> Decoder:
        """Decode the track, in chunks of at most about BLOCK samples."""
        pending, size = list[Chunk](), 0  # what is pending is at least the padding that may have to be cut off
        for chunk in self._on_one_rate(self._on_time()):
            kind = chunk.samples.shape[0], chunk.lfe
            if pending and kind != (pending[0].samples.shape[0], pending[0].lfe):
                yield _joined(pending)
                pending, size = [], 0
            if pending and size + chunk.samples.size > BLOCK and size > LARGEST_PADDING * kind[0]:
                whole = _joined(pending)
                yield whole._replace(samples=whole.samples[:, :-LARGEST_PADDING])
                pending = [whole._replace(samples=whole.samples[:, -LARGEST_PADDING:])]
                size = pending[0].samples.size
            pending.append(chunk)
            size += chunk.samples.size
        if pending:
            whole = _joined(pending)
            yield whole._replace(samples=whole.samples[:, : max(1, whole.samples.shape[1] - self._padding())])

    def _padding(self) -> int:
        """Samples after the end of the recording, which fill the encoder's last frame."""
        end = None
        if self.length:
            end = self.length.samples / self.rate
        elif "mp4" in self.container.format.name:
            end = self.last_packet - self.origin
        excess = self.now - end if end is not None else 0.0
        return round(excess * self.rate) if SHORTEST_PADDING < excess < LARGEST_PADDING / self.rate else 0

    def _on_time(self) -> Iterator[tuple[int, Samples, int | None]]:
        """Frames and silence: sample rate, samples [channels, samples], index of the LFE channel."""
        held: av.AudioFrame | None = None
        for frame in chain(self._frames(), [None]):
            if held is None:
                held = frame
                starts = self.container.start_time is None or (self.first_packet or 0.0) <= self.origin
                if frame is not None and starts:
                    self.origin = frame.time or 0.0  # the audio starts the container: the encoder's delay is no gap
                continue
            rate, channels = held.sample_rate, held.layout.nb_channels
            gap = self._lag(held, self.now)
            if frame is not None:  # a gap that the next frame does not confirm is a fault of one time stamp
                gap = min(gap, self._lag(frame, self.now + held.samples / rate))
            if gap < RESET or gap > LARGEST_GAP:
                self.origin += gap
            elif gap > SMALLEST_GAP:
                yield from ((rate, part, None) for part in _silence(round(gap * rate), channels))
                self.now += round(gap * rate) / rate
            yield rate, frame_samples(held), _lfe(held)
            self.now += held.samples / rate
            held = frame

    def _lag(self, frame: av.AudioFrame, now: float) -> float:
        return 0.0 if frame.time is None else frame.time - self.origin - now

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
                continue
            if packet is None:
                break
            self._note_packet(packet)
            for frame in frames:
                rate = rate or frame.sample_rate
                if damage and decoded and packet.size and not joined:  # size 0: the last one, which flushes the decoder
                    raise damaged(self.name, f"at {decoded / rate:.1f} s", damage.strerror)
                decoded += frame.samples
                yield frame
            damage = None if frames else damage
        if damage and not decoded:
            raise not_audio(self.file, self.name, damage.strerror)

    def _note_packet(self, packet: av.Packet[Any]) -> None:
        pts = packet.pts
        if pts is not None:
            if self.first_packet is None:
                self.first_packet = pts * self.time_base
            self.last_packet = max(self.last_packet, (pts + (packet.duration or 0)) * self.time_base)

    def _on_one_rate(self, frames: Iterator[tuple[int, Samples, int | None]]) -> Decoder:
        """Resample frames whose sample rate differs from that of the first one, as in joined MP3 files."""
        import soxr

        resampler, shape = None, (0, 0)
        for rate, samples, lfe in frames:
            self.rate = self.rate or rate
            if resampler is not None and shape != (rate, len(samples)):
                yield Chunk(self.rate, _resampled(resampler, np.zeros((shape[1], 0), np.float32), last=True))
                resampler = None
            if rate != self.rate:
                if resampler is None:
                    shape = (rate, len(samples))
                    resampler = soxr.ResampleStream(rate, self.rate, len(samples), dtype="float32", quality="HQ")
                samples = _resampled(resampler, samples)
            if samples.shape[1]:
                yield Chunk(self.rate, samples, lfe)
        if resampler is not None:
            yield Chunk(self.rate, _resampled(resampler, np.zeros((shape[1], 0), np.float32), last=True))


def _resampled(resampler: soxr.ResampleStream, samples: Samples, last: bool = False) -> Samples:
    resampled: Samples = resampler.resample_chunk(np.ascontiguousarray(samples.T), last=last)
    return resampled.reshape(-1, len(samples)).T


def _joined(chunks: list[Chunk]) -> Chunk:
    """Chunks of equal layout as one."""
    return chunks[0]._replace(samples=np.concatenate([chunk.samples for chunk in chunks], axis=1))


def _silence(samples: int, channels: int) -> Iterator[Samples]:
    block = max(1, BLOCK // channels)
    for start in range(0, samples, block):
        yield np.zeros((channels, min(block, samples - start)), np.float32)


def frame_samples(frame: av.AudioFrame) -> Samples:
    """Samples [channels, samples] of a decoded frame.

    Not by PyAV's ``to_ndarray``: it crashes on more than eight planes, and does not know 64-bit integers.
    """
    channels, dtype = frame.layout.nb_channels, SAMPLE_FORMATS[frame.format.name.removesuffix("p")]
    if frame.format.is_planar:
        planes = [np.frombuffer(memoryview(plane), dtype)[: frame.samples] for plane in frame.planes[:channels]]
        return to_float(np.stack(planes))
    packed = np.frombuffer(memoryview(frame.planes[0]), dtype)[: frame.samples * channels]
    return to_float(packed.reshape(-1, channels).T)


def _lfe(frame: av.AudioFrame) -> int | None:
    if frame.layout.nb_channels <= 2:
        return None
    return next((index for index, channel in enumerate(frame.layout.channels) if channel.name == "LFE"), None)


def duration(source: Opened, track: av.AudioStream, count: bool) -> float | None:
    """Seconds from the start of the container to the end of a track; None if unknown.

    Parameters
    ----------
    count : whether to count packets where the header does not give the length, which reads the whole file.
    """
    import av

    container, file, length = source
    if isinstance(file, WavAudio):
        return file.measure() if count else None
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
    if track.duration is not None and track.time_base:
        return max(0.0, float(((track.start_time or 0) + track.duration) * track.time_base) - start)
    end = _last_packet(container, track)
    if end is not None:
        return max(0.0, end - start)
    return container.duration / 1e6 if container.duration else None


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
