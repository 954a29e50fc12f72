"""What lies in an archive, the output of a run on a cluster, and how a run that was cut short goes on.

::

    OUTPUT/
      part-000000.parquet     what was found in the first recordings, and on
      part-000001.parquet
      _sedkit/manifest.json   options, model, which partitions are whole, recordings and failures of each
      _sedkit/plan.parquet    which recordings belong to which partition: fixed before the first is opened
      _sedkit/failures.jsonl  recordings without a result, and why

A partition is written once, whole, by whoever analysed its recordings; that it is there says that it is done. It
holds its own report (recordings, failures) in its footer, so that nothing has to be written twice and nothing that
the driver knows is lost with the driver. The manifest is a summary of those reports, renewed now and then.

The plan gives every partition its recordings for good. Two runs that write the same partition, as when a lost worker
turns out to be alive, write the same rows. To resume is to do the planned partitions that are missing, to do those
again in which a recording has changed (by its size, or the time of its last change), and to plan new ones for
recordings that are new or that failed before. A recording belongs to the last partition that it was planned for.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sedkit.cluster.recordings import Recording
from sedkit.cluster.storage import Store, is_uri
from sedkit.errors import OutputError

if TYPE_CHECKING:
    import pyarrow

VERSION = 1
MANIFEST, PLAN, FAILURES = "_sedkit/manifest.json", "_sedkit/plan.parquet", "_sedkit/failures.jsonl"
REPORT = b"sedkit"  # key of the report in a partition's footer
COLUMNS = ("file", "label", "mid", "onset", "offset", "score")
LARGEST = (1000, 1 << 30)  # recordings and bytes of a partition: what is lost with a worker, at most
SHARES = 4  # partitions a worker at least, where there are recordings enough, so that all end together
READERS = 16  # requests to a store at a time
NOT_UTF8 = "its name is not UTF-8, which Parquet needs; rename it"

Failure = tuple[str, str]  # a recording, and why it has no result


@dataclass(frozen=True)
class Share:
    """The recordings of one partition, in order.

    ``folder`` is what names that are not absolute are relative to.
    """

    number: int
    folder: str
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"part-{self.number:06}.parquet"

    def locate(self, file: str) -> str:
        """Where a recording of it is: an absolute path, or a URI."""
        return locate(self.folder, file)


@dataclass(frozen=True)
class Report:
    """What came of a share: ``recordings`` tried; ``seconds`` of sound and ``rows`` of those that did not fail."""

    recordings: int
    seconds: float
    rows: int
    failures: tuple[Failure, ...]


def locate(folder: str, file: str) -> str:
    return file if is_uri(file) else os.path.normpath(os.path.join(folder, file))


def is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def schema() -> pyarrow.Schema:
    """Of a partition. Times in seconds to 1 ms, scores to four decimals, as in the other formats."""
    import pyarrow as pa

    types = (pa.string(), pa.string(), pa.string(), pa.float64(), pa.float64(), pa.float64())
    return pa.schema([pa.field(name, kind, name == "mid") for name, kind in zip(COLUMNS, types, strict=True)])


def write_partition(store: Store, share: Share, columns: Mapping[str, Sequence[Any]], report: Report) -> None:
    """Put a partition where it belongs.

    Parameters
    ----------
    columns : of :func:`schema`.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    metadata = {REPORT: json.dumps(asdict(report), ensure_ascii=False)}
    table = pa.table(dict(columns), schema=schema().with_metadata(metadata))
    content = io.BytesIO()
    parquet.write_table(table, content, compression="zstd")
    store.write(share.name, content.getbuffer())


def parse_report(text: str | bytes) -> Report:
    """A report from its JSON."""
    found = json.loads(text)
    found["failures"] = tuple(map(tuple, found["failures"]))
    return Report(**found)


def read_report(store: Store, name: str) -> Report:
    """The report in a partition's footer.

    Raises
    ------
    OutputError
        If there is none.
    """
    import pyarrow as pa
    from pyarrow import parquet

    path = store.path(name)
    try:
        return parse_report(parquet.read_schema(path, filesystem=store.files).metadata[REPORT])
    except (OSError, pa.ArrowException, TypeError, KeyError, ValueError) as error:
        raise OutputError(
            f"{store.location}: {name} is damaged ({' '.join(str(error).split())[:200]}); delete it, then --resume"
        ) from None


class Archive:
    """The output of a run, new or gone on with.

    Parameters
    ----------
    store : where it lies.
    settings : all that rows depend on, ready for JSON. An archive holds results of one setting only.
    resume : whether it may hold results already.

    Attributes
    ----------
    shares : the plan.
    reports : of the partitions that are whole, by number.

    Raises
    ------
    OutputError
        If it cannot be written or read, holds results and `resume` is not given, or holds those of other settings.
    """

    def __init__(self, store: Store, settings: Mapping[str, Any], resume: bool) -> None:
        self.store, self.settings = store, json.loads(json.dumps(settings))
        self.shares: list[Share] = []
        self.marks: dict[str, tuple[int, int]] = {}  # size and time of change, by where a recording is
        self.reports: dict[int, Report] = {}
        self.refused: list[Failure] = []
        manifest, plan, names = store.read(MANIFEST), store.read(PLAN), set(store.names())
        if manifest is not None and resume:
            self._check(manifest)
            self._read_plan(plan)
            whole = [share for share in self.shares if share.name in names]
            with ThreadPoolExecutor(READERS) as pool:
                reports = pool.map(lambda share: read_report(store, share.name), whole)
                self.reports = {share.number: report for share, report in zip(whole, reports, strict=True)}
        elif plan is not None or any(name.startswith("part-") for name in names):
            remedy = "--resume goes on with it, or choose" if manifest is not None else "choose"
            raise OutputError(f"{store.location}: holds results already; {remedy} another --output")
        self.save()

    def plan(self, recordings: Iterable[Recording], folder: str, workers: int) -> list[Share]:
        """Give every recording that has no result, nor a partition to come, a partition.

        Parameters
        ----------
        recordings : in the order of the results.
        folder : what names that are not absolute are relative to.
        workers : how many there are to keep busy.

        Returns
        -------
        The shares to do, in order: those planned earlier that are not whole, or no longer, then the new ones.

        Raises
        ------
        OutputError
            If the plan cannot be written.
        """
        given: dict[str, Recording] = {}
        for recording in recordings:
            given.setdefault(locate(folder, recording.file), recording)
        self.refused = [(recording.file, NOT_UTF8) for where, recording in given.items() if not is_utf8(where)]
        self._forget_changed(given)
        standing = self._standing()
        todo = [
            recording
            for where, recording in given.items()
            if is_utf8(where) and (where not in standing or standing[where][1] is not None)
        ]
        first = self.shares[-1].number + 1 if self.shares else 0
        runs = divide(todo, SHARES * workers) if todo else ()
        self.shares += [Share(number, folder, files) for number, files in enumerate(runs, first)]
        self.marks |= {where: (recording.size, recording.changed) for where, recording in given.items()}
        self._write_plan()
        owners = {where: number for where, (number, _) in self._standing().items()}
        return [
            replace(share, files=tuple(file for file in share.files if owners[share.locate(file)] == share.number))
            for share in self.shares
            if share.number not in self.reports
        ]

    def failures(self) -> list[Failure]:
        """Recordings without a result that are not still to be tried, in the order of the plan."""
        return self.refused + [failure for _, failure in self._standing().values() if failure is not None]

    def save(self) -> None:
        """Renew the manifest.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        manifest = {
            "version": VERSION,
            "settings": self.settings,
            "columns": COLUMNS,
            "planned": {"partitions": len(self.shares), "recordings": sum(len(share.files) for share in self.shares)},
            "complete": len(self.reports) == len(self.shares),
            "partitions": [
                {"name": share.name, **asdict(report), "failures": len(report.failures)}
                for share in self.shares
                if (report := self.reports.get(share.number))
            ],
        }
        self.store.write(MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())

    def save_failures(self) -> list[Failure]:
        """Write the table of failures, empty if there are none; returns them."""
        failures = self.failures()
        lines = [json.dumps({"file": file, "error": error}) + "\n" for file, error in failures]
        self.store.write(FAILURES, "".join(lines).encode())
        return failures

    def _forget_changed(self, given: Mapping[str, Recording]) -> None:
        """Delete the partitions that hold a recording as it was, before the plan says how it is."""
        stale = {
            number
            for where, (number, failure) in self._standing().items()
            if where in given and failure is None and self.marks[where] != given[where][1:]
        }
        for share in self.shares:
            if share.number in stale and share.number in self.reports:
                self.store.delete(share.name)
                del self.reports[share.number]

    def _standing(self) -> dict[str, tuple[int, Failure | None]]:
        """How every planned recording stands, by where it is: its partition's number; the failure, or None."""
        standing: dict[str, tuple[int, Failure | None]] = {}
        for share in self.shares:
            report = self.reports.get(share.number)
            failed = dict(report.failures) if report else {}
            for file in share.files:
                standing[share.locate(file)] = share.number, (file, failed[file]) if file in failed else None
        return standing

    def _check(self, manifest: bytes) -> None:
        """Whether the archive is of this format and of these settings."""
        location = self.store.location
        try:
            old = json.loads(manifest)
            version, settings = old["version"], dict(old["settings"])
        except (ValueError, KeyError, TypeError):
            raise OutputError(f"{location}: {MANIFEST} is damaged; choose another --output") from None
        if version != VERSION:
            raise OutputError(f"{location}: an archive of format {version}, not {VERSION}; choose another --output")
        for name in dict.fromkeys([*settings, *self.settings]):
            then, now = settings.get(name), self.settings.get(name)
            if then != now:
                raise OutputError(
                    f"{location}: made with {shown(name, then)}, and now it is {shown(name, now)}; ask for the same, "
                    "or choose another --output"
                )

    def _write_plan(self) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        planned = [(share, file, *self.marks[share.locate(file)]) for share in self.shares for file in share.files]
        table = pa.table(
            {
                "partition": pa.array([share.number for share, *_ in planned], pa.int32()),
                "folder": pa.array([share.folder for share, *_ in planned], pa.string()),
                "file": pa.array([file for _, file, *_ in planned], pa.string()),
                "size": pa.array([size for *_, size, _ in planned], pa.int64()),
                "changed": pa.array([changed for *_, changed in planned], pa.int64()),
            }
        )
        content = io.BytesIO()
        parquet.write_table(table, content, compression="zstd")
        self.store.write(PLAN, content.getbuffer())

    def _read_plan(self, content: bytes | None) -> None:
        from pyarrow import parquet

        if content is None:
            return  # cut short before there was one
        try:
            rows = parquet.read_table(io.BytesIO(content)).to_pylist()
        except (OSError, ValueError):
            raise OutputError(f"{self.store.location}: {PLAN} is damaged; choose another --output") from None
        for (number, folder), group in groupby(rows, key=lambda row: (row["partition"], row["folder"])):
            planned = list(group)
            self.shares.append(Share(number, folder, tuple(row["file"] for row in planned)))
            self.marks |= {locate(folder, row["file"]): (row["size"], row["changed"]) for row in planned}


def divide(recordings: Sequence[Recording], shares: int) -> Iterator[tuple[str, ...]]:
    """Cut recordings into runs, about `shares` or, if that makes them larger than LARGEST, more."""
    most = min(LARGEST[0], math.ceil(len(recordings) / shares))
    fullest = min(LARGEST[1], math.ceil(sum(recording.size for recording in recordings) / shares))
    files: list[str] = []
    held = 0
    for file, size, _ in recordings:
        if len(files) == most or (files and held >= fullest):
            yield tuple(files)
            files, held = [], 0
        files.append(file)
        held += size
    if files:
        yield tuple(files)


def shown(name: str, value: Any) -> str:
    """An option as a person writes it."""
    return f"no {name}" if value is None else f"{name} {', '.join(value) if isinstance(value, list) else value}"
