"""Parsers of sedkit's own on mutated files: annotations, post-processing settings, metadata of models."""

from __future__ import annotations

from pathlib import Path

import pytest

from sedkit.contract import Contract
from sedkit.errors import AnnotationError, ArgumentError, ContractError
from sedkit.formats.reading import read_annotations
from sedkit.timeline.settings import PostProcessing
from tests.mutations import check

examples = pytest.mark.parametrize("examples", [10, pytest.param(5_000, marks=pytest.mark.slow)])
ANNOTATIONS = {
    "csv": (
        b"file,onset,offset,label,mid,score\na.wav,0.5,1.25,Dog,/m/0bt9lr,0.9\n'=b.wav,1,2,\"Speech, male\",,\n",
        b"file,label,mid,score\na.wav,Dog,/m/0bt9lr,0.9\n",
        b"INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,TOP1DIST,MANUAL ID\n/r,x,a.wav,1,2,Dog,0.1,\n",
        b"# Segments csv created Sun Mar  5 10:54:25 2017\n# a\n# YTID, start\n--PJ, 30.0, 40.0, \"/m/09x0r,/t/dd\"\n",
    ),
    "tsv": (
        b"filename\tonset\toffset\tevent_label\na.wav\t0.5\t1.5\tDog\nb.wav\t\t\t\n",
        b"filename\tevent_labels\na.wav\tDog,Cat\n",
        b"segment_id\tstart_time_seconds\tend_time_seconds\tlabel\na_0\t0.5\t1.5\t/m/0bt9lr\n",
    ),
    "txt": (
        b"0.5\t1.5\tDog\n\\\t100\t2000\n2,5\t3\tCat\n",
        b"Selection\tView\tBegin Time (s)\tEnd Time (s)\tAnnotation\tBegin Path\tFile Offset (s)\n"
        b"1\tSpectrogram 1\t0.5\t1.5\tDog\t/a.wav\t0.5\n1\tWaveform 1\t0.5\t1.5\tDog\t/a.wav\t0.5\n",
    ),
    "rttm": (b"SPEAKER a%20b.wav 1 0.5 1.0 <NA> <NA> Church_bell 0.9 <NA>\n",),
    "jsonl": (
        b'{"file": "a.wav", "duration": 2.0, "events": [{"onset": 0.5, "offset": 1, "label": "Dog", "score": 0.9}]}\n'
        b'{"file": "b.wav", "tags": [{"label": "Dog", "mid": "/m/0bt9lr"}]}\n',
        b'{"file_metadata": {"title": "a", "duration": 10.0}, "annotations": [{"namespace": "tag_open", "data": '
        b'[{"time": 0, "duration": 10.0, "value": {"label": "Dog", "role": "foreground"}, "confidence": 1.0}]}]}\n',
        b'[{"data": {"audio": "/data/local-files/?d=a%20b.wav"}, "annotations": [{"was_cancelled": false, "result": '
        b'[{"value": {"start": 0, "end": 1, "labels": ["Dog"]}, "original_length": 2.0}]}], "predictions": []}]\n',
    ),
    "TextGrid": (
        b'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 2\ntiers? <exists>\n'
        b'size = 1\nitem []:\n'
        b'    item [1]:\n        class = "IntervalTier"\n        name = "sounds"\n        xmin = 0\n        xmax = 2\n'
        b'        intervals: size = 1\n        intervals [1]:\n            xmin = 0.5\n            xmax = 2\n'
        b'            text = "Dog"\n',
    ),
    "eaf": (
        b'<?xml version="1.0"?><ANNOTATION_DOCUMENT AUTHOR="" DATE="" FORMAT="3.0" VERSION="3.0" '
        b'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="x.xsd">'
        b'<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="file:///a%20b.wav" '
        b'MIME_TYPE=""/></HEADER><TIME_ORDER>'
        b'<TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="500"/><TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="900"/></TIME_ORDER>'
        b'<TIER LINGUISTIC_TYPE_REF="d" TIER_ID="sounds"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" '
        b'TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2"><ANNOTATION_VALUE>Dog</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION>'
        b'</ANNOTATION></TIER><LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="d" TIME_ALIGNABLE="true"/></ANNOTATION_DOCUMENT>',
    ),
}  # fmt: skip
SETTINGS = (
    b'threshold = 0.3\nmin_duration = 0.2\nmax_classes = 3\nmethod = "hysteresis"\n[classes.Dog]\nthreshold = 0.5\n',
    b'leave = 0.1\nhold = 1\nmedian = 0.5\n[classes]\n"/m/0bt9lr" = { merge_gap = 1.0, max_duration = 20 }\n',
    b'method = "change-points"\nstep = 0.64\nmerge_drop = 0.1\nmerge_share = 0.5\n',
)


def read_metadata(path: Path) -> Contract:
    """The metadata of a model from a file, each entry ``name=value``, divided by the unit separator."""
    entries = path.read_text("utf-8", "replace").split("\x1f")
    return Contract.from_metadata(dict(entry.partition("=")[::2] for entry in entries))


@examples
@pytest.mark.parametrize("ending", ANNOTATIONS)
def test_annotations(tmp_path: Path, ending: str, examples: int):
    assert check(read_annotations, tmp_path / f"x.{ending}", ANNOTATIONS[ending], AnnotationError, examples)


@pytest.mark.parametrize("content", ['a, "b\nc\nd', '1\t2\tDog\nx\t"a\r\nb\t\u2028"\n'])
def test_cells_of_several_lines_are_refused_in_one(tmp_path: Path, content: str):
    (tmp_path / "x.txt").write_text(content, "utf-8")
    with pytest.raises(AnnotationError, match="not a table of events") as refusal:
        read_annotations(tmp_path / "x.txt")
    assert len(str(refusal.value).splitlines()) == 1


def test_elan_annotations_without_a_time_are_refused(tmp_path: Path):
    (tmp_path / "x.eaf").write_bytes(ANNOTATIONS["eaf"][0].replace(b' TIME_VALUE="900"', b""))
    with pytest.raises(AnnotationError, match=r"x\.eaf, tier sounds: an annotation has no time; align it in ELAN"):
        read_annotations(tmp_path / "x.eaf")


@examples
def test_postprocessing_settings(tmp_path: Path, examples: int):
    assert check(PostProcessing.read_toml, tmp_path / "x.toml", SETTINGS, ArgumentError, examples)


@examples
def test_metadata_of_models(tmp_path: Path, description: Contract, examples: int):
    metadata = description.to_metadata()
    seed = "\x1f".join(f"{name}={value}" for name, value in metadata.items()).encode()
    assert check(read_metadata, tmp_path / "x", (seed,), ContractError, examples)
