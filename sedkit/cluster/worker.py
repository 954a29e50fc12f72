"""The code of each cluster process: analyse the recordings of a partition, write its file, return a report."""

from __future__ import annotations

import dataclasses
import json
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sedkit.audio.prefetch import AudioSource
from sedkit.cluster.archive import MANIFEST
from sedkit.cluster.partitions import Partition, Report, write_partition
from sedkit.cluster.recordings import close_recording, open_recording
from sedkit.cluster.storage import Store
from sedkit.errors import AudioError, OutputError, SedkitError
from sedkit.formats.columnar import COLUMNS

if TYPE_CHECKING:
    from sedkit.formats.writers import Kind
    from sedkit.inference.model import Model
    from sedkit.inference.session import Device
    from sedkit.results import Tagging, Timeline
    from sedkit.timeline.views import View

    Result = Tagging | Timeline | SedkitError


@dataclasses.dataclass(frozen=True)
class Task:
    """What all workers of a run have in common.

    Attributes
    ----------
    kind : ``"tags"`` or ``"events"``.
    make_view : makes the view of one recording.
    model : name and content of the model file, which need not exist on the workers' machines.
    device : see :class:`sedkit.inference.model.Model`.
    cpus : CPUs of a worker.
    output : location of the archive.
    reading : arguments of :func:`sedkit.audio.reading.open_audio`.
    """

    kind: Kind
    make_view: Callable[[], View[Tagging | Timeline]]
    model: tuple[str, bytes]
    device: Device
    cpus: int
    output: str
    reading: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Ledger:
    """Records which recordings crash workers. A Ray actor, one per run, that outlives the workers.

    A partition whose worker died is analysed again in careful mode: one recording at a time, each noted before it is
    opened. If the worker dies again, the noted recording is skipped from then on.
    """

    def __init__(self) -> None:
        self.started: set[int] = set()  # partitions
        self.noted: dict[int, str] = {}  # the recording that is being analysed, by partition
        self.deadly: dict[int, set[str]] = {}  # recordings to skip, by partition

    def begin(self, partition: int) -> tuple[bool, set[str]]:
        """A worker starts a partition. Returns whether to use careful mode, and the recordings to skip."""
        deadly = self.deadly.setdefault(partition, set())
        if partition in self.noted:
            deadly.add(self.noted.pop(partition))
        careful = partition in self.started
        self.started.add(partition)
        return careful, deadly

    def note(self, partition: int, file: str) -> None:
        """A worker in careful mode is about to open a recording."""
        self.noted[partition] = file

    def end(self, partition: int) -> None:
        """All recordings of a partition are done."""
        self.noted.pop(partition, None)


class Worker:
    """One model session in one process. Ray Data calls it with one partition at a time.

    Errors of recordings are in the answer's ``report``. An error of the worker itself is in ``error``; it ends the run.
    """

    def __init__(self, task: Task, ledger: Any) -> None:
        self.task, self.ledger = task, ledger
        self.model: Model | None = None
        self.notices: list[str] = []  # about recordings of the partition

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        partition = Partition(int(row["number"]), row["folder"], tuple(row["files"]))
        answer = {"number": partition.number, "error": "", "notice": "", "report": ""}
        try:
            if self.model is None:
                self.store = open_store(self.task.output)
                self.model = load_model(self.task)
            self.notices = [self.model.notice] if self.model.notice else []
            answer["report"] = json.dumps(dataclasses.asdict(self.analyse_partition(partition)))
            answer["notice"] = "\n".join(self.notices)
        except SedkitError as error:
            answer["error"] = str(error)
        return answer

    def analyse_partition(self, partition: Partition) -> Report:
        """Analyse the recordings of a partition and write its file.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        lengths, failures = list[float](), []
        for file, result in zip(partition.files, self.results(partition), strict=True):
            if isinstance(result, SedkitError):
                failures.append((file, failure_reason(result, partition.locate(file))))
                lengths.append(0.0)
            else:
                lengths.append(round(result.duration, 3))
                add_rows(columns, self.task.kind, dataclasses.replace(result, file=file))
        seconds, rows = round(sum(lengths), 3), len(columns["file"])
        report = Report(len(partition.files), seconds, rows, tuple(failures), tuple(lengths))
        write_partition(self.store, partition, columns, report)
        return report

    def results(self, partition: Partition) -> Iterator[Result]:
        """The result of each recording, or the error that prevented it."""
        import ray

        careful, deadly = ray.get(self.ledger.begin.remote(partition.number))
        if not careful:
            yield from self.analyse([partition.locate(file) for file in partition.files])
            return
        for file in partition.files:
            if file in deadly:
                yield AudioError("crashed two worker processes; analyse it by itself to see why")
            else:
                ray.get(self.ledger.note.remote(partition.number, file))
                yield from self.analyse([partition.locate(file)])
        ray.get(self.ledger.end.remote(partition.number))

    def analyse(self, locations: list[str]) -> Iterator[Result]:
        """As :meth:`results`, for recordings given by location."""
        from sedkit.inference.pipeline import analyse

        assert self.model is not None
        opened = deque[str | BinaryIO]()

        def sources() -> Iterator[AudioSource]:
            for location in locations:
                source = open_recording(location)
                opened.append(source)
                yield AudioSource(source, **self.task.reading, on_notice=self.notices.append)

        with closing(analyse(self.model, self.task.make_view, sources(), self.task.cpus)) as results:
            for _, result in results:
                failure = close_recording(opened.popleft())
                if failure:
                    result = AudioError(f"cannot be read to the end: {failure}; check the store, then --resume")
                yield result


def open_store(output: str) -> Store:
    """Open the archive that the driver has created.

    Raises
    ------
    OutputError
        If this machine does not see it.
    """
    store = Store(output)
    if store.read(MANIFEST) is None:
        raise OutputError(
            f"{output}: does not exist on the machine {socket.gethostname()}; choose an --output that all machines "
            "share: a network folder, or an address such as s3://bucket/folder"
        )
    return store


def load_model(task: Task) -> Model:
    """Load the model from the content of its file.

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


def failure_reason(error: SedkitError, location: str) -> str:
    """The error message on one line, without the recording's name."""
    return " ".join(str(error).split()).removeprefix(f"{location}: ")


def add_rows(columns: dict[str, list[Any]], kind: Kind, result: Tagging | Timeline) -> None:
    """Append the rows of a result. Values are those of the other formats; a tag spans the whole recording."""
    record = result.to_dict()
    for item in record[kind]:
        row = {"file": record["file"], "onset": 0.0, "offset": record["duration"], **item}
        for name, column in columns.items():
            column.append(row[name])
