"""sedkit.inference.graph_cache: same scores, damaged entries are replaced, and sedkit works without a cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from sedkit.errors import ModelError
from sedkit.inference import graph_cache as cache
from sedkit.inference.model import Model
from tests.conftest import make_sound

SOUND = make_sound(4, seed=1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the entries in this test."""
    monkeypatch.setenv("SEDKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


@pytest.fixture(scope="module")
def expected(model_path: Path) -> np.ndarray:
    """Scores without a cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEDKIT_CACHE", "off")
        return scores(model_path)


def scores(path: Path) -> np.ndarray:
    return np.concatenate(list(Model(path, "cpu").segments([SOUND])))


def entry(folder: Path) -> Path:
    (only,) = folder.iterdir()
    return only


def test_cached_graph_gives_identical_scores(folder, model_path, expected):
    np.testing.assert_array_equal(scores(model_path), expected)
    cached = entry(folder)
    assert {file.name for file in cached.iterdir()} == {cache.GRAPH, cache.WEIGHTS, cache.SEAL}
    written = (cached / cache.GRAPH).stat().st_mtime_ns
    np.testing.assert_array_equal(scores(model_path), expected)
    assert (cached / cache.GRAPH).stat().st_mtime_ns == written


def variant(model_path: Path, path: Path) -> Path:
    """A copy of the test model with different scores."""
    model = onnx.load(model_path)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("L4.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(5, 9, np.float32), bias.name))
    onnx.save(model, path)
    return path


def swap_entries(folder: Path, other: Path, path: Path) -> Path:
    """Cache ``other`` and ``path``, and move the first entry to the place of the second; return its path."""
    scores(other)
    foreign = entry(folder)
    scores(path)
    (own,) = (path for path in folder.iterdir() if path != foreign)
    cache._discard(own)
    foreign.rename(own)
    return own


def test_the_cached_graph_is_used(folder, tmp_path, model_path, expected):
    """A wrong entry with a valid seal gives wrong scores; otherwise the other tests would prove nothing."""
    wrong = swap_entries(folder, variant(model_path, tmp_path / "other.onnx"), model_path)
    (wrong / cache.SEAL).write_text(json.dumps(cache._seal(wrong, wrong.name)))
    assert scores(model_path).min() > expected.max()


def test_entry_of_another_model_is_replaced(folder, tmp_path, model_path, expected):
    foreign = swap_entries(folder, variant(model_path, tmp_path / "other.onnx"), model_path)
    np.testing.assert_array_equal(scores(model_path), expected)
    assert cache.find(folder, foreign.name)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink, lambda file: file.write_bytes(b"")])
@pytest.mark.parametrize("name", [cache.GRAPH, cache.WEIGHTS, cache.SEAL])
def test_damaged_entry_is_replaced(name, damage, folder, model_path, expected):
    scores(model_path)
    damage(entry(folder) / name)
    np.testing.assert_array_equal(scores(model_path), expected)
    assert cache.find(folder, entry(folder).name)


def test_entry_that_does_not_load_is_replaced(folder, model_path, expected):
    scores(model_path)
    cached = entry(folder)
    (cached / cache.GRAPH).write_bytes(b"not a graph")
    (cached / cache.SEAL).write_text(json.dumps(cache._seal(cached, cached.name)))
    np.testing.assert_array_equal(scores(model_path), expected)
    assert (entry(folder) / cache.GRAPH).stat().st_size > 100


def test_key_depends_on_model_runtime_and_processor(model_path, tmp_path, monkeypatch):
    copy, changed = tmp_path / "copy.onnx", tmp_path / "changed.onnx"
    copy.write_bytes(model_path.read_bytes())
    changed.write_bytes(model_path.read_bytes() + b"\0")
    key = cache.key(model_path, "1.20")
    assert key == cache.key(copy, "1.20")
    keys = {key, cache.key(changed, "1.20"), cache.key(model_path, "1.21")}
    monkeypatch.setattr(cache, "_processor", lambda: "another")
    keys.add(cache.key(model_path, "1.20"))
    assert len(keys - {None}) == 4


def test_models_with_external_weights_are_not_cached(folder, tmp_path, model_path, expected):
    """The key covers only the model file."""
    path = tmp_path / "split.onnx"
    onnx.save(onnx.load(model_path), path, save_as_external_data=True, location="split.bin")
    np.testing.assert_array_equal(scores(path), expected)
    assert not folder.exists()


def test_invalid_model_leaves_no_entry(folder, tmp_path):
    for number, content in enumerate((b"", b"nothing")):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match="not an ONNX file"):
            Model(path, "cpu")
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize("value", ["off", "", "0", "a file", "read only"])
def test_without_a_cache(value, tmp_path, monkeypatch, model_path, expected, capfd):
    """Turned off, the path is a file, or a read-only disk."""
    (tmp_path / "a file").write_text("taken")
    (tmp_path / "read only" / "graphs").mkdir(parents=True)
    (tmp_path / "read only" / "graphs").chmod(0o555)
    if value == "read only":  # permissions do not stop root
        monkeypatch.setattr("tempfile.mkdtemp", _refuse)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEDKIT_CACHE", value)
    np.testing.assert_array_equal(scores(model_path), expected)
    assert not list((tmp_path / "read only" / "graphs").iterdir())
    assert capfd.readouterr() == ("", "")


def _refuse(*args: object, **kwargs: object) -> None:
    raise OSError(30, "Read-only file system")


def test_full_disk(folder, monkeypatch, model_path, expected):
    def fail(entry: Path, key: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_seal", fail)
    np.testing.assert_array_equal(scores(model_path), expected)
    assert not list(folder.iterdir())


def test_concurrent_processes(folder, model_path, expected):
    command = [sys.executable, "-c", "import sys; from sedkit.inference.model import Model; Model(sys.argv[1], 'cpu')"]
    running = [subprocess.Popen([*command, str(model_path)]) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert cache.find(folder, entry(folder).name)
    np.testing.assert_array_equal(scores(model_path), expected)


def test_least_recently_used_entries_are_removed(folder, tmp_path):
    for number in range(cache.MAX_ENTRIES + 2):
        with cache.writing(folder, f"k{number}") as place:
            assert place
            for name in (cache.GRAPH, cache.WEIGHTS):
                (place / name).write_text(name)
        os.utime(folder / f"k{number}" / cache.SEAL, (number, number))
        assert cache.find(folder, "k0")  # marks it as used
    abandoned = folder / ".abandoned.tmp"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    cache._prune(folder)
    assert {path.name for path in folder.iterdir()} == {"k0", *(f"k{n}" for n in range(3, cache.MAX_ENTRIES + 2))}


def test_default_folder(monkeypatch, tmp_path):
    if sys.platform != "linux":
        pytest.skip("checks the folders on Linux")
    monkeypatch.delenv("SEDKIT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "xdg" / "sedkit" / "graphs"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.folder() == tmp_path / ".cache" / "sedkit" / "graphs"
