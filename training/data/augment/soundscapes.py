"""Soundscapes: labelled clips mixed into recordings of which is known what is heard in them, and when.

:class:`Sources` makes recordings of clips with one label, for a data set on disk (training.data.augment.soundscape_set);
:func:`overlay` and :func:`scattered` mix any clips, as augmentation in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import SAMPLE_RATE, SEGMENT_HOP
from training.data.audio import FULL_SCALE
from training.data.augment.augmentation import without_padding

FRAME = SAMPLE_RATE // 50  # samples, of levels
FADE = SAMPLE_RATE // 100  # samples, at both ends of an event
GAP = 0.3  # seconds of quiet that do not part a sound in two
SHORTEST = 0.1  # seconds of an event
DYNAMICS = 12.0  # dB: a clip whose level varies by less sounds throughout
BELOW_PEAK, ABOVE_FLOOR = 30.0, 6.0  # dB: in other clips what is louder than both sounds
TRIES = 20  # places tried for an event where others are in its way
OVERLAID = 10.0  # dB that a clip may be louder or softer than the one it is laid over
HEARD = 2 * SEGMENT_HOP  # samples that are heard at least where the ends of a recording cut a clip, if it lasts so long
Samples = NDArray[np.int16]


@dataclass(frozen=True)
class Recipe:
    """How a recording is made up.

    Attributes
    ----------
    seconds : its length.
    events : fewest and most sounds placed in it.
    longest : seconds of the longest sound; of longer ones a part is heard.
    overlap : most sounds at a time.
    snr : lowest and highest level of a sound above the background, in dB.
    background : lowest and highest level of the background, in dB below full scale.
    recorded : share of recordings whose background is a recording, where there are any; else it is noise.
    """

    seconds: float = 10.0
    events: tuple[int, int] = (1, 5)
    longest: float = 5.0
    overlap: int = 2
    snr: tuple[float, float] = (3.0, 25.0)
    background: tuple[float, float] = (-50.0, -30.0)
    recorded: float = 0.5


class Sound(NamedTuple):
    """A stretch of a clip, in samples, placed in a recording at ``onset`` samples, ``snr`` dB above its background."""

    clip: int
    start: int
    stop: int
    onset: int
    snr: float

    @property
    def offset(self) -> int:
        return self.onset + self.stop - self.start


class Placed(NamedTuple):
    """Samples [start, stop) of a clip, heard from sample ``onset`` of a recording on."""

    start: int
    stop: int
    onset: int


class Plan(NamedTuple):
    """What a recording is made of. ``background``: a clip, or -1 for noise whose power falls with f^-``slope``."""

    sounds: tuple[Sound, ...]
    background: int
    level: float
    slope: float


class Sources:
    """Clips of one split with one label each, to make recordings of.

    Parameters
    ----------
    clips : samples of each clip there is.
    rows : those to use.
    classes : [rows], class of each.
    backgrounds : classes that are backgrounds and no events.
    """

    def __init__(
        self,
        clips: Sequence[Samples],
        rows: NDArray[np.int64],
        classes: NDArray[np.integer],
        backgrounds: Sequence[int] = (),
    ) -> None:
        self.clips = clips
        self.classes = dict(zip(rows.tolist(), classes.tolist(), strict=True))
        behind = np.isin(classes, backgrounds)
        self.backgrounds = rows[behind]
        self.by_class = [rows[(classes == place) & ~behind] for place in np.unique(classes[~behind])]
        self._sounding: dict[int, list[tuple[int, int]]] = {}

    def sounding(self, clip: int) -> list[tuple[int, int]]:
        """Where a clip sounds."""
        if clip not in self._sounding:
            self._sounding[clip] = sounding(self.clips[clip])
        return self._sounding[clip]

    def plan(self, recipe: Recipe, random: np.random.Generator) -> Plan:
        """Draw a recording: classes with equal chance, then a clip of the class, then one of its sounds."""
        sounds: list[Sound] = []
        for _ in range(int(random.integers(recipe.events[0], recipe.events[1] + 1))):
            clips = self.by_class[random.integers(len(self.by_class))]
            clip = int(clips[random.integers(len(clips))])
            stretches = self.sounding(clip)
            if not stretches:
                continue
            start, stop = stretches[random.integers(len(stretches))]
            length = min(stop - start, round(min(recipe.longest, recipe.seconds) * SAMPLE_RATE))
            start += int(random.integers(stop - start - length + 1))
            snr = float(random.uniform(*recipe.snr))
            for _ in range(TRIES):
                onset = int(random.integers(round(recipe.seconds * SAMPLE_RATE) - length + 1))
                sound = Sound(clip, start, start + length, onset, snr)
                if _at_once([*sounds, sound]) <= recipe.overlap:
                    sounds.append(sound)
                    break
        recorded = len(self.backgrounds) > 0 and random.random() < recipe.recorded
        behind = int(self.backgrounds[random.integers(len(self.backgrounds))]) if recorded else -1
        return Plan(tuple(sounds), behind, float(random.uniform(*recipe.background)), float(random.uniform(0, 2)))

    def labels(self, plan: Plan, recipe: Recipe) -> list[tuple[float, float, int]]:
        """Onset and offset in seconds, and class, of what is heard; sounds of a class that meet are one."""
        found = [(sound.onset, sound.offset, self.classes[sound.clip]) for sound in plan.sounds]
        if plan.background >= 0:
            found.append((0, round(recipe.seconds * SAMPLE_RATE), self.classes[plan.background]))
        events: list[tuple[int, int, int]] = []
        for onset, offset, place in sorted(found, key=lambda event: (event[2], event[0])):
            if events and events[-1][2] == place and onset <= events[-1][1]:
                onset, offset = events[-1][0], max(offset, events[-1][1])
                events.pop()
            events.append((onset, offset, place))
        return [(onset / SAMPLE_RATE, offset / SAMPLE_RATE, place) for onset, offset, place in sorted(events)]

    def render(self, plan: Plan, recipe: Recipe, random: np.random.Generator) -> Samples:
        """The recording [samples]. Where it would clip, all of it is made quieter."""
        length = round(recipe.seconds * SAMPLE_RATE)
        if plan.background >= 0:
            clip = without_padding(self.clips[plan.background]).astype(np.float64)
            mix = np.resize(np.roll(clip, int(random.integers(max(1, len(clip))))), length)
        else:
            mix = coloured_noise(length, plan.slope, random)
        behind = 10 ** (plan.level / 20)
        mix = mix * (behind / max(rms(mix), 1e-9))
        for sound in plan.sounds:
            heard = faded(self.clips[sound.clip][sound.start : sound.stop].astype(np.float64))
            mix[sound.onset : sound.offset] += heard * (behind * 10 ** (sound.snr / 20) / max(rms(heard), 1e-9))
        return quantised(mix)


def sounding(samples: Samples) -> list[tuple[int, int]]:
    """Stretches [first sample, end) in which a clip sounds; none of a silent clip.

    Levels are taken in frames of 20 ms. The floor is the level that a tenth of the clip, but for digital silence,
    stays below. Stretches shorter than 0.1 s count only if there are no longer ones.
    """
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    levels = 10 * np.log10(np.square(frames).mean(1) + 1)
    if not len(levels) or levels.max() == 0:
        return []
    peak, floor = levels.max(), np.percentile(levels[levels > 0], 10)
    loud = levels > (max(peak - BELOW_PEAK, floor + ABOVE_FLOOR) if peak - floor > DYNAMICS else 0)
    edges = np.flatnonzero(np.diff(loud, prepend=False, append=False)).reshape(-1, 2) * FRAME
    joined: list[tuple[int, int]] = []
    for start, stop in edges.tolist():
        if joined and start - joined[-1][1] < GAP * SAMPLE_RATE:
            start = joined.pop()[0]
        joined.append((start, stop))
    return [(start, stop) for start, stop in joined if stop - start >= SHORTEST * SAMPLE_RATE] or joined


def overlay(clips: Sequence[Samples], samples: int, random: np.random.Generator) -> Samples:
    """Clips heard over each other in a recording [samples], at random places and levels: augmentation for training.

    The first clip keeps its level; the others are up to 10 dB louder or softer. Of a clip longer than the result a
    part is heard.
    """
    whole = [without_padding(clip) for clip in clips]
    return _laid(whole, _inside, samples, random)[0]


def scattered(clips: Sequence[Samples], samples: int, random: np.random.Generator) -> tuple[Samples, list[Placed]]:
    """As :func:`overlay`, and where each clip is heard.

    Half of the clips are heard whole, of the others one stretch in which they sound; where an end of the recording cuts
    that, it is heard for 0.64 s at least, or all that it lasts.
    """
    return _laid(clips, _anywhere, samples, random)


def _inside(clip: Samples, samples: int, random: np.random.Generator) -> Placed:
    start = int(random.integers(max(1, len(clip) - samples + 1)))
    heard = min(len(clip), samples)
    return Placed(start, start + heard, int(random.integers(samples - heard + 1)))


def _anywhere(clip: Samples, samples: int, random: np.random.Generator) -> Placed:
    stretches = sounding(clip) if random.random() < 0.5 else []
    start, stop = stretches[random.integers(len(stretches))] if stretches else (0, len(clip))
    least = min(stop - start, samples, HEARD)
    onset = int(random.integers(start - stop + least, samples - least + 1))
    return Placed(start + max(0, -onset), min(stop, start + samples - onset), max(0, onset))


def _laid(
    clips: Sequence[Samples],
    place: Callable[[Samples, int, np.random.Generator], Placed],
    samples: int,
    random: np.random.Generator,
) -> tuple[Samples, list[Placed]]:
    mix, places = np.zeros(samples), []
    level = 0.0
    for clip in clips:
        start, stop, onset = placed = place(clip, samples, random)
        heard = faded(clip[start:stop].astype(np.float64))
        if level:
            heard *= level * 10 ** (random.uniform(-OVERLAID, OVERLAID) / 20) / max(rms(heard), 1e-9)
        else:
            level = rms(heard)
        mix[onset : onset + len(heard)] += heard
        places.append(placed)
    return quantised(mix / FULL_SCALE), places


def coloured_noise(samples: int, slope: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Noise [samples] whose power falls with frequency^-``slope``: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(random.standard_normal(samples))
    return np.fft.irfft(spectrum / np.maximum(1, np.arange(len(spectrum))) ** (slope / 2), samples)


def faded(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """``sound`` with its first and last 10 ms faded."""
    length = min(FADE, len(sound) // 2)
    ramp = np.arange(1, length + 1) / (length + 1)
    sound[:length] *= ramp
    sound[len(sound) - length :] *= ramp[::-1]
    return sound


def rms(sound: NDArray[np.float64]) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.square(sound).mean()))


def quantised(mix: NDArray[np.float64]) -> Samples:
    """Samples in [-1, 1] as int16, made quieter if some lie beyond."""
    peak = np.abs(mix).max(initial=0)
    return np.rint(mix * ((FULL_SCALE - 1) / max(1.0, peak))).astype(np.int16)


def _at_once(sounds: Sequence[Sound]) -> int:
    """Most sounds at a time."""
    edges = sorted([(sound.onset, 1) for sound in sounds] + [(sound.offset, -1) for sound in sounds])
    return int(np.cumsum([step for _, step in edges]).max())
