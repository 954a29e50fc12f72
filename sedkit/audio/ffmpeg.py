"""Decoding with FFmpeg (PyAV), on the clock of the container.

Time 0 is the start of the container, which is that of the film if there is one. Where the time stamps leave a gap (the
audio starts later, packets were lost), the decoder yields silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from sedkit.audio.container import Opened, audio_track, open_next, promised_length
from sedkit.audio.decoding import BLOCK, Chunk, Decoder, Notify, Samples, damaged, not_audio, notify_if_truncated
from sedkit.audio.flac import FlacStreams
from sedkit.audio.frames import Part, decoded
from sedkit.audio.sources import PATIENCE
from sedkit.audio.wav import WavAudio

if TYPE_CHECKING:
    import av
    import soxr

SMALLEST_GAP = 0.015  # seconds; shorter gaps are jitter of the time stamps
LARGEST_GAP = 4 * 3600.0  # seconds; a longer one is an error of the time stamps
RESET = -1.0  # seconds; time stamps that jump back further start a new clock, as in joined files
LARGEST_PADDING = 4096  # samples that an encoder adds to fill its last frame
SHORTEST_PADDING = 0.002  # seconds; less is a rounding error of the time stamps
LONGEST_SILENCE = 600.0  # seconds of gaps; more only if there is a hundredth as much sound


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
    yield from at_one_rate(_chunks(source, stream, name, notify))


def _chunks(source: Opened, stream: av.AudioStream, name: str, notify: Notify) -> Decoder:
    """Chunks of a track and, of joined FLAC files, of the streams that follow."""
    start = 0.0
    with ExitStack() as stack:
        while True:
            clock = _Clock(source, stream, name, start)
            yield from clock.chunks()
            if clock.silence and source.container.format.name == "flac":  # which has gaps only where it is damaged
                at, lost = start + clock.first_gap, clock.silence
                notify(f"damaged at {at:.1f} s; {lost:.1f} s that cannot be decoded count as silence")
            promised = clock.promised()
            notify_if_truncated(notify, start + clock.now, None if promised is None else start + promised)
            following = open_next(source.source, name) if isinstance(source.source, FlacStreams) else None
            if following is None:
                return
            source = following
            stream = audio_track(stack.enter_context(source.container), name)
            start += clock.now


class _Clock:
    """Places the frames of a track on the clock of the container.

    Parameters
    ----------
    start : seconds before this stream in a joined file, for messages.
    """

    def __init__(self, source: Opened, stream: av.AudioStream, name: str, start: float) -> None:
        self.container, self.source, self.length = source
        self.stream, self.name, self.start = stream, name, start
        self.now = 0.0  # seconds decoded so far, with silence
        self.silence, self.first_gap = 0.0, 0.0  # seconds of it, and where it begins
        self.origin = (self.container.start_time or 0) / 1e6  # the container's time stamp at 0 s, in seconds
        self.first_packet: float | None = None  # its time stamp in seconds
        self.last_packet = 0.0  # end of the last packet, in seconds
        self.time_base = float(stream.time_base or 0)
        self.rate = 0

    def promised(self) -> float | None:
        """Seconds that the header of the container gives; None if it gives none, or none that can be trusted."""
        if self.length:
            return self.length.samples / self.rate
        if isinstance(self.source, WavAudio):
            return self.now + self.source.lacks
        if self.container.format.name == "flac" or "mp4" in self.container.format.name:
            return promised_length(self.container, self.stream)
        return None

    def chunks(self) -> Decoder:
        """Parts of one kind as chunks, without the padding of the encoder at the end."""
        pending, size = list[Part](), 0  # what is pending is at least the padding that may have to be cut off
        for part in self._parts():
            if pending and part.kind != pending[0].kind:
                yield decoded(pending)
                pending, size = [], 0
            if (size + part.samples) * part.channels > BLOCK and size > LARGEST_PADDING:
                kept = 0
                while sum(late.samples for late in pending[len(pending) - kept :]) < LARGEST_PADDING:
                    kept += 1
                if kept < len(pending):
                    yield decoded(pending[: len(pending) - kept])
                    pending = pending[len(pending) - kept :]
                    size = sum(late.samples for late in pending)
            pending.append(part)
            size += part.samples
        if pending:
            chunk = decoded(pending)
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

    def _parts(self) -> Iterator[Part]:
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
            self.rate = self.rate or rate
            part = Part((rate, layout.name, held.format.name), layout.nb_channels, held.samples, held)
            yield from self._gap(part, held_at, at)
            yield part
            self.now += part.samples / rate
            held, held_at = frame, at

    def _gap(self, part: Part, at: float | None, following: float | None) -> Iterator[Part]:
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

        samples = 0
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
                    where = f"at {self.start + samples / rate:.1f} s" if rate else "at its start"
                    raise damaged(self.name, where, f"no audio found in {PATIENCE:g} s")
            if packet is None:
                break
            self._note_packet(packet)
            for frame in frames:
                rate = rate or frame.sample_rate
                if damage and samples and packet.size and not joined:  # size 0: the last one, which flushes the decoder
                    raise damaged(self.name, f"at {self.start + samples / rate:.1f} s", damage.strerror)
                samples += frame.samples
                yield frame
            if frames:
                damage = None
                self.source.renew()
        if damage and not samples:
            raise not_audio(self.name, self.source.start, damage.strerror, self.source.piped)

    def _note_packet(self, packet: av.Packet[Any]) -> None:
        pts = packet.pts
        if pts is not None:
            if self.first_packet is None:
                self.first_packet = pts * self.time_base
            self.last_packet = max(self.last_packet, (pts + (packet.duration or 0)) * self.time_base)


def at_one_rate(chunks: Iterable[Chunk]) -> Decoder:
    """Chunks at the sample rate of the first one; others occur in joined files."""
    import soxr

    first, resampler, shape = 0, None, (0, 0)
    nothing = np.zeros((0, 0), np.float32)
    for chunk in chain(chunks, [Chunk(0, nothing)]):
        rate, samples = int(chunk.rate), chunk.samples
        first = first or rate
        if resampler is not None and shape != (rate, len(samples)):
            yield Chunk(first, _resampled(resampler, np.zeros((shape[1], 0), np.float32), last=True))
            resampler = None
        if rate not in (first, 0):
            if resampler is None:
                shape = (rate, len(samples))
                resampler = soxr.ResampleStream(rate, first, len(samples), dtype="float32", quality="HQ")
            samples = _resampled(resampler, samples)
        if samples.size:
            yield chunk._replace(rate=first, samples=samples)


def _resampled(resampler: soxr.ResampleStream, samples: Samples, last: bool = False) -> Samples:
    resampled: Samples = resampler.resample_chunk(np.ascontiguousarray(samples.T), last=last)
    return resampled.reshape(-1, len(samples)).T
