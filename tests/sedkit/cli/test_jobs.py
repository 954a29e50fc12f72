"""``--jobs`` and ``--threads``: they change the speed, not the results."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner

from sedkit.cli import main
from tests.conftest import make_sound


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("clips")
    for number, seconds in enumerate((45, 1, 3)):
        soundfile.write(folder / f"{number}.wav", make_sound(seconds, seed=number), 16000)
    return sorted(map(str, folder.iterdir()))


def sedkit(*arguments: str | Path) -> str:
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("command", ["tag", "timeline"])
@pytest.mark.parametrize("count", [1, 3])
def test_results_do_not_depend_on_them(command: str, count: int, clips: list[str], model_path: Path):
    arguments = [command, *clips[:count], "--model", model_path, "--device", "cpu", "--format", "csv"]
    plain = sedkit(*arguments)
    assert plain.count("\n") > 1
    for options in (["--jobs", "1"], ["-j", "3", "--threads", "1"], ["--jobs", "2", "--threads", "2"]):
        assert sedkit(*arguments, *options) == plain


@pytest.mark.parametrize("option", ["--jobs", "--threads"])
@pytest.mark.parametrize("value", ["0", "-1", "many", "100000"])
def test_invalid_values(option: str, value: str, clips: list[str]):
    result = CliRunner().invoke(main, ["tag", clips[0], option, value])
    assert result.exit_code == 2
    assert option in result.stderr


@pytest.mark.parametrize("option", ["--jobs", "--threads"])
def test_a_cluster_decides_by_itself(option: str, clips: list[str], tmp_path: Path):
    result = CliRunner().invoke(
        main, ["tag", clips[0], "--engine", "ray", "--output", str(tmp_path / "out"), option, "2"]
    )
    assert result.exit_code == 2
    assert "leave out --jobs and --threads" in result.stderr
