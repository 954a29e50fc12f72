"""What each process of the cluster does: analyse the recordings of a share, write its partition, report."""

from __future__ import annotations

import dataclasses
import json
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sedkit.cluster.archive import COLUMNS, MANIFEST, Report, Share, write_partition
from sedkit.cluster.recordings import close_recording, open_recording
from sedkit.cluster.storage import Store
from sedkit.errors import AudioError, OutputError, SedkitError

if TYPE_CHECKING:
    from sedkit.formats import Kind
    from sedkit.inference.model import Model
    from sedkit.inference.session import Device
    from sedkit.results import Tagging, Timeline
    from sedkit.timeline.views import View

    Result = Tagging | Timeline | SedkitError


@dataclasses.dataclass(frozen=True)
class Task:
    """What is asked of every recording, and of whom.

    Attributes
    ----------
    kind, view : what is found, and what makes a recording's result.
    model : name and content of the model file, which the workers' machines need not have.
    device : as of :class:`sedkit.inference.model.Model`.
    cpus : of a worker.
    output : location of the archive.
    """

    kind: Kind
    view: Callable[[], View[Tagging | Timeline]]
    model: tuple[str, bytes]
    device: Device
    cpus: int
    output: str


class Ledger:
    """Remembers, while workers come and go, where they were when they died. One for a run, an actor of its own.

    A share whose worker died is done again with care: one recording at a time, each noted before it is opened. A
    recording that was noted when a worker died again is left out: two deaths are no accident.
    """

    def __init__(self) -> None:
        self.begun: set[int] = set()
        self.noted: dict[int, str] = {}  # by share
        self.deadly: dict[int, set[str]] = {}

    def begin(self, share: int) -> tuple[bool, set[str]]:
        """A share is begun: whether with care, and the recordings to leave out."""
        deadly = self.deadly.setdefault(share, set())
        if share in self.noted:
            deadly.add(self.noted.pop(share))
        careful = share in self.begun
        self.begun.add(share)
        return careful, deadly

    def note(self, share: int, file: str) -> None:
        """A recording is about to be opened."""
        self.noted[share] = file

    def end(self, share: int) -> None:
        """All recordings of a share are done."""
        self.noted.pop(share, None)


class Worker:
    """One session of the model, in one process. Ray Data calls it with a share at a time.

    What goes wrong with a recording is in the answer's ``report``; what goes wrong with the worker itself is its
    ``error``, a line that ends the run.
    """

    def __init__(self, task: Task, ledger: Any) -> None:
        self.task, self.ledger = task, ledger
        self.model: Model | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        share = Share(int(row["number"]), row["folder"], tuple(row["files"]))
        answer = {"number": share.number, "error": "", "notice": "", "report": ""}
        try:
            if self.model is None:
                self.store = open_store(self.task.output)
                self.model = load(self.task)
            answer["notice"] = self.model.notice or ""
            answer["report"] = json.dumps(dataclasses.asdict(self.work(share)))
        except SedkitError as error:
            answer["error"] = str(error)
        return answer

    def work(self, share: Share) -> Report:
        """Write the partition of a share.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        seconds, failures = 0.0, []
        for file, result in zip(share.files, self.results(share), strict=True):
            if isinstance(result, SedkitError):
                failures.append((file, explained(result, share.locate(file))))
            else:
                seconds += result.duration
                add_rows(columns, self.task.kind, dataclasses.replace(result, file=file))
        report = Report(len(share.files), round(seconds, 3), len(columns["file"]), tuple(failures))
        write_partition(self.store, share, columns, report)
        return report

    def results(self, share: Share) -> Iterator[Result]:
        """The result of each recording, or the error that kept it from having one."""
        import ray

        careful, deadly = ray.get(self.ledger.begin.remote(share.number))
        if not careful:
            yield from self.analyse([share.locate(file) for file in share.files])
            return
        for file in share.files:
            if file in deadly:
                yield AudioError("two worker processes died of it; analyse it by itself to see why")
            else:
                ray.get(self.ledger.note.remote(share.number, file))
                yield from self.analyse([share.locate(file)])
        ray.get(self.ledger.end.remote(share.number))

    def analyse(self, locations: list[str]) -> Iterator[Result]:
        """The same, of recordings by where they are."""
        from sedkit.inference.pipeline import analyse

        assert self.model is not None
        opened = deque[str | BinaryIO]()

        def sources() -> Iterator[str | BinaryIO]:
            for where in locations:
                source = open_recording(where)
                opened.append(source)
                yield source

        with closing(analyse(self.model, self.task.view, sources(), self.task.cpus)) as results:
            for _, result in results:
                failure = close_recording(opened.popleft())
                if failure:
                    result = AudioError(f"cannot be read to its end: {failure}; check the store, then --resume")
                yield result


def open_store(output: str) -> Store:
    """The archive, which has to be the driver's.

    Raises
    ------
    OutputError
        If this machine does not see it.
    """
    store = Store(output)
    if store.read(MANIFEST) is None:
        raise OutputError(
            f"{output}: not there on the machine {socket.gethostname()}; --output is a folder that all machines "
            "share, or an address such as s3://bucket/folder"
        )
    return store


def load(task: Task) -> Model:
    """The model of a worker.

    Raises
    ------
    ModelError, DeviceError
        If it cannot be loaded on the device.
    """
    from sedkit.inference.model import Model

    name, content = task.model
    with tempfile.TemporaryDirectory(prefix="sedkit-") as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        return Model(path, task.device, threads=1)


def explained(error: SedkitError, where: str) -> str:
    """Why a recording failed, in a line without its name."""
    return " ".join(str(error).split()).removeprefix(f"{where}: ")


def add_rows(columns: dict[str, list[Any]], kind: Kind, result: Tagging | Timeline) -> None:
    """Add the rows of a result, as the other formats have them; a tag spans the whole recording."""
    record = result.to_dict()
    for found in record[kind]:
        row = {"file": record["file"], "onset": 0.0, "offset": record["duration"], **found}
        for name, column in columns.items():
            column.append(row[name])
