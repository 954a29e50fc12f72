"""What each training clip is trained towards (line 3 of Algorithm 1): labels and what teachers say of the whole clip.

A teacher's predictions on the training split are computed once and kept beside its network::

    generation-0/predictions-KEY.f16    [clips, classes] float16, row after row; mapped into memory

KEY depends on the teacher's weights and on the clips. While the file grows it is named ``.partial``; it is
as long as what is done, so that an interrupted computation goes on where it was. It is removed when no
generation is left to learn from that teacher.

With ``live`` teachers nothing is kept: they predict on the clips of each batch anew. Both ways a teacher
hears the clip whole and unmixed, and mixup mixes its predictions with the weights of the waveforms, so that
the two agree to the precision of float16.

Teachers that are ``asked`` of what the student hears are the objective's business (training.supervision.online); here is what they
need to know of each clip.

Of an unlabelled clip, teachers alone tell (training.supervision.equations); mixup mixes that as any other target.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.augment.soundscapes import Placed
from training.data.clips import Clips, Labels, Some
from training.data.sampling import Rows
from training.networks.predict import predict, predict_share
from training.networks.wels import Network
from training.runtime import distributed
from training.supervision.equations import Key, Supervision, targets, weight_of_known, weighted
from training.supervision.online import Asked, View
from training.supervision.score_file import Step, append, whole_rows
from training.supervision.segments import Alone, presence

CHUNK = 2048  # clips predicted between two writes
LIVE = ", or begin with --targets live"  # where there is no room for them
Predictions = Mapping[Key, NDArray[np.float16]]


class Targets:
    """Targets of training clips, from ``supervision`` and its teachers.

    Parameters
    ----------
    stored : predictions [clips, classes] of teachers that were computed before, and of external ones.
    live : networks of teachers that are asked anew; ``batch_size`` and ``workers`` are as in ``scores``.
    asked : teachers that hear what the student hears.
    alone : teachers that heard each clip by itself, segment by segment.
    """

    def __init__(
        self,
        supervision: Supervision,
        clips: Clips,
        stored: Predictions | None = None,
        live: Mapping[int, Network] | None = None,
        asked: Mapping[Key, Asked] | None = None,
        alone: Mapping[Key, Alone] | None = None,
        batch_size: int = 32,
        workers: int = 1,
    ) -> None:
        self.supervision, self.clips = supervision, clips
        self.batch_size, self.workers = batch_size, workers
        self.stored, self.live, self.asked, self.alone = stored or {}, live or {}, asked or {}, alone or {}

    @property
    def view(self) -> View | None:
        """The teachers that are asked of what the student hears, if there are any."""
        return View(self.supervision, self.asked) if self.asked else None

    def read(self, rows: Rows) -> NDArray[np.float32]:
        """Targets [clips, classes] of the clips at ``rows``, so far as they need no live teacher.

        ``rows`` [clips], or [clips, n] where up to n are heard at once (-1: none): labels of such a recording are those
        of all its clips, and a teacher's predictions the surest of each class. With an unlabelled clip among them, the
        classes of the others are known to be heard, and of all other classes teachers alone tell. Beside teachers that
        are ``asked``, targets are what is known without them, times its weights.
        """
        known = {key: weight for key, weight in self.supervision.items() if key not in {*self.live, *self.asked}}
        predictions = {teacher: united(stored, rows) for teacher, stored in self.stored.items()}
        of = weighted if self.asked else targets
        return of(known, united(self.clips.labels, rows), predictions).astype(np.float32)

    def placed(
        self, places: Sequence[Mapping[int, Placed]], speeds: NDArray[np.floating], segments: int
    ) -> NDArray[np.float32]:
        """Targets [recordings, segments, classes] of clips that are heard over each other, from the teachers ``alone``.

        ``places``: of each recording, where its clips are heard; ``speeds``: how fast it is played then. Of each class,
        the target is the highest of those of the clips, and Eq. 6 that of a clip, in so far as a segment holds it.
        """
        made = np.zeros((len(places), segments, len(self.clips.classes)), np.float32)
        for recording, there, speed in zip(made, places, speeds.tolist(), strict=True):
            labels = self.clips.labels[np.array(list(there))]
            for (clip, place), label in zip(there.items(), labels, strict=True):
                said = {teacher: alone.at(clip, place, speed, segments) for teacher, alone in self.alone.items()}
                told = targets(self.supervision, np.tile(label, (segments, 1)), said)
                np.maximum(recording, told * presence(place, speed, segments)[:, None], out=recording)
        return made

    def told(self, rows: Rows) -> tuple[NDArray[Any], ...]:
        """``known`` [clips, classes] float32 and ``told`` [clips, teachers] int64 of :class:`~training.supervision.online.View`.

        Nothing where no teacher is ``asked``. A mixture is told as its first clip is, which has the most of it (with
        overlay, another may be louder).
        """
        if not self.asked:
            return ()
        theirs = sum(self.supervision[key] for key in self.asked)
        known = weight_of_known(self.supervision, united(self.clips.labels, rows)) - theirs
        first = rows.reshape(len(rows), -1)[:, 0]
        return known.astype(np.float32), np.stack([one.parts[first] for one in self.asked.values()], 1)

    def complete(self, rows: Rows, read: Tensor) -> Tensor:
        """``read`` of these rows with what the live teachers say, in place."""
        for teacher, network in self.live.items():
            asked, places = np.unique(rows, return_inverse=True)
            there = asked[asked >= 0]
            said = predict_share(network, Some(self.clips.waveforms, there), self.batch_size, self.workers, tf32=True)
            heard = united(said, places.reshape(rows.shape) - (len(asked) - len(there)))
            heard = heard / weight_of_known(self.supervision, united(self.clips.labels, rows)).astype(np.float32)
            read += self.supervision[teacher] * torch.from_numpy(heard).to(read.device)
        return read


def united(values: Labels | NDArray[np.floating], rows: Rows) -> NDArray[Any]:
    """``values[rows]``; of rows [clips, n], -1 where there is none, the highest in each line.

    Of labels, NaN is one that is not known: it is 1 if it is in any other clip of the line, and else not known.
    """
    columns = rows.reshape(len(rows), -1).T
    found = values[columns[0]]
    for column in columns[1:]:
        there = column >= 0
        if there.any():
            one, other = found[there], values[column[there]]
            found[there] = np.where(np.fmax(one, other) == 1, 1, np.maximum(one, other))
    return found


def stored_predictions(
    network: Network,
    weights: Path,
    clips: Clips,
    identity: str,
    batch_size: int,
    workers: int = 1,
    step: Step = lambda done, seconds: None,
) -> NDArray[np.float16]:
    """Predictions [clips, classes] of ``network`` on whole clips, computed unless they lie beside ``weights``.

    Parameters
    ----------
    weights : file of the network.
    identity : of the clips: any text that differs where they do.
    batch_size, workers : as in ``scores``.
    step : called before every so many clips.

    Raises
    ------
    OutputError
        If there is no room for the file. What is done is kept.
    """
    shape = len(clips), len(clips.classes)
    path, done = distributed.on_first(lambda: _begun(weights, identity, shape))
    took = 0.0
    while done < shape[0]:
        step(done, took)
        started = time.monotonic()
        rows = range(done, min(done + CHUNK, shape[0]))
        said = predict(network, Some(clips.waveforms, rows), batch_size, workers, tf32=True)
        distributed.on_first(partial(append, _partial(path), done, said.astype(np.float16), LIVE))
        done = rows.stop
        took = time.monotonic() - started
    distributed.on_first(lambda: path.exists() or _partial(path).replace(path))
    return np.memmap(path, np.float16, "r", shape=shape)


def forget_predictions(directory: Path) -> None:
    """Remove the predictions of a teacher that nobody listens to any more."""
    for path in directory.glob("predictions-*"):
        path.unlink()


def _begun(weights: Path, identity: str, shape: tuple[int, int]) -> tuple[Path, int]:
    """Where the predictions of these weights go, and how many lie there; those of others are removed."""
    key = hashlib.sha256(weights.read_bytes() + f"{identity} {shape}".encode()).hexdigest()[:16]
    path = weights.with_name(f"predictions-{key}.f16")
    for other in weights.parent.glob("predictions-*"):
        if not other.name.startswith(path.name) or (other == path and whole_rows(path, shape[1]) != shape[0]):
            other.unlink()
    return path, max(whole_rows(path, shape[1]), whole_rows(_partial(path), shape[1]))


def _partial(path: Path) -> Path:
    return path.with_suffix(".f16.partial")
