"""Networks read from ONNX files score like the file, can be fine-tuned with other classes, and serve as teachers."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from sedkit.contract import INPUT, Label
from sedkit.geometry import SAMPLE_RATE
from tests.training.conftest import SMALL, continue_run, metrics, run_secost, start_run, weights
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.networks.onnx_import import OnnxImportError, read_onnx, refit_batch_norm
from training.networks.wels import Network
from training.release.card.lineage import commands, epoch_was_chosen, origin
from training.runs.config import read_config
from training.runs.generations import fixed_weights, initial_network
from training.runs.model_contract import model_contract
from training.runs.notices import warnings
from training.runs.run import Run
from training.runs.teacher_files import read_teachers
from training.runs.warm_start import WarmStart, from_model, from_run, read_warm_start
from training.runtime.checkpoint import load
from training.secost import main
from training.supervision.online import SILENT

ON = [option for option in SMALL if option not in ("--width", "0.0625")]
VIEW = ("--teachers-hear", "view")


def sounds(count: int, seed: int = 0) -> np.ndarray:
    """Clips [count, samples] int16 of 2 s: noise of different colours and levels."""
    random = np.random.default_rng(seed)
    clips = random.standard_normal((count, 2 * SAMPLE_RATE)).cumsum(1) * random.uniform(2, 60, (count, 1))
    return np.clip(clips, -32768, 32767).astype(np.int16)


def segments(network: Network, clips: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return network(torch.from_numpy(clips / np.float32(32768))).segments


def untrained(filters: tuple[int, ...] = (6, 7, 8, 9, 10, 11), classes: int = 3) -> Network:
    """A network whose batch norms have random statistics, weights and biases."""
    torch.manual_seed(0)
    network = Network(classes, filters)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return network.eval()


@pytest.fixture(scope="module")
def other_classes(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of the same clips in which ``noise`` is called ``a hiss`` and comes first."""
    names = {"a hiss": "noise", "clicks": "clicks", "tone": "tone"}
    manifest = Manifest.load(small_manifest)
    rows = [
        row._replace(labels=next(new for new, old in names.items() if old == row.labels))
        for row in manifest.rows(str(small_manifest.parent))
    ]
    path = tmp_path_factory.mktemp("other") / "other.csv"
    Manifest.from_rows(rows, Vocabulary.of(names), small_manifest.parent).save(path)
    return path


def test_read_onnx_gives_the_scores_of_the_file(run: Path) -> None:
    import onnxruntime

    found = read_onnx(run / "model.onnx")
    assert (found.width, found.pooling) == (0.0625, "mean")
    network = Network(3, found.width)
    network.load_state_dict(found.weights)
    clips = sounds(3)
    session = onnxruntime.InferenceSession(run / "model.onnx")
    (wanted,) = session.run(["segments"], {INPUT: clips / np.float32(32768)})
    np.testing.assert_allclose(segments(network.eval(), clips), wanted, atol=1e-5)


def test_refit_batch_norm_keeps_scores_and_makes_training_mode_agree() -> None:
    network, clips = untrained(), sounds(64)
    first = network.wels.B1[0]
    before, mean = segments(network, clips), first[1].running_mean.clone()
    refit_batch_norm(network, clips)
    torch.testing.assert_close(segments(network, clips), before, atol=1e-5, rtol=0)
    assert not torch.equal(first[1].running_mean, mean)
    with torch.no_grad():  # the statistics are those of the convolution's output on these clips
        logmel = network.frontend.normalise(network.frontend.decibels(torch.from_numpy(clips / np.float32(32768))))
        values = first[0](logmel).transpose(0, 1).flatten(1)
    torch.testing.assert_close(first[1].running_mean, values.mean(1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(first[1].running_var, values.var(1, unbiased=False), atol=1e-4, rtol=1e-3)
    without = float((segments(untrained().train(), clips) - before).abs().mean())
    refitted = float((segments(network.train(), clips) - before).abs().mean())
    assert refitted < 0.1 * without


def test_warm_start_keeps_known_classes_and_initialises_new_ones() -> None:
    known = [Label("Dog", "/m/0bt9lr", 74), Label("Cat", "/m/01yrx", 81), Label("own")]
    state = untrained().state_dict()
    warm_start = WarmStart("wels", state, labels=known)
    assert all(torch.equal(value, state[name]) for name, value in warm_start.for_classes(known).weights.items())
    wanted = [Label("own"), Label("Hound", "/m/0bt9lr", 74), Label("new"), Label("cat")]
    alike = WarmStart("wels", state, labels=[Label("dog"), Label("Dog"), Label("DOG")])
    assert torch.equal(alike.for_classes(alike.labels).weights["wels.L4.weight"], state["wels.L4.weight"])
    changed = warm_start.for_classes(wanted)
    assert changed.about == {"known": 3}
    for kind, new in (("weight", 0.0), ("bias", -math.log(4))):
        old, layer = state[f"wels.L4.{kind}"], changed.weights[f"wels.L4.{kind}"]
        assert torch.equal(layer[[0, 1, 3]], old[[2, 0, 1]])
        assert torch.equal(layer[2], torch.full_like(layer[2], new))
    assert all(
        changed.weights[name] is value for name, value in state.items() if not name.startswith(("wels.L4.", "exempt"))
    )
    assert (changed.labels, warm_start.labels) == (wanted, known)


def test_attention_weights_of_new_classes_start_at_zero() -> None:
    state = Network(2, 0.02, pooling="attention").state_dict()
    warm_start = WarmStart("wels", state, labels=[Label("a"), Label("b")]).for_classes([Label("c"), Label("a")])
    assert not any(warm_start.weights[f"wels.weights.{kind}"][0].any() for kind in ("weight", "bias"))
    assert torch.equal(warm_start.weights["wels.weights.weight"][1], state["wels.weights.weight"][0])


def test_run_warm_starts_from_a_model_file(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    model, directory = run / "model.onnx", tmp_path / "on"
    options = ["--manifest", small_manifest, *ON, "--stages", "0", "--fine-tune", f"wels={model}"]
    run_secost(*options, "--run", directory, "--stop-after", "0s")
    made, config = Run.open(directory), read_config(directory)
    assert made.settings.width == 0.0625
    found, clips = read_onnx(model), sounds(3)
    network = Network(3, found.width)
    network.load_state_dict(found.weights)
    fixed = fixed_weights(tmp_path / "frontend.pt", made.settings, made.clips("train"), 0, read_warm_start(directory))
    initial = initial_network(made.settings, 3, (0, 0), fixed)
    torch.testing.assert_close(segments(initial.eval(), clips), segments(network.eval(), clips), atol=1e-5, rtol=0)
    assert config["begun_with"]["network"] == "model wels-secost, width 0.0625"
    continue_run(directory)
    assert len(metrics(directory, 0)) == 3
    (row,) = ({"generation": 0, "supervision": {"labels": 1.0}, "threshold": 0.5},)
    lineage = model_contract(made, [row | {"validation": {"mAP": 1.0, "mAUC": 1.0, "accuracy": 1.0}}]).lineage
    assert lineage["begun_with"]["settings"] == read_config(run)["settings"]
    note, own = commands(config)
    assert own == config["command"]
    assert note == f"# fine-tunes from the file of wels-secost with SHA-256 {config['begun_with']['model_sha256']}:"
    assert origin(made, [{}]) == "a network fine-tuned from the model wels-secost, width 0.0625"
    assert epoch_was_chosen(made)
    assert not warnings(made)


def test_warm_start_weights_do_not_depend_on_the_seed(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    given = ["--manifest", small_manifest, *ON, "--stages", "0", "--fine-tune", f"wels={run / 'model.onnx'}"]
    for seed in ("0", "1"):
        run_secost(*given, "--seed", seed, "--run", tmp_path / seed, "--stop-after", "0s")
    first, second = (read_config(tmp_path / seed)["begun_sha256"] for seed in ("0", "1"))
    assert first == second


def test_warm_start_with_other_classes_from_run_and_file(run: Path, other_classes: Path, tmp_path: Path) -> None:
    for name, warm_start in (("run", from_run(run)), ("file", from_model(run / "model.onnx"))):
        source = run if name == "run" else run / "model.onnx"
        given = ["--manifest", other_classes, "--run", tmp_path / name, *ON, "--stages", "0"]
        output = run_secost(*given, "--fine-tune", f"wels={source}", "--stop-after", "0s")
        assert f"{'run' if name == 'run' else 'wels-secost'}, which knows 2 of the 3 classes" in " ".join(
            output.split()
        )
        initial = load(tmp_path / name / "begun.pt")
        source_layer = warm_start.weights["wels.L4.weight"]
        assert torch.equal(initial["wels.L4.weight"][[1, 2]], source_layer[[0, 2]])
        assert not initial["wels.L4.weight"][0].any()
        continue_run(tmp_path / name)
        assert weights(tmp_path / name, 0)["wels.L4.weight"][0].any()
        assert any("was trained with another manifest" in line for line in warnings(Run.open(tmp_path / name)))


@pytest.mark.parametrize("hear", [VIEW, ("--teachers-hear", "sounds", "--set", "overlay=0.5", "--mixup", "0")])
def test_model_file_serves_as_teacher(run: Path, small_manifest: Path, tmp_path: Path, hear: tuple[str, ...]) -> None:
    model = run / "model.onnx"
    options = ("--stages", "0", "--teacher", f"big={model}", "--first", "big=1", *hear)
    start_run(small_manifest, tmp_path / "small", *options)
    small, config = Run.open(tmp_path / "small"), read_config(tmp_path / "small")
    about = config["teachers"]["big"]
    assert (about["teacher"], about["model"]) == ("a model file, width 0.0625", "wels-secost")
    assert about["metrics"].keys() == {"validation", "test"}
    assert not warnings(small)
    clips, found = sounds(2), read_onnx(model)
    network = Network(3, found.width)
    network.load_state_dict(found.weights)
    with torch.no_grad():
        sound = torch.from_numpy(clips / np.float32(32768))
        teacher = read_teachers(small, {"big": 1.0}, torch.device("cpu")).online["big"].teacher
        scores = teacher(sound, torch.zeros(2).long())
        torch.testing.assert_close(scores, network.eval()(sound).clip, atol=0.01, rtol=0)
    continue_run(tmp_path / "small")
    assert len(metrics(tmp_path / "small", 0)) == 3
    config["teachers"]["big"]["manifest_sha256"] = "of others"
    (tmp_path / "small" / "config.json").write_text(json.dumps(config))
    assert any("the teacher big was trained with another manifest" in line for line in warnings(small))


@pytest.mark.parametrize("hear", [VIEW, ("--teachers-hear", "sounds", "--set", "overlay=0.5", "--mixup", "0")])
def test_model_file_teaches_the_classes_that_it_shares(
    run: Path, other_classes: Path, tmp_path: Path, hear: tuple[str, ...]
) -> None:
    model = run / "model.onnx"
    options = ("--stages", "0", "--teacher", f"some={model}", "--first", "labels=0.5,some=0.5", *hear)
    start_run(other_classes, tmp_path / "student", *options)
    student = Run.open(tmp_path / "student")
    assert read_config(tmp_path / "student")["teachers"]["some"]["taught"] == 2
    teacher = read_teachers(student, {"some": 1.0}, torch.device("cpu")).online["some"]
    names = [label.name for label in student.labels]
    own = [names[row.argmax()] for row in student.clips("train").multi_hot()]
    assert [part == SILENT for part in teacher.parts] == [name == "a hiss" for name in own]
    found = read_onnx(model)
    known = [label.name for label in found.contract.labels]
    network = Network(3, found.width)
    network.load_state_dict(found.weights)
    with torch.no_grad():
        sound = torch.from_numpy(sounds(2) / np.float32(32768))
        scores = network.eval()(sound).clip[:, [known.index(names[place]) for place in teacher.columns]]
        torch.testing.assert_close(teacher.teacher(sound, torch.zeros(2).long()), scores, atol=0.01, rtol=0)
    continue_run(tmp_path / "student")
    assert len(metrics(tmp_path / "student", 0)) == 3


def test_unusable_model_file_is_a_one_line_error(
    run: Path, small_manifest: Path, other_classes: Path, model_path: Path, tmp_path: Path
) -> None:
    def refused(*options: str | Path, manifest: Path = small_manifest, code: int = 1) -> str:
        given = ["--manifest", manifest, "--run", tmp_path / "run", *ON, *options]
        result = CliRunner().invoke(main, [str(option) for option in given])
        assert result.exit_code == code
        assert not (tmp_path / "run" / "config.json").exists()
        return result.output.splitlines()[-1]

    def changed(name: str, **properties: str) -> Path:
        model = onnx.load(run / "model.onnx")
        for entry in model.metadata_props:
            entry.value = properties.get(entry.key.removeprefix("sedkit."), entry.value)
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    assert "nowhere: no such run or model; installed: wels-secost" in refused("--fine-tune", "wels=nowhere", code=2)
    (tmp_path / "noise.onnx").write_bytes(b"not a model")
    assert "noise.onnx: not an ONNX file" in refused("--fine-tune", f"wels={tmp_path / 'noise.onnx'}")
    (tmp_path / "cut.onnx").write_bytes((run / "model.onnx").read_bytes()[:2000])
    assert "cut.onnx: not an ONNX file" in refused("--fine-tune", f"wels={tmp_path / 'cut.onnx'}")
    integers = changed("integers.onnx", lineage='{"quantisation": {}}')
    assert "integers.onnx: is quantised to 8 bits" in refused("--fine-tune", f"wels={integers}")
    (tmp_path / "plain.onnx").write_bytes(onnx.ModelProto(ir_version=8).SerializeToString())
    assert "plain.onnx: " in refused("--fine-tune", f"wels={tmp_path / 'plain.onnx'}")
    for layer in ("wels.", "wels.L4.", "frontend."):
        assert "not a WELS-Net" in refused("--fine-tune", f"wels={stripped(run / 'model.onnx', layer, tmp_path)}")
    teacher = ("--first", "big=1", "--stages", "0", "--teacher")
    assert "add --teachers-hear view" in refused(*teacher, f"big={run / 'model.onnx'}")
    strange = [{"index": index, "mid": None, "name": name} for index, name in enumerate("abc")]
    none = changed("none.onnx", labels=json.dumps(strange))
    assert "nothing to teach" in refused(*teacher, f"big={none}", *VIEW)
    assert "nowhere.onnx: cannot be read (No such file" in refused(*teacher, f"big={tmp_path / 'nowhere.onnx'}", *VIEW)


def test_error_without_onnx_says_what_to_install(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        OnnxImportError, match=r"model\.onnx: reading a model file needs onnx: pip install 'sedkit-audio\[train\]'"
    ):
        read_onnx(run / "model.onnx")


def stripped(model: Path, layer: str, folder: Path) -> Path:
    """A copy of the model in which the weights of ``layer`` have other names."""
    graph, path = onnx.load(model), folder / f"without-{layer}onnx"
    for tensor in graph.graph.initializer:
        tensor.name = tensor.name.replace(layer, "other.")
    path.write_bytes(graph.SerializeToString())
    return path
