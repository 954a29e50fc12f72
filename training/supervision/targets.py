"""Targets of the training clips (Algorithm 1, line 3), from labels and teachers' scores.

By default a teacher scores every whole training clip once per stage, unmixed. The scores lie beside its network::

    generation-0/predictions-KEY.f16    [clips, classes] float16, one row per clip; memory-mapped

KEY depends on the teacher's weights and on the clips. While the file grows its name ends in ``.partial`` and its length
says how much is done, so that an interrupted computation continues. The file is removed when no later generation needs
it. Mixup mixes these scores in the same proportions as the waveforms.

Online teachers (training.supervision.online) score the augmented input in the objective; this module prepares what they
need to know about each clip. Segment-level teachers (training.supervision.segments) give targets for segments.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.augment.soundscapes import Placed
from training.data.clips import Clips, Labels, Subset
from training.data.sampling import Rows
from training.networks.predict import predict
from training.networks.wels import Network
from training.runtime import distributed
from training.supervision.equations import Key, Supervision, known_weight, softened, targets, weighted_sum
from training.supervision.online import SILENT, ClipScorer, OnlineTargets, OnlineTeacher
from training.supervision.resumable_scores import Step, rows_in, write_rows
from training.supervision.segments import SegmentScores, Taught, overlap, score_segments

CHUNK = 2048  # clips scored between two writes
TeachersHear = Literal["clip", "view", "sounds"]  # whole clips once; the augmented input; isolated clips by segment


class Teachers(NamedTuple):
    """The teachers of one generation.

    Attributes
    ----------
    generations : earlier networks of the cascade, each with the file of its weights.
    scores : score files of external teachers, [training clips, classes].
    online : external teachers that are networks.
    """

    generations: dict[int, tuple[Network, Path]]
    scores: dict[Key, NDArray[np.floating]]
    online: dict[Key, OnlineTeacher]


class Targets:
    """Targets of training clips.

    Parameters
    ----------
    scores : stored scores [clips, classes] by teacher.
    online : teachers that score the student's augmented input.
    segments : teachers that scored isolated clips, segment by segment. With these, stored scores are those of every
        segment in which a clip sounds, as its labels are.
    temperatures : of teachers; 1 for those that it does not name.
    """

    def __init__(
        self,
        supervision: Supervision,
        clips: Clips,
        scores: Mapping[Key, NDArray[np.floating]] | None = None,
        online: Mapping[Key, OnlineTeacher] | None = None,
        segments: Mapping[Key, SegmentScores] | None = None,
        temperatures: Mapping[Key, float] | None = None,
    ) -> None:
        self.supervision, self.clips = supervision, clips
        self.scores, self.online, self.segments = scores or {}, online or {}, segments or {}
        self.temperatures = temperatures or {}

    @property
    def online_targets(self) -> OnlineTargets | None:
        """The module that adds the online teachers' scores to a batch's targets; None without such teachers."""
        return OnlineTargets(self.supervision, self.online, self.temperatures) if self.online else None

    def of_clips(self, rows: Rows) -> NDArray[np.float32]:
        """Targets [clips, classes] of the clips at ``rows``.

        ``rows`` is [clips], or [clips, n] where up to n clips are overlaid (-1: none). Overlaid clips have the union of
        their labels and, for each class, the highest of a teacher's scores. If one clip is unlabelled, the
        labels of the others still count as known; all remaining classes get their targets from the teachers. With
        online teachers, the result is the weighted sum of what is known without them.
        """
        known = {key: weight for key, weight in self.supervision.items() if key not in self.online}
        predictions = {
            teacher: softened(union(stored, rows), self.temperatures.get(teacher, 1))
            for teacher, stored in self.scores.items()
        }
        combine = weighted_sum if self.online else targets
        return combine(known, union(self.clips.labels, rows), predictions).astype(np.float32)

    def of_segments(
        self, places: Sequence[Mapping[int, Placed]], speeds: NDArray[np.floating], segments: int
    ) -> NDArray[np.float32]:
        """Targets [recordings, segments, classes] of overlaid clips.

        Parameters
        ----------
        places : for each recording, where its clips lie.
        speeds : playback speed of each recording.

        A segment's target for a class is the highest over the clips of Eq. 6 for that clip, scaled by how much of the
        segment the clip fills. It is NaN where a clip sounds of which nothing is known, unless another one is 1.
        """
        made = np.zeros((len(places), segments, len(self.clips.classes)), np.float32)
        for recording, there, speed in zip(made, places, speeds.tolist(), strict=True):
            labels = self.clips.labels[np.array(list(there))]
            for (clip, place), label in zip(there.items(), labels, strict=True):
                scores = {teacher: stored.at(clip, place, speed, segments) for teacher, stored in self.segments.items()}
                scores |= {teacher: np.tile(stored[clip], (segments, 1)) for teacher, stored in self.scores.items()}
                softer = {name: softened(one, self.temperatures.get(name, 1)) for name, one in scores.items()}
                combined = targets(self.supervision, np.tile(label, (segments, 1)), softer)
                heard = overlap(place, speed, segments)
                sounds = heard > 0
                recording[sounds] = highest(recording[sounds], combined[sounds] * heard[sounds, None])
        return made

    def online_inputs(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """What :class:`OnlineTargets` needs: ``known`` [clips, classes] float32 and ``parts`` [clips, teachers] int64.

        Empty without online teachers. A mixture takes the parts of its first clip, which has the largest share of it
        (with overlay, another clip may be louder). A teacher that is silent for one of its clips is silent for it.
        """
        if not self.online:
            return {}
        online_weight = sum(self.supervision[key] for key in self.online)
        weight = known_weight(self.supervision, union(self.clips.labels, rows)) - online_weight
        columns = rows.reshape(len(rows), -1)
        there = columns >= 0
        parts = np.stack([teacher.parts[columns[:, 0]] for teacher in self.online.values()], 1)
        for number, teacher in enumerate(self.online.values()):
            parts[((teacher.parts[columns] == SILENT) & there).any(1), number] = SILENT
        return {"known": weight.astype(np.float32), "parts": parts}


def targets_from(
    supervision: Supervision,
    clips: Clips,
    teachers: Teachers,
    hear: TeachersHear,
    directory: Path,
    data: str,
    batch_size: int,
    workers: int,
    step_of: Callable[[Key], Step],
    temperatures: Mapping[Key, float],
) -> Targets:
    """Targets of one generation; networks score the clips here unless they are online teachers.

    Parameters
    ----------
    hear : the input of teachers that are networks.
    directory : of the generation that is trained.
    data : SHA-256 of the manifest.
    batch_size, workers : as in ``predict``.
    step_of : returns, for a teacher, a callback that runs before each chunk of clips.
    temperatures : of the teachers that have one.

    Raises
    ------
    OutputError
        If scores cannot be written. What is done is kept.
    """
    networks: dict[Key, Network] = {key: network for key, (network, _) in teachers.generations.items()}
    if hear == "view":
        parts = np.zeros(len(clips), np.int64)
        online = teachers.online | {key: OnlineTeacher(ClipScorer(one), parts) for key, one in networks.items()}
        return Targets(supervision, clips, teachers.scores, online, temperatures=temperatures)
    if hear == "sounds":
        taught: dict[Key, Taught] = {}
        for key, (scorer, parts, columns) in teachers.online.items():
            if isinstance(scorer, ClipScorer):
                networks[key] = scorer.network
                if columns is not None and scorer.outputs is not None:
                    taught[key] = Taught(scorer.outputs, columns, len(clips.classes), parts == SILENT)
        segments = {
            key: score_segments(network, clips, directory, batch_size, workers, step_of(key), taught.get(key))
            for key, network in networks.items()
        }
        return Targets(supervision, clips, teachers.scores, segments=segments, temperatures=temperatures)
    scores = dict(teachers.scores)
    for key, (network, weights) in teachers.generations.items():
        scores[key] = score_clips(network, weights, clips, data, batch_size, workers, step_of(key))
    return Targets(supervision, clips, scores, temperatures=temperatures)


def union(values: Labels | NDArray[np.floating], rows: Rows) -> NDArray[Any]:
    """``values[rows]``; for rows [clips, n], -1 meaning none, the :func:`highest` value in each row."""
    columns = rows.reshape(len(rows), -1).T
    result = values[columns[0]]
    for column in columns[1:]:
        there = column >= 0
        if there.any():
            result[there] = highest(result[there], values[column[there]])
    return result


def highest(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[Any]:
    """The higher of two labels or scores. Where one is NaN, the result is 1 if the other is 1, and otherwise NaN."""
    return np.where(np.fmax(one, other) == 1, 1, np.maximum(one, other))


def score_clips(
    network: Network,
    weights: Path,
    clips: Clips,
    identity: str,
    batch_size: int,
    workers: int = 1,
    step: Step = lambda done, seconds: None,
) -> NDArray[np.float16]:
    """The scores [clips, classes] of ``network`` for whole clips, computed unless they lie beside ``weights``.

    Parameters
    ----------
    weights : file of the network.
    identity : text that identifies the clips, such as the manifest's SHA-256.
    batch_size, workers : as in ``predict``.
    step : called before each chunk of clips.

    Raises
    ------
    OutputError
        If the file cannot be written. What is done is kept.
    """
    shape = len(clips), len(clips.classes)
    path, done = distributed.on_rank_0(lambda: _existing(weights, identity, shape))
    took = 0.0
    while done < shape[0]:
        step(done, took)
        started = time.monotonic()
        rows = range(done, min(done + CHUNK, shape[0]))
        scores = predict(network, Subset(clips.waveforms, rows), batch_size, workers, tf32=True)
        distributed.on_rank_0(partial(write_rows, _partial(path), done, scores.astype(np.float16)))
        done = rows.stop
        took = time.monotonic() - started
    distributed.on_rank_0(lambda: path.exists() or _partial(path).replace(path))
    return np.memmap(path, np.float16, "r", shape=shape)


def remove_scores(generation: Path) -> None:
    """Remove the stored scores of a generation that no later one learns from."""
    for path in generation.glob("predictions-*"):
        path.unlink()


def _existing(weights: Path, identity: str, shape: tuple[int, int]) -> tuple[Path, int]:
    """The score file for these weights and its number of rows; score files of other weights are removed."""
    key = hashlib.sha256(weights.read_bytes() + f"{identity} {shape}".encode()).hexdigest()[:16]
    path = weights.with_name(f"predictions-{key}.f16")
    for other in weights.parent.glob("predictions-*"):
        if not other.name.startswith(path.name) or (other == path and rows_in(path, shape[1]) != shape[0]):
            other.unlink()
    return path, max(rows_in(path, shape[1]), rows_in(_partial(path), shape[1]))


def _partial(path: Path) -> Path:
    return path.with_suffix(".f16.partial")
