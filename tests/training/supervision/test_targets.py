"""Targets of training clips (Algorithm 1, line 3) from labels and the teachers' stored scores of whole clips."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from sedkit.contract import Label
from tests.training.processes import background, wait_for
from training.data.augment.augmentation import Augmentation, mix
from training.data.clips import Clips
from training.loop.batches import Epoch
from training.loop.settings import Execution, Settings
from training.networks.predict import predict
from training.networks.wels import Network
from training.runtime.checkpoint import load, save
from training.supervision import targets as module
from training.supervision.equations import LABELS
from training.supervision.equations import targets as convex_combination
from training.supervision.targets import Targets, remove_scores, score_clips, union

COUNT = 12


def clips() -> Clips:
    random = np.random.default_rng(0)
    waveforms = [(3000 * random.standard_normal(10_000 + 900 * i)).astype(np.int16) for i in range(COUNT)]
    return Clips(waveforms, np.eye(3, dtype=np.float32)[np.arange(COUNT) % 3], [Label(name) for name in "abc"])


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "generation-0" / "network.pt"
    save({"network": Network(3, 1 / 16).state_dict()}, path)
    return path


def teacher(weights: Path) -> Network:
    network = Network(3, 1 / 16)
    network.load_state_dict(load(weights)["network"])
    return network.eval()


def stored_scores(weights: Path, identity: str = "") -> np.ndarray:
    return score_clips(teacher(weights), weights, clips(), identity, 4)


@pytest.mark.parametrize("overlay", [0.0, 0.6])
@pytest.mark.parametrize("supervision", [{LABELS: 0.3, 0: 0.7}, {0: 1.0}, {LABELS: 1.0}])
def test_batches_have_the_targets_of_freshly_computed_scores(supervision: dict, overlay: float, weights: Path) -> None:
    all_clips = clips()
    targets = Targets(supervision, all_clips, {0: stored_scores(weights)} if 0 in supervision else None)
    fresh = {0: predict(teacher(weights), all_clips.waveforms, 4)}
    settings = Settings(batch_size=4, crop=0.96, augmentation=Augmentation(mixed=1.0, overlay=overlay))
    epoch = Epoch(all_clips, targets, settings, (0, 1, 1), Execution(torch.device("cpu")))
    parts = [part for batch in epoch.batches() for part in batch]
    assert len(parts) == 3
    for part in parts:
        expected = convex_combination(
            supervision,
            union(all_clips.labels, part.rows),
            {key: union(value, part.rows) for key, value in fresh.items()},
        )
        torch.testing.assert_close(part.batch.targets, torch.from_numpy(expected), rtol=0, atol=5e-4)  # float16
        mixed = mix(part.batch.targets, part.batch.shares)
        assert not torch.equal(mixed.round(), mixed) or supervision == {LABELS: 1.0}


def test_mixup_mixes_the_targets(weights: Path) -> None:
    targets = Targets({LABELS: 0.3, 0: 0.7}, clips(), {0: stored_scores(weights)})
    read = torch.from_numpy(targets.of_clips(np.array([5, 2])))
    mixed = mix(read, torch.tensor([0.8, 0.6]))
    torch.testing.assert_close(mixed[0], 0.8 * read[0] + 0.2 * read[1])
    torch.testing.assert_close(mixed[1], 0.6 * read[1] + 0.4 * read[0])


def test_overlaid_clips_get_the_union_of_labels_and_the_highest_score(weights: Path) -> None:
    all_clips, scores = clips(), stored_scores(weights)
    targets = Targets({LABELS: 0.3, 0: 0.7}, all_clips, {0: scores})
    read = targets.of_clips(np.array([[5, 2, -1], [1, -1, -1]]))
    labels = np.maximum(all_clips.labels[5], all_clips.labels[2])
    highest = np.maximum(scores[5], scores[2])
    np.testing.assert_allclose(read[0], 0.3 * labels + 0.7 * highest.astype(np.float32), atol=1e-6)
    np.testing.assert_array_equal(read[1], targets.of_clips(np.array([1]))[0])


def test_scores_are_computed_once(weights: Path) -> None:
    first = stored_scores(weights)
    assert first.dtype == np.float16
    assert first.shape == (COUNT, 3)
    (path,) = weights.parent.glob("predictions-*")
    path.write_bytes(np.full(first.shape, 0.25, np.float16).tobytes())
    assert (stored_scores(weights) == 0.25).all(), "the scores are read, not computed"


@pytest.mark.parametrize("change", ["weights", "clips", "length"])
def test_score_file_of_other_weights_or_clips_is_not_used(change: str, weights: Path) -> None:
    expected = np.array(stored_scores(weights))
    (path,) = weights.parent.glob("predictions-*")
    if change == "length":
        path.write_bytes(path.read_bytes()[:-6])
    else:
        path.write_bytes(np.full(expected.shape, 0.25, np.float16).tobytes())
    if change == "weights":
        torch.manual_seed(1)
        save({"network": Network(3, 1 / 16).state_dict()}, weights)
        assert not np.allclose(stored_scores(weights), expected, atol=1e-3)
    else:
        np.testing.assert_array_equal(stored_scores(weights, "others" if change == "clips" else ""), expected)
    assert len(list(weights.parent.glob("predictions-*"))) == 1


def score_slowly(weights: str) -> None:
    module.CHUNK = 2
    plain = module.predict

    def slow(*arguments, **named):
        time.sleep(0.02)
        return plain(*arguments, **named)

    module.predict = slow
    stored_scores(Path(weights))


@pytest.mark.slow
def test_interrupted_scoring_resumes(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = background(score_slowly, str(weights))
    folder = weights.parent
    wait_for(lambda: any(p.stat().st_size > 12 for p in folder.glob("*.partial")), process)
    process.kill()
    process.join()
    (partial,) = folder.glob("predictions-*.partial")
    done = partial.stat().st_size // 6
    assert 0 < done < COUNT
    with partial.open("ab") as file:
        file.write(b"abc")  # half a row
    scored: list[int] = []
    plain = module.predict
    monkeypatch.setattr(module, "predict", lambda n, w, *a, **k: (scored.append(len(w)), plain(n, w, *a, **k))[1])
    scores = stored_scores(weights)
    assert sum(scored) == COUNT - done
    np.testing.assert_allclose(scores, plain(teacher(weights), clips().waveforms, 4), atol=5e-4)
    assert not list(folder.glob("*.partial"))


def test_remove_scores(weights: Path) -> None:
    stored_scores(weights)
    remove_scores(weights.parent)
    assert [path.name for path in weights.parent.iterdir()] == ["network.pt"]
