"""Embeddings: the graph's output, cut into pieces without a trace, per segment or per recording."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from sedkit import ArgumentError, Embedding, SedkitError, Tagger
from sedkit.audio.reading import open_audio
from sedkit.geometry import SAMPLE_RATE, segment_count
from sedkit.inference import embedding as module
from sedkit.inference.embedding import EmbeddingModel, EmbeddingView
from sedkit.inference.pipeline import analyse
from tests.conftest import make_sound


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return make_sound(50, seed=4)  # three pieces


def test_one_row_per_segment_with_its_span(tagger: Tagger, sound):
    found = tagger.embed(sound, SAMPLE_RATE)
    assert isinstance(found, Embedding)
    assert found.values.shape == (segment_count(len(sound)), 1024)
    assert found.values.dtype == np.float32
    assert found.values.std(axis=0).max() > 0.01  # otherwise the other tests would prove nothing
    np.testing.assert_allclose(np.diff(found.onsets), 0.32)
    assert (found.onsets[0], found.offsets[0], found.offsets[-1]) == (0, 0.96, 50)


def test_pieces_and_blocks_leave_no_trace(tagger: Tagger, sound):
    """Blocks change no bit; another length of the pieces changes the rounding only."""
    whole = tagger.embed(sound, SAMPLE_RATE).values
    model = EmbeddingModel(tagger.model)
    sound = np.concatenate(list(open_audio(sound, SAMPLE_RATE)))
    blocks = [sound[:77], sound[77:300_001], sound[300_001:]]
    cut = np.concatenate([rows for _, _, rows in model.scored_pieces(blocks)])
    np.testing.assert_array_equal(cut, whole)
    np.testing.assert_allclose(whole, tagger.model.embeddings(sound[None])[0], rtol=0, atol=1e-5)


def test_silence_has_zeros_and_does_not_count_in_the_mean(tagger: Tagger, sound):
    loud = sound[: 5 * SAMPLE_RATE]
    padded = np.concatenate([loud, np.zeros(20 * SAMPLE_RATE, np.float32)])
    rows = tagger.embed(padded, SAMPLE_RATE).values
    sounding = rows.any(axis=1)
    assert 0 < sounding.sum() < len(rows)
    clip = tagger.embed(padded, SAMPLE_RATE, per="clip")
    np.testing.assert_allclose(clip.values[0], rows[sounding].mean(axis=0), rtol=0, atol=1e-5)
    assert (clip.onsets.tolist(), clip.offsets.tolist()) == ([0], [25])
    assert not tagger.embed(np.zeros(SAMPLE_RATE), SAMPLE_RATE, per="clip").values.any()


def test_many_recordings_at_once_and_on_disk(tagger: Tagger, tmp_path, monkeypatch):
    import soundfile

    sounds = [make_sound(seconds, seed=seconds) for seconds in (3, 30)]
    names = [str(tmp_path / f"{number}.wav") for number in range(2)]
    for name, samples in zip(names, sounds, strict=True):
        soundfile.write(name, samples, SAMPLE_RATE, "FLOAT")
    expected = [tagger.embed(name).values for name in names]
    monkeypatch.setattr(module, "MOST_IN_MEMORY", 4096)
    found = dict(analyse(EmbeddingModel(tagger.model), EmbeddingView, names))
    for name, values in zip(names, expected, strict=True):
        assert isinstance(found[name].values, np.memmap)
        np.testing.assert_array_equal(found[name].values, values)


def test_a_dataframe_has_a_row_per_segment(tagger: Tagger, sound):
    pytest.importorskip("pandas")
    frame = tagger.embed(sound, SAMPLE_RATE).to_dataframe()
    assert list(frame) == ["file", "onset", "offset", "embedding"]
    assert frame["embedding"][0].shape == (1024,)


def test_a_dataframe_says_how_to_install_pandas(tagger: Tagger, sound, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SedkitError, match="pip install pandas"):
        tagger.embed(sound, SAMPLE_RATE).to_dataframe()


def test_wrong_arguments_are_refused(tagger: Tagger, sound):
    with pytest.raises(ArgumentError, match="'segment' or 'clip'"):
        tagger.embed(sound, SAMPLE_RATE, per="frame")
