"""What ``sedkit listen`` hears, and what it says of sources that stall, are lost and come back; service managers."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import threading

import pytest
import soundfile
from click.testing import CliRunner

from sedkit.audio.live import Incident
from sedkit.audio.pipe import Pipe
from sedkit.cli import main, service
from sedkit.cli.display import incident_text
from tests.sedkit.audio.piping import encode, wait_until
from tests.sedkit.audio.test_network import Radio, play, radio  # noqa: F401
from tests.sedkit.cli.test_listen import RATE, SOUND, listening, of_type  # noqa: F401
from tests.sedkit.cli.test_process import posix

STREAM = encode("mp3", "libmp3lame")


@pytest.fixture
def without_sounddevice(tmp_path, monkeypatch) -> None:
    """Processes cannot import sounddevice."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sounddevice.py").write_text("raise ModuleNotFoundError('sounddevice')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'hidden'}{os.pathsep}{os.getcwd()}")


@pytest.mark.usefixtures("without_sounddevice")
@pytest.mark.parametrize("how", ["pipe", "file without suffix"])
def test_pipes_and_files_need_no_sounddevice(listening, tmp_path, how):  # noqa: F811
    path = tmp_path / "sound"
    soundfile.write(path, SOUND[: 2 * RATE], RATE, format="WAV")
    if how == "pipe":
        live = listening(source=None)
        live.process.stdin.write(path.read_bytes())
        live.process.stdin.close()
    else:
        live = listening(source=str(path), stdin=subprocess.DEVNULL)
    assert of_type(live.read_rest(), "second")[-1]["end"] == 2.0
    assert live.wait() == (0, "")


@pytest.mark.usefixtures("without_sounddevice")
def test_name_that_is_no_file_is_answered_as_one(listening):  # noqa: F811
    live = listening(source="nosuch", stdin=subprocess.DEVNULL)
    code, text = live.wait()
    assert code == 1
    assert text.startswith("sedkit: error: nosuch: no such file; a microphone of this name would need the package")


@posix
def test_stalled_pipe_is_told_once_and_again_when_it_goes_on(listening):  # noqa: F811
    live = listening("--rate", "16000", "--stall", "0.3")
    live.send(SOUND[: 3 * RATE])
    records = live.read_until("stalled")
    assert records[-1]["at"] == 3.0
    assert records[-1]["seconds"] >= 0.3
    live.send(SOUND[3 * RATE : 6 * RATE])
    records = live.read_until("resumed")
    assert records[-1]["at"] == 3.0
    assert of_type(records, "stalled") == []
    live.process.stdin.close()
    live.read_rest()
    code, text = live.wait()
    assert code == 0
    lines = text.splitlines()
    assert "for 0 s; waiting for it" in lines[0]
    assert "sedkit: -: audio again after" in lines[1]


def test_end_of_an_endless_pipe_is_a_loss_with_a_code_of_its_own(listening):  # noqa: F811
    live = listening("--rate", "16000", "--endless")
    live.send(SOUND[: 3 * RATE])
    live.process.stdin.close()
    records = live.read_rest()
    assert of_type(records, "second")[-1]["end"] == 3.0
    assert records[-1] == {"type": "lost", "time": 3.0, "from": 3.0, "to": None}
    code, text = live.wait()
    assert (code, text) == (3, "sedkit: error: -: delivers no more sound; check that it is connected\n")


@posix
def test_endless_pipe_that_is_stopped_is_no_loss(listening):  # noqa: F811
    live = listening("--rate", "16000", "--endless")
    live.send(SOUND[: 3 * RATE])
    live.read_until("second", end=1.0)
    live.process.send_signal(signal.SIGTERM)
    assert of_type(live.read_rest(), "lost") == []
    assert live.wait() == (0, "")


def test_stream_that_is_lost_and_back(listening, radio):  # noqa: F811
    station = radio(play(STREAM), play(STREAM, then_wait=True))
    live = listening(source=station.url, stdin=subprocess.DEVNULL)
    records = live.read_until("resumed")
    assert records[0]["source"] == station.url.replace("me:secret@", "")
    (lost,) = of_type(records, "lost")
    assert lost["time"] == lost["from"] == of_type(records, "stalled")[0]["at"] == pytest.approx(3.0, abs=0.2)
    assert lost["to"] == of_type(records, "resumed")[0]["at"]
    assert lost["to"] - lost["from"] >= 1.0  # the first wait
    while (cells := of_type(records, "second"))[-1]["end"] < lost["to"] + 1:  # of the second connection
        records += live.read_until("second")
    live.process.send_signal(signal.SIGTERM)
    ends = [cell["end"] for cell in cells + of_type(live.read_rest(), "second")]
    assert ends == sorted(ends)
    assert ends[-1] <= lost["to"] + 3.1
    code, text = live.wait()
    assert code == 0
    assert "secret" not in text
    assert "the connection was lost" in text
    assert "there is silence instead" in text


def test_stream_without_reconnection_exits_with_3(listening, radio):  # noqa: F811
    live = listening("--no-reconnect", source=radio(play(STREAM)).url, stdin=subprocess.DEVNULL)
    records = live.read_rest()
    assert records[-1]["type"] == "lost"
    assert records[-1]["to"] is None
    code, text = live.wait()
    assert code == 3
    assert "the connection was lost" in text


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """The socket of a service manager; returns a function that reads what was sent so far."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        path = str(tmp_path / "notify")
        end.bind(path)
        end.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        received = list[str]()

        def read() -> list[str]:
            while True:
                try:
                    received.extend(end.recv(4096).decode().splitlines())
                except BlockingIOError:
                    return received

        yield read


@posix
def test_service_manager_hears_of_start_life_and_stalls(listening, manager, monkeypatch):  # noqa: F811
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    live = listening("--rate", "16000", "--stall", "0.3")
    live.send(SOUND[: 3 * RATE])
    live.read_until("stalled")
    wait_until(lambda: manager()[-1].endswith("no audio comes"))
    told = list(manager())
    assert told[:2] == ["READY=1", "STATUS=listening to -"]
    assert "WATCHDOG=1" in told
    live.send(SOUND[3 * RATE :])
    live.read_until("resumed")
    live.process.stdin.close()
    live.read_rest()
    assert live.wait()[0] == 0
    assert manager()[-1] == "STOPPING=1"
    assert "STATUS=listening to -" in manager()[len(told) :]


@posix
def test_watchdog_is_fed_half_as_often_as_it_must_be_and_only_ours(manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    clock = [100.0]
    monkeypatch.setattr(service.time, "monotonic", lambda: clock[0])
    watchdog = service.Watchdog()
    for now in (100.0, 101.0, 104.9, 105.0, 106.0, 111.0):
        clock[0] = now
        watchdog.feed()
    assert manager() == ["WATCHDOG=1"] * 3
    monkeypatch.setenv("WATCHDOG_PID", "1")
    service.Watchdog().feed()
    assert len(manager()) == 3
    monkeypatch.setenv("NOTIFY_SOCKET", "/no/such/socket")
    service.notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    service.notify("READY=1")
    assert len(manager()) == 3


def test_stall_is_measured_while_the_consumer_waits():
    reading, writing = os.pipe()
    os.write(writing, SOUND[:50].tobytes())
    live = Pipe(io.FileIO(reading), RATE)
    incidents, received = list[Incident](), []
    live.patience, live.on_incident = 0.1, incidents.append
    consumer = threading.Thread(target=lambda: received.extend(live), daemon=True)
    with open(writing, "wb", buffering=0) as pipe:
        consumer.start()
        wait_until(lambda: len(incidents) == 1)
        pipe.write(SOUND[50:100].tobytes())
        wait_until(lambda: len(incidents) == 3)
        pipe.write(SOUND[100:300].tobytes())
        wait_until(lambda: len(incidents) == 5)
    consumer.join(60)
    assert [incident.kind for incident in incidents] == ["stalled", "resumed"] * 2 + ["stalled"]
    assert [round(incident.at * RATE) for incident in incidents] == [50, 50, 100, 100, 300]
    assert sum(map(len, received)) == 300


@pytest.mark.parametrize(
    ("incident", "text"),
    [
        (Incident("stalled", 3.0, 8.2), "no audio for 8 s; waiting for it"),
        (Incident("stalled", 3.0, 2.0, "the stream has ended"), "the stream has ended; no audio for 2 s"),
        (Incident("resumed", 3.0, 12.4), "audio again after 12 s"),
        (Incident("lost", 60.0, 30.0), "no audio from 0:01:00 to 0:01:30; there is silence instead"),
    ],
)
def test_incidents_in_words(incident, text):
    assert incident_text(incident).startswith(text)


def test_microphone_options_are_refused_where_they_mean_nothing(model_path):
    arguments = ["listen", "USB", "--track", "2", "-m", str(model_path), "--device", "cpu"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "--track is for files and streams" in result.stderr
