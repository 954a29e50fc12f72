"""Presets: every file is valid, they are the paper's experiments, and a run takes its options from one."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from training.runs.experiments.sweep import merged
from training.runs.interpret import stages_of, teachers_of
from training.runs.options import as_arguments
from training.runs.presets import PRESETS, PresetError, load, presets
from training.secost import main
from training.supervision.equations import LABELS


def write_preset(folder: Path, text: str, name: str = "mine.toml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def supervision(name: str) -> dict[str, list[dict]]:
    """The supervision of every training of a preset."""
    supervisions = {}
    for training, options in load(name).trainings():
        given = merged(options, ())
        external, first = teachers_of(given.get("teacher", ())), given.get("first", "labels=1")
        supervisions[training] = stages_of(
            given.get("stages"), given.get("alpha", "0.3"), given.get("stage", ()), first, external
        )
    return supervisions


@pytest.mark.parametrize("name", presets())
def test_preset_is_valid_and_states_its_cost_and_result(name: str) -> None:
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


PAPER = ["audioset", "table2-base", "table2-fixed", "table2-variable", "fig2-left", "fig3-right", "multi-teacher"]


@pytest.mark.parametrize("name", PAPER)
def test_presets_of_the_paper_are_algorithm_1_with_table_1s_mean(name: str) -> None:
    for _, options in load(name).trainings():
        given = merged(options, ())
        assert {key: given[key] for key in ("students", "teachers_hear", "gate", "export")} == {
            "students": "random",
            "teachers_hear": "clip",
            "gate": False,
            "export": "last",
        }


def test_preset_with_runs_and_seeds_builds_on_another(tmp_path: Path) -> None:
    write_preset(tmp_path, "epochs = 2\nbatch-size = 8\n", "base.toml")
    text = f'preset = "{tmp_path}/base.toml"\nepochs = 3\nseeds = [0, 5]\n[runs.a]\nstages = 1\n[runs.b]\nepochs = 4\n'
    trainings = dict(load(write_preset(tmp_path, text)).trainings())
    assert list(trainings) == ["mine-a-seed0", "mine-b-seed0", "mine-a-seed5", "mine-b-seed5"]
    assert trainings["mine-a-seed5"] == {"epochs": 3, "batch_size": 8, "stages": 1, "seed": 5}
    assert trainings["mine-b-seed0"]["epochs"] == 4
    assert list(dict(load(write_preset(tmp_path, text)).trainings((7,)))) == ["mine-a-seed7", "mine-b-seed7"]
    one_seed = load(write_preset(tmp_path, "epochs = 3\n"))
    assert [list(dict(one_seed.trainings(seeds))) for seeds in ((), (4,))] == [["mine"], ["mine-seed4"]]


def test_command_line_wins_over_the_preset_of_an_experiment() -> None:
    own = {"epochs": 2, "sync_bn": True, "stage": ["labels=1", "0=1"], "width": "4,4,4,4,8,9"}
    options = merged(own | {"alpha": 0.5}, ("--epochs", "9"))  # alpha does not count beside a stage
    assert options == own | {"epochs": 9, "stage": ("labels=1", "0=1"), "width": [4, 4, 4, 4, 8, 9]}
    line = "--epochs 9 --set sync-bn=True --stage labels=1 --stage 0=1 --width 4,4,4,4,8,9"
    assert sorted(as_arguments(options)) == sorted(shlex.split(line))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = ", "is not TOML"),
        ("epoch = 3", "cannot hold epoch"),
        ('directory = "x"', "cannot hold directory"),
        ('epochs = "many"', "'many' is not a valid integer"),
        ("seeds = [0.5]", "seeds must be a list"),
        ("runs = 3", "runs must be tables"),
        ("[runs.a]\nstages = 1", "holds several runs: sedkit-train experiments"),
        ('preset = "fig2-left"', "which holds several runs"),
        ('preset = "fig9"', "no preset 'fig9'; choose one of audioset, audioset-modern, demo, esc50"),
    ],
)
def test_malformed_presets_are_one_line_errors(text: str, message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--preset", write_preset(tmp_path, text)])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    missing = CliRunner().invoke(main, ["--preset", str(tmp_path / "none.toml")])
    assert "No such file" in missing.output


def test_unknown_preset_is_an_error() -> None:
    with pytest.raises(PresetError, match="choose one of audioset"):
        load("nothing")


def test_run_takes_its_options_from_a_preset(small_manifest: Path, tmp_path: Path) -> None:
    text = f'manifest = "{small_manifest}"\nwidth = 0.0625\ncrop = 1\nepochs = 7\nstages = 2\nalpha = 0.5\n'
    directory = tmp_path / "run"
    command = ["--preset", write_preset(tmp_path, text), "--epochs", "2", "--run", str(directory), "--device", "cpu"]
    result = CliRunner().invoke(main, [*command, "--stop-after", "0s"])
    assert result.exit_code == 0, result.output
    config = json.loads((directory / "config.json").read_text())
    assert (config["settings"]["epochs"], config["settings"]["width"], config["settings"]["crop"]) == (2, 0.0625, 1.0)
    assert config["supervision"] == [{"labels": 1.0}, {"labels": 0.5, "0": 0.5}, {"labels": 0.5, "1": 0.5}]
    refused = CliRunner().invoke(main, ["--resume", str(directory), "--preset", "audioset"])
    assert "leave out preset" in refused.output
