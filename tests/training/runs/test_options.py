"""Options of a training: flags, settings (``--set KEY=VALUE``) and presets; their checks and their precedence."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.core import ParameterSource
from click.testing import CliRunner

from training.runs.interpret import stages_of
from training.runs.options import EXECUTION, GROUPS, SETTINGS, as_arguments, named_on_command_line
from training.runs.options import training as command
from training.runtime.command_line import DURATION
from training.secost import main
from training.supervision.equations import LABELS


def parse(*arguments: str) -> dict[str, Any]:
    """The values of all options and settings."""
    with command.make_context("training", list(arguments)) as context:
        return dict(context.params)


def refuse(*arguments: str) -> str:
    """Run ``sedkit-train secost``, which must refuse the command line; returns the error, without line breaks."""
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def preset(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


# --set KEY=VALUE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("emma=0.9", "no setting 'emma'; did you mean ema?"),
        ("validate_evry=2", "no setting 'validate_evry'; did you mean validate-every?"),
        ("epoch=3", "no setting 'epoch'; did you mean epochs?"),
        ("qqq=3", "no setting 'qqq'"),
        ("preset=own", "no setting 'preset'"),
        ("set=ema", "no setting 'set'"),
        ("=3", "no setting ''"),
        ("ema", "'ema' is not KEY=VALUE"),
        ("", "'' is not KEY=VALUE"),
        ("ema=2", "2.0 is not in the range 0<=x<1"),
        ("ema=", "'' is not a valid float"),
        ("ema=much", "'much' is not a valid float"),
        ("freeze=5", "5 is not in the range 0<=x<=4"),
        ("sampling=random", "'random' is not one of 'shuffled', 'balanced'"),
        ("sync-bn=maybe", "'maybe' is not a valid boolean"),
        ("epochs=0", "0 is not in the range x>=1"),
        ("width=16,40,80", "give 6 numbers of filters, for B1, B2, B3, B4, L1 and L2"),
    ],
)
def test_set_refuses_unknown_keys_and_bad_values(text: str, message: str) -> None:
    assert message in refuse("--set", text)


def test_set_suggests_nothing_for_keys_that_resemble_no_setting() -> None:
    assert "did you mean" not in refuse("--set", "qqq=3")


def test_set_value_may_contain_an_equals_sign() -> None:
    assert parse("--set", "first=labels=0.5,big=0.5")["first"] == "labels=0.5,big=0.5"


@pytest.mark.parametrize("key", ["validate-every", "validate_every", " validate-every "])
def test_set_accepts_hyphens_and_underscores(key: str) -> None:
    assert parse("--set", f"{key}=4")["validate_every"] == 4


def test_set_of_a_flag_is_that_flag() -> None:
    assert parse("--set", "epochs=7")["epochs"] == 7
    assert parse("--set", "width=16,40,80,200,1024,512")["width"] == [16, 40, 80, 200, 1024, 512]
    with command.make_context("training", ["--set", "epochs=7", "--crop", "2"]) as context:
        assert named_on_command_line(context) == {"epochs", "crop"}


def test_set_of_a_repeatable_flag_collects_its_values() -> None:
    values = parse("--set", "stage=labels=0.3,0=0.7", "--set", "teacher=big=runs/big", "--set", "stage=1=1")
    assert values["stage"] == ("labels=0.3,0=0.7", "1=1")
    assert values["teacher"] == ("big=runs/big",)


def test_last_of_equal_keys_wins() -> None:
    assert parse("--set", "ema=0.9", "--set", "mixed=1", "--set", "ema=0.5")["ema"] == 0.5
    assert parse("--set", "sync-bn=true", "--set", "sync_bn=false")["sync_bn"] is False
    assert parse("--set", "ema=2", "--set", "ema=0.5")["ema"] == 0.5


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("True", True), ("1", True), ("yes", True), ("false", False), ("no", False)]
)
def test_booleans(text: str, value: bool, tmp_path: Path) -> None:
    assert parse("--set", f"sync-bn={text}")["sync_bn"] is value
    assert parse("--preset", preset(tmp_path, f"sync-bn = {str(value).lower()}"))["sync_bn"] is value
    assert parse()["sync_bn"] is False


def test_settings_have_their_defaults() -> None:
    values = parse()
    assert {"ema": 0.0, "time_mask": 24, "mixed": 0.5, "workers": None}.items() <= values.items()
    assert values.keys() >= SETTINGS.keys()
    assert "assignments" not in values


def test_command_line_wins_over_preset_and_preset_over_default(tmp_path: Path) -> None:
    name = preset(tmp_path, "epochs = 7\nema = 0.9\nmixed = 0.25\n")
    assert [parse()[key] for key in ("epochs", "ema", "mixed")] == [60, 0.0, 0.5]
    assert [parse("--preset", name)[key] for key in ("epochs", "ema", "mixed")] == [7, 0.9, 0.25]
    for arguments in (["--preset", name, "--epochs", "2", "--set", "ema=0.5"],
                      ["--set", "ema=0.5", "--set", "epochs=2", "--preset", name]):  # fmt: skip
        assert [parse(*arguments)[key] for key in ("epochs", "ema", "mixed")] == [2, 0.5, 0.25]


def test_stages_of_the_command_line_win_over_those_of_a_preset(tmp_path: Path) -> None:
    counted, listed = preset(tmp_path, "stages = 0\nalpha = 0.5"), tmp_path / "listed.toml"
    listed.write_text('stage = ["labels=0.3,0=0.7"]')
    given = parse("--preset", counted, "--stage", "labels=1", "--stage", "labels=0.3,0=0.7")
    assert (given["stages"], len(given["stage"])) == (None, 2)
    for arguments in (["--stages", "3"], ["--alpha", "0.2"]):
        assert parse("--preset", str(listed), *arguments)["stage"] == ()
    assert len(parse("--preset", str(listed))["stage"]) == 1
    with command.make_context("training", ["--preset", counted, "--stage", "labels=1"]) as context:
        assert context.get_parameter_source("stages") == ParameterSource.DEFAULT  # so that no run is given it


def test_a_teacher_without_a_weight_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    message = refuse("--manifest", str(tmp_path), "--teacher", "big=large", "--stages", "0", "--run", str(run))
    assert "--teacher: 'big' has no weight: name it in --first or --stage, or leave it out" in message
    assert not run.exists()


def test_preset_values_are_checked_like_the_command_line(tmp_path: Path) -> None:
    assert "2.0 is not in the range 0<=x<1" in refuse("--preset", preset(tmp_path, "ema = 2"))
    assert "a preset cannot hold emma" in refuse("--preset", preset(tmp_path, "emma = 0.5"))


def test_resume_accepts_settings_of_the_machine_only(tmp_path: Path) -> None:
    output = refuse("--resume", str(tmp_path), "--set", "workers=1", "--set", "ema=0.9", "--set", "sync-bn=true")
    assert "leave out ema, sync-bn" in output
    options = [option for name in sorted(EXECUTION) for option in ("--set", f"{name}={VALUES[name]}")]
    result = CliRunner().invoke(main, ["--resume", str(tmp_path), *options])
    assert result.exit_code == 1
    assert "not a run directory" in result.output


VALUES = {"accumulate": "2", "compile": "off", "deterministic": "false", "reuse": "runs", "workers": "1"}


def test_alpha_beside_a_stage_is_refused_or_that_of_the_preset_left_out(tmp_path: Path) -> None:
    for pair in (["--alpha", "0.2"], ["--set", "alpha=0.2"]):
        message = refuse("--stage", "labels=0.3,0=0.7", *pair)
        assert "--alpha: leave it out beside --stage, which has the weights" in message
    for text, given in (("alpha = 0.5", ["--stage", "labels=1"]), ('alpha = 0.5\nstage = ["labels=1"]', [])):
        with command.make_context("training", ["--preset", preset(tmp_path, text), *given]) as context:
            assert context.params["stage"] == ("labels=1",)
            assert context.get_parameter_source("alpha") == ParameterSource.DEFAULT


def test_options_as_arguments_give_the_same_values(tmp_path: Path) -> None:
    line = "--epochs 9 --set sync-bn=True --stage labels=1 --stage 0=1 --width 4,4,4,4,8,9 --set ema=0.5"
    with command.make_context("training", shlex.split(line)) as context:
        given = {name: value for name, value in context.params.items() if name in named_on_command_line(context)}
    assert parse(*as_arguments(given)) == parse(*shlex.split(line))


def test_temperatures_name_teachers_and_numbers() -> None:
    assert parse("--set", "temperatures=yamnet=2,0=0.5")["temperatures"] == {"yamnet": 2.0, "0": 0.5}
    assert parse()["temperatures"] == {}
    assert parse(*as_arguments({"temperatures": {"yamnet": 2.0, "0": 0.5}}))["temperatures"] == {"yamnet": 2, "0": 0.5}
    assert "0.0 is not in the range x>0" in refuse("--set", "temperatures=0=0")
    assert "'yamnet' is not a teacher of this run" in refuse("--set", "temperatures=yamnet=2")


# the help


def test_help_lists_every_flag_and_setting() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    for title in GROUPS:
        assert f"\n{title}:\n" in text
    flags = set(re.findall(r"--[a-z]+(?:-[a-z]+)*", text.partition("\nData:\n")[2]))
    assert flags >= {option.opts[0] for options in GROUPS.values() for option in options}
    listed = text.partition("Settings (--set KEY=VALUE, or a preset):")[2]
    assert re.findall(r"[a-z-]+", listed) == [name.replace("_", "-") for name in SETTINGS]


def test_there_are_at_most_26_flags() -> None:
    flags = [parameter for parameter in main.params if parameter.name != "help"]
    assert len(flags) <= 26, "let the new option be a setting (SETTINGS)"


def test_settings_and_flags_have_different_names_and_every_setting_has_a_help() -> None:
    assert not SETTINGS.keys() & {parameter.name for parameter in main.params}
    assert all(option.help for option in SETTINGS.values())
    assert SETTINGS.keys() >= EXECUTION


# values


def test_stages_from_alpha() -> None:
    assert len(stages_of(None, "0.3", ())) == 5
    assert stages_of(None, "0.3,0.3,0.2,0.1,0.05", ())[5] == {LABELS: 0.05, 4: 0.95}
    assert stages_of(2, "0", ())[1:] == [{0: 1.0}, {1: 1.0}]


def test_durations() -> None:
    assert [DURATION.convert(text, None, None) for text in ("540s", "9m", "2h", "1.5")] == [540, 540, 7200, 1.5]
