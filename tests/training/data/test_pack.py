"""Packed sets: round trip, reproducible bytes, resumption after interruptions, damage, memory."""

from __future__ import annotations

import io
import json
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.fs
import pytest
import soundfile
from click.testing import CliRunner

from sedkit.contract import Label
from training.data.commands import main
from training.data.manifest.problems import ManifestError
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.sampling import by_shard
from training.data.store import packed as module
from training.data.store.decoded import AudioStore
from training.data.store.pack import Packing, pack
from training.data.store.packed import PackedAudio
from training.data.store.source import open_audio

VOCABULARY = Vocabulary([Label("Dog", "/m/0bt9lr", 74), Label("Cat", "/m/01yrx", 81)])
SMALL = Packing(shard_clips=10)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Path of a manifest with 60 clips of 0.1 to 0.3 s: 40 in train, 12 in validation, 8 in test."""
    folder = tmp_path_factory.mktemp("source")
    random = np.random.default_rng(0)
    rows = []
    for clip in range(60):
        samples = random.integers(-3000, 3000, int(random.integers(1600, 4800))).astype(np.int16)
        soundfile.write(folder / f"{clip}.wav", samples, 16_000)
        split = "train" if clip < 40 else "validation" if clip < 52 else "test"
        rows.append(
            Row(f"{clip}.wav", labels="Dog;Cat" if clip % 3 else "Cat", split=split, license="CC0", group=f"g{clip}")
        )
    Manifest.from_rows(rows, VOCABULARY, folder).save(folder / "set.csv")
    return folder / "set.csv"


@pytest.fixture(scope="module")
def packed(source, tmp_path_factory):
    """Directory of the same clips, packed."""
    directory = tmp_path_factory.mktemp("packed") / "set"
    pack(Manifest.load(source), directory, SMALL)
    return directory


@pytest.fixture
def copy(packed, tmp_path):
    """A copy of the packed set that tests may damage."""
    return shutil.copytree(packed, tmp_path / "copy")


def contents(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_samples_and_labels_round_trip(source, packed, tmp_path):
    store = AudioStore.open_or_build(Manifest.load(source), tmp_path)
    rows = {name: row for row, name in enumerate(store.manifest.names())}
    audio = PackedAudio.open(packed)
    assert len(audio) == len(audio.manifest) == 60
    assert sorted(audio.manifest.names()) == sorted(rows)
    for row, name in enumerate(audio.manifest.names()):
        np.testing.assert_array_equal(audio[row], store[rows[name]])
        assert audio[row].dtype == np.int16
        assert audio.lengths[row] == len(audio[row])
    original = store.manifest.take([rows[name] for name in audio.manifest.names()])
    assert audio.manifest.sha256() == original.sha256()
    assert audio.manifest.splits == ["train"] * 40 + ["validation"] * 12 + ["test"] * 8


def test_shards_have_webdataset_format(packed):
    index = json.loads((packed / "index.json").read_text())
    assert [(shard["name"], shard["clips"]) for shard in index["shards"]] == [
        *((f"train-{part:05}.tar", 10) for part in range(4)),
        *((f"validation-{part:05}.tar", 6) for part in range(2)),
        ("test-00000.tar", 8),
    ]
    with tarfile.open(packed / "train-00001.tar") as tar:
        names = tar.getnames()
        assert all(member.mtime == member.uid == 0 and not member.uname for member in tar)
        about = json.load(tar.extractfile(names[1]))
        samples, rate = soundfile.read(io.BytesIO(tar.extractfile(names[0]).read()), dtype="int16")
    assert len(names) == 20
    for audio, text in zip(names[::2], names[1::2], strict=True):
        assert audio.split(".") == [text.split(".")[0], "flac"]
    assert about["path"] == f"{int(names[0].split('.')[0])}.wav"
    assert about["labels"] in (["/m/0bt9lr", "/m/01yrx"], ["/m/01yrx"])
    assert (about["split"], about["license"], about["samples"], rate) == ("train", "CC0", len(samples), 16_000)


def test_seed_determines_the_order_in_shards(source, packed, tmp_path):
    first = PackedAudio.open(packed).manifest.names()[:40]
    assert first != sorted(first, key=lambda name: int(name.split(".")[0]))
    pack(Manifest.load(source), tmp_path / "other", Packing(shard_clips=10, seed=1))
    other = PackedAudio.open(tmp_path / "other").manifest.names()[:40]
    assert sorted(other) == sorted(first)
    assert other != first


def test_packing_twice_gives_the_same_bytes(source, packed, tmp_path):
    pack(Manifest.load(source), tmp_path / "again", SMALL, workers=3)
    assert contents(tmp_path / "again") == contents(packed)


def test_opus_keeps_length_and_waveform(tmp_path):
    time = np.arange(40_000) / 16_000
    soundfile.write(tmp_path / "a.wav", 0.3 * np.sin(2 * np.pi * 440 * time) * (1 + np.sin(9 * time)), 16_000)
    manifest = Manifest.from_rows([Row("a.wav", labels="Dog")], VOCABULARY, tmp_path)
    sets = [tmp_path / "one", tmp_path / "two"]
    for directory in sets:
        pack(manifest, directory, Packing("opus"))
    assert contents(sets[0]) == contents(sets[1])
    samples = PackedAudio.open(sets[0])[0]
    assert len(samples) == 40_000
    assert np.corrcoef(samples, soundfile.read(tmp_path / "a.wav")[0])[0, 1] > 0.99
    with tarfile.open(sets[0] / "unassigned-00000.tar") as tar:
        assert tar.getnames() == ["00000000.opus", "00000000.json"]


KILLED = """
import os, signal, sys
from pathlib import Path
from training.data import Manifest
from training.data.store.pack import Packing, pack
def kill(done, total):
    os.kill(os.getpid(), signal.SIGKILL)  # at the 50th clip, within validation-00000
pack(Manifest.load(sys.argv[1]), Path(sys.argv[2]), Packing(shard_clips=10), progress=kill, workers=1)
"""


def test_killed_and_resumed_packing_gives_the_same_bytes(source, packed, tmp_path):
    directory = tmp_path / "killed"
    done = subprocess.run([sys.executable, "-c", KILLED, source, directory], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (directory / "index.json").exists()
    before = {path: path.stat().st_mtime_ns for path in directory.glob("*.tar")}
    assert 4 <= len(before) < 7
    assert len(list(directory.glob(".*.tmp"))) == 1
    with pytest.raises(ManifestError, match=r"no complete packed set .*make or complete it with"):
        PackedAudio.open(directory)

    resumed = run("pack", source, "-o", directory, "--shard-clips", "10")
    assert resumed.exit_code == 0, resumed.output
    assert contents(directory) == contents(packed)
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())


FULL = """
import resource, sys
from training.data.commands import main
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
main(["pack", sys.argv[1], "-o", sys.argv[2], "--shard-clips", "10"])
"""


@pytest.mark.slow
def test_full_disk_gives_one_line_and_leaves_no_partial_files(source, packed, tmp_path):
    directory = tmp_path / "full"
    done = subprocess.run([sys.executable, "-c", FULL, source, directory], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {directory}/train-0000")
    assert "cannot be written (File too large)" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(directory.rglob("*.tmp"))
    assert run("pack", source, "-o", directory, "--shard-clips", "10").exit_code == 0
    assert contents(directory) == contents(packed)


@pytest.fixture
def faulty(source, tmp_path):
    """Path of a manifest with an unreadable and a missing file."""
    folder = shutil.copytree(source.parent, tmp_path / "faulty")
    (folder / "3.wav").write_text("not audio")
    (folder / "59.wav").unlink()
    return folder / "set.csv"


def test_faulty_clips_stop_packing_before_their_shard(faulty, source, packed, tmp_path):
    done = run("pack", faulty, "-o", tmp_path / "out", "--shard-clips", "10")
    assert done.exit_code == 1
    assert "1 x unreadable audio" in done.stderr
    assert "3.wav" in done.stderr
    assert "--on-error skip" in done.stderr
    assert not (tmp_path / "out" / "index.json").exists()
    for name in ("3.wav", "59.wav"):
        shutil.copy(source.parent / name, faulty.parent / name)  # corrected
    assert run("pack", faulty, "-o", tmp_path / "out", "--shard-clips", "10").exit_code == 0
    assert contents(tmp_path / "out") == contents(packed)


def test_faulty_clips_are_left_out_and_counted(faulty, tmp_path):
    done = run("pack", faulty, "-o", tmp_path / "out", "--shard-clips", "10", "--on-error", "skip")
    assert done.exit_code == 0, done.output
    assert "58 clips" in done.stdout
    assert "left out: 1 x unreadable audio" in done.stderr
    audio = PackedAudio.open(tmp_path / "out")
    assert len(audio) == 58
    assert not {"3.wav", "59.wav"} & set(audio.manifest.names())
    assert audio.manifest.dropped.counts == {"missing file": 1, "unreadable audio": 1}
    assert [len(audio[row]) for row in range(58)] == audio.lengths.tolist()


def test_other_clips_or_settings_are_refused(source, copy, tmp_path):
    with pytest.raises(ManifestError, match="packed with another codec and seed; name another directory"):
        pack(Manifest.load(source), copy, Packing("opus", shard_clips=10, seed=4))
    with pytest.raises(ManifestError, match="packed with another manifest_sha256"):
        pack(Manifest.load(source).select("train"), copy, SMALL)
    (tmp_path / "old").mkdir()
    shutil.copy(copy / "test-00000.tar", tmp_path / "old")
    with pytest.raises(ManifestError, match="holds other shards"):
        pack(Manifest.load(source), tmp_path / "old", SMALL)


def test_damaged_shard_is_named_and_can_be_rebuilt(source, packed, copy):
    path = copy / "train-00002.tar"
    content = bytearray(path.read_bytes())
    for place in range(2000, len(content), 4000):
        content[place] ^= 0xFF
    path.write_bytes(content)
    audio = PackedAudio.open(copy)
    with pytest.raises(ManifestError, match=r"shard train-00002.tar is damaged \(.*remove it and pack again") as caught:
        [audio[row] for row in range(60)]
    assert "\n" not in str(caught.value)
    checked = run("check", copy)
    assert checked.exit_code == 1
    assert "7 shards" in checked.stdout
    assert "1 damaged\ntrain-00002.tar: another SHA-256" in checked.stdout

    path.unlink()
    with pytest.raises(ManifestError, match=r"train-00002.tar is damaged \(missing\)"):
        PackedAudio.open(copy)
    assert run("pack", source, "-o", copy, "--shard-clips", "10").exit_code == 0
    assert contents(copy) == contents(packed)
    assert run("check", copy).exit_code == 0


def test_shortened_shard_is_named(copy):
    path = copy / "validation-00001.tar"
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(ManifestError, match=r"validation-00001.tar is damaged \(\d+ bytes, not \d+\)"):
        PackedAudio.open(copy)


def remove_index(directory):
    (directory / "index.json").unlink()


def break_index(directory):
    (directory / "index.json").write_text("{")


def other_format(directory):
    index = json.loads((directory / "index.json").read_text())
    (directory / "index.json").write_text(json.dumps(index | {"format": 0}))


def remove_last_row(directory):
    lines = (directory / "manifest.csv").read_text().splitlines()
    (directory / "manifest.csv").write_text("\n".join(lines[:-1]))


@pytest.mark.parametrize("damage", [remove_index, break_index, other_format, remove_last_row, shutil.rmtree])
def test_incomplete_or_invalid_packed_sets(copy, damage):
    damage(copy)
    with pytest.raises(ManifestError, match=r"no complete packed set|another version|does not match") as caught:
        PackedAudio.open(copy)
    assert "\n" not in str(caught.value)


def test_open_by_uri_with_another_vocabulary(packed, tmp_path):
    shutil.copytree(packed, tmp_path / "moved")
    audio = PackedAudio.open(f"file://{tmp_path}/moved", Vocabulary(VOCABULARY.labels[::-1]))
    assert {0} < set(audio.manifest.labels.classes.tolist())
    assert (audio.manifest.labels.classes == 0).sum() == 60  # Cat, which is the first class here
    np.testing.assert_array_equal(audio[5], PackedAudio.open(packed, kept=0)[5])
    assert isinstance(open_audio(f"file://{tmp_path}/moved"), PackedAudio)
    elsewhere = pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem())  # treated as remote
    np.testing.assert_array_equal(PackedAudio("elsewhere", elsewhere, "moved")[5], audio[5])
    assert isinstance(open_audio(packed), PackedAudio)
    np.testing.assert_array_equal(open_audio(packed, in_order=False)[5], audio[5])


def test_by_shard_reads_each_block_once_per_epoch(packed, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 8192)
    audio = PackedAudio.open(packed, kept=8192 * 64)
    reads = []
    source = audio._blocks._source
    audio._blocks._source = lambda *block: (reads.append(block), source(*block))[1]
    order = by_shard(audio.shards(np.arange(40)), 8, np.random.default_rng(0), lanes=2, window=4)
    with ThreadPoolExecutor(4) as pool:
        clips = list(pool.map(audio.__getitem__, order.ravel()))
    assert [len(clip) for clip in clips] == audio.lengths[order.ravel()].tolist()
    assert len(reads) == len(set(reads))
    assert (
        sum(size for *_, size in reads)
        >= sum((packed / f"train-0000{part}.tar").stat().st_size for part in range(4)) * 0.9
    )


def test_block_cache_is_bounded(packed, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 8192)
    audio = PackedAudio.open(packed, kept=8192 * 3)
    for row in np.random.default_rng(0).permutation(60):
        assert len(audio[row]) == audio.lengths[row]
        assert len(audio._blocks._cached) <= 3


@pytest.mark.parametrize(("ranks", "workers"), [(1, 1), (2, 3), (3, 2)])
def test_ranks_and_workers_read_each_clip_once(packed, ranks, workers):
    clips = []
    for rank in range(ranks):
        audio = PackedAudio.open(packed)
        order = by_shard(audio.shards(np.arange(40)), 8, np.random.default_rng((0, 1)))
        mine = np.concatenate([np.array_split(batch, ranks)[rank] for batch in order])
        with ThreadPoolExecutor(workers) as pool:
            clips += [samples.tobytes() for samples in pool.map(audio.__getitem__, mine)]
    assert len(clips) == 40
    assert len(set(clips)) == 40


def test_memory_of_a_reader_does_not_grow(packed):
    audio = PackedAudio.open(packed, kept=0)
    [audio[row] for row in range(60)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(8):
        [audio[row] for row in range(60)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2000  # kB; 3 MB were read
