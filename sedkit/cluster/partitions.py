"""The file of a partition: its rows, and in its footer the report."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sedkit.cluster.storage import Store, is_uri
from sedkit.errors import OutputError
from sedkit.formats.columnar import schema

REPORT = b"sedkit"  # key of the report in a partition's footer
CHANGED = "has changed since it was analysed; analyse it again with --resume"

Failure = tuple[str, str]  # a recording, and why it has no result


@dataclass(frozen=True)
class Partition:
    """The recordings of one partition, in order.

    Attributes
    ----------
    number : position in the plan.
    folder : base of relative names.
    files : paths and URIs of the recordings.
    """

    number: int
    folder: str
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"part-{self.number:06}.parquet"

    def locate(self, file: str) -> str:
        """The absolute path, or the URI, of one of its recordings."""
        return locate(self.folder, file)


@dataclass(frozen=True)
class Report:
    """Outcome of a partition.

    Attributes
    ----------
    recordings : number of those tried.
    seconds : of sound in those that have a result now.
    rows : their number now.
    failures : recordings without a result now.
    lengths : seconds of each recording that was tried, in order, 0 without a result; empty if nobody has noted them.
    """

    recordings: int
    seconds: float
    rows: int
    failures: tuple[Failure, ...]
    lengths: tuple[float, ...] = ()


def locate(folder: str, file: str) -> str:
    """The absolute path of a file whose name may be relative to a folder; a URI is returned unchanged."""
    return file if is_uri(file) else os.path.normpath(os.path.join(folder, file))


def write_partition(store: Store, partition: Partition, columns: Mapping[str, Sequence[Any]], report: Report) -> None:
    """Write the file of a partition.

    Parameters
    ----------
    columns : the results, by the names of :data:`sedkit.formats.columnar.COLUMNS`.
    report : goes into the file's footer.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    metadata = {REPORT: json.dumps(asdict(report), ensure_ascii=False)}
    table = pa.table(dict(columns), schema=schema().with_metadata(metadata))
    content = io.BytesIO()
    parquet.write_table(table, content, compression="zstd")
    store.write(partition.name, content.getbuffer())


def parse_report(text: str | bytes) -> Report:
    """Parse a report from JSON."""
    fields = json.loads(text)
    fields["failures"] = tuple(map(tuple, fields["failures"]))
    fields["lengths"] = tuple(fields.get("lengths", ()))  # which files of earlier versions lack
    return Report(**fields)


def read_report(store: Store, name: str) -> Report:
    """Read the report from a partition's footer.

    Raises
    ------
    OutputError
        If there is none, or the file is damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    path = store.path(name)
    try:
        return parse_report(parquet.read_schema(path, filesystem=store.files).metadata[REPORT])
    except (OSError, pa.ArrowException, TypeError, KeyError, ValueError) as error:
        raise damaged(store, name, error) from None


def withdraw(store: Store, partition: Partition, report: Report, changed: Collection[str]) -> Report:
    """Write a partition again, without the rows of changed recordings, which become failures.

    Parameters
    ----------
    report : of the partition.
    changed : which of its recordings.

    Returns
    -------
    The new report. Its seconds are those of the old one if that has no lengths.

    Raises
    ------
    OutputError
        If the file is damaged or cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    content = store.read(partition.name) or b""
    try:
        table = parquet.read_table(io.BytesIO(content))
    except (OSError, pa.ArrowException) as error:
        raise damaged(store, partition.name, error) from None
    kept = table.filter(pa.array([file not in changed for file in table["file"].to_pylist()], pa.bool_()))
    failures = report.failures + tuple((file, CHANGED) for file in partition.files if file in changed)
    lengths = tuple(
        0.0 if file in changed else length for file, length in zip(partition.files, report.lengths, strict=False)
    )
    seconds = round(sum(lengths), 3) if lengths else report.seconds
    report = replace(report, seconds=seconds, rows=len(kept), failures=failures, lengths=lengths)
    write_partition(store, partition, kept.to_pydict(), report)
    return report


def damaged(store: Store, name: str, error: Exception) -> OutputError:
    """The error about a damaged partition."""
    cause = " ".join(str(error).split())[:200]
    return OutputError(f"{store.location}: {name} is damaged ({cause}); delete it, then --resume")
