"""Files of embeddings: NumPy's ``.npz`` and Parquet. docs/evaluate.md describes their contents.

Rows are written as they come: a file of any length needs the memory of one recording.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from sedkit.results import Embedding

ROWS = 4096  # written at once: 16 MB


class EmbeddingWriter(ABC):
    """Writes the embeddings of recordings one by one. A context manager: the file is complete at its end.

    Parameters
    ----------
    path : of the file.
    model : name of the model.
    size : numbers in an embedding.

    Attributes
    ----------
    recordings : number of recordings so far.
    """

    def __init__(self, path: Path, model: str, size: int) -> None:
        self.path, self.model, self.size, self.recordings = path, model, size, 0

    def write(self, embedding: Embedding) -> None:
        """Write the rows of one recording."""
        for start in range(0, len(embedding.values), ROWS):
            self.write_rows(embedding, slice(start, start + ROWS))
        self.recordings += 1

    @abstractmethod
    def write_rows(self, embedding: Embedding, rows: slice) -> None:
        """Write some rows of one recording."""

    @abstractmethod
    def close(self, complete: bool) -> None:
        """Write what remains if the file is `complete`, and close it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(complete=error is None)


class NpzWriter(EmbeddingWriter):
    """``embedding`` [n, size], ``onset``, ``offset`` and ``recording`` [n], ``files`` [recordings], and ``model``."""

    def __init__(self, path: Path, model: str, size: int) -> None:
        super().__init__(path, model, size)
        self.values = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 (closed by close)
        self.columns: dict[str, list[Any]] = {"onset": [], "offset": [], "recording": []}
        self.files: list[str] = []

    def write_rows(self, embedding: Embedding, rows: slice) -> None:
        values = np.ascontiguousarray(embedding.values[rows], "<f4")
        self.values.write(values.data)
        self.columns["onset"].append(embedding.onsets[rows])
        self.columns["offset"].append(embedding.offsets[rows])
        self.columns["recording"].append(np.full(len(values), self.recordings))
        if not rows.start:
            self.files.append(embedding.file)

    def close(self, complete: bool) -> None:
        with self.values:
            if complete:
                with zipfile.ZipFile(self.path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                    self._write_values(archive)
                    for name, parts in self.columns.items():
                        self._write_array(archive, name, np.concatenate(parts))
                    self._write_array(archive, "files", np.array(self.files))
                    self._write_array(archive, "model", np.array(self.model))

    def _write_values(self, archive: zipfile.ZipFile) -> None:
        rows = self.values.tell() // (4 * self.size)
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, self.size)}
        self.values.seek(0)
        with archive.open("embedding.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            while block := self.values.read(4 * self.size * ROWS):
                file.write(block)

    def _write_array(self, archive: zipfile.ZipFile, name: str, array: np.ndarray[Any, Any]) -> None:
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, array, allow_pickle=False)
        archive.writestr(f"{name}.npy", buffer.getvalue())


class ParquetWriter(EmbeddingWriter):
    """Columns ``file``, ``onset``, ``offset`` and ``embedding``, a list of `size`; the model's name in the metadata."""

    def __init__(self, path: Path, model: str, size: int) -> None:
        import pyarrow
        import pyarrow.parquet

        super().__init__(path, model, size)
        numbers, rows = pyarrow.float64(), pyarrow.list_(pyarrow.float32(), size)
        columns = {"file": pyarrow.string(), "onset": numbers, "offset": numbers, "embedding": rows}
        schema = pyarrow.schema(columns.items(), metadata={"sedkit.model": model})
        self.table = pyarrow.parquet.ParquetWriter(path, schema, use_dictionary=["file"])

    def write_rows(self, embedding: Embedding, rows: slice) -> None:
        import pyarrow

        from sedkit.formats.columnar import valid_utf8

        values = embedding.values[rows]
        name = valid_utf8(embedding.file)
        columns = [
            pyarrow.array([name] * len(values)),
            pyarrow.array(embedding.onsets[rows]),
            pyarrow.array(embedding.offsets[rows]),
            pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.asarray(values).reshape(-1)), self.size),
        ]
        self.table.write_batch(pyarrow.record_batch(columns, schema=self.table.schema))

    def close(self, complete: bool) -> None:
        self.table.close()
