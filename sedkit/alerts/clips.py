"""The action ``save``: the sound around an alert, as a file. The sound before it comes from a ring buffer."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from sedkit.alerts.alert import Alert, slug
from sedkit.alerts.ring import Ring
from sedkit.alerts.sink import QueuedSink, SinkError
from sedkit.audio.decoding import to_float
from sedkit.errors import OutputError

BEFORE, AFTER = 2.0, 8.0  # seconds
LATENCY = 10.0  # seconds from an onset until its alert, at most, beside the rule's duration and the post-processing
LONGEST_DELAY = 600.0  # seconds of post-processing for which sound is kept
WAITING = 8  # clips in memory that may wait for the disk
OWN = re.compile(r"\d{8}T\d{6}\.\d{3}Z_[a-z0-9_]+\.(wav|flac)$")  # names of clips; the quota touches no other files


class Clip(NamedTuple):
    """A file, the samples for it and their rate in Hz."""

    path: Path
    samples: NDArray[Any]
    rate: float


class Clips(QueuedSink[Clip]):
    """Saves a clip for each alert, as soon as its sound is complete.

    Parameters
    ----------
    name, on_notice : as for :class:`sedkit.alerts.sink.Sink`.
    folder : for the files; made if there is none.
    before, after : seconds before and after the onset.
    lasting : the longest duration that a rule asks for, in seconds.
    delay : seconds by which the post-processing delays an alert, at most (:attr:`sedkit.alerts.watch.Watch.delay`).
    kind : of the files.
    max_clips, max_megabytes : quota; beyond it, the oldest clips in the folder are deleted.

    Raises
    ------
    OutputError
        If the folder cannot be made or written to.
    """

    def __init__(
        self,
        name: str,
        on_notice: Callable[[str], None],
        folder: str,
        before: float = BEFORE,
        after: float = AFTER,
        lasting: float = 0.0,
        delay: float = 0.0,
        kind: Literal["wav", "flac"] = "wav",
        max_clips: int | None = None,
        max_megabytes: float | None = None,
    ) -> None:
        self.folder, self.before, self.after, self.kind = Path(folder), before, after, kind
        self.max_clips, self.max_bytes = max_clips, None if max_megabytes is None else max_megabytes * 1e6
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from None
        if not os.access(self.folder, os.W_OK):
            raise OutputError(f"{folder}: is write-protected; change its permissions, or choose another folder")
        self.kept = before + max(after, lasting + min(delay, LONGEST_DELAY) + LATENCY)
        self.ring: Ring | None = None
        self._open = deque[tuple[Alert, Path]]()  # alerts whose sound is not complete
        super().__init__(name, on_notice, WAITING)

    def path_of(self, alert: Alert) -> Path:
        """Where the clip of an alert is saved, for example ``20261129T141640.250Z_dog.wav``."""
        stamp = f"{alert.time:%Y%m%dT%H%M%S}.{alert.time.microsecond // 1000:03}Z"
        return self.folder / f"{stamp}_{slug(alert.rule)}.{self.kind}"

    def hear(self, block: NDArray[Any], rate: float) -> None:
        """Add the next samples of the source, [samples] or [samples, channels], at `rate` Hz."""
        self.ring = self.ring or Ring(self.kept, rate)
        self.ring.add(block)
        self._save_complete()

    def begin(self, alert: Alert) -> None:
        self._open.append((alert, self.path_of(alert)))
        self._save_complete()

    def close(self) -> None:
        self._save_complete(ended=True)
        super().close()

    def _save_complete(self, ended: bool = False) -> None:
        while self.ring is not None and self._open:
            alert, path = self._open[0]
            if not ended and alert.onset + self.after > self.ring.end / self.ring.rate:
                break
            samples = self.ring.cut(alert.onset - self.before, alert.onset + self.after)
            self.put(Clip(path, samples, self.ring.rate))
            self._open.popleft()

    def deliver(self, job: Clip) -> None:
        import soundfile

        if not len(job.samples):
            raise SinkError(f"{job.path}: its sound is no longer in memory; shorten hold, merge gap and median")
        temporary = job.path.with_name(f".{job.path.name}.tmp")
        try:
            try:
                soundfile.write(temporary, to_float(job.samples), round(job.rate), "PCM_16", format=self.kind.upper())
                temporary.replace(job.path)
            finally:
                temporary.unlink(missing_ok=True)
            self._keep_quota()
        except (OSError, soundfile.LibsndfileError) as error:
            raise SinkError(f"{job.path}: cannot be written ({getattr(error, 'strerror', None) or error})") from None

    def _keep_quota(self) -> None:
        """Delete the oldest clips beyond the quota, but never the latest."""
        clips = sorted(path for path in self.folder.iterdir() if OWN.match(path.name))
        total = sum(path.stat().st_size for path in clips)
        for number, path in enumerate(clips[:-1]):
            too_many = self.max_clips is not None and len(clips) - number > self.max_clips
            if not too_many and (self.max_bytes is None or total <= self.max_bytes):
                break
            total -= path.stat().st_size
            path.unlink()
