"""The options of the post-processing, on the command line."""

from __future__ import annotations

import json

import pytest
import soundfile
from click.testing import CliRunner

from sedkit.cli import main
from tests.conftest import make_sound


@pytest.fixture(scope="module")
def run(model_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shaping")
    soundfile.write(folder / "sound.wav", make_sound(12, seed=1), 16_000)
    (folder / "mine.toml").write_text("threshold = 0.9\nmerge_gap = 20\n[classes.Siren]\nthreshold = 0.2\n")
    (folder / "short.toml").write_text("threshold = 0.9\n[classes.Siren]\nthreshold = 0.2\nmin_duration = 30\n")

    def call(command: str, *options: str):
        arguments = [command, str(folder / "sound.wav"), "--model", str(model_path)]
        options = tuple(option.replace("FOLDER", str(folder)) for option in options)
        result = CliRunner().invoke(main, [*arguments, *options])
        return json.loads(result.stdout) if result.exit_code == 0 else (result.exit_code, result.output)

    return call


def test_options_take_precedence_over_the_file(run):
    def of(*options: str) -> dict[str, list[float]]:
        made: dict[str, list[float]] = {}
        for event in run("timeline", "-f", "json", *options)["events"]:
            made.setdefault(event["label"], []).append(event["offset"] - event["onset"])
        return made

    file = of("--postprocess", "FOLDER/mine.toml")
    assert len(file["Siren"]) == 1
    assert of("--postprocess", "FOLDER/mine.toml", "--merge-gap", "0")["Siren"] == of("-t", "Siren=0.2")["Siren"]
    assert "Siren" not in of("--postprocess", "FOLDER/mine.toml", "--threshold", "1")
    assert "Siren" not in of("--postprocess", "FOLDER/short.toml")
    assert of("--postprocess", "FOLDER/short.toml", "--min-duration", "0")["Siren"] == of("-t", "Siren=0.2")["Siren"]
    assert max(of("--threshold", "0.2", "--max-duration", "1")["Siren"]) <= 1.001
    assert of("--enter", "0.2", "--min-duration", "30") == {}
    assert set(of("--threshold", "0.2", "--skip", "Siren,Dog", "--rollup", "Animal")) >= {"Animal"}


def test_thresholds_of_tags(run):
    def of(*options: str) -> dict[str, float]:
        return {tag["label"]: tag["score"] for tag in run("tag", "-f", "json", *options)["tags"]}

    everything = of("--threshold", "0")
    assert set(everything) - set(of("--threshold", "0", "--threshold", "Siren=1")) == {"Siren"}
    assert of("--threshold", "1", "-t", "Siren=0.001") == {"Siren": everything["Siren"]}
    assert "Siren" in of("--threshold", "model", "-t", "Siren=0")
    assert "Animal" in of("--rollup", "Animal")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "Dog=2"], "neither a score from 0 to 1"),
        (["--threshold", "Dgo=0.5"], "Dgo: the model test has no such class; did you mean Dog?"),
        (["--classes", "Bird"], "Bird: the model test has no such class"),
        (["--postprocess", "none.toml"], "none.toml: cannot be read"),
        (["--min-duration", "5", "--max-duration", "6"], "at least twice"),
        (["--hold", "-1"], "-1"),
    ],
)
def test_invalid_options(run, options, message):
    code, output = run("timeline", *options)
    assert code != 0
    assert message in output
    assert "Traceback" not in output


def test_listen_refuses_what_needs_the_whole_recording(run):
    code, output = run("listen", "--method", "change-points")
    assert code != 0
    assert "needs the whole recording" in output
