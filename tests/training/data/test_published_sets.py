"""Readers of AudioSet, FSD50K, UrbanSound8K and DESED, on excerpts of their tables."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sedkit.contract import Label
from training.data.commands import main
from training.data.manifest.delimited import read_table
from training.data.manifest.problems import ManifestError
from training.data.manifest.splits import Splitting
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.readers import desed as desed_reader
from training.data.readers import urbansound8k as urbansound8k_reader
from training.data.readers.audioset import audioset as read_audioset
from training.data.readers.audioset import audioset_strong
from training.data.readers.desed import desed
from training.data.readers.fsd50k import fsd50k as read_fsd50k
from training.data.readers.urbansound8k import urbansound8k

WHOLE = Splitting(validation_share=0)
AUDIOSET_LABELS = """index,mid,display_name
0,/m/09x0r,"Speech"
72,/m/068hy,"Domestic animals, pets"
73,/m/07q6cd_,"Squeak"
74,/m/0bt9lr,"Dog"
137,/m/04rlf,"Music"
"""
BALANCED = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=22160, num_segs=22160, num_unique_labels=527, num_positive_labels=52882
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
--ZhevVpy1s, 50.000, 60.000, "/m/0bt9lr"
-0RWZT-miFs, 420.000, 430.000, "/m/04rlf,/m/09x0r"
YQDKVtCwWMY, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr"
"""
EVAL = """# Segments csv created Sun Mar  5 10:54:25 2017
# num_ytids=20371, num_segs=20371, num_unique_labels=527, num_positive_labels=51804
# YTID, start_seconds, end_seconds, positive_labels
--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr"
"""


def audio(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(160), 16_000)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def names(manifest):
    return [os.path.basename(path) for path in manifest.paths]


def mids(manifest):
    return [[manifest.vocabulary.key(place) for place in labels] for labels in manifest.labels]


@pytest.fixture
def tables(tmp_path):
    """Folder with AudioSet's tables."""
    write(tmp_path / "class_labels_indices.csv", AUDIOSET_LABELS.replace("index,", "index,", 1))
    write(tmp_path / "balanced_train_segments.csv", BALANCED.replace(",/t/dd00088", ""))
    write(tmp_path / "eval_segments.csv", EVAL)
    return tmp_path


def audioset(tables, *files, **keywords):
    audio(*(tables / "clips" / file for file in files))
    segments = [tables / "balanced_train_segments.csv", tables / "eval_segments.csv"]
    vocabulary = Vocabulary.load(tables / "class_labels_indices.csv")
    return read_audioset(tables / "clips", segments, vocabulary, WHOLE, **keywords)


def test_audioset(tables):
    manifest = audioset(tables, "train/--PJHxphWEs.wav", "train/-0RWZT-miFs.flac", "eval/--4gqARaEJE.ogg")
    assert names(manifest) == ["--PJHxphWEs.wav", "-0RWZT-miFs.flac", "--4gqARaEJE.ogg"]
    assert manifest.splits == ["train", "train", "test"]
    assert mids(manifest) == [["/m/09x0r"], ["/m/09x0r", "/m/04rlf"], ["/m/068hy", "/m/07q6cd_", "/m/0bt9lr"]]
    assert manifest.groups == ["--PJHxphWEs", "-0RWZT-miFs", "--4gqARaEJE"]
    assert manifest.dropped.lines() == ["2 x missing video (--ZhevVpy1s, YQDKVtCwWMY)"]
    assert [label.index for label in manifest.vocabulary.labels] == [0, 72, 73, 74, 137]


@pytest.mark.parametrize(
    "name",
    ["-0RWZT-miFs", "Y-0RWZT-miFs", "-0RWZT-miFs_420", "-0RWZT-miFs_420.000_430.000", "-0RWZT-miFs_420_430",
     "Y-0RWZT-miFs_420.000_430.000", "-0RWZT-miFs_420000", "-0RWZT-miFs_420000_430000"],
)  # fmt: skip
def test_audioset_file_names(tables, name):
    write(tables / "clips" / "deep" / f"{name}.json", "{}")
    manifest = audioset(tables, f"deep/er/{name}.wav")
    assert names(manifest) == [f"{name}.wav"]
    assert manifest.groups == ["-0RWZT-miFs"]


def test_audioset_ids_that_begin_with_y_and_other_segments_of_a_video(tables):
    assert audioset(tables, "YQDKVtCwWMY.wav").groups == ["YQDKVtCwWMY"]
    manifest = audioset(tables, "YYQDKVtCwWMY.wav", "-0RWZT-miFs_100_110.wav")
    assert names(manifest) == [
        "YQDKVtCwWMY.wav"
    ]  # the first of two files; the second file is another segment of its video
    assert manifest.dropped.counts == {"missing video": 4}


def test_audioset_faults(tables):
    with pytest.raises(ManifestError, match="no audio named like AudioSet's segments"):
        audioset(tables, "clips.wav")
    with pytest.raises(ManifestError, match="no clip remains: 5 x missing video"):
        audioset(tables, "abcdefghijk.wav")
    write(tables / "balanced_train_segments.csv", BALANCED)
    with pytest.raises(ManifestError, match=r"1 x unknown label \('/t/dd00088' of --PJHxphWEs.wav\)"):
        audioset(tables, "--PJHxphWEs.wav", "--ZhevVpy1s.wav")
    manifest = audioset(tables, on_error="skip")
    assert manifest.dropped.counts == {"unknown label": 1, "missing video": 3}
    write(tables / "clips" / "--ZhevVpy1s.wav", "no audio")
    assert len(audioset(tables, on_error="skip")) == 1  # the file is not opened
    with pytest.raises(ManifestError, match="no clip remains: 1 x unreadable audio"):
        audioset(tables, on_error="skip", look=True)
    write(tables / "eval_segments.csv", EVAL + "--4gqARaEJE, 0.000\n")
    with pytest.raises(ManifestError, match=r"eval_segments.csv: line 5: not YTID, start_seconds"):
        audioset(tables)


STRONG = """segment_id\tstart_time_seconds\tend_time_seconds\tlabel
b0RFKhbpFJA_30000\t0.000\t10.000\t/m/03m9d0z
b0RFKhbpFJA_30000\t4.753\t5.720\t/m/05zppz
b0RFKhbpFJA_30000\t7.000\t8.000\t/m/05zppz
-8f7cs92z7Y_130000\t0.000\t6.172\t/m/04rlf
"""
DISPLAY_NAMES = "/m/05zppz\tMale speech, man speaking\n/m/03m9d0z\tWind\n/m/04rlf\tMusic\n"


def test_audioset_strong(tmp_path):
    table = write(tmp_path / "audioset_train_strong.tsv", STRONG)
    held = write(
        tmp_path / "audioset_eval_strong.tsv", STRONG.splitlines()[0] + "\ns9d-2nhuJCQ_30000\t2.6\t7.2\t/m/04rlf\n"
    )
    vocabulary = Vocabulary.load(write(tmp_path / "mid_to_display_name.tsv", DISPLAY_NAMES))
    assert vocabulary.labels[1] == Label("Wind", "/m/03m9d0z")
    audio(*(tmp_path / "clips" / f"{name}.wav" for name in ("Yb0RFKhbpFJA", "-8f7cs92z7Y_130.000_140.000")))
    manifest = audioset_strong(tmp_path / "clips", [table, held], vocabulary, WHOLE)
    assert names(manifest) == ["Yb0RFKhbpFJA.wav", "-8f7cs92z7Y_130.000_140.000.wav"]
    assert mids(manifest) == [["/m/05zppz", "/m/03m9d0z"], ["/m/04rlf"]]
    assert manifest.dropped.lines() == ["1 x missing video (s9d-2nhuJCQ_30000)"]

    audioset_vocabulary = Vocabulary([Label("Music", "/m/04rlf", 137), Label("Wind", "/m/03m9d0z", 277)])
    manifest = audioset_strong(tmp_path / "clips", [table], audioset_vocabulary, WHOLE)
    assert mids(manifest) == [["/m/03m9d0z"], ["/m/04rlf"]]
    assert manifest.dropped.lines() == ["1 x label outside the vocabulary (/m/05zppz)"]


DEV = """fname,labels,mids,split
64760,"Electric_guitar,Guitar,Plucked_string_instrument,Musical_instrument,Music","/m/02sgy,/m/0342h,/m/0fx80y,/m/04szw,/m/04rlf",train
16399,"Speech,Human_voice","/m/09x0r,/m/09l8g",val
"""
EVAL_CLIPS = 'fname,labels,mids\n37199,"Music","/m/04rlf"\n'
FSD50K_VOCABULARY = """0,Electric_guitar,/m/02sgy
1,Guitar,/m/0342h
2,Human_voice,/m/09l8g
3,Music,/m/04rlf
4,Musical_instrument,/m/04szw
5,Plucked_string_instrument,/m/0fx80y
6,Speech,/m/09x0r
"""


@pytest.fixture
def fsd50k(tmp_path):
    folder = tmp_path / "FSD50K"
    write(folder / "FSD50K.ground_truth" / "dev.csv", DEV)
    write(folder / "FSD50K.ground_truth" / "eval.csv", EVAL_CLIPS)
    write(folder / "FSD50K.ground_truth" / "vocabulary.csv", FSD50K_VOCABULARY)
    about = {
        "64760": {
            "title": "riff",
            "tags": [],
            "license": "http://creativecommons.org/licenses/by/3.0/",
            "uploader": "ana",
        }
    }
    write(folder / "FSD50K.metadata" / "dev_clips_info_FSD50K.json", json.dumps(about))
    audio(*(folder / f"FSD50K.{name}.wav" for name in ("dev_audio/64760", "dev_audio/16399", "eval_audio/37199")))
    return folder


def test_fsd50k(fsd50k):
    manifest = read_fsd50k(fsd50k)
    assert manifest.splits == ["train", "validation", "test"]
    assert names(manifest) == ["64760.wav", "16399.wav", "37199.wav"]
    assert mids(manifest)[1:] == [["/m/09l8g", "/m/09x0r"], ["/m/04rlf"]]
    assert len(manifest.labels[0]) == 5
    assert manifest.vocabulary.labels[5].name == "Plucked string instrument"
    assert manifest.licenses == ["http://creativecommons.org/licenses/by/3.0/", "", ""]
    assert manifest.attributions[0] == "ana https://freesound.org/s/64760/"


def test_fsd50k_with_another_vocabulary(fsd50k):
    vocabulary = Vocabulary([Label("Music", "/m/04rlf", 137), Label("Guitar", "/m/0342h", 140)])
    manifest = read_fsd50k(fsd50k, vocabulary)
    assert mids(manifest) == [["/m/04rlf", "/m/0342h"], ["/m/04rlf"]]
    assert manifest.dropped.counts == {"label outside the vocabulary": 5, "clip without a label in the vocabulary": 1}


@pytest.mark.parametrize("text", ["[]", '{"64760": 3}'])
def test_fsd50k_with_other_metadata(fsd50k, text):
    path = fsd50k / "FSD50K.metadata" / "dev_clips_info_FSD50K.json"
    write(path, text)
    with pytest.raises(ManifestError, match=r"dev_clips_info_FSD50K\.json: not FSD50K's metadata"):
        read_fsd50k(fsd50k)


def test_fsd50k_faults(fsd50k):
    (fsd50k / "FSD50K.eval_audio" / "37199.wav").unlink()
    with pytest.raises(ManifestError, match=r"1 x missing file .*37199.wav"):
        read_fsd50k(fsd50k)
    assert len(read_fsd50k(fsd50k, on_error="skip")) == 2
    write(fsd50k / "FSD50K.ground_truth" / "vocabulary.csv", "0,Music\n")
    with pytest.raises(ManifestError, match="not FSD50K's vocabulary"):
        read_fsd50k(fsd50k)
    (fsd50k / "FSD50K.ground_truth" / "eval.csv").unlink()
    write(fsd50k / "FSD50K.ground_truth" / "vocabulary.csv", FSD50K_VOCABULARY)
    with pytest.raises(ManifestError, match=r"eval.csv: cannot be read"):
        read_fsd50k(fsd50k)


URBAN = """slice_file_name,fsID,start,end,salience,fold,classID,class
100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark
100263-2-0-117.wav,100263,58.5,62.5,1,5,2,children_playing
7061-6-0-0.wav,7061,0.0,4.0,2,10,6,gun_shot
"""


def test_urbansound8k(tmp_path):
    write(tmp_path / "metadata" / "UrbanSound8K.csv", URBAN)
    audio(
        *(
            tmp_path / "audio" / name
            for name in ("fold5/100032-3-0-0.wav", "fold5/100263-2-0-117.wav", "fold10/7061-6-0-0.wav")
        )
    )
    manifest = urbansound8k(tmp_path, Splitting("10", validation_share=0))
    assert manifest.splits == ["train", "train", "test"]
    assert mids(manifest) == [["/m/05tny_"], ["/t/dd00013"], ["/m/032s66"]]
    assert manifest.groups[0] == "freesound:100032"
    assert len(manifest.vocabulary) == 10
    write(tmp_path / "metadata" / "UrbanSound8K.csv", URBAN.replace("gun_shot", "cannon"))
    with pytest.raises(ManifestError, match=r"1 x unknown label .*'cannon' of audio/fold10"):
        urbansound8k(tmp_path, Splitting("5"))
    with pytest.raises(ManifestError, match=r"UrbanSound8K.csv: cannot be read"):
        urbansound8k(tmp_path / "none", Splitting("5"))


WEAK = """filename\tevent_labels
Y09RRavdW3C0_30.000_40.000.wav\tAlarm_bell_ringing,Speech
Y-hkS8gvM8aY_30.000_40.000.wav\tCat
Ygone0000000_0.000_10.000.wav\tDog
"""
EVENTS = """filename\tonset\toffset\tevent_label
Y09RRavdW3C0_30.000_40.000.wav\t0.000\t0.249\tElectric_shaver_toothbrush
Y09RRavdW3C0_30.000_40.000.wav\t1.2\t10.000\tSpeech
Y09RRavdW3C0_30.000_40.000.wav\t5.0\t6.0\tSpeech
Y-hkS8gvM8aY_30.000_40.000.wav\t\t\t
"""


def test_desed(tmp_path):
    audio(*(tmp_path / "audio" / line.split("\t")[0] for line in WEAK.splitlines()[1:3]))
    weak = desed(write(tmp_path / "weak.tsv", WEAK), tmp_path / "audio", "train")
    assert mids(weak) == [["/m/09x0r", "/m/07pp_mv"], ["/m/01yrx"]]
    assert weak.splits == ["train", "train"]
    assert weak.groups == ["09RRavdW3C0", "-hkS8gvM8aY"]  # YouTube ids, as in AudioSet
    assert weak.dropped.lines() == ["1 x missing recording (Ygone0000000_0.000_10.000.wav)"]
    assert len(weak.vocabulary) == 10

    strong = desed(write(tmp_path / "validation.tsv", EVENTS), tmp_path / "audio", "validation")
    assert mids(strong) == [["/m/09x0r", "/m/02g901"]]
    assert strong.dropped.counts == {"clip without events": 1}
    with pytest.raises(ManifestError, match=r"clip listed twice"):
        Manifest.merge([weak, strong])


def test_desed_faults(tmp_path):
    audio(tmp_path / "audio" / "Y09RRavdW3C0_30.000_40.000.wav")
    table = write(tmp_path / "weak.tsv", WEAK.replace("Speech", "Speach"))
    with pytest.raises(ManifestError, match=r"1 x unknown label .'Speach'"):
        desed(table, tmp_path / "audio", "train")
    with pytest.raises(ManifestError, match="no column 'event_labels'"):
        desed(write(tmp_path / "none.tsv", "filename\na.wav\n"), tmp_path / "audio", "train")
    broken = write(tmp_path / "events.tsv", EVENTS.replace("1.2\t10.000", "10.000\t1.2"))
    with pytest.raises(ManifestError, match="1 x event without name, times or label"):
        desed(broken, tmp_path / "audio", "train")
    found = desed(broken, tmp_path / "audio", "train", on_error="skip")
    assert mids(found) == [["/m/09x0r", "/m/02g901"]]
    own = Vocabulary([Label("Speech", "/m/09x0r", 0), Label("Kettle")])
    kettle = write(tmp_path / "own.tsv", "filename\tevent_labels\nY09RRavdW3C0_30.000_40.000.wav\tKettle, Speech\n")
    assert desed(kettle, tmp_path / "audio", "test", own).labels == [(0, 1)]


def test_vocabularies_join_on_mids():
    """Classes with the same MID become one, which prefers AudioSet's index and name."""
    dog = Vocabulary([Label("Dog", "/m/0bt9lr", 74)])
    for order in ([dog, Vocabulary([Label("Hound", "/m/0bt9lr")])], [Vocabulary([Label("Hound", "/m/0bt9lr")]), dog]):
        assert Vocabulary.union(order) == dog


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_cli_commands_write_manifests_of_published_sets(tables, fsd50k, tmp_path):
    audio(
        tables / "clips" / "-0RWZT-miFs.wav",
        tables / "clips" / "--4gqARaEJE.wav",
        tables / "clips" / "Yb0RFKhbpFJA.wav",
    )
    write(tables / "audioset_train_strong.tsv", STRONG)
    write(tables / "mid_to_display_name.tsv", DISPLAY_NAMES)
    write(tables / "weak.tsv", WEAK)
    audio(tables / "audio" / "Y09RRavdW3C0_30.000_40.000.wav")
    segments = [tables / f"{name}_segments.csv" for name in ("balanced_train", "eval")]
    commands = {
        "audioset": ("audioset", *segments, "--audio", tables / "clips", "--validation-share", "0"),
        "strong": ("audioset-strong", tables / "audioset_train_strong.tsv", "--audio", tables / "clips"),
        "fsd50k": ("fsd50k", fsd50k, "--labels", tables / "class_labels_indices.csv"),
        "desed": ("desed", tables / "weak.tsv", "--audio", tables / "audio", "--split", "test"),
    }
    for name, command in commands.items():
        result = run(*command, "-o", tmp_path / f"{name}.csv")
        assert result.exit_code == 0, result.output
    assert {name: len(Manifest.load(tmp_path / f"{name}.csv")) for name in commands} == {
        "audioset": 2, "strong": 1, "fsd50k": 3, "desed": 1,
    }  # fmt: skip
    (tables / "class_labels_indices.csv").unlink()
    result = run(*commands["audioset"], "-o", tmp_path / "x.csv")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "no class_labels_indices.csv beside it; name the file of the classes with --labels" in result.stderr


@pytest.mark.parametrize(
    "table", [urbansound8k_reader.MAPPING, desed_reader.MAPPING], ids=lambda table: Path(table).stem
)
def test_mapping_tables_have_relations_and_notes(table):
    lines = read_table(table, ("category", "mid", "name", "index", "relation", "note"))
    assert len({line["mid"] for line in lines}) == len(lines) == 10
    for line in lines:
        assert line["relation"] in ("exact", "broader", "narrower", "nearest")
        assert bool(line["note"]) == (line["relation"] != "exact"), line["category"]
