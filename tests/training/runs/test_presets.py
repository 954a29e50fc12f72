"""Presets mean what their files say, and experiments go through them, for real on the small set."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import threading
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from tests.training.conftest import SMALL, continue_run, metrics, untrained_run, weights
from training.runs.experiments import sweep as experiments
from training.runs.experiments.launch import finished, train
from training.runs.experiments.sweep import arguments, merged
from training.runs.interpret import stages_of, teachers_of
from training.runs.options import as_arguments
from training.runs.presets import PRESETS, PresetError, load, presets
from training.runs.reuse import reuse, shared
from training.runtime.deadline import Deadline, Stopped
from training.runtime.processes import Processes
from training.secost import main
from training.supervision.equations import LABELS


def written(folder: Path, text: str, name: str = "mine.toml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def supervision(name: str) -> dict[str, list[dict]]:
    """The supervision of every training of a preset."""
    made = {}
    for training, options in load(name).trainings():
        given = merged(options, ())
        external, first = teachers_of(given.get("teacher", ())), given.get("first", "labels=1")
        made[training] = stages_of(
            given.get("stages"), given.get("alpha", "0.3"), given.get("stage", ()), first, external
        )
    return made


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_valid_and_states_its_cost(name: str) -> None:
    assert supervision(name)
    comment = (PRESETS / f"{name}.toml").read_text().split("\n\n")[0]
    assert all(line.startswith("#") for line in comment.splitlines())
    assert "Cost" in comment
    assert "To expect" in comment


def test_presets_are_the_experiments_of_the_paper() -> None:
    teacher = {LABELS: 1.0}
    assert supervision("table2-base") == {"table2-base": [teacher]}
    fixed = supervision("table2-fixed")["table2-fixed"]
    assert fixed == [teacher, *({LABELS: 0.3, stage: 0.7} for stage in range(4))]
    variable = supervision("table2-variable")["table2-variable"]
    assert [stage.get(LABELS) for stage in variable] == [1, 0.3, 0.3, 0.2, 0.1, 0.05]
    assert supervision("audioset")["audioset"] == variable
    sweep = supervision("fig2-left")
    assert [stages[1].get(LABELS, 0) for stages in sweep.values()] == [number / 10 for number in range(11)]
    assert all(len(stages) == 2 for stages in sweep.values())
    assert supervision("fig3-right")["fig3-right"] == [teacher, {0: 1.0}, {1: 1.0}, {2: 1.0}]
    assert all(len(stages) == 4 for stages in supervision("multi-teacher").values())


def test_runs_seeds_and_other_presets(tmp_path: Path) -> None:
    written(tmp_path, "epochs = 2\nbatch-size = 8\n", "base.toml")
    text = f'preset = "{tmp_path}/base.toml"\nepochs = 3\nseeds = [0, 5]\n[runs.a]\nstages = 1\n[runs.b]\nepochs = 4\n'
    made = dict(load(written(tmp_path, text)).trainings())
    assert list(made) == ["mine-a-seed0", "mine-b-seed0", "mine-a-seed5", "mine-b-seed5"]
    assert made["mine-a-seed5"] == {"epochs": 3, "batch_size": 8, "stages": 1, "seed": 5}
    assert made["mine-b-seed0"]["epochs"] == 4
    assert list(dict(load(written(tmp_path, text)).trainings((7,)))) == ["mine-a", "mine-b"]


def test_the_command_line_wins_over_the_preset() -> None:
    held = {"epochs": 2, "sync_bn": True, "stage": ["labels=1", "0=1"], "alpha": 0.5, "width": "4,4,4,4,8,9"}
    given = merged(held, ("--epochs", "9"))
    assert given == held | {"epochs": 9, "stage": ("labels=1", "0=1"), "alpha": "0.5", "width": [4, 4, 4, 4, 8, 9]}
    line = "--epochs 9 --set sync-bn=True --stage labels=1 --stage 0=1 --alpha 0.5 --width 4,4,4,4,8,9"
    assert sorted(as_arguments(given)) == sorted(shlex.split(line))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs = ", "is not TOML"),
        ("epoch = 3", "cannot hold epoch"),
        ('directory = "x"', "cannot hold directory"),
        ('epochs = "many"', "'many' is not a valid integer"),
        ("seeds = [0.5]", "seeds must be a list"),
        ("runs = 3", "runs must be tables"),
        ("[runs.a]\nstages = 1", "holds several runs: sedkit-train experiments"),
        ('preset = "fig2-left"', "which holds several runs"),
        ('preset = "fig9"', "no preset 'fig9'; choose one of audioset, demo, esc50, fig2-left"),
    ],
)
def test_malformed_presets_are_one_line_errors(text: str, said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--preset", written(tmp_path, text)])
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    missing = CliRunner().invoke(main, ["--preset", str(tmp_path / "none.toml")])
    assert "No such file" in missing.output


def test_a_preset_gives_the_options_of_a_run(small_manifest: Path, tmp_path: Path) -> None:
    text = f'manifest = "{small_manifest}"\nwidth = 0.0625\ncrop = 1\nepochs = 7\nstages = 2\nalpha = 0.5\n'
    directory = tmp_path / "run"
    command = ["--preset", written(tmp_path, text), "--epochs", "2", "--run", str(directory), "--device", "cpu"]
    result = CliRunner().invoke(main, [*command, "--stop-after", "0s"])
    assert result.exit_code == 0, result.output
    config = json.loads((directory / "config.json").read_text())
    assert (config["settings"]["epochs"], config["settings"]["width"], config["settings"]["crop"]) == (2, 0.0625, 1.0)
    assert config["supervision"] == [{"labels": 1.0}, {"labels": 0.5, "0": 0.5}, {"labels": 0.5, "1": 0.5}]
    refused = CliRunner().invoke(main, ["--resume", str(directory), "--preset", "audioset"])
    assert "leave out preset" in refused.output


def test_what_two_cascades_share() -> None:
    first, second = {"labels": 1.0}, {"labels": 0.3, "0": 0.7}
    assert shared([first, second], [first, second, second]) == 2
    assert shared([first, second], [first, {"labels": 0.5, "0": 0.5}]) == 1
    assert shared([{"yamnet": 1.0}], [{"yamnet": 1.0}]) == 0


def test_networks_that_runs_have_in_common_are_trained_once(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    """``run`` has three generations at alpha 0.3; of a run that is the same up to the second, two are taken."""
    directory = run.parent / "more"
    stages = ["--stage", "labels=0.3,0=0.7", "--stage", "labels=0.3,0=0.4,1=0.3"]
    config = untrained_run(small_manifest, directory, *stages)
    said = reuse(config, run.parent)
    assert said == [f"generation {number} is that of {run}" for number in (0, 1)]
    assert not (directory / "generation-2").exists()
    assert json.loads((directory / "generation-1" / "reused.json").read_text())["run"] == str(run)
    for number in (0, 1):
        ours, theirs = weights(directory, number), weights(run, number)
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert (directory / "generation-1" / "scores.npz").read_bytes() == (
        run / "generation-1" / "scores.npz"
    ).read_bytes()
    assert reuse(config, run.parent) == []
    continue_run(directory)
    assert len(metrics(directory, 2)) == 3
    assert reuse(untrained_run(small_manifest, tmp_path / "other", "--stages", "1", "--seed", "1"), run.parent) == []


def test_experiments_run_what_is_not_finished(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    """One run is finished; the other is begun, in a process of its own, stopped in time, and gone on with."""
    given = dict(zip(SMALL[:-2:2], SMALL[1:-2:2], strict=True))
    options = "\n".join(f"{name[2:]} = {json.dumps(value)}" for name, value in given.items()) + "\ndropout = 0"
    text = f"{options}\n[runs.done]\nstages = 2\n[runs.half]\nstages = 1\nalpha = 0.5\n"
    place = tmp_path / "runs"
    shutil.copytree(run, place / "mine-done")
    command = [written(tmp_path, text), "--manifest", str(small_manifest), "--directory", str(place)]
    listed = CliRunner().invoke(experiments.main, [*command, "--list"])
    assert [line.split(" ", 2)[0] for line in listed.output.splitlines()] == ["mine-done:", "mine-half:"]
    assert "mine-done: finished" in listed.output
    assert not (place / "mine-half").exists()
    early = CliRunner().invoke(experiments.main, [*command, "--stop-after", "0s"])
    assert early.exit_code == 0, early.output
    assert early.output.splitlines()[-1] == "stopped in time; give the same command again to continue"
    config = json.loads((place / "mine-half" / "config.json").read_text())
    assert config["supervision"] == [{"labels": 1.0}, {"labels": 0.5, "0": 0.5}]
    listed = CliRunner().invoke(experiments.main, [*command, "--list"])
    assert f"--resume {place}/mine-half" in listed.output


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["fig9"], "no preset 'fig9'"),
        (["fig2-left", "--only", "alpha2"], "has no run alpha2; it has alpha0.0"),
        (["table2-base", "--epochs", "few"], "'few' is not a valid integer"),
        (["table2-base", "--run", "x"], "leave out"),
        (["table2-base", "--launch", "nowhere/torchrun"], "No such file or directory; see --launch"),
        (["table2-base", "--eopchs", "3"], "No such option"),
    ],
)
def test_experiments_that_cannot_be_run(given: list[str], said: str) -> None:
    result = CliRunner().invoke(experiments.main, given)
    assert result.exit_code
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_run_goes_on_with_the_options_of_the_machine_alone(tmp_path: Path) -> None:
    given = {"epochs": 2, "workers": 3, "device": "cpu", "manifest": "set.csv"}
    first = arguments(tmp_path / "a", given)
    assert first[:4] == ["--set", f"reuse={str(tmp_path)}", "--directory", str(tmp_path / "a")]
    assert "--epochs" in first
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").touch()
    later = arguments(tmp_path / "a", given)
    assert later[2:4] == ["--resume", str(tmp_path / "a")]
    assert later[4:] == ["--set", "workers=3", "--device", "cpu", "--manifest", "set.csv"]


def test_a_failed_run_does_not_stop_the_others_and_is_named_last(small_manifest: Path, tmp_path: Path) -> None:
    text = f'manifest = "{small_manifest}"\n[runs.one]\n[runs.two]\n'
    launch = shlex.join(["sh", "-c", "exit 3"])
    command = [written(tmp_path, text), "--directory", str(tmp_path), "--launch", launch]
    result = CliRunner().invoke(experiments.main, command)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == (
        "Error: not finished: mine-one (exit code 3), mine-two (exit code 3); their errors are above"
    )


@pytest.mark.parametrize("code", [130, 143])
def test_an_interrupt_ends_the_experiments(code: int, small_manifest: Path, tmp_path: Path) -> None:
    text = f'manifest = "{small_manifest}"\n[runs.one]\n[runs.two]\n'
    launch = shlex.join(["sh", "-c", f"exit {code}"])
    command = [written(tmp_path, text), "--directory", str(tmp_path), "--launch", launch]
    result = CliRunner().invoke(experiments.main, command)
    assert result.exit_code == code
    assert "mine-two" not in result.output


def test_what_is_sent_to_the_experiments_reaches_the_training(tmp_path: Path) -> None:
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    before = signal.getsignal(signal.SIGTERM)
    try:
        with Processes() as processes:
            processes.start("one", ["sleep", "60"])
            processes.start("other", ["sleep", "60"])
            assert {processes.next_to_end() for _ in range(2)} == {
                ("one", -signal.SIGTERM),
                ("other", -signal.SIGTERM),
            }
    finally:
        signal.signal(signal.SIGTERM, before)


def test_side_by_side_one_fails_and_the_others_end(tmp_path: Path) -> None:
    """What each says is in a file beside its run; after one that was stopped in time none begins."""
    made = {name: (tmp_path / name, [str(tmp_path / name)]) for name in ("one", "two", "three")}
    script = 'echo this is "$3"; case "$3" in *two) exit 3;; esac; mkdir "$3"; touch "$3"/model.onnx'
    launch = shlex.join(["sh", "-c", script, "sh"])
    with pytest.raises(click.ClickException, match=r"^not finished: two \(exit code 3\); .* in their logs$"):
        train(made, launch, Deadline(), jobs=2)
    assert [finished(tmp_path / name) for name in made] == [True, False, True]
    assert (tmp_path / "two.log").read_text() == f"this is {tmp_path / 'two'}\n"
    waiting = {name: (tmp_path / name, ["nothing"]) for name in ("four", "five", "six")}
    with pytest.raises(Stopped):
        train(waiting, "true", Deadline(), jobs=1)


def test_a_preset_that_cannot_be_found_is_an_error() -> None:
    with pytest.raises(PresetError, match="choose one of audioset"):
        load("nothing")


def test_a_run_of_before_an_option_existed_is_one_without_it(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    old = shutil.copytree(run, tmp_path / "runs" / "old")
    config = json.loads((old / "config.json").read_text("utf-8"))
    for later in ("response", "narrow", "speed", "reverb", "noise", "style"):
        del config["settings"]["augmentation"][later]
    (old / "config.json").write_text(json.dumps(config))
    assert len(reuse(untrained_run(small_manifest, tmp_path / "new", "--stages", "1"), old.parent)) == 2
