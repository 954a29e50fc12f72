"""YAMNet's cached scores, class matching and the regression on its features. YAMNet itself runs in tests/real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sedkit.contract import Label
from sedkit.metrics import roc_auc
from training.networks.yamnet_tflite import PeerError, YamnetTflite, class_names, clip_scores, is_cached, match_classes
from training.supervision.regression import fit_regression


def no_waveform(clip: int) -> np.ndarray:
    raise AssertionError("this clip is in the cache")


def test_cached_scores_are_not_computed_again(tmp_path: Path) -> None:
    cache, model = tmp_path / "scores.npz", tmp_path / "no-model"
    scores, features = np.random.default_rng(0).random((2, 3, 5)).astype(np.float32)
    np.savez(cache, names=np.array(["a", "b", "c"]), scores=scores, features=features)
    cached = clip_scores(model, ["c", "a"], no_waveform, cache)
    assert (cached.scores == scores[[2, 0]]).all()
    assert (cached.features == features[[2, 0]]).all()
    with pytest.raises(PeerError, match="no-model: not YAMNet's TFLite file"):
        clip_scores(model, ["c", "d"], no_waveform, cache)
    assert (clip_scores(None, ["b"], no_waveform, cache).scores == scores[[1]]).all()
    with pytest.raises(PeerError, match=r"scores.npz: lacks the scores of 1 clips; give the model: --peer yamnet=FILE"):
        clip_scores(None, ["b", "d"], no_waveform, cache)
    assert is_cached(cache, ["a", "c"])
    assert not is_cached(cache, ["a", "d"])
    assert not is_cached(tmp_path / "nothing.npz", ["a"])
    for value in (1.5, -0.5, np.nan):
        wrong = np.where(scores == scores[1, 1], value, scores)
        np.savez(cache, names=np.array(["a", "b", "c"]), scores=wrong, features=features)
        with pytest.raises(PeerError, match=r"scores.npz: damaged cache of scores; delete it"):
            is_cached(cache, ["a"])
    cache.write_bytes(b"PK nothing")
    with pytest.raises(PeerError, match=r"scores.npz: damaged cache of scores; delete it"):
        clip_scores(model, ["a"], no_waveform, cache)


def test_file_that_is_not_yamnet_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    for read in (class_names, YamnetTflite):
        with pytest.raises(PeerError, match="not YAMNet's TFLite file with the names of its classes"):
            read(tmp_path / "model.tflite")


def test_match_classes_matches_by_name() -> None:
    known = [Label("Speech"), Label("Dog"), Label("Siren")]
    wanted = [Label("Siren", "/m/03kmc9", 396), Label("Our kettle"), Label("Speech", "/m/09x0r", 0)]
    scores = np.array([[0.1, 0.2, 0.3]], np.float32)
    assert match_classes(scores, known, wanted).tolist() == [[np.float32(0.3), 0, np.float32(0.1)]]


def test_regression_separates_classes_by_features() -> None:
    random = np.random.default_rng(0)
    features = 7 + random.random((300, 6))
    targets = np.stack([features[:, 1] > 7.5, features[:, 1] <= 7.5, features[:, 4] < 7.3, np.zeros(300)], 1)
    scores = fit_regression(features[:200], targets[:200].astype(np.float32), 1.0)(features[200:])
    assert scores.shape == (100, 4)
    assert all(roc_auc(targets[200:, place], scores[:, place]) > 0.9 for place in range(3))
    assert (scores[:, 3] < 0.05).all()  # no positive example
