"""Soundscapes: clips mixed into recordings with known onsets and offsets.

:class:`Sources` mixes clips with one label each, for a data set on disk (training.data.augment.soundscape_set). A long
soundscape may hold *bouts*, as field recordings do: one animal or machine that sounds again and again for minutes.
:func:`overlay` and :func:`scattered` mix any clips, as augmentation during training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import SAMPLE_RATE, SEGMENT_HOP
from training.data.audio import FULL_SCALE, without_padding

FRAME = SAMPLE_RATE // 50  # samples over which levels are measured
FADE = SAMPLE_RATE // 100  # samples of the fades at both ends of a sound
GAP = 0.3  # s, shorter quiet does not divide a sound
SHORTEST = 0.1  # s, of a sound
DYNAMICS = 12.0  # dB: a clip whose level varies by less is sounding throughout
BELOW_PEAK, ABOVE_FLOOR = 30.0, 6.0  # dB: other clips are sounding where they are louder than both limits
TRIES = 20  # random positions tried for an event before it is given up
OVERLAID = 10.0  # dB, largest level difference of a clip to the first one
SHORTEST_BOUT, LONGEST_BOUT = 10.0, 0.5  # s; share of the soundscape
PAUSES = 0.5, 20.0  # s, mean pause of a bout
JITTER = 3.0  # dB, largest level difference of a sound to its bout
LEAST_AUDIBLE = 2 * SEGMENT_HOP  # samples that remain of a clip that the ends of a recording cut, if it is that long
Samples = NDArray[np.int16]


class Waveforms(Protocol):
    """Samples of each clip, by its row."""

    def __getitem__(self, row: int, /) -> Samples: ...


@dataclass(frozen=True)
class Recipe:
    """Settings of soundscapes.

    Attributes
    ----------
    seconds : length of a soundscape.
    events : minimum and maximum number of sounds.
    longest : maximum length of a sound in s; longer ones are cut.
    overlap : maximum number of simultaneous sounds.
    snr : minimum and maximum level of a sound above the background, in dB.
    background : minimum and maximum level of the background, in dBFS.
    recorded : share of soundscapes with a clip as background, if there are background clips; the others have noise.
    bouts : minimum and maximum number of bouts, beside the sounds.
    """

    seconds: float = 10.0
    events: tuple[int, int] = (1, 5)
    longest: float = 5.0
    overlap: int = 2
    snr: tuple[float, float] = (3.0, 25.0)
    background: tuple[float, float] = (-50.0, -30.0)
    recorded: float = 0.5
    bouts: tuple[int, int] = (0, 0)


class Sound(NamedTuple):
    """Samples [start, stop) of a clip, placed at sample ``onset`` of a soundscape, ``snr`` dB above its background."""

    clip: int
    start: int
    stop: int
    onset: int
    snr: float

    @property
    def offset(self) -> int:
        """First sample after the sound."""
        return self.onset + self.stop - self.start


class Placed(NamedTuple):
    """Samples [start, stop) of a clip, placed at sample ``onset`` of a mixture."""

    start: int
    stop: int
    onset: int


class Plan(NamedTuple):
    """The content of a soundscape.

    Attributes
    ----------
    background : a clip, or -1 for noise.
    level : level of the background in dBFS.
    slope : the noise's power falls with frequency^-slope.
    """

    sounds: tuple[Sound, ...]
    background: int
    level: float
    slope: float


class Sources:
    """Clips of one sound each, from which soundscapes are made.

    Parameters
    ----------
    clips : samples of all clips.
    rows : [rows] the clips to use.
    classes : [rows] the class of each, its most specific label.
    labels : [rows] all labels of each, that is the class and its parents; None: the class only.
    unchecked : [rows] classes of each that may or may not sound in it; None: there are none.
    backgrounds : classes that are used as backgrounds and not as events.
    """

    def __init__(
        self,
        clips: Waveforms,
        rows: NDArray[np.int64],
        classes: NDArray[np.integer],
        backgrounds: Sequence[int] = (),
        labels: Sequence[tuple[int, ...]] | None = None,
        unchecked: Sequence[tuple[int, ...]] | None = None,
    ) -> None:
        self.clips = clips
        all_labels = [(index,) for index in classes.tolist()] if labels is None else labels
        self.labels_of = dict(zip(rows.tolist(), all_labels, strict=True))
        self.unchecked_of = dict(zip(rows.tolist(), unchecked or [()] * len(rows), strict=True))
        is_background = np.isin(classes, backgrounds)
        self.backgrounds = rows[is_background]
        self.by_class = [rows[(classes == index) & ~is_background] for index in np.unique(classes[~is_background])]
        self._sounding: dict[int, list[tuple[int, int]]] = {}

    def sounding(self, clip: int) -> list[tuple[int, int]]:
        """The parts of a clip in which it is sounding; see :func:`sounding`."""
        if clip not in self._sounding:
            self._sounding[clip] = sounding(self.clips[clip])
        return self._sounding[clip]

    def plan(self, recipe: Recipe, random: np.random.Generator) -> Plan:
        """Draw a soundscape: for each sound a class with equal probability, a clip of it, and a part of the clip."""
        sounds: list[Sound] = []
        for _ in range(int(random.integers(recipe.events[0], recipe.events[1] + 1))):
            clips = self.by_class[random.integers(len(self.by_class))]
            clip = int(clips[random.integers(len(clips))])
            parts = self.sounding(clip)
            if not parts:
                continue
            start, stop = parts[random.integers(len(parts))]
            length = min(stop - start, round(min(recipe.longest, recipe.seconds) * SAMPLE_RATE))
            start += int(random.integers(stop - start - length + 1))
            snr = float(random.uniform(*recipe.snr))
            for _ in range(TRIES):
                onset = int(random.integers(round(recipe.seconds * SAMPLE_RATE) - length + 1))
                sound = Sound(clip, start, start + length, onset, snr)
                if _at_once([*sounds, sound]) <= recipe.overlap:
                    sounds.append(sound)
                    break
        if recipe.bouts[1]:
            for _ in range(int(random.integers(recipe.bouts[0], recipe.bouts[1] + 1))):
                sounds = self._with_bout(sounds, recipe, random)
        recorded = len(self.backgrounds) > 0 and random.random() < recipe.recorded
        background = int(self.backgrounds[random.integers(len(self.backgrounds))]) if recorded else -1
        return Plan(tuple(sounds), background, float(random.uniform(*recipe.background)), float(random.uniform(0, 2)))

    def _with_bout(self, sounds: list[Sound], recipe: Recipe, random: np.random.Generator) -> list[Sound]:
        """The sounds and those of one more bout: parts of one clip, one after the other with random pauses.

        A clip that sounds throughout repeats without pauses, as rain does. Where too much sounds already, the bout
        pauses.
        """
        clips = self.by_class[random.integers(len(self.by_class))]
        clip = int(clips[random.integers(len(clips))])
        parts, whole = self.sounding(clip), len(without_padding(self.clips[clip]))
        longest = LONGEST_BOUT * recipe.seconds
        length = SHORTEST_BOUT * (max(longest, SHORTEST_BOUT) / SHORTEST_BOUT) ** random.random()
        steady = len(parts) == 1 and parts[0][1] - parts[0][0] > 0.9 * whole
        pause = 0.0 if steady else PAUSES[0] * (PAUSES[1] / PAUSES[0]) ** random.random()
        snr, start = random.uniform(*recipe.snr), random.uniform(0, max(0.0, recipe.seconds - length))
        position, end = round(start * SAMPLE_RATE), round(min(start + length, recipe.seconds) * SAMPLE_RATE)
        while parts:
            first, last = parts[random.integers(len(parts))]
            stop = position + last - first
            if stop > end:
                return sounds
            sound = Sound(clip, first, last, position, float(snr + random.uniform(-JITTER, JITTER)))
            near = [other for other in sounds if other.onset < stop and other.offset > position]
            if _at_once([*near, sound]) <= recipe.overlap:
                sounds = [*sounds, sound]
            position = stop + round((GAP + random.exponential(pause)) * SAMPLE_RATE if pause else 0)
        return sounds

    def labels(self, plan: Plan, recipe: Recipe) -> list[tuple[float, float, int]]:
        """Events of a soundscape: onset and offset in seconds, class. Touching sounds of one class are one event."""
        return self._events(plan, recipe, self.labels_of)

    def unchecked(self, plan: Plan, recipe: Recipe) -> list[tuple[float, float, int]]:
        """When which classes may sound that nobody checked, as :meth:`labels` has the events."""
        return self._events(plan, recipe, self.unchecked_of)

    def _events(
        self, plan: Plan, recipe: Recipe, classes_of: Mapping[int, tuple[int, ...]]
    ) -> list[tuple[float, float, int]]:
        parts = [(sound.onset, sound.offset, sound.clip) for sound in plan.sounds]
        if plan.background >= 0:
            parts.append((0, round(recipe.seconds * SAMPLE_RATE), plan.background))
        sounds = [(onset, offset, index) for onset, offset, clip in parts for index in classes_of[clip]]
        events: list[tuple[int, int, int]] = []
        for onset, offset, index in sorted(sounds, key=lambda sound: (sound[2], sound[0])):
            if events and events[-1][2] == index and onset <= events[-1][1]:
                onset, offset = events[-1][0], max(offset, events[-1][1])
                events.pop()
            events.append((onset, offset, index))
        return [(onset / SAMPLE_RATE, offset / SAMPLE_RATE, index) for onset, offset, index in sorted(events)]

    def render(self, plan: Plan, recipe: Recipe, random: np.random.Generator) -> Samples:
        """The samples [samples] of a soundscape, scaled down as a whole if it would clip."""
        length = round(recipe.seconds * SAMPLE_RATE)
        if plan.background >= 0:
            clip = without_padding(self.clips[plan.background]).astype(np.float64)
            mix = np.resize(np.roll(clip, int(random.integers(max(1, len(clip))))), length)
        else:
            mix = coloured_noise(length, plan.slope, random)
        level = 10 ** (plan.level / 20)
        mix = mix * (level / max(rms(mix), 1e-9))
        for sound in plan.sounds:
            part = faded(self.clips[sound.clip][sound.start : sound.stop].astype(np.float64))
            mix[sound.onset : sound.offset] += part * (level * 10 ** (sound.snr / 20) / max(rms(part), 1e-9))
        return quantised(mix)


def sounding(samples: Samples) -> list[tuple[int, int]]:
    """Parts [start, stop) of a clip, in samples, in which it is sounding; none if the clip is silent.

    Levels are measured in frames of 20 ms. The noise floor is the 10th percentile of the levels without digital
    silence. A frame is sounding if it is less than 30 dB below the peak and more than 6 dB above the floor. If peak and
    floor differ by 12 dB or less, every frame but digital silence is. Gaps shorter than 0.3 s are closed. Parts
    shorter than 0.1 s count only if there are no longer ones.
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
    """Mix clips [samples] at random positions and levels, each wholly inside the mixture.

    The first clip keeps its level; the others are up to 10 dB louder or softer than it. Clips longer than the mixture
    are cut at a random position.
    """
    trimmed = [without_padding(clip) for clip in clips]
    return _mixed(trimmed, _inside, samples, random)[0]


def scattered(clips: Sequence[Samples], samples: int, random: np.random.Generator) -> tuple[Samples, list[Placed]]:
    """As :func:`overlay`, but clips may be cut by the ends of the mixture; also returns where each clip is.

    With probability 1/2 the whole clip is used, else one of its sounding parts. At least 0.64 s of it, or all of a
    shorter one, lie inside the mixture.
    """
    return _mixed(clips, _anywhere, samples, random)


def _inside(clip: Samples, samples: int, random: np.random.Generator) -> Placed:
    """Place as much of a clip as fits, wholly inside ``samples``."""
    start = int(random.integers(max(1, len(clip) - samples + 1)))
    length = min(len(clip), samples)
    return Placed(start, start + length, int(random.integers(samples - length + 1)))


def _anywhere(clip: Samples, samples: int, random: np.random.Generator) -> Placed:
    """Place a clip or one of its sounding parts so that the ends of the mixture may cut it."""
    parts = sounding(clip) if random.random() < 0.5 else []
    start, stop = parts[random.integers(len(parts))] if parts else (0, len(clip))
    least = min(stop - start, samples, LEAST_AUDIBLE)
    onset = int(random.integers(start - stop + least, samples - least + 1))
    return Placed(start + max(0, -onset), min(stop, start + samples - onset), max(0, onset))


def _mixed(
    clips: Sequence[Samples],
    place: Callable[[Samples, int, np.random.Generator], Placed],
    samples: int,
    random: np.random.Generator,
) -> tuple[Samples, list[Placed]]:
    """Mix ``clips``, each where ``place`` puts it."""
    mix, placements = np.zeros(samples), []
    level = 0.0
    for clip in clips:
        start, stop, onset = placement = place(clip, samples, random)
        part = faded(clip[start:stop].astype(np.float64))
        if level:
            part *= level * 10 ** (random.uniform(-OVERLAID, OVERLAID) / 20) / max(rms(part), 1e-9)
        else:
            level = rms(part)
        mix[onset : onset + len(part)] += part
        placements.append(placement)
    return quantised(mix / FULL_SCALE), placements


def coloured_noise(samples: int, slope: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Noise [samples] whose power falls with frequency^-``slope``: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(random.standard_normal(samples))
    return np.fft.irfft(spectrum / np.maximum(1, np.arange(len(spectrum))) ** (slope / 2), samples)


def faded(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fade the first and the last 10 ms of ``sound`` in place and return it."""
    length = min(FADE, len(sound) // 2)
    ramp = np.arange(1, length + 1) / (length + 1)
    sound[:length] *= ramp
    sound[len(sound) - length :] *= ramp[::-1]
    return sound


def rms(sound: NDArray[np.floating]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.square(sound).mean()))


def quantised(mix: NDArray[np.float64]) -> Samples:
    """Convert samples in [-1, 1] to int16, scaling all of them down if some lie outside."""
    peak = np.abs(mix).max(initial=0)
    samples: Samples = np.rint(mix * ((FULL_SCALE - 1) / max(1.0, peak))).astype(np.int16)
    return samples


def _at_once(sounds: Sequence[Sound]) -> int:
    """Maximum number of simultaneous sounds."""
    edges = sorted([(sound.onset, 1) for sound in sounds] + [(sound.offset, -1) for sound in sounds])
    return int(np.cumsum([step for _, step in edges]).max())
