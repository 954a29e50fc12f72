"""``POST /v1/tag`` and ``/v1/timeline``: the same results as those of the command line, in every format."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sedkit.cli import queries
from sedkit.cli.clock import recorded_at
from sedkit.formats import FORMATS
from tests.conftest import make_sound
from tests.sedkit.serve.conftest import events_of, printed, wav

CASES = [
    ("tag", {}, []),
    ("tag", {"top_k": "2", "exclude": "Rain"}, ["--top-k", "2", "--exclude", "Rain"]),
    ("tag", {"classes": "Dog,Rain", "threshold": ["0.2", "Dog=0"]}, ["-c", "Dog,Rain", "-t", "0.2", "-t", "Dog=0"]),
    ("tag", {"threshold": "model", "gain": "auto"}, ["--threshold", "model", "--gain", "auto"]),
    ("tag", {"format": "csv", "bom": "true"}, ["--format", "csv", "--bom"]),
    ("timeline", {}, []),
    ("timeline", {"threshold": "0.05", "resolution": "native"}, ["--threshold", "0.05", "--resolution", "native"]),
    (
        "timeline",
        {"threshold": "0.05", "min-duration": "0.5", "merge_gap": "1", "max_classes": "2", "rollup": "Animal"},
        ["-t", "0.05", "--min-duration", "0.5", "--merge-gap", "1", "--max-classes", "2", "--rollup", "Animal"],
    ),
    (
        "timeline",
        {"format": "tsv", "threshold": "0.05", "absolute_time": "1", "start": "2024-05-01T05:30:00Z"},
        ["--format", "tsv", "-t", "0.05", "--absolute-time", "--start", "2024-05-01T05:30:00Z"],
    ),
]


@pytest.mark.parametrize(("command", "query", "arguments"), CASES, ids=lambda value: str(value)[:40])
def test_answers_equal_the_command_line(client, clip: Path, monkeypatch, command, query, arguments):
    expected = printed(monkeypatch, clip)(command, *([] if "format" in query else ["--format", "json"]), *arguments)
    raw = client.post(f"/v1/{command}", params={**query, "name": clip.name}, content=clip.read_bytes())
    assert raw.status_code == 200
    assert raw.text == expected
    form = client.post(f"/v1/{command}", params=query, files={"file": (clip.name, clip.read_bytes())})
    assert form.text == expected
    assert expected.count("\n") >= 1


def test_a_start_is_looked_up_in_a_thread_and_a_number_in_a_name_is_no_time_zone(client, server, monkeypatch):
    names: list[str] = []

    def noted(*arguments):
        names.append(threading.current_thread().name)
        return recorded_at(*arguments)

    monkeypatch.setattr(queries, "recorded_at", noted)
    answer = client.post("/v1/tag?absolute_time=1&name=20240501_053000-2500.wav", content=wav(1))
    assert answer.json()["recorded_at"].startswith("2024-05-01T05:30:00")
    assert names
    assert server.thread.name not in names


def test_the_timeline_has_events(client, clip: Path):
    assert len(events_of(client.post("/v1/timeline?threshold=0.05", content=clip.read_bytes()).text)) > 3


@pytest.mark.parametrize("command", [pytest.param("tag", marks=pytest.mark.slow), "timeline"])
def test_every_format_is_a_download(client, clip: Path, monkeypatch, command):
    kind = "tags" if command == "tag" else "events"
    run = printed(monkeypatch, clip)
    for name, writer in FORMATS.items():
        files = {"file": ("../ö clip.wav", clip.read_bytes())}
        answer = client.post(f"/v1/{command}", params={"format": name, "threshold": "0.05"}, files=files)
        if kind not in writer.kinds:
            assert answer.status_code == 400, name
            continue
        assert answer.status_code == 200, answer.text
        assert len(answer.content) == int(answer.headers["content-length"]) > 50, name
        if name == "json":
            assert "content-disposition" not in answer.headers
        else:
            ending = writer.ending or writer.suffixes[0]
            assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''%C3%B6%20clip{ending}"
        if name in ("audacity", "srt", "vtt"):
            assert answer.text == run(command, "--format", name, "-t", "0.05").replace(clip.stem, "ö clip"), name


def test_a_page_of_html_plays_what_was_sent_and_reads_no_file_of_the_server(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.wav").write_bytes(wav(1))
    quiet = io.BytesIO()
    soundfile.write(quiet, np.zeros(16000), 16000, format="WAV")
    page = client.post("/v1/timeline?format=html&name=secret.wav", content=quiet.getvalue()).text
    (audio,) = [part.split("</script>")[0] for part in page.split('id="audio-data">')[1:]]
    import base64

    assert base64.b64decode(audio) == quiet.getvalue()
    assert "data-ready" not in page
    tags = client.post("/v1/tag?format=html&name=secret.wav", content=quiet.getvalue()).text
    assert '"link":null' in tags
    without = client.post("/v1/timeline?format=html&audio=none", content=quiet.getvalue()).text
    assert 'id="audio-data"></script>' in without


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3", "aiff"])
def test_any_format_is_read(client, suffix):
    file = io.BytesIO()
    sound = make_sound(3, 44100)
    soundfile.write(file, np.stack([sound, sound / 2], 1), 44100, format=suffix)
    answer = client.post("/v1/tag", content=file.getvalue())
    assert answer.json()["duration"] == pytest.approx(3, abs=0.1)


def test_each_channel(client):
    answer = client.post("/v1/tag?channel=each", files={"file": ("two.wav", wav(2, channels=2))})
    assert answer.headers["content-type"] == "application/jsonl"
    assert [json.loads(line)["file"] for line in answer.text.splitlines()] == ["two.wav#1", "two.wav#2"]


def test_a_large_recording_goes_through_a_temporary_file(client):
    content = wav(60)
    assert len(content) > 1_000_000
    form = client.post("/v1/timeline", files={"file": ("long.wav", content)}).text
    assert form == client.post("/v1/timeline?name=long.wav", content=content).text
    assert json.loads(form)["duration"] == 60


def test_the_start_is_read_from_the_name(client):
    answer = client.post("/v1/tag?absolute_time=1", files={"file": ("20240501_053000.wav", wav(1))})
    assert answer.json()["recorded_at"].startswith("2024-05-01T05:30:00")


def test_models_health_metrics_and_descriptions(client, small):
    client.post("/v1/tag", content=wav(1))
    (model,) = client.get("/v1/models").json()["models"]
    assert model["name"] == "wels-secost-small-int8"
    assert [label["name"] for label in model["labels"]] == [label.name for label in small.labels]
    assert "path" not in model
    assert client.get("/healthz").json() == {"status": "ok"}
    metrics = client.get("/metrics").text
    assert 'sedkit_requests_total{path="/v1/tag",status="200"}' in metrics
    assert "sedkit_audio_seconds_total" in metrics
    document = client.get("/openapi.json").json()
    names = {one["name"] for one in document["paths"]["/v1/timeline"]["post"]["parameters"]}
    assert {"threshold", "min_duration", "resolution", "classes", "channel", "format", "name"} <= names
    manual = client.get("/docs").text
    assert all(f"<code>{name}</code>" in manual for name in names)
    assert "http://" not in manual.replace("http://localhost:8765", "")
    assert client.head("/healthz").status_code == 200


def test_events_of_the_page_become_any_format(client):
    events = [{"onset": 1.5, "offset": 2, "label": "Tea, pot", "mid": None, "score": None}]
    record = {"duration": 3.0, "events": events}
    answer = client.post("/page/events?format=csv&name=a.wav", json=record)
    assert answer.text.splitlines()[1] == 'a.wav,1.5,2.0,"Tea, pot",,1.0'
    assert client.post("/page/events?format=html&name=a.wav", json=record).status_code == 400
    for content in (b"", b"[]", b'{"events": 1}', b"[" * 100_000, b'{"duration": 1, "events": [{"onset": "x"}]}'):
        assert client.post("/page/events?format=csv", content=content).status_code == 400, content[:50]
    formats = {one["name"] for one in client.get("/page/about").json()["formats"]}
    assert {"csv", "html", "audacity"} <= formats


def test_a_copy_that_every_browser_plays(client):
    answer = client.post("/page/audio", content=wav(2))
    assert answer.headers["content-type"] == "audio/webm"
    assert client.post("/v1/tag", content=answer.content).json()["duration"] == pytest.approx(2, abs=0.1)


def test_the_client_of_the_documentation(server, client, clip, monkeypatch, capsys):
    page = (Path(__file__).parents[3] / "docs" / "serve.md").read_text("utf-8")
    code = page.split("<!-- client -->\n```python\n")[1].split("```")[0]
    monkeypatch.chdir(clip.parent)
    exec(code.replace("http://127.0.0.1:8765", server.url), {})
    printed = capsys.readouterr().out.splitlines()
    events = events_of(client.post("/v1/timeline?threshold=0.3", content=clip.read_bytes()).text)
    assert printed == [f"{one['onset']} {one['offset']} {one['label']} {one['score']}" for one in events]
