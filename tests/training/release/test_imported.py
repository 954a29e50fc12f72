"""Networks that others published: names and shapes of weights, segments, files that sedkit runs, and refusals.

The published weights are not here. Random ones in the published names and shapes take their place. The tests marked as
slow export a network, which takes 20 s, or compare with the published code, where it is installed.
tests/real/test_imported_yamnet.py has YAMNet.
"""

from __future__ import annotations

import csv
import importlib.util
import sys
import types
import wave
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

from sedkit import Tagger
from sedkit.cli import main as sedkit
from sedkit.contract import Contract
from sedkit.errors import SedkitError
from sedkit.inference.model import Model
from sedkit.model_file import metadata_of
from sedkit.ontology import load as load_ontology
from sedkit.results import Second
from tests.conftest import make_sound
from training.__main__ import main
from training.data import readers
from training.release.imported import writing
from training.release.imported.classes import LEFT_OUT, audioset_labels, named_labels
from training.release.imported.efficientat import STRIDES, LogMel, MobileNet, mel_filters, read_efficientat
from training.release.imported.panns import BANDS, BINS, FRAMEWISE, POINTS, WINDOWS, Cnn14, Framewise, read_panns
from training.release.imported.segmenting import Windows

RATE = 32_000
BLOCKS = (  # of MobileNetV3-Large: kernel, expanded and output channels, squeezed channels
    (3, 16, 16, 0), (3, 64, 24, 0), (3, 72, 24, 0), (5, 72, 40, 24), (5, 120, 40, 32), (5, 120, 40, 32),
    (3, 240, 80, 0), (3, 200, 80, 0), (3, 184, 80, 0), (3, 184, 80, 0), (3, 480, 112, 120), (3, 672, 112, 168),
    (5, 672, 160, 168), (5, 960, 160, 240), (5, 960, 160, 240),
)  # fmt: skip


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["import", *map(str, arguments)])


def mobilenet_state(divide: int = 1) -> dict[str, Tensor]:
    """Random weights in the published names and shapes; `divide` makes the network narrower."""
    state: dict[str, Tensor] = {}
    random = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> Tensor:
        return (torch.rand(shape, generator=random) - 0.5) * (12 / np.prod(shape[1:] or 12)) ** 0.5

    def layer(name: str, filters: int, inputs: int, kernel: int) -> None:
        state[f"{name}.0.weight"] = 1.5 * uniform(filters, inputs, kernel, kernel)
        for entry, value in (("weight", 1.0), ("bias", 0.1), ("running_mean", 0.0), ("running_var", 1.0)):
            state[f"{name}.1.{entry}"] = value + 0.1 * uniform(filters)
        state[f"{name}.1.num_batches_tracked"] = torch.tensor(1)

    def linear(name: str, outputs: int, inputs: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = 2 * uniform(outputs, inputs), uniform(outputs)

    channels = 16 // divide
    layer("features.0", channels, 1, 3)
    for number, (kernel, expanded, outputs, squeezed) in enumerate(BLOCKS, start=1):
        sizes = expanded // divide, outputs // divide, squeezed // divide
        parts = [("", sizes[0], channels, 1)] if sizes[0] != channels else []
        parts += [("", sizes[0], 1, kernel), *([("se", 0, 0, 0)] if squeezed else []), ("", sizes[1], sizes[0], 1)]
        for position, (kind, filters, inputs, size) in enumerate(parts):
            name = f"features.{number}.block.{position}"
            if kind:
                linear(f"{name}.conc_se_layers.0.fc1", sizes[2], sizes[0])
                linear(f"{name}.conc_se_layers.0.fc2", sizes[0], sizes[2])
            else:
                layer(name, filters, inputs, size)
        channels = sizes[1]
    layer("features.16", 6 * channels, channels, 1)
    linear("classifier.2", 1280 // divide, 6 * channels)
    linear("classifier.5", 527, 1280 // divide)
    state["classifier.5.weight"] *= 0.02  # so that no score saturates
    return state


def cnn14(filters: tuple[int, ...]) -> Cnn14:
    """Cnn14 with these filters, its own front end and random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Cnn14(filters)
        n = np.arange(POINTS)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * n / POINTS)
        angle = 2 * np.pi * np.outer(np.arange(BINS), n) / POINTS
        for part, waves in zip(network.dft, (np.cos(angle), -np.sin(angle)), strict=True):
            part.get_buffer("weight").copy_(torch.from_numpy(window * waves)[:, None])
        network.logmel_extractor.get_buffer("melW").copy_(torch.rand(BINS, BANDS) ** 8)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0  # use the statistics of the next batch, so that no layer saturates
        with torch.no_grad():
            network.train()(torch.from_numpy(make_sound(6, RATE))[None])
            network.fc1.weight.mul_(3)
            network.fc_audioset.weight.mul_(5)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def framewise_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow Cnn14_DecisionLevelMax as a sedkit model: 32 kHz, and 24 numbers in an embedding."""
    network = Framewise(cnn14((4, 4, 8, 8, 16, 24)))
    path = tmp_path_factory.mktemp("models") / "narrow.onnx"
    source = {"network": "narrow", "file": "none"}
    writing.write(network, writing.describe("narrow", audioset_labels(), network.geometry, "CC0-1.0", source), path)
    return path


def test_classes_are_audiosets_in_its_order() -> None:
    labels = audioset_labels()
    assert len(labels) == len({label.mid for label in labels}) == 527
    assert set(load_ontology().names) >= LEFT_OUT
    tables = Path(readers.__file__).parent.glob("*_audioset.csv")
    rows = [row for path in tables for row in csv.DictReader(path.read_text("utf-8").splitlines()) if row["mid"]]
    assert len(rows) > 50
    assert labels[0].name == "Speech"
    for row in rows:
        label = labels[int(row["index"])]
        assert (label.mid, label.name, label.index) == (row["mid"], row["name"], int(row["index"]))


def test_classes_by_name() -> None:
    assert [label.index for label in named_labels(["Dog", "Speech"])] == [74, 0]
    with pytest.raises(SedkitError, match="Dgo: AudioSet has no class of this name"):
        named_labels(["Dgo"])


def test_framewise_segments_depend_on_their_receptive_field_only() -> None:
    network, geometry = Framewise(cnn14((2, 2, 2, 2, 2, 4))), FRAMEWISE
    sound = torch.from_numpy(make_sound(9, RATE))[None]
    scores, segment = network(sound).segments[0], 11
    margin = (geometry.receptive_field - geometry.segment_span) // 2
    start = segment * geometry.segment_hop
    for first, last, inside in (
        (0, start - margin, False),
        (start + geometry.segment_span + margin, sound.shape[1], False),
        (start - margin + 700, start - margin + 2000, True),
        (start + geometry.segment_span + margin - 2000, start + geometry.segment_span + margin - 700, True),
    ):
        changed = sound.clone()
        changed[0, first:last] = 0.5 * torch.randn(last - first, generator=torch.Generator().manual_seed(1))
        difference = (network(changed).segments[0, segment] - scores[segment]).abs().max()
        assert (difference > 0) == inside


@pytest.mark.parametrize("samples", [1, 64_001])
def test_number_of_segments_is_that_of_the_geometry(samples: int) -> None:
    network = cnn14((2, 2, 2, 2, 2, 4))
    mobilenet = MobileNet(mobilenet_state(8)).eval()
    sound = torch.from_numpy(make_sound(7, RATE)[:samples])[None]
    for each in (Framewise(network), Windows(network, WINDOWS), Windows(mobilenet, WINDOWS)):
        with torch.no_grad():
            scores = each(sound)
        assert scores.segments.shape == (1, each.geometry.segment_count(samples), 527)
        assert scores.embedding.shape[:2] == scores.segments.shape[:2]
        torch.testing.assert_close(scores.clip, scores.segments.mean(1))


def test_a_window_is_scored_on_its_own() -> None:
    network, geometry = cnn14((2, 2, 2, 2, 2, 4)), WINDOWS
    sound = torch.from_numpy(make_sound(5, RATE))[None]
    scores = Windows(network, geometry)(sound).segments[0]
    alone = torch.cat([network(sound[:, RATE * k : RATE * (k + 2)])[0] for k in range(4)])
    torch.testing.assert_close(scores, alone, rtol=0, atol=1e-5)


def test_log_mels_equal_torchs_own_transform() -> None:
    sound = torch.from_numpy(make_sound(2, RATE))[None] + 1e-3
    network = cnn14((2, 2, 2, 2, 2, 4))
    spectrum = torch.stft(sound, POINTS, 320, window=torch.hann_window(POINTS), pad_mode="reflect", return_complex=True)
    expected = 10 * torch.log10(spectrum.abs().square().mT @ network.logmel_extractor.get_buffer("melW"))
    torch.testing.assert_close(network.logmel(sound), expected, rtol=0, atol=0.01)
    emphasised = sound[:, 1:] - 0.97 * sound[:, :-1]
    window = torch.hann_window(800, periodic=False)
    spectrum = torch.stft(emphasised, 1024, 320, 800, window, pad_mode="reflect", return_complex=True)
    mel = spectrum.abs().square().mT[..., :-1] @ torch.from_numpy(mel_filters()).float()
    expected = ((torch.log(mel + 1e-5) + 4.5) / 5).mT[:, None]
    torch.testing.assert_close(LogMel()(sound), expected, rtol=0, atol=1e-3)


@pytest.mark.slow
def test_an_imported_model_says_where_it_comes_from(framewise_model: Path) -> None:
    contract = Contract.from_metadata(metadata_of(framewise_model))
    assert contract.geometry == FRAMEWISE
    assert not contract.has_thresholds
    assert set(contract.thresholds) == {0.5}
    assert (contract.license, contract.tag_segments, contract.precision) == ("CC0-1.0", 30, "fp32")
    text = CliRunner().invoke(sedkit, ["info", str(framewise_model)]).output
    assert "32000 Hz, mono" in text
    assert "thresholds   unknown" in text
    assert "narrow, from none" in text


@pytest.mark.slow
def test_scores_of_pieces_equal_those_of_one_pass(framewise_model: Path) -> None:
    model, sound = Model(framewise_model, "cpu", 1), make_sound(31, RATE, seed=2)
    whole = model.batch(sound[None])[0]
    assert whole.shape == (model.geometry.segment_count(len(sound)), 527)
    assert whole.std(axis=0).max() > 0.05
    blocks = np.split(sound, [5, 40_000, 333_333])
    for low_latency in (False, True):
        scores = np.concatenate(list(model.segments(blocks, low_latency)))
        np.testing.assert_allclose(scores, whole, rtol=0, atol=3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_tags_timelines_streams_and_embeddings(framewise_model: Path, rate: int) -> None:
    tagger, sound = Tagger(framewise_model, "cpu", threads=1), make_sound(12, rate, seed=3)
    assert len(tagger.tag(sound, rate, top_k=None, threshold=0.0).tags) == 527
    native = tagger.timeline(sound, rate, resolution="native")
    threshold = float(np.median(native.scores)) + 1e-4
    whole = tagger.timeline(sound, rate, threshold=threshold, classes=["Dog", "Siren"])
    assert whole.seconds[-1].end == whole.duration == pytest.approx(12)
    blocks = np.split(sound, [7, 100_000, 100_001])
    items = list(tagger.stream(blocks, rate, threshold=threshold, classes=["Dog", "Siren"]))
    cells = [item for item in items if isinstance(item, Second)]
    assert [(cell.start, cell.end) for cell in cells] == [(cell.start, cell.end) for cell in whole.seconds]
    embedding = tagger.embed(sound, rate)
    assert embedding.values.shape == (len(native.seconds), 24)
    assert embedding.onsets[1] == pytest.approx(0.32)
    mean = tagger.embed(sound, rate, per="clip").values
    np.testing.assert_allclose(mean[0], embedding.values.mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_commands(framewise_model: Path, tmp_path: Path) -> None:
    sounds = {f"{seconds}.wav": make_sound(seconds, 22_050) for seconds in (1, 3)}
    for name, sound in sounds.items():
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(22_050)
            file.writeframes((32767 * sound).astype("<i2").tobytes())
    files = [str(tmp_path / name) for name in sounds]
    for command, output in (("tag", "tags.csv"), ("timeline", "events.html"), ("embed", "rows.npz")):
        target = tmp_path / output
        given = [command, *files, "--model", str(framewise_model), "--output", str(target), "--device", "cpu"]
        if output.endswith(".html"):
            given.remove(files[0])
        result = CliRunner().invoke(sedkit, given)
        assert result.exit_code == 0, result.output
        assert target.stat().st_size > 500
    assert np.load(tmp_path / "rows.npz")["embedding"].shape == (2 + 8, 24)


@pytest.mark.slow
def test_efficientat_by_the_command(tmp_path: Path) -> None:
    checkpoint, output = tmp_path / "mn01_as_mAP_298.pt", tmp_path / "mn.onnx"
    torch.save(mobilenet_state(8), checkpoint)
    result = invoke("efficientat", checkpoint, "-o", output, "--window", 1, "--hop", 0.5)
    assert result.exit_code == 0, result.output
    assert "527 classes, 32000 Hz, segments of 1 s every 0.5 s" in result.output
    assert "licence of the weights: MIT" in result.output
    assert "thresholds: unknown" in result.output
    model, sound = Model(output, "cpu", 1), make_sound(4, RATE)
    network = read_efficientat(checkpoint, model.geometry)
    with torch.no_grad():
        expected = network(torch.from_numpy(sound)[None])
    np.testing.assert_allclose(model.batch(sound[None]), expected.segments, rtol=0, atol=1e-4)
    assert expected.segments.std(dim=1).max() > 0.01
    assert model.embedding_size == 6 * 160 // 8


@cache
def published_panns() -> Any:
    """panns_inference's networks, without its ``__init__``, which fetches a file."""
    found = importlib.util.find_spec("panns_inference")
    if found is None or importlib.util.find_spec("torchlibrosa") is None:
        pytest.skip("panns_inference is not installed")
    package = types.ModuleType("panns_inference")
    package.__path__ = list(found.submodule_search_locations or [])
    sys.modules["panns_inference"] = package
    return importlib.import_module("panns_inference.models")


@pytest.mark.slow
@pytest.mark.parametrize("framewise", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_panns_equal_the_published_code(tmp_path: Path, framewise: bool) -> None:
    models = published_panns()
    torch.manual_seed(0)
    reference = (models.Cnn14_DecisionLevelMax if framewise else models.Cnn14)(32000, 1024, 320, 64, 50, 14000, 527)
    sound = torch.from_numpy(np.stack([make_sound(5.12, RATE, seed) for seed in range(2)]))
    for module in reference.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # use the statistics of the next batch, so that no layer saturates
    reference.spec_augmenter = torch.nn.Identity()
    with torch.no_grad():
        reference.train()(sound)
        reference.eval()
        torch.save({"iteration": 1, "model": reference.state_dict()}, tmp_path / "weights.pth")
        scores = read_panns(tmp_path / "weights.pth", framewise)(sound)
        if framewise:  # segments are the steps of 0.32 s, without the first and the last
            expected = reference(sound)["framewise_output"][:, 32:480:32]
            torch.testing.assert_close(scores.segments, expected, rtol=0, atol=1e-4)
        else:
            for k in range(4):
                expected = reference(sound[:, RATE * k : RATE * (k + 2)])["clipwise_output"]
                torch.testing.assert_close(scores.segments[:, k], expected, rtol=0, atol=1e-4)
    assert scores.segments.std() > 0.05


@pytest.mark.slow
def test_efficientat_equals_torchvisions_mobilenet() -> None:
    try:
        from torchvision.models.mobilenetv3 import mobilenet_v3_large
        from torchvision.ops.misc import SqueezeExcitation
    except (ImportError, RuntimeError):  # RuntimeError: built for another torch
        pytest.skip("torchvision is not installed")
    state = mobilenet_state()
    reference = mobilenet_v3_large(num_classes=527).eval()
    reference.features[0][0] = torch.nn.Conv2d(1, 16, 3, 2, 1, bias=False)
    for module in reference.modules():
        if isinstance(module, SqueezeExcitation):
            module.scale_activation = torch.nn.Sigmoid()
    renamed = {}
    for name, value in state.items():
        squeezing = ".conc_se_layers.0." in name and name.endswith("weight")
        name = name.replace(".conc_se_layers.0.", ".").replace("classifier.2.", "classifier.0.")
        renamed[name.replace("classifier.5.", "classifier.3.")] = value[:, :, None, None] if squeezing else value
    reference.load_state_dict(renamed)
    network = MobileNet(state).eval()
    network.load_state_dict(state)
    network, reference = network.double(), reference.double()  # so that rounding hides nothing
    sound = torch.from_numpy(np.stack([make_sound(2, RATE, seed) for seed in range(2)])).double()
    with torch.no_grad():
        scores, _ = network(sound)
        torch.testing.assert_close(scores, torch.sigmoid(reference(network.logmel(sound))), rtol=0, atol=1e-9)
    assert len(STRIDES) == len(BLOCKS)
