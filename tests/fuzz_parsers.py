"""Fuzzing of sedkit's own parsers, led by coverage, with the package atheris (Linux), which is not a dependency.

``python -m tests.fuzz_parsers NAME [-max_total_time=600]``, where NAME is an ending of annotations (csv, tsv, txt,
rttm, jsonl, TextGrid, eaf), ``settings``, ``metadata`` or ``manifest``. Further options are those of libFuzzer. An
exception that the parser may not raise ends it, with the input in a file ``crash-*``.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["sedkit", "training.data.manifest"]):
    from sedkit.contract import Contract
    from sedkit.errors import SedkitError
    from sedkit.formats.reading import read_annotations
    from sedkit.timeline.settings import PostProcessing
    from training.data.manifest.table import Manifest
from tests.conftest import LABELS, THRESHOLDS
from tests.sedkit.test_parsers import ANNOTATIONS, SETTINGS, read_metadata
from tests.training.data.test_parsers import MANIFEST, VOCABULARY


def parser(name: str) -> tuple[Callable[[Path], Any], str, tuple[bytes, ...]]:
    """A parser, the ending of its files, and such files."""
    if name == "settings":
        return PostProcessing.read_toml, ".toml", SETTINGS
    if name == "manifest":
        return Manifest.load, ".csv", MANIFEST
    if name == "metadata":
        contract = Contract("test", LABELS, THRESHOLDS, {"kind": "none"}, {"seed": 0}, "CC0-1.0")
        entries = (f"{key}={value}" for key, value in contract.to_metadata().items())
        return read_metadata, "", ("\x1f".join(entries).encode(),)
    return read_annotations, f".{name}", ANNOTATIONS[name]


def main() -> None:
    parse, ending, seeds = parser(sys.argv.pop(1))
    folder = Path(tempfile.mkdtemp())
    path = folder / f"x{ending}"
    corpus = folder / "corpus"
    corpus.mkdir()
    (folder / "x.labels.csv").write_bytes(VOCABULARY)  # of the manifest
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)

    def once(data: bytes) -> None:
        path.write_bytes(data)
        try:
            parse(path)
        except SedkitError as error:
            if len(str(error).splitlines()) != 1:
                raise ValueError("several lines") from error

    atheris.Setup([*sys.argv, str(corpus)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
