"""The cache of optimised graphs: same scores, never trusted blindly, and nothing lost where it cannot be written."""

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
    """Where entries go in this test."""
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
    (found,) = folder.iterdir()
    return found


def test_a_cached_graph_gives_the_same_bits(folder, model_path, expected):
    np.testing.assert_array_equal(scores(model_path), expected)
    kept = entry(folder)
    assert {file.name for file in kept.iterdir()} == {cache.GRAPH, cache.WEIGHTS, cache.SEAL}
    written = (kept / cache.GRAPH).stat().st_mtime_ns
    np.testing.assert_array_equal(scores(model_path), expected)
    assert (kept / cache.GRAPH).stat().st_mtime_ns == written


def variant(model_path: Path, path: Path) -> Path:
    """The test model with other scores."""
    model = onnx.load(model_path)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("L4.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(5, 9, np.float32), bias.name))
    onnx.save(model, path)
    return path


def pass_off(folder: Path, other: Path, path: Path) -> Path:
    """Cache ``other`` and ``path``, and put the first entry in the second one's place; returns that."""
    scores(other)
    foreign = entry(folder)
    scores(path)
    (kept,) = (found for found in folder.iterdir() if found != foreign)
    cache._discard(kept)
    foreign.rename(kept)
    return kept


def test_the_cached_graph_is_what_runs(folder, tmp_path, model_path, expected):
    """Else the other tests would prove nothing: an entry that is false in all but its seal is believed."""
    false = pass_off(folder, variant(model_path, tmp_path / "other.onnx"), model_path)
    (false / cache.SEAL).write_text(json.dumps(cache._seal(false, false.name)))
    assert scores(model_path).min() > expected.max()


def test_an_entry_of_another_model_is_replaced(folder, tmp_path, model_path, expected):
    foreign = pass_off(folder, variant(model_path, tmp_path / "other.onnx"), model_path)
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
def test_a_damaged_entry_is_replaced(name, damage, folder, model_path, expected):
    scores(model_path)
    damage(entry(folder) / name)
    np.testing.assert_array_equal(scores(model_path), expected)
    assert cache.find(folder, entry(folder).name)


def test_a_sound_seal_on_a_graph_that_does_not_load(folder, model_path, expected):
    scores(model_path)
    kept = entry(folder)
    (kept / cache.GRAPH).write_bytes(b"not a graph")
    (kept / cache.SEAL).write_text(json.dumps(cache._seal(kept, kept.name)))
    np.testing.assert_array_equal(scores(model_path), expected)
    assert (entry(folder) / cache.GRAPH).stat().st_size > 100


def test_the_key_names_model_runtime_and_processor(model_path, tmp_path, monkeypatch):
    copy, changed = tmp_path / "copy.onnx", tmp_path / "changed.onnx"
    copy.write_bytes(model_path.read_bytes())
    changed.write_bytes(model_path.read_bytes() + b"\0")
    key = cache.key(model_path, "1.20")
    assert key == cache.key(copy, "1.20")
    keys = {key, cache.key(changed, "1.20"), cache.key(model_path, "1.21")}
    monkeypatch.setattr(cache, "_processor", lambda: "another")
    keys.add(cache.key(model_path, "1.20"))
    assert len(keys - {None}) == 4


def test_weights_in_other_files_are_not_cached(folder, tmp_path, model_path, expected):
    """The key is of the model file alone."""
    path = tmp_path / "split.onnx"
    onnx.save(onnx.load(model_path), path, save_as_external_data=True, location="split.bin")
    np.testing.assert_array_equal(scores(path), expected)
    assert not folder.exists()


def test_a_file_that_is_no_model_leaves_nothing(folder, tmp_path):
    for number, content in enumerate((b"", b"nothing")):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match="not an ONNX file"):
            Model(path, "cpu")
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize("value", ["off", "", "0", "a file", "read only"])
def test_without_a_cache(value, tmp_path, monkeypatch, model_path, expected, capfd):
    """Switched off, in a place that is a file, on a disk that takes nothing."""
    (tmp_path / "a file").write_text("taken")
    (tmp_path / "read only" / "graphs").mkdir(parents=True)
    (tmp_path / "read only" / "graphs").chmod(0o555)
    if value == "read only":  # which the superuser does not notice
        monkeypatch.setattr("tempfile.mkdtemp", _refuse)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEDKIT_CACHE", value)
    np.testing.assert_array_equal(scores(model_path), expected)
    assert not list((tmp_path / "read only" / "graphs").iterdir())
    assert capfd.readouterr() == ("", "")


def _refuse(*args: object, **kwargs: object) -> None:
    raise OSError(30, "Read-only file system")


def test_a_disk_that_fills_up(folder, monkeypatch, model_path, expected):
    def break_off(entry: Path, key: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_seal", break_off)
    np.testing.assert_array_equal(scores(model_path), expected)
    assert not list(folder.iterdir())


def test_processes_that_race(folder, model_path, expected):
    command = [sys.executable, "-c", "import sys; from sedkit.inference.model import Model; Model(sys.argv[1], 'cpu')"]
    running = [subprocess.Popen([*command, str(model_path)]) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert cache.find(folder, entry(folder).name)
    np.testing.assert_array_equal(scores(model_path), expected)


def test_only_the_entries_used_last_are_kept(folder, tmp_path):
    for number in range(cache.KEPT + 2):
        with cache.writing(folder, f"k{number}") as place:
            assert place
            for name in (cache.GRAPH, cache.WEIGHTS):
                (place / name).write_text(name)
        os.utime(folder / f"k{number}" / cache.SEAL, (number, number))
        assert cache.find(folder, "k0")  # which marks it as used
    abandoned = folder / ".abandoned.tmp"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    cache._prune(folder)
    assert {found.name for found in folder.iterdir()} == {"k0", *(f"k{n}" for n in range(3, cache.KEPT + 2))}


def test_the_users_folder(monkeypatch, tmp_path):
    if sys.platform != "linux":
        pytest.skip("the places of Linux")
    monkeypatch.delenv("SEDKIT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "xdg" / "sedkit" / "graphs"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.folder() == tmp_path / ".cache" / "sedkit" / "graphs"
