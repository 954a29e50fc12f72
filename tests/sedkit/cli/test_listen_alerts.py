"""Alerts of ``sedkit listen``, as a process: on a recording, through a pipe, with a command and a receiver."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sedkit.alerts.reading import ACTIONS, RULE, read_alerts
from sedkit.alerts.rules import columns_of
from sedkit.cli import main
from sedkit.contract import Contract, metadata_of
from tests.sedkit.alerts.receiving import Receiver
from tests.sedkit.cli.test_listen import RATE, SOUND, listening, of_type  # noqa: F401

ROOT = Path(__file__).parents[3]
KEEP = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"
RULES = """
[[rules]]
name = "dog"
class = "Animal"
level = 0.3
for = 0.5
every = "1h"

[[rules]]
class = "Siren"
level = 0.2
actions = ["keep"]

[actions.keep]
run = [{python}, "-c", {code}, {file}]

[actions.clips]
save = {folder}
before = 1
after = 2
"""


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "20260601_120000Z.wav"  # when it was recorded
    soundfile.write(path, SOUND, RATE, subtype="PCM_16")
    return path


@pytest.mark.parametrize("how", ["file", "pipe"])
def test_alerts_of_a_recording_and_of_a_pipe(listening, tmp_path, sound, tagger, how):  # noqa: F811
    told, folder = tmp_path / "told", tmp_path / "clips"
    values = {"python": sys.executable, "code": KEEP, "file": str(told), "folder": str(folder)}
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES.format(**{key: json.dumps(value) for key, value in values.items()}))
    if how == "file":
        live = listening("--alerts", rules, source=str(sound), stdin=subprocess.DEVNULL)
    else:
        live = listening("--alerts", rules, "--rate", "16000", source=None)
        live.send(SOUND)
        live.process.stdin.close()
    records = live.read_rest()
    alerts = of_type(records, "alert")
    assert live.wait() == (0, "")
    began = [alert for alert in alerts if "offset" not in alert]
    ended = {(alert["rule"], alert["onset"]): alert["offset"] for alert in alerts if "offset" in alert}
    expected = [
        *[("dog", event) for event in tagger.timeline(SOUND, RATE, threshold={"Dog": 0.3}, classes=["Dog"]).events][:1],
        *[("Siren", event) for event in tagger.timeline(SOUND, RATE, threshold={"Siren": 0.2}, classes=["Siren"])],
    ]
    assert expected
    assert ended == {(rule, round(event.onset, 3)): round(event.offset, 3) for rule, event in expected}
    assert {(alert["rule"], alert["onset"]) for alert in began} == set(ended)
    if how == "file":
        assert all(alert["time"].startswith("2026-06-01T12:00:0") for alert in began)
        assert records[0]["time"] == "2026-06-01T12:00:00.000+00:00"
    kept = [json.loads(line) for line in told.read_text().splitlines()]
    assert sorted(kept, key=str) == sorted(began, key=str)
    clips = sorted(folder.iterdir())
    assert [str(clip) for clip in clips] == [alert["clip"] for alert in began if alert["rule"] == "dog"]
    first = round(max(0, began[0]["onset"] - 1) * RATE) if began[0]["rule"] == "dog" else 0
    found, _ = soundfile.read(clips[0], dtype="int16")
    assert (found == SOUND[first : first + len(found)]).all()


def test_clip_is_complete_though_post_processing_delays_the_alert(listening, tmp_path):  # noqa: F811
    """A median of 60 s delays it by 30 s. Of eight channels, 2 s are decoded at once."""
    long, folder = tmp_path / "long.wav", tmp_path / "clips"
    sound = np.repeat(np.tile(SOUND, 5)[:, None], 8, axis=1)
    soundfile.write(long, sound, RATE, subtype="PCM_16")
    (rules := tmp_path / "rules.toml").write_text(
        f"[[rules]]\nclass = 'Animal'\nlevel = 0.01\n[actions.clips]\nsave = {json.dumps(str(folder))}"
    )
    live = listening("--alerts", rules, "--median", "60", source=str(long), stdin=subprocess.DEVNULL)
    began = of_type(live.read_rest(), "alert")[0]
    assert live.wait() == (0, "")
    found, _ = soundfile.read(began["clip"], dtype="int16")
    first = max(0, round((began["onset"] - 2) * RATE))
    assert len(found) == round((began["onset"] + 8) * RATE) - first
    assert (found == sound[first : first + len(found)]).all()


def test_short_form_with_a_command_and_a_dead_receiver(listening, tmp_path, sound):  # noqa: F811
    receiver = Receiver(404)
    failing = f"'{sys.executable}' -c \"import sys; sys.exit('no')\""
    arguments = ["--on", "Siren>0.2", "--webhook", receiver.url, "--run", failing, "--format", "text"]
    live = listening(*arguments, source=str(sound), stdin=subprocess.DEVNULL)
    lines = live.process.stdout.read().decode().splitlines()
    code, text = live.wait()
    receiver.stop()
    assert code == 0
    assert any("alert Siren: Siren" in line for line in lines)
    assert any("end of alert Siren" in line for line in lines)
    assert "action --run: " in text
    assert "ended with exit code 1: no" in text
    assert "action --webhook: 127.0.0.1: answered 404" in text
    assert len(text.splitlines()) == 2
    assert json.loads(receiver.requests[0][1])["rule"] == "Siren"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--on", "Dgo>0.5"], "rule Dgo: Dgo: the model has no such class; did you mean Dog?"),
        (
            ["--alerts", "typing.toml"],
            "error: typing.toml: rule Dgo: Dgo: the model has no such class; did you mean Dog?",
        ),
        (["--on", "Dog>>1"], "'Dog>>1' is no rule; write for example 'Dog>0.5 for 1s every 60s'"),
        (["--run", "true"], 'an action needs a rule; add one, for example --on "Dog>0.5"'),
        (["--on", "Dog", "--run", "'true"], "No closing quotation; check the quotes"),
        (
            ["--on", "Dog", "--webhook", "example.org"],
            "--webhook: must begin with http:// or https://, not 'example.org'",
        ),
        (
            ["--alerts", "wildcard.toml"],
            "wildcard.toml: actions.home: topic: must not contain +, # or NUL, not 'home/+/x'",
        ),
        (["--on", "Dog", "--run", "nosuchprogram x"], "--run: there is no program 'nosuchprogram'; check the name"),
        (["--on", "Dog", "--run", "''"], "--run: there is no program ''; check the name"),
        (["--on", "Dog", "--run", "./wildcard.toml"], "--run: ./wildcard.toml cannot be run; make it executable"),
        (["--alerts", "run.toml"], "run.toml: actions.bell: run: there is no program 'nosuchprogram'; check the name"),
        (["--alerts", "nosuch.toml"], "nosuch.toml: cannot be read (No such file or directory); check the path"),
    ],
)
def test_faulty_alerts_are_told_before_the_source_is_opened(model_path, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wildcard.toml").write_text("[[rules]]\nclass = 'Dog'\n[actions.home]\nmqtt = 'a'\ntopic = 'home/+/x'")
    (tmp_path / "typing.toml").write_text("[[rules]]\nclass = 'Dgo'")
    (tmp_path / "run.toml").write_text("[[rules]]\nclass = 'Dog'\n[actions.bell]\nrun = ['nosuchprogram', 'x']")
    result = CliRunner().invoke(main, ["listen", "nosuch.wav", *arguments, "-m", str(model_path), "--device", "cpu"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_example_and_documentation_are_valid(tmp_path, monkeypatch):
    for name in ("HOOK_TOKEN", "HOOK_SECRET", "MQTT_PASSWORD"):
        monkeypatch.setenv(name, "x")
    example = read_alerts(ROOT / "examples" / "alerts.toml")
    page = (ROOT / "docs" / "alerts.md").read_text("utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "page.toml").write_text("\n".join(blocks))
    found = read_alerts(tmp_path / "page.toml")
    assert (len(found.rules), set(found.actions)) == (1, {"light", "hook", "home", "clips"})
    labels = Contract.from_metadata(metadata_of(ROOT / "models" / "wels-secost.onnx")).labels
    short = re.findall(r'--on "([A-Z]\w+)', page)
    for name in [*short, *(name for rule in (*example.rules, *found.rules) for name in rule.classes)]:
        assert columns_of(name, labels)
    keys = set(re.findall(r"^(\w+) = ", "\n".join(blocks), re.MULTILINE))
    assert keys == set(RULE) | {key for own in ACTIONS.values() for key in own}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_example_unit_is_valid(tmp_path):
    unit = (ROOT / "examples" / "sedkit-listen.service").read_text("utf-8")
    path = tmp_path / "sedkit-listen.service"
    path.write_text(unit.replace("/opt/sedkit/bin/sedkit", shutil.which("true") or ""))
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
