"""YAMNet's scores: kept, mapped to other classes, and learnt from. YAMNet itself runs in tests/real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sedkit.contract import Label
from sedkit.metrics import roc_auc
from training.networks.yamnet_tflite import PeerError, YamnetTflite, class_names, clip_scores, is_cached, match_classes
from training.supervision.regression import regression


def refused(clip: int) -> np.ndarray:
    raise AssertionError("this clip was scored already")


def test_scores_that_were_kept_are_not_made_again(tmp_path: Path) -> None:
    cache, model = tmp_path / "scores.npz", tmp_path / "no-model"
    scores, features = np.random.default_rng(0).random((2, 3, 5)).astype(np.float32)
    np.savez(cache, names=np.array(["a", "b", "c"]), scores=scores, features=features)
    found = clip_scores(model, ["c", "a"], refused, cache)
    assert (found.scores == scores[[2, 0]]).all()
    assert (found.features == features[[2, 0]]).all()
    with pytest.raises(PeerError, match="no-model: not YAMNet's TFLite file"):
        clip_scores(model, ["c", "d"], refused, cache)
    assert (clip_scores(None, ["b"], refused, cache).scores == scores[[1]]).all()
    with pytest.raises(PeerError, match=r"scores.npz: holds no scores of 1 clips; name the model: --peer yamnet=FILE"):
        clip_scores(None, ["b", "d"], refused, cache)
    assert is_cached(cache, ["a", "c"])
    assert not is_cached(cache, ["a", "d"])
    assert not is_cached(tmp_path / "nothing.npz", ["a"])
    cache.write_bytes(b"PK nothing")
    with pytest.raises(PeerError, match=r"scores.npz: no scores can be read from it; remove it"):
        clip_scores(model, ["a"], refused, cache)


def test_what_is_not_yamnet(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    for ask in (class_names, YamnetTflite):
        with pytest.raises(PeerError, match="not YAMNet's TFLite file with the names of its classes"):
            ask(tmp_path / "model.tflite")


def test_classes_are_found_by_name() -> None:
    known = [Label("Speech"), Label("Dog"), Label("Siren")]
    wanted = [Label("Siren", "/m/03kmc9", 396), Label("Our kettle"), Label("Speech", "/m/09x0r", 0)]
    scores = np.array([[0.1, 0.2, 0.3]], np.float32)
    assert match_classes(scores, known, wanted).tolist() == [[np.float32(0.3), 0, np.float32(0.1)]]


def test_a_regression_learns_what_features_mean() -> None:
    random = np.random.default_rng(0)
    features = 7 + random.random((300, 6))
    targets = np.stack([features[:, 1] > 7.5, features[:, 1] <= 7.5, features[:, 4] < 7.3, np.zeros(300)], 1)
    found = regression(features[:200], targets[:200].astype(np.float32), 1.0)(features[200:])
    assert found.shape == (100, 4)
    assert all(roc_auc(targets[200:, place], found[:, place]) > 0.9 for place in range(3))
    assert (found[:, 3] < 0.05).all()  # no example to learn from
