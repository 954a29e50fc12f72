"""Parsers of the training data on mutated files: manifests, vocabularies, tables of events."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations import check
from training.data.manifest.delimited import read_table
from training.data.manifest.problems import ManifestError
from training.data.manifest.strong_labels import read_events
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary

examples = pytest.mark.parametrize("examples", [10, pytest.param(5_000, marks=pytest.mark.slow)])
VOCABULARY = b"index,mid,display_name\n0,/m/09x0r,Speech\n74,/m/0bt9lr,Dog\n,,Our kettle\n"
MANIFEST = (
    b"path,start,duration,labels,split,group,license,attribution\na.wav,,,/m/0bt9lr,train,g1,CC0-1.0,me\n"
    b"b.wav,0.5,10,/m/09x0r;Our kettle,test,g2,,\"a, b\"\n",
    b"path,labels\na.wav,Dog\nb.wav,Speech;Dog\n",
)  # fmt: skip


@examples
def test_manifest(tmp_path: Path, examples: int):
    (tmp_path / "x.labels.csv").write_bytes(VOCABULARY)
    assert check(Manifest.load, tmp_path / "x.csv", MANIFEST, ManifestError, examples)


@examples
@pytest.mark.parametrize(
    ("ending", "seed"), [("csv", VOCABULARY), ("tsv", b"/m/09x0r\tSpeech\n/m/0bt9lr\tDog\n")], ids=["csv", "tsv"]
)
def test_vocabulary(tmp_path: Path, ending: str, seed: bytes, examples: int):
    assert check(Vocabulary.load, tmp_path / f"x.{ending}", (seed,), ManifestError, examples)


@examples
def test_tables_of_data_sets(tmp_path: Path, examples: int):
    seeds = (
        b"filename\tonset\toffset\tevent_label\na.wav\t0.5\t1.5\tDog\nb.wav\t\t\t\n",
        b"segment_id\tstart_time_seconds\tend_time_seconds\tlabel\na_0\t0.5\t1.5\t/m/0bt9lr\n",
    )
    assert check(read_events, tmp_path / "x.tsv", seeds, ManifestError, examples)
    assert check(lambda path: read_table(path, ["a"]), tmp_path / "y.csv", (b'a,b\n1,"2"\n',), ManifestError, examples)
