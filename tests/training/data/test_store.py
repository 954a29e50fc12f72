"""Store of decoded audio: samples, reuse, rebuilding after damage or changes, faulty clips."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import soundfile

from sedkit.contract import Label
from sedkit.errors import OutputError
from tests.sedkit.audio.encoding import without_offset
from training.data.manifest.problems import ManifestError
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.store import decoded as module
from training.data.store.decoded import AudioStore

VOCABULARY = Vocabulary([Label("Tone")])


def tone(samples, frequency=440.0, rate=16_000):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(samples) / rate)).astype(np.float32)


def manifest_of(folder, *rows):
    rows = [row if isinstance(row, Row) else Row(row) for row in rows]
    return Manifest.from_rows([row._replace(labels="Tone") for row in rows], VOCABULARY, folder)


@pytest.fixture
def clips(tmp_path):
    """Three files: 16 kHz mono int16, 44.1 kHz stereo, 16 kHz flac."""
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", rng.integers(-32768, 32768, 5000).astype(np.int16), 16_000)
    stereo = tone(44_100, rate=44_100)
    soundfile.write(tmp_path / "b.wav", np.stack([stereo, 0 * stereo], axis=1), 44_100, "FLOAT")
    soundfile.write(tmp_path / "c.flac", tone(32_000), 16_000)
    return tmp_path


def forbid_decoding(monkeypatch):
    def decode(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(module, "decode", decode)


def test_decoded_samples(clips):
    manifest = manifest_of(clips, "a.wav", "b.wav", Row("c.flac", "0.5", "1"))
    done = []
    store = AudioStore.open_or_build(manifest, clips / "store", progress=lambda *at: done.append(at))
    assert done[-1] == (3, 3)
    assert len(store) == 3
    assert store.lengths.tolist() == [5000, 16_000, 16_000]
    assert all(store[clip].dtype == np.int16 for clip in range(3))
    noise = without_offset(soundfile.read(clips / "a.wav", dtype="float32")[0])
    np.testing.assert_array_equal(store[0], np.clip(np.rint(noise * 32768), -32768, 32767))
    decoded = store[1].astype(float)[1000:-1000] / 32768  # the silent channel does not count
    np.testing.assert_allclose(decoded, without_offset(tone(16_000))[1000:-1000], atol=1e-3)
    np.testing.assert_allclose(store[2] / 32768, without_offset(tone(32_000))[8000:24_000], atol=1e-4)
    with pytest.raises(ValueError, match="read-only"):
        store[0][0] = 1


def test_samples_beyond_full_scale_clip(tmp_path):
    soundfile.write(tmp_path / "loud.wav", np.array([2.0, -2.0, 1.0, -1.0, 0.0] * 100), 16_000, "FLOAT")
    store = AudioStore.open_or_build(manifest_of(tmp_path, "loud.wav"), tmp_path / "store")
    assert store[0][:5].tolist() == [32767, -32768, 32767, -32768, 0]


def test_store_is_reused(clips, monkeypatch):
    manifest = manifest_of(clips, "a.wav", "c.flac")
    first = AudioStore.open_or_build(manifest, clips / "store")
    forbid_decoding(monkeypatch)
    second = AudioStore.open_or_build(manifest.with_splits(["test", "train"]), clips / "store")
    assert second.folder == first.folder
    np.testing.assert_array_equal(second[1], first[1])
    assert second.manifest.splits == ["test", "train"]


def test_copied_store_needs_no_audio(clips, tmp_path_factory, monkeypatch):
    AudioStore.open_or_build(manifest_of(clips, "a.wav", "c.flac"), clips / "store")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(clips / "store", elsewhere / "store")
    forbid_decoding(monkeypatch)
    store = AudioStore.open_or_build(manifest_of(elsewhere, "a.wav", "c.flac"), elsewhere / "store")
    assert store.lengths.tolist() == [5000, 32_000]


def test_store_key_depends_on_the_clips(clips):
    places = {
        AudioStore.open_or_build(manifest, clips / "store").folder
        for manifest in (
            manifest_of(clips, "a.wav", "c.flac"),
            manifest_of(clips, "c.flac", "a.wav"),
            manifest_of(clips, Row("a.wav", "0.1"), "c.flac"),
            manifest_of(clips, Row("a.wav", "", "0.1"), "c.flac"),
        )
    }
    assert len(places) == 4
    assert not list((clips / "store").glob(".*"))  # no temporary folder remains


def shorten_audio(folder):
    (folder / "audio.int16").write_bytes((folder / "audio.int16").read_bytes()[:-2])


def break_offsets(folder):
    (folder / "offsets.npy").write_bytes(b"nonsense")


def remove_about(folder):
    (folder / "store.json").unlink()


def other_format(folder):
    about = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps(about | {"format": 0}))


@pytest.mark.parametrize("damage", [shorten_audio, break_offsets, remove_about, other_format, shutil.rmtree])
def test_damaged_store_is_rebuilt(clips, damage):
    manifest = manifest_of(clips, "a.wav", "c.flac")
    store = AudioStore.open_or_build(manifest, clips / "store")
    wanted = [store[0].copy(), store[1].copy()]
    damage(store.folder)
    store = AudioStore.open_or_build(manifest, clips / "store")
    for clip, samples in enumerate(wanted):
        np.testing.assert_array_equal(store[clip], samples)


def test_changed_audio_is_decoded_again(clips):
    manifest = manifest_of(clips, "a.wav")
    AudioStore.open_or_build(manifest, clips / "store")
    soundfile.write(clips / "a.wav", tone(7000), 16_000)
    assert AudioStore.open_or_build(manifest, clips / "store").lengths.tolist() == [7000]


@pytest.fixture
def faulty(clips):
    (clips / "text.wav").write_text("not audio")
    soundfile.write(clips / "empty.wav", np.zeros(0), 16_000)
    return manifest_of(clips, "none.wav", "a.wav", "text.wav", Row("c.flac", "9"), "c.flac", "empty.wav")


def test_faulty_clips_stop(faulty, clips):
    with pytest.raises(ManifestError, match="1 x missing file") as caught:
        AudioStore.open_or_build(faulty, clips / "store")
    assert "2 x unreadable audio" in str(caught.value)
    assert "1 x clip beyond the end of its file" in str(caught.value)
    assert not list((clips / "store").iterdir())


def test_faulty_clips_are_skipped(faulty, clips, monkeypatch):
    for _ in range(2):  # when built, and when opened
        store = AudioStore.open_or_build(faulty, clips / "store", on_error="skip")
        assert [path.rsplit("/", 1)[1] for path in store.manifest.paths] == ["a.wav", "c.flac"]
        assert store.lengths.tolist() == [5000, 32_000]
        np.testing.assert_allclose(store[1] / 32768, without_offset(tone(32_000)), atol=1e-4)
        assert sum(store.manifest.dropped.counts.values()) == 4
        forbid_decoding(monkeypatch)
    with pytest.raises(ManifestError, match="unreadable audio"):
        AudioStore.open_or_build(faulty, clips / "store", on_error="stop")


def test_no_clip_remains(tmp_path):
    with pytest.raises(ManifestError, match="no clip remains"):
        AudioStore.open_or_build(manifest_of(tmp_path, "none.wav"), tmp_path / "store", on_error="skip")


def test_store_in_a_place_that_is_not_writable(clips):
    (clips / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        AudioStore.open_or_build(manifest_of(clips, "a.wav"), clips / "file" / "store")
