"""What each process of the cluster does: analyse the recordings of a share, write its partition, report."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sedkit.cluster.archive import COLUMNS, MANIFEST, Report, Share, write_partition
from sedkit.cluster.storage import Store, is_uri, open_recording
from sedkit.errors import AudioError, OutputError, SedkitError

if TYPE_CHECKING:
    from sedkit.formats import Kind
    from sedkit.results import Tagging, Timeline
    from sedkit.session import Device
    from sedkit.tagger import Tagger

DEATHS = 2  # of workers that were at the same recording and no other, until it is given up


@dataclasses.dataclass(frozen=True)
class Task:
    """What is asked of every recording.

    Attributes
    ----------
    kind : ``"tags"`` or ``"events"``.
    options : keyword arguments of :meth:`sedkit.tagger.Tagger.tag` or :meth:`~sedkit.tagger.Tagger.timeline`.
    model : name and content of the model file, which the workers' machines need not have.
    device : as of :class:`sedkit.model.Model`.
    threads : CPU threads of a worker.
    output : location of the archive.
    """

    kind: Kind
    options: Mapping[str, Any]
    model: tuple[str, bytes]
    device: Device
    threads: int
    output: str


class Ledger:
    """Remembers, while workers come and go, where they were when they died. One for a run, an actor of its own.

    A share whose worker died is done again with care: each recording is noted before it is opened. A recording that
    was noted last when :data:`DEATHS` workers died is what kills them.
    """

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()
        self.noted: dict[int, str] = {}
        self.deaths: Counter[str] = Counter()

    def begin(self, share: int) -> tuple[bool, set[str]]:
        """A share is begun: whether with care, and the recordings of it to leave out."""
        self.begun[share] += 1
        if share in self.noted:
            self.deaths[self.noted.pop(share)] += 1
        return self.begun[share] > 1, {file for file, deaths in self.deaths.items() if deaths >= DEATHS}

    def note(self, share: int, file: str) -> None:
        self.noted[share] = file


class Worker:
    """One session of the model, in one process. Ray Data calls it with a share at a time.

    What goes wrong with a recording is in the report; what goes wrong with the worker itself is the answer's
    ``error``, a line that ends the run.
    """

    def __init__(self, task: Task, ledger: Any) -> None:
        self.task, self.ledger = task, ledger
        self.tagger: Tagger | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        share = Share(int(row["number"]), row["folder"], tuple(row["files"]))
        answer = {"number": share.number, "error": "", "report": "", "notice": ""}
        try:
            if self.tagger is None:
                self.store = self.open_store()
                self.tagger = load(self.task)
            answer["notice"] = self.tagger.model.notice or ""
            answer["report"] = json.dumps(dataclasses.asdict(self.work(share)))
        except SedkitError as error:
            answer["error"] = str(error)
        return answer

    def open_store(self) -> Store:
        """The archive, which has to be the driver's."""
        store = Store(self.task.output)
        if store.read(MANIFEST) is None:
            import socket

            raise OutputError(
                f"{store.location}: not there on {socket.gethostname()}; "
                "--output is a folder that all machines share, or an address such as s3://bucket/folder"
            )
        return store

    def work(self, share: Share) -> Report:
        """Write the partition of a share.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        import ray

        careful, deadly = ray.get(self.ledger.begin.remote(share.number))
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        seconds, failures = 0.0, []
        for file, where in zip(share.files, share.locations(), strict=True):
            if careful:
                ray.get(self.ledger.note.remote(share.number, file))
            try:
                if file in deadly:
                    raise AudioError(f"{file}: worker processes died of it, {DEATHS + 1} in all; try it on one machine")
                result = self.analyse(where)
            except SedkitError as error:
                failures.append((file, " ".join(str(error).split()).replace(where, file, 1).removeprefix(f"{file}: ")))
            else:
                seconds += result.duration
                add_rows(columns, self.task.kind, dataclasses.replace(result, file=file))
        report = Report(len(share.files), round(seconds, 3), len(columns["file"]), tuple(failures))
        write_partition(self.store, share, columns, report)
        return report

    def analyse(self, where: str) -> Tagging | Timeline:
        """The result of one recording.

        Raises
        ------
        SedkitError
            If there is none, even by a fault of ours, which must not cost the other recordings.
        """
        assert self.tagger is not None
        find = self.tagger.tag if self.task.kind == "tags" else self.tagger.timeline
        try:
            if not is_uri(where):
                return find(where, **self.task.options)
            file, raw = open_recording(where)
            with file:
                result = find(file, **self.task.options)
                if raw.failure:
                    raise AudioError(f"{where}: cannot be read to its end: {raw.failure}")
                return result
        except SedkitError:
            raise
        except Exception as error:
            raise SedkitError(f"{where}: {type(error).__name__}: {error}") from error


def load(task: Task) -> Tagger:
    """The tagger of a worker.

    Raises
    ------
    ModelError, DeviceError
        If the model cannot be loaded on the device.
    """
    from sedkit.tagger import Tagger

    name, content = task.model
    with tempfile.TemporaryDirectory(prefix="sedkit-") as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        return Tagger(path, task.device, threads=task.threads)


def add_rows(columns: dict[str, list[Any]], kind: Kind, result: Tagging | Timeline) -> None:
    """Add the rows of a result, as the other formats have them; a tag spans the whole recording."""
    record = result.to_dict()
    for row in record[kind]:
        row = {"file": record["file"], "onset": 0.0, "offset": record["duration"], **row}
        for name, column in columns.items():
            column.append(row[name])
