"""sedkit.inference.graph_cache: same scores, damaged entries are replaced, and sedkit works without a cache."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from sedkit.errors import ContractError, ModelError
from sedkit.inference import graph_cache as cache
from sedkit.inference import session
from sedkit.inference.model import Model
from sedkit.model_file import ModelFile, with_digest
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


def with_metadata(model_path: Path, metadata: dict[str, str]) -> bytes:
    """The test model with other metadata."""
    model = onnx.load(model_path)
    onnx.helper.set_model_props(model, metadata)
    return with_digest(model.SerializeToString())


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
    path.write_bytes(with_digest(model.SerializeToString()))
    return path


def swap_entries(folder: Path, other: Path, path: Path) -> Path:
    """Cache ``other`` and ``path``, and move the first entry to the place of the second; return its path."""
    scores(other)
    foreign = entry(folder)
    scores(path)
    (own,) = (path for path in folder.iterdir() if path != foreign)
    cache.discard(own)
    foreign.rename(own)
    return own


def test_the_cached_graph_is_used(folder, tmp_path, model_path, expected):
    """A wrong entry with a valid seal gives wrong scores; otherwise the other tests would prove nothing."""
    wrong = swap_entries(folder, variant(model_path, tmp_path / "other.onnx"), model_path)
    (wrong / cache.SEAL).write_text(json.dumps(cache.seal(wrong, wrong.name)))
    assert scores(model_path).min() > expected.max()


def test_a_changed_model_is_refused_though_its_graph_is_cached(folder, tmp_path, model_path, expected):
    scores(model_path)
    content = bytearray(model_path.read_bytes())
    weights = max((tensor.raw_data for tensor in onnx.load(model_path).graph.initializer), key=len)
    content[content.index(weights) + len(weights) // 2] ^= 1
    (tmp_path / "changed.onnx").write_bytes(content)
    for _ in range(2):
        with pytest.raises(ContractError, match=r"changed\.onnx: .* have changed since the export"):
            Model(tmp_path / "changed.onnx", "cpu")
    entry(folder)
    np.testing.assert_array_equal(scores(model_path), expected)


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
    (cached / cache.SEAL).write_text(json.dumps(cache.seal(cached, cached.name)))
    np.testing.assert_array_equal(scores(model_path), expected)
    assert (entry(folder) / cache.GRAPH).stat().st_size > 100


def test_key_depends_on_graph_runtime_and_processor(model_path, tmp_path, monkeypatch):
    digest = ModelFile(model_path).digest
    other = ModelFile(variant(model_path, tmp_path / "other.onnx")).digest
    keys = {cache.key(digest, "1.20"), cache.key(other, "1.20"), cache.key(digest, "1.21")}
    monkeypatch.setattr(cache, "_processor", lambda: "another")
    keys.add(cache.key(digest, "1.20"))
    assert len(keys - {None}) == 4


def test_models_of_the_same_graph_share_an_entry(folder, tmp_path, model_path, description, expected):
    """Such as one that was calibrated again: its metadata is read from the model file, never from the cache."""
    scores(model_path)
    path = tmp_path / "calibrated.onnx"
    path.write_bytes(with_metadata(model_path, replace(description, name="calibrated").to_metadata()))
    np.testing.assert_array_equal(scores(path), expected)
    assert Model(path, "cpu").contract.name == "calibrated"
    assert entry(folder)


def test_keys_on_other_systems(monkeypatch):
    """Instruction sets on Windows, and the processor's name on macOS; not the name of the machine."""

    class Kernel32:
        @staticmethod
        def IsProcessorFeaturePresent(number: int) -> int:
            return number in features

    class System:
        @staticmethod
        def sysctlbyname(name: bytes, buffer, size, new, length) -> int:
            assert name == b"machdep.cpu.brand_string"
            buffer.value = b"Apple M2"
            return 0

    features = {40}
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=Kernel32), raising=False)
    keys = {cache.key("digest", "1.31")}
    features.add(41)
    keys.add(cache.key("digest", "1.31"))
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: System)
    keys.add(cache.key("digest", "1.31"))
    monkeypatch.setattr("platform.node", lambda: "another")
    keys.add(cache.key("digest", "1.31"))
    assert len(keys - {None}) == 3
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())  # without sysctlbyname
    assert cache.key("digest", "1.31") is None


def test_models_with_external_weights_are_not_cached(folder, tmp_path, model_path, description, expected):
    """The key covers only the model file."""
    path = tmp_path / "split.onnx"
    model = onnx.load(model_path)
    onnx.helper.set_model_props(model, description.to_metadata())
    onnx.save(model, path, save_as_external_data=True, location="split.bin")
    np.testing.assert_array_equal(scores(path), expected)
    assert not folder.exists()


def test_models_that_mention_the_word_location_are_cached(folder, tmp_path, model_path, description):
    model = onnx.load(model_path)
    model.doc_string = model.graph.name = "location"
    model.graph.node[0].name = "location"
    onnx.helper.set_model_props(model, replace(description, name="location").to_metadata())
    onnx.save(model, tmp_path / "location.onnx")
    scores(tmp_path / "location.onnx")
    assert entry(folder)


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

    monkeypatch.setattr(cache, "seal", fail)
    np.testing.assert_array_equal(scores(model_path), expected)
    assert not list(folder.iterdir())


LIMITED = """
import resource, signal, sys
from sedkit.inference.model import Model
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
Model(sys.argv[1], "cpu")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize("limit", [0, 4096, 40_000])
def test_file_that_cannot_be_written_to_its_end(limit, folder, model_path, expected):
    """As on a full disk: ONNX Runtime may or may not notice that the graph or its weights are cut short."""
    subprocess.run([sys.executable, "-c", LIMITED, model_path, str(limit)], check=True)
    np.testing.assert_array_equal(scores(model_path), expected)
    np.testing.assert_array_equal(scores(model_path), expected)
    assert cache.find(folder, entry(folder).name)


def test_failed_optimisation_is_not_kept(folder, monkeypatch, model_path, expected):
    """It may leave files."""
    original = session._session

    def failing(path, providers, threads, options=None):
        if options is not None:
            for name in (cache.GRAPH, cache.WEIGHTS):
                Path(options.optimized_model_filepath).with_name(name).write_bytes(b"half of it")
            raise ModelError("out of memory")
        return original(path, providers, threads)

    monkeypatch.setattr(session, "_session", failing)
    np.testing.assert_array_equal(scores(model_path), expected)
    assert not list(folder.iterdir())


POSIX = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="checks owners and permissions of POSIX")


@POSIX
def test_entries_are_for_their_owner_only(folder, model_path):
    umask = os.umask(0)
    try:
        scores(model_path)
    finally:
        os.umask(umask)
    cached = entry(folder)
    assert [path.stat().st_mode & 0o077 for path in (folder, cached, *cached.iterdir())] == [0] * 5


@POSIX
@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_folder_that_others_may_write_is_not_used(mode, folder, model_path, expected):
    folder.mkdir(parents=True)
    folder.chmod(mode)
    model = Model(model_path, "cpu")
    assert model.notice.endswith(f"{folder} can be written by others; correct this, or set SEDKIT_CACHE")
    np.testing.assert_array_equal(scores(model_path), expected)
    assert not list(folder.iterdir())


@POSIX
def test_folder_of_another_user_is_not_used(folder, monkeypatch, model_path, expected):
    folder.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    if os.getuid() == 0:  # root's own folders are trusted
        os.chown(folder, 12345, -1)
    model = Model(model_path, "cpu")
    assert f"{folder} belongs to another user" in model.notice
    np.testing.assert_array_equal(scores(model_path), expected)


@POSIX
@pytest.mark.parametrize("name", [".", cache.GRAPH, cache.WEIGHTS, cache.SEAL])
def test_entry_that_others_may_write_is_replaced(name, folder, tmp_path, model_path, expected):
    """It could be wrong although its seal matches."""
    wrong = swap_entries(folder, variant(model_path, tmp_path / "other.onnx"), model_path)
    (wrong / cache.SEAL).write_text(json.dumps(cache.seal(wrong, wrong.name)))
    (wrong / name).chmod(0o777)
    np.testing.assert_array_equal(scores(model_path), expected)
    assert (folder / wrong.name / name).stat().st_mode & 0o022 == 0


def test_concurrent_processes(folder, model_path, expected):
    command = [sys.executable, "-c", "import sys; from sedkit.inference.model import Model; Model(sys.argv[1], 'cpu')"]
    running = [subprocess.Popen([*command, str(model_path)]) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert cache.find(folder, entry(folder).name)
    np.testing.assert_array_equal(scores(model_path), expected)


def test_least_recently_used_entries_are_removed(folder, tmp_path):
    for number in range(cache.MAX_ENTRIES + 2):
        with cache.writing(folder) as place:
            assert place
            for name in (cache.GRAPH, cache.WEIGHTS):
                (place / name).write_text(name)
            cache.keep(place, folder, f"k{number}")
        os.utime(folder / f"k{number}" / cache.SEAL, (number, number))
        assert cache.find(folder, "k0")  # marks it as used
    abandoned = folder / ".abandoned.tmp"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    cache.prune(folder)
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
