"""Warm starts: runs that fine-tune the networks of another run, its segment scores as targets, lineage and card."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stderr
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from sedkit.errors import SedkitError
from sedkit.metrics import summary
from tests.training.conftest import SMALL, continue_run, metrics, start_run, weights
from training.networks.predict import predict
from training.networks.wels import Network
from training.release.card.lineage import epoch_was_chosen, origin, supervision_lines
from training.release.card.sections import generations, rebuild_section
from training.release.publish import publish
from training.runs.config import read_config
from training.runs.model_contract import model_contract
from training.runs.notices import warnings
from training.runs.reports import read_generation, write_report
from training.runs.run import Run
from training.runs.teacher_files import read_teachers
from training.runtime.checkpoint import load, save
from training.runtime.deadline import Stopped
from training.secost import main
from training.supervision.segments import score_segments

WITHOUT_WIDTH = SMALL[2:]  # the width is that of the warm start
SOUNDS = ["--teachers-hear", "sounds", "--set", "overlay=0.75"]


def start_warm(manifest: Path, source: Path, directory: Path, *options: str) -> None:
    """Start a run of two generations from the last network of ``source``, which is also a teacher; stop at once."""
    arguments = ["--manifest", str(manifest), "--fine-tune", f"wels={source}", "--teacher", f"was={source}"]
    arguments += ["--first", "labels=0.5,was=0.5", "--stage", "labels=0.5,0=0.5", *SOUNDS, *WITHOUT_WIDTH]
    arguments += ["--noise", "0.5", "--gain", "3"]
    for setting in ("freeze=2", "speed=0.1", "ema=0.5", "validate-every=3"):
        arguments += ["--set", setting]
    result = CliRunner().invoke(main, [*arguments, *options, "--run", str(directory), "--stop-after", "0s"])
    assert "stopped in time" in result.output, result.output


class Trained(NamedTuple):
    directory: Path
    errors: str  # standard error of the training


@pytest.fixture(scope="module")
def warm(run: Path, small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A trained run that started from ``run``. Tests must not change it."""
    directory, errors = tmp_path_factory.mktemp("warm") / "run", io.StringIO()
    start_warm(small_manifest, run, directory)
    with redirect_stderr(errors):
        continue_run(directory)
    return Trained(directory, errors.getvalue())


def test_warm_start_trains_from_the_weights_of_the_run(run: Path, warm: Trained) -> None:
    before, after = weights(run, 2), weights(warm.directory, 0)
    for name, value in before.items():
        same = torch.equal(value, after[name])
        assert same == name.startswith(("wels.B1.", "wels.B2.", "frontend.", "exempt")), name
        if name.endswith("weight"):
            assert (value - after[name]).abs().max() < 0.1, "training starts from these weights"
    assert not list(warm.directory.glob("generation-*/alone-*")), "segment scores are removed after the training"
    assert metrics(warm.directory, 1, "epoch") == [1, 2, 3]
    train = Run.open(warm.directory).clips("train")
    assert f"  scoring with was  0 of {len(train)} clips" in warm.errors


def test_resume_of_a_warm_started_run_gives_the_same_networks(
    run: Path, warm: Trained, small_manifest: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    start_warm(small_manifest, run, directory)
    stopped = Run.open(directory)
    teacher = read_teachers(stopped, stopped.supervision[0], torch.device("cpu")).online["was"].teacher
    score_segments(teacher.network, stopped.clips("train"), stopped.generation(0), 8)  # so that the next stop is later
    with pytest.raises(Stopped):
        continue_run(directory, 0)
    assert load(directory / "generation-0" / "checkpoint.pt")["progress"]["batch"] == 1
    continue_run(directory)
    for generation in (0, 1):
        expected, resumed = weights(warm.directory, generation), weights(directory, generation)
        assert all(map(torch.equal, expected.values(), resumed.values()))


@pytest.mark.slow
def test_between_interpolates_with_the_warm_start(
    run: Path, warm: Trained, small_manifest: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    start_warm(small_manifest, run, directory, "--set", "between=0.5")
    continue_run(directory)
    kept, before, after = weights(directory, 0), weights(run, 2), weights(warm.directory, 0)
    for name, _ in Network(3, 0.0625).named_parameters():
        torch.testing.assert_close(kept[name], (before[name] + after[name]) / 2)
    network, opened = Network(3, 0.0625), Run.open(directory)
    network.load_state_dict(kept)
    clips = opened.clips("validation")
    found = summary(clips.multi_hot(), predict(network, clips.waveforms, 8), clips.classes).mean_ap
    assert found == pytest.approx(load(directory / "generation-0" / "network.pt")["score"])  # it was validated
    inputs: list[torch.Tensor] = []
    network.wels.B3[0][0].register_forward_hook(lambda _module, _input, output: inputs.append(output))
    for waveform in opened.clips("train").waveforms:
        network.eval()(torch.from_numpy(waveform[None, :16_000] / np.float32(32_768)))
    own = torch.cat(inputs).mean((0, 2, 3))
    mean = kept["wels.B3.0.1.running_mean"]
    between = (before["wels.B3.0.1.running_mean"] + after["wels.B3.0.1.running_mean"]) / 2
    assert (mean - own).norm() < (between - own).norm()


@pytest.mark.slow
def test_statistics_of_an_interpolated_network_are_those_of_augmented_clips(
    run: Path, small_manifest: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    start_warm(small_manifest, run, directory, "--set", "between=0.5", "--set", "gain=40")
    continue_run(directory)
    kept, network = weights(directory, 0), Network(3, 0.0625)
    network.load_state_dict(kept)
    inputs: list[torch.Tensor] = []
    network.wels.B3[0][0].register_forward_hook(lambda _module, _input, output: inputs.append(output))
    for waveform in Run.open(directory).clips("train").waveforms:
        network.eval()(torch.from_numpy(waveform[None, :16_000] / np.float32(32_768)))
    of_clips = torch.cat(inputs).detach().var((0, 2, 3))
    assert kept["wels.B3.0.1.running_var"].mean() > 1.5 * of_clips.mean()


def test_contract_report_and_card_of_a_warm_started_run(run: Path, warm: Trained, tmp_path: Path) -> None:
    directory = shutil.copytree(warm.directory, tmp_path / "run")
    opened, config = Run.open(directory), read_config(directory)
    assert config["begun_with"]["network"] == "generation 2, width 0.0625"
    rows = [read_generation(opened.generation(number)) for number in (0, 1)]
    contract = model_contract(opened, rows)
    assert contract.lineage["begun_with"]["run"] == run.name
    start = "fine-tuned from an earlier run (generation 2, width 0.0625)"
    assert origin(opened, rows) == f"student 1 of a SeCoST cascade, all of whose networks were {start}"
    write_report(directory, rows[:1])
    assert f"The file holds a network {start}." in " ".join(generations(opened, rows[:1]))
    assert not warnings(opened)
    assert epoch_was_chosen(opened)
    lines = supervision_lines(opened, "those")
    targets = "The targets were 0.5 labels + 0.5 was (Teacher-0), 0.5 labels + 0.5 T0 (Student 1)."
    assert lines[0].startswith(f"{targets} was is generation 2")
    assert lines[1].startswith("The training recordings are mixtures of up to four overlapping clips.")
    config["command"], config["begun_with"]["command"] = "now", "before"
    (directory / "config.json").write_text(json.dumps(config))
    rebuilt = rebuild_section(directory, contract)
    assert rebuilt.index("before") + 1 == rebuilt.index("now")


def test_warm_start_from_another_manifest_is_a_warning_and_not_published(
    run: Path, warm: Trained, tmp_path: Path
) -> None:
    directory = shutil.copytree(warm.directory, tmp_path / "run")
    opened, config = Run.open(directory), read_config(directory)
    config["begun_with"]["teachers"] = {"yamnet": {"teacher": "YAMNet", "metrics": {}}}
    config["begun_with"]["supervision"] = [{"labels": 0.4, "yamnet": 0.6}]
    config["begun_with"]["settings"]["validate_every"] = 3
    config["begun_with"]["manifest_sha256"] = "of another"
    (directory / "config.json").write_text(json.dumps(config))
    assert supervision_lines(opened, "those")[0] == (
        "In an earlier run, the targets were 0.4 labels + 0.6 yamnet. yamnet is YAMNet."
    )
    assert not epoch_was_chosen(opened)
    assert any(f"the warm start {run.name} was trained with another manifest" in line for line in warnings(opened))
    (directory / "model.onnx").touch()
    with pytest.raises(SedkitError, match="which used another manifest"):
        publish(directory, tmp_path / "models", None, None, None, torch.device("cpu"))
    assert not (tmp_path / "models").exists()


def test_unusable_warm_starts_and_segment_teachers_are_refused(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    def refuse(*options: str | Path) -> str:
        given = ["--manifest", small_manifest, "--run", tmp_path / "run", *WITHOUT_WIDTH, "--stages", "0", *options]
        result = CliRunner().invoke(main, [str(option) for option in given])
        assert result.exit_code
        assert not (tmp_path / "run" / "config.json").exists()
        assert "Traceback" not in result.output
        return " ".join(result.output.split())

    assert "big.pt: has no segments" in refuse(*SOUNDS, "--teacher", "big=big.pt", "--first", "big=1")
    warm_start = f"wels={run}"
    assert "not a run directory" in refuse("--fine-tune", f"wels={tmp_path}")
    assert "nor wels=RUN" in refuse("--fine-tune", "wels=")
    unfinished = tmp_path / "unfinished"
    start_run(small_manifest, unfinished, "--stages", "0")
    assert "unfinished: the run is not finished; continue it with" in refuse("--fine-tune", f"wels={unfinished}")
    assert "give at least as many, or leave it out" in refuse("--fine-tune", warm_start, "--width", "0.001")
    assert "--set pooling" in refuse("--fine-tune", warm_start, "--set", "pooling=attention")
    assert "add --fine-tune wels=RUN" in refuse("--set", "freeze=1")
    assert "add --fine-tune wels=RUN" in refuse("--set", "between=0.5")
    assert "needs --set overlay" in refuse("--teachers-hear", "sounds")
    assert "do not train the weights" in refuse(*SOUNDS, "--set", "pooling=attention")
    scores = tmp_path / "scores.npz"
    scores.write_bytes(b"")
    assert "scores.npz: a teacher's scores cannot be read" in refuse(
        *SOUNDS, "--teacher", f"big={scores}", "--first", "big=1"
    )

    other = shutil.copytree(run, tmp_path / "other")
    config = read_config(other)
    config["settings"]["network"] = "yamnet"
    (other / "config.json").write_text(json.dumps(config))
    assert "not WELS-Nets" in refuse("--fine-tune", f"wels={other}")
    broken = other / "generation-2" / "network.pt"
    state = load(broken)
    broken.write_bytes(broken.read_bytes()[:100])
    assert "network.pt: cannot be read" in refuse("--fine-tune", f"wels={other}")
    save(state, broken)
