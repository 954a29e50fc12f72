"""Embeddings of recordings: for WELS-Net, the values of layer L3. One row of numbers per segment or per recording."""

from __future__ import annotations

from typing import IO, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import ArgumentError
from sedkit.geometry import WELS_NET, Geometry
from sedkit.inference.model import Model, Scores
from sedkit.results import Embedding

Per: TypeAlias = Literal["segment", "clip"]

MOST_IN_MEMORY = 64 * 2**20  # bytes of one recording's rows, 1.5 h of audio for WELS-Net; more go to a temporary file


class EmbeddingModel(Model):
    """A loaded model that computes embeddings where a :class:`Model` computes scores.

    Parameters
    ----------
    model : shares its session.
    """

    def __init__(self, model: Model) -> None:
        vars(self).update(vars(model))

    def batch(self, waveforms: Scores) -> Scores:
        """The embeddings of several recordings of the same length; see :meth:`Model.embeddings`."""
        return self.embeddings(waveforms)


class EmbeddingView:
    """Collects the embeddings of one recording (a :class:`sedkit.timeline.views.View`).

    Parameters
    ----------
    per : ``"segment"`` for one row per segment; ``"clip"`` for their mean, without silent segments.
    geometry : of the model.

    Raises
    ------
    ArgumentError
        If `per` is neither.
    """

    def __init__(self, per: Per = "segment", geometry: Geometry = WELS_NET) -> None:
        if per not in get_args(Per):
            raise ArgumentError(f"per must be 'segment' or 'clip', not {per!r}")
        self.per, self.geometry = per, geometry
        self.width = 0  # numbers in a row
        self.total: NDArray[np.float64] | None = None  # of the segments that are not silent
        self.sounding = 0
        self.rows: list[Scores] = []
        self.size = 0  # bytes of all rows
        self.file: IO[bytes] | None = None  # earlier rows

    def add(self, samples: NDArray[np.float32], kept: slice, scores: NDArray[np.float32]) -> None:
        """Add the embeddings of the next segments, [k, numbers]."""
        self.width = scores.shape[1]
        if self.per == "segment":
            self.rows.append(scores)
            self.size += scores.nbytes
            if self.size > MOST_IN_MEMORY:
                self._spill()
            return
        sounding = scores[scores.any(axis=1)]
        for row in sounding:  # one by one: the sum does not depend on how the recording is cut
            self.total = row.astype(np.float64) if self.total is None else self.total + row
        self.sounding += len(sounding)

    def finish(self, file: str, duration: float) -> Embedding:
        """The embedding of a recording of `duration` seconds. Long ones are memory-mapped from a temporary file."""
        if self.per == "clip":
            mean = np.zeros(self.width) if self.total is None else self.total / self.sounding
            return Embedding(file, duration, np.zeros(1), np.array([duration]), mean.astype(np.float32)[None])
        if self.file:
            with self._spill() as rows:
                values: Scores = np.memmap(rows, np.float32, "r").reshape(-1, self.width)
        else:
            values = np.concatenate(self.rows)
        onsets: NDArray[np.float64] = self.geometry.step * np.arange(float(len(values)))
        offsets = (onsets + self.geometry.segment_span / self.geometry.sample_rate).clip(max=duration)
        return Embedding(file, duration, onsets, offsets, values)

    def _spill(self) -> IO[bytes]:
        """Move the rows to the temporary file."""
        import tempfile

        if self.file is None:
            self.file = tempfile.TemporaryFile()  # noqa: SIM115 (lives until all rows are there)
        for rows in self.rows:
            self.file.write(np.ascontiguousarray(rows, np.float32).data)
        self.file.flush()
        self.rows = []
        return self.file
