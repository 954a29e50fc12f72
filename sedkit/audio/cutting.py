"""Parts of a recording as files of their own: its rate, its channels and, where it is PCM, its very samples.

=======================  ===========================================================================================
recording                files
=======================  ===========================================================================================
FLAC                     FLAC of the same number of bits
WAV, AIFF and other PCM  WAV of the same type of samples, integers or floats
anything else            FLAC of the decoded samples: 24 bits if the codec is lossless, otherwise 16 bits (WAV where
                         FLAC cannot hold them: more than 8 channels, or a rate that it cannot have)
=======================  ===========================================================================================

Times are those of the timeline, so parts of a film are cut on the clock of the film.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from sedkit.audio.decoding import BLOCK, Chunk, Decoder, Notify, check_amplitude, check_plausible
from sedkit.audio.files import is_regular
from sedkit.audio.flac import FlacStreams
from sedkit.audio.libsndfile import LONGEST_FLAC, open_soundfile
from sedkit.audio.opening import decode
from sedkit.audio.probing import BITS, probe
from sedkit.audio.sniffing import is_for_libsndfile
from sedkit.audio.sources import head
from sedkit.errors import AudioError, OutputError

if TYPE_CHECKING:
    from typing import Any

    import soundfile
    from numpy.typing import NDArray

LOSSLESS = ("flac", "alac", "wavpack", "tta", "ape", "truehd", "mlp", "tak", "shorten")  # and pcm_*, as FFmpeg names
FLAC_CHANNELS, FLAC_RATE = 8, 655_350
MOST_OPEN = 100  # files at a time; processes may have as few as 256
WAV_TYPES = {"PCM_S8": "PCM_U8"}  # samples that WAV stores otherwise, without loss


class Part(NamedTuple):
    """A part of a recording, from ``start`` to ``end`` in seconds, and the file for it."""

    start: float
    end: float
    path: Path


class Cutter(ABC):
    """Cuts one recording.

    Attributes
    ----------
    suffix : of the files, ``.wav`` or ``.flac``.
    duration : seconds; None if unknown.
    """

    def __init__(self, name: str, rate: float, channels: int, container: str, subtype: str) -> None:
        check_plausible(name, rate, channels)
        self.name, self.rate, self.channels, self.container, self.subtype = name, rate, channels, container, subtype
        self.suffix = "." + container.lower()
        self.duration: float | None = None

    @abstractmethod
    def cut(self, parts: Sequence[Part]) -> Iterator[Part]:
        """Write the files, and yield the part of each that is complete. A part beyond the end has no file.

        Raises
        ------
        AudioError
            If the recording is damaged.
        OutputError
            If a file cannot be written.
        """

    @contextmanager
    def file(self, path: Path) -> Iterator[soundfile.SoundFile]:
        """A sound file that appears under its name when the block ends without an exception, if it has samples."""
        import soundfile

        temporary = path.with_name(f".{path.name}.tmp")
        try:
            target = cast("str", os.fsencode(temporary) if sys.platform != "win32" else temporary)
            try:
                with soundfile.SoundFile(
                    target, "w", round(self.rate), self.channels, self.subtype, format=self.container
                ) as sound:
                    yield sound
                    empty = not sound.frames
                if not empty:
                    temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except soundfile.LibsndfileError as error:
            raise OutputError(f"{path}: cannot be written: {error.error_string.strip(' .')}; make room") from None
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}; choose another folder") from None

    def frames(self, part: Part) -> tuple[int, int]:
        """First frame of a part, and the one after its last."""
        first = max(0, round(part.start * self.rate))
        return first, max(first + 1, round(part.end * self.rate))


def fits_flac(rate: int, channels: int) -> bool:
    """Whether FLAC files can have a sample rate and a number of channels: RFC 9639, sections 7 and 9.1."""
    return channels <= FLAC_CHANNELS and (rate < 1 << 16 or (rate <= FLAC_RATE and rate % 10 == 0))


class PcmCutter(Cutter):
    """Copies samples from a file that libsndfile reads; seeks to each part."""

    def __init__(self, name: str, sound: soundfile.SoundFile) -> None:
        container = "FLAC" if sound.format == "FLAC" and fits_flac(sound.samplerate, sound.channels) else "WAV"
        subtype = sound.subtype if container == "FLAC" else WAV_TYPES.get(sound.subtype, sound.subtype)
        super().__init__(name, sound.samplerate, sound.channels, container, subtype)
        self.sound, self.duration = sound, sound.frames / sound.samplerate
        self.dtype = {"FLOAT": "float32", "DOUBLE": "float64"}.get(sound.subtype, "int32")

    def cut(self, parts: Sequence[Part]) -> Iterator[Part]:
        for part in parts:
            first, last = self.frames(part)
            last = min(last, self.sound.frames)
            if first >= last:
                continue
            with self.file(part.path) as file:
                for block in self._blocks(part, first, last):
                    file.write(block)
            yield part

    def _blocks(self, part: Part, first: int, last: int) -> Iterator[NDArray[Any]]:
        """The samples of a part."""
        import soundfile

        try:
            self.sound.seek(first)
            for start in range(first, last, BLOCK):
                yield self.sound.read(min(BLOCK, last - start), self.dtype, always_2d=True)
        except soundfile.LibsndfileError as error:
            reason = error.error_string.removeprefix("Error :").strip(" .")
            raise AudioError(f"{self.name}: damaged near {part.start:.1f} s ({reason}); repair it") from None


class DecodedCutter(Cutter):
    """Decodes a recording from its start to the end of the last part; again, for parts that overlap too many others."""

    def __init__(self, name: str, notify: Notify, track: int | None) -> None:
        info = probe(name)
        chosen = next((each for each in info.tracks if each.number == track), info)
        lossless = chosen.codec in LOSSLESS or chosen.codec.startswith("pcm_")
        flac = fits_flac(chosen.sample_rate, chosen.channels)
        subtype = "PCM_24" if lossless else "PCM_16"
        super().__init__(name, chosen.sample_rate, chosen.channels, "FLAC" if flac else "WAV", subtype)
        self.duration, self.notify, self.track = info.duration, notify, track

    def cut(self, parts: Sequence[Part]) -> Iterator[Part]:
        left, notify = list(parts), self.notify
        while left:
            with open(self.name, "rb") as recording:
                left = yield from self._cut(decode(recording, self.name, notify, self.track, self.name), left)
            notify = _ignore  # what the first pass has said

    def _cut(self, chunks: Decoder, parts: Sequence[Part]) -> Generator[Part, None, list[Part]]:
        """Cut in one pass; return the parts that would have been one open file too many."""
        waiting = sorted(parts, key=lambda part: part.start, reverse=True)  # the next one last
        with ExitStack() as aborted:  # closes what an exception leaves open
            aborted.callback(chunks.close)
            open_parts: list[_OpenPart] = []
            left: list[Part] = []
            at = 0
            for chunk in chunks:
                until = at + chunk.samples.shape[1]
                while waiting and self.frames(waiting[-1])[0] < until:
                    if len(open_parts) < MOST_OPEN:
                        open_parts.append(_OpenPart(self, waiting.pop(), aborted))
                    else:
                        left.append(waiting.pop())
                for part in open_parts:
                    part.write(chunk, at)
                yield from (part.close() for part in open_parts if part.last <= until)
                open_parts = [part for part in open_parts if part.last > until]
                at = until
                if not (waiting or open_parts):
                    return left
            yield from (part.close() for part in open_parts)
        return left


def _ignore(notice: str) -> None:
    """Take a notice that has been given already."""


class _OpenPart:
    """A part that is being written."""

    def __init__(self, cutter: DecodedCutter, part: Part, aborted: ExitStack) -> None:
        self.part, self.cutter, self.channels = part, cutter, cutter.channels
        self.first, self.last = cutter.frames(part)
        self.exit = aborted.enter_context(ExitStack())
        self.file = self.exit.enter_context(cutter.file(part.path))

    def write(self, chunk: Chunk, at: int) -> None:
        samples = chunk.samples[:, max(0, self.first - at) : max(0, self.last - at)].T
        if samples.shape[1] != self.channels:  # changes within some streams
            samples = samples[:, [min(channel, samples.shape[1] - 1) for channel in range(self.channels)]]
        if len(samples):
            check_amplitude(self.cutter.name, samples.T, max(at, self.first), self.cutter.rate)
            self.file.write(samples.clip(-1, 1))

    def close(self) -> Part:
        self.exit.close()
        return self.part


@contextmanager
def open_cutter(name: str, notify: Notify, track: int | None = None) -> Iterator[Cutter]:
    """Open a recording for cutting.

    Parameters
    ----------
    notify : called with what sedkit chose or left out.
    track : number of the audio track, from 1 on; None for the default one.

    Raises
    ------
    AudioError
        If it cannot be read, or is a pipe.
    """
    if not is_regular(name):
        raise AudioError(f"{name}: not a regular file; save the stream to a file first")
    sound = open_soundfile(name) if track in (None, 1) and may_be_copied(name) else None
    if sound is None:
        yield DecodedCutter(name, notify, track)
        return
    with sound:
        copied = sound.subtype in BITS and 0 < sound.frames < LONGEST_FLAC
        yield PcmCutter(name, sound) if copied else DecodedCutter(name, notify, track)


def may_be_copied(name: str) -> bool:
    """Whether libsndfile reads a file whole: one FLAC stream, or any other format that it may read."""
    with open(name, "rb") as file:
        return not FlacStreams(file).advance() if head(file, 4) == b"fLaC" else is_for_libsndfile(file)
