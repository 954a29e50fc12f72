"""The output format of a run on a cluster, and how an interrupted run resumes.

::

    OUTPUT/
      part-000000.parquet     results of the first recordings
      part-000001.parquet     ... and so on
      _sedkit/manifest.json   options, model, finished partitions, recordings and failures of each
      _sedkit/plan.parquet    which recordings belong to which partition; written before the first is opened
      _sedkit/failures.jsonl  recordings without a result, and why

A partition is written as a whole, by the worker that analysed its recordings. If its file exists, it is done. Its
footer holds its report (recordings, failures), so nothing is lost if the driver dies. The manifest summarises these
reports and is rewritten from time to time.

The plan assigns each recording to a partition for good. Two runs that write the same partition (if a worker that
seemed lost is still running) write the same rows. A resumed run analyses the planned partitions that are missing. It
plans new partitions for recordings that are new, that failed before, or that have changed (size or modification time).
A changed recording first becomes a failure of its old partition, which is written again without its rows; those of the
other recordings stay, even if they no longer exist. A recording belongs to the last partition that it was planned for.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from typing import Any

from sedkit.cluster.partitions import Failure, Partition, Report, locate, read_report, withdraw
from sedkit.cluster.recordings import Recording
from sedkit.cluster.storage import Store
from sedkit.errors import OutputError
from sedkit.formats.columnar import COLUMNS
from sedkit.formats.options import option_text

VERSION = 1
MANIFEST, PLAN, FAILURES = "_sedkit/manifest.json", "_sedkit/plan.parquet", "_sedkit/failures.jsonl"
LARGEST = (1000, 1 << 30)  # maximum recordings and bytes of a partition, which bounds the work lost with a worker
PARTITIONS_PER_WORKER = 4  # minimum, if there are enough recordings; balances the load
PARALLEL_READS = 16  # simultaneous requests to the store
NOT_UTF8 = "its name is not UTF-8, which Parquet requires; rename it"


def is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class Archive:
    """The output of a new or a resumed run.

    Parameters
    ----------
    store : the output's location.
    settings : everything that determines the rows, JSON-serialisable. All results of an archive share one setting.
    resume : whether the archive may hold results already.

    Attributes
    ----------
    partitions : the plan.
    reports : of finished partitions, by number.
    fingerprints : size and modification time of each planned recording, by location.
    invalid_names : failures of recordings that cannot be planned.
    given : the recordings of this run, by location.

    Raises
    ------
    OutputError
        If the archive cannot be read or written, holds results although ``resume`` is false, or holds results of other
        settings.
    """

    def __init__(self, store: Store, settings: Mapping[str, Any], resume: bool) -> None:
        self.store, self.settings = store, json.loads(json.dumps(settings))
        self.partitions: list[Partition] = []
        self.fingerprints: dict[str, tuple[int, int]] = {}
        self.reports: dict[int, Report] = {}
        self.invalid_names: list[Failure] = []
        self.given: dict[str, Recording] = {}
        manifest, plan, names = store.read(MANIFEST), store.read(PLAN), set(store.names())
        if manifest is not None and resume:
            self._check(manifest)
            self._read_plan(plan)
            finished = [partition for partition in self.partitions if partition.name in names]
            with ThreadPoolExecutor(PARALLEL_READS) as pool:
                reports = pool.map(lambda partition: read_report(store, partition.name), finished)
                self.reports = {part.number: report for part, report in zip(finished, reports, strict=True)}
        elif plan is not None or any(name.startswith("part-") for name in names):
            remedy = "continue them with --resume, or choose" if manifest is not None else "choose"
            raise OutputError(f"{store.location}: holds results already; {remedy} another --output")
        self.save()

    def plan(self, recordings: Iterable[Recording], folder: str, workers: int) -> list[Partition]:
        """Assign a partition to each recording that has neither a current result nor an unfinished partition.

        Parameters
        ----------
        recordings : in the order of the results.
        folder : base of relative names.
        workers : number of workers to keep busy.

        Returns
        -------
        The partitions to analyse, in order: first planned ones that are missing, then new ones.

        Raises
        ------
        OutputError
            If the plan cannot be written, or a partition with changed recordings cannot be read or written.
        """
        given = self.given
        for recording in recordings:
            given.setdefault(locate(folder, recording.file), recording)
        self.invalid_names = [
            (recording.file, NOT_UTF8) for location, recording in given.items() if not is_utf8(location)
        ]
        self._withdraw_changed(given)
        status = self._status()
        unassigned = [
            recording
            for location, recording in given.items()
            if is_utf8(location) and (location not in status or status[location][1] is not None)
        ]
        first = self.partitions[-1].number + 1 if self.partitions else 0
        groups = divide(unassigned, PARTITIONS_PER_WORKER * workers) if unassigned else ()
        self.partitions += [Partition(number, folder, files) for number, files in enumerate(groups, first)]
        self.fingerprints |= {location: (recording.size, recording.changed) for location, recording in given.items()}
        self._write_plan()
        owners = {location: number for location, (number, _) in self._status().items()}
        return [
            replace(part, files=tuple(file for file in part.files if owners[part.locate(file)] == part.number))
            for part in self.partitions
            if part.number not in self.reports
        ]

    def failures(self) -> list[Failure]:
        """Recordings that were tried and have no result, in the order of the plan."""
        return self.invalid_names + [failure for _, failure in self._status().values() if failure is not None]

    def save(self) -> None:
        """Write the manifest.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        manifest = {
            "version": VERSION,
            "settings": self.settings,
            "columns": COLUMNS,
            "planned": {
                "partitions": len(self.partitions),
                "recordings": sum(len(partition.files) for partition in self.partitions),
            },
            "complete": len(self.reports) == len(self.partitions),
            "partitions": [
                {
                    "name": partition.name,
                    "recordings": report.recordings,
                    "seconds": report.seconds,
                    "rows": report.rows,
                    "failures": len(report.failures),
                }
                for partition in self.partitions
                if (report := self.reports.get(partition.number))
            ],
        }
        self.store.write(MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())

    def save_failures(self) -> list[Failure]:
        """Write the list of failures, which may be empty; returns those of this run's recordings, by its names."""
        failures = self.failures()
        lines = [json.dumps({"file": file, "error": error}) + "\n" for file, error in failures]
        self.store.write(FAILURES, "".join(lines).encode())
        failed = [(location, failure[1]) for location, (_, failure) in self._status().items() if failure is not None]
        mine = [(self.given[location].file, error) for location, error in failed if location in self.given]
        return self.invalid_names + mine

    def _withdraw_changed(self, given: Mapping[str, Recording]) -> None:
        """Withdraw the rows of changed recordings, before the plan records their new fingerprints."""
        owners = {
            location: number
            for location, (number, failure) in self._status().items()
            if location in given and failure is None and self.fingerprints[location] != given[location][1:]
        }

        def withdrawn(partition: Partition) -> None:
            number = partition.number
            changed = {file for file in partition.files if owners.get(partition.locate(file)) == number}
            self.reports[number] = withdraw(self.store, partition, self.reports[number], changed)

        numbers = set(owners.values()) & self.reports.keys()
        with ThreadPoolExecutor(PARALLEL_READS) as pool:
            list(pool.map(withdrawn, [part for part in self.partitions if part.number in numbers]))

    def _status(self) -> dict[str, tuple[int, Failure | None]]:
        """The number of each planned recording's partition, and its failure if it has one, by location."""
        status: dict[str, tuple[int, Failure | None]] = {}
        for partition in self.partitions:
            report = self.reports.get(partition.number)
            failed = dict(report.failures) if report else {}
            for file in partition.files:
                failure = (file, failed[file]) if file in failed else None
                status[partition.locate(file)] = partition.number, failure
        return status

    def _check(self, manifest: bytes) -> None:
        """Check that the archive has this format and these settings; raises OutputError."""
        location = self.store.location
        try:
            old = json.loads(manifest)
            version, settings = old["version"], dict(old["settings"])
        except (ValueError, KeyError, TypeError):
            raise OutputError(f"{location}: {MANIFEST} is damaged; choose another --output") from None
        if version != VERSION:
            raise OutputError(
                f"{location}: has archive format {version}, and this sedkit writes {VERSION}; choose another --output"
            )
        for name in dict.fromkeys([*settings, *self.settings]):
            before, now = (option_text(name, values.get(name)) for values in (settings, self.settings))
            if settings.get(name) != self.settings.get(name):
                raise OutputError(
                    f"{location}: the earlier run used {before}, this one uses {now}; use the same options, or choose "
                    "another --output"
                )

    def _write_plan(self) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        planned = [
            (partition, file, *self.fingerprints[partition.locate(file)])
            for partition in self.partitions
            for file in partition.files
        ]
        table = pa.table(
            {
                "partition": pa.array([partition.number for partition, *_ in planned], pa.int32()),
                "folder": pa.array([partition.folder for partition, *_ in planned], pa.string()),
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
            return  # the earlier run was interrupted before it wrote one
        try:
            rows = parquet.read_table(io.BytesIO(content)).to_pylist()
        except (OSError, ValueError):
            raise OutputError(f"{self.store.location}: {PLAN} is damaged; choose another --output") from None
        for (number, folder), group in groupby(rows, key=lambda row: (row["partition"], row["folder"])):
            members = list(group)
            self.partitions.append(Partition(number, folder, tuple(row["file"] for row in members)))
            self.fingerprints |= {locate(folder, row["file"]): (row["size"], row["changed"]) for row in members}


def divide(recordings: Sequence[Recording], parts: int) -> Iterator[tuple[str, ...]]:
    """Cut recordings into about ``parts`` consecutive groups; more, if groups would exceed LARGEST."""
    max_files = min(LARGEST[0], math.ceil(len(recordings) / parts))
    max_bytes = min(LARGEST[1], math.ceil(sum(recording.size for recording in recordings) / parts))
    files: list[str] = []
    total = 0
    for file, size, _ in recordings:
        if len(files) == max_files or (files and total >= max_bytes):
            yield tuple(files)
            files, total = [], 0
        files.append(file)
        total += size
    if files:
        yield tuple(files)
