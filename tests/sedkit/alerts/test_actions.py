"""Commands and webhooks: what they get, and what happens when they fail, are slow, are dead, and come back."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sedkit.alerts.alert import slug, slugs
from sedkit.alerts.command import Command
from sedkit.alerts.dispatch import Dispatcher
from sedkit.alerts.reading import Action
from sedkit.alerts.rules import Rule
from sedkit.alerts.sink import WAITING, QueuedSink, Sink, SinkError
from sedkit.alerts.webhook import Webhook
from sedkit.errors import SedkitError
from tests.sedkit.alerts.receiving import Receiver, alert, wait_until


@pytest.fixture
def notices() -> list[str]:
    return []


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_command_gets_the_alert_as_json_and_no_shell(tmp_path, notices):
    out = tmp_path / "out; touch hacked"
    code = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read()); print('not shown')"
    sink = Command("light", notices.append, [*python(code), str(out)])
    for onset in (3.2, 7.0):
        sink.begin(alert(onset))
    sink.close()
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert records == [alert(onset).to_dict() for onset in (3.2, 7.0)]
    assert notices == []
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (python("import sys; print('a\\n no light ', file=sys.stderr); sys.exit(3)"), "exit code 3: no light"),
        (["/no/such/program"], "/no/such/program cannot be run (No such file or directory)"),
        (python("import time; time.sleep(60)"), "took more than 0.2 s and was killed"),
    ],
)
def test_command_that_fails_is_told_once(notices, arguments, cause):
    sink = Command("light", notices.append, arguments, timeout=0.2 if "killed" in cause else 60)
    sink.begin(alert())
    sink.begin(alert())
    sink.close()
    (notice,) = notices
    assert notice.startswith("action light: ")
    assert cause in notice
    assert sink.lost == 2


def test_command_is_done_when_it_ends_whatever_it_started(tmp_path, notices):
    """Its child keeps standard error open."""
    (script := tmp_path / "script").write_text("sleep 60 & echo $! > $0.pid; exit 0")
    sink = Command("light", notices.append, ["sh", str(script)], timeout=30)
    sink.begin(alert())
    sink.close()
    os.kill(int((tmp_path / "script.pid").read_text()), signal.SIGKILL)
    assert notices == []


def test_command_that_takes_too_long_is_killed_with_what_it_started(tmp_path, notices):
    (script := tmp_path / "script").write_text("sleep 60 & echo $! > $0.pid; wait")
    sink = Command("light", notices.append, ["sh", str(script)], timeout=1)
    sink.begin(alert())
    sink.close()
    assert "sh took more than 1 s and was killed" in notices[0]
    child = Path("/proc", (tmp_path / "script.pid").read_text().strip(), "stat")
    wait_until(lambda: not child.exists() or child.read_text().split()[2] == "Z")


CTRL_C = """
import os, pathlib, signal, sys, time
from sedkit.alerts.command import Command
from tests.sedkit.alerts.receiving import alert

signal.signal(signal.SIGINT, lambda *_: None)
path = pathlib.Path(sys.argv[1])
sink = Command("light", print, ["sh", "-c", 'echo started > "$1"; sleep 1; echo done > "$1"', "sh", str(path)])
sink.begin(alert())
while not path.exists():
    time.sleep(0.01)
os.killpg(0, signal.SIGINT)
sink.close()
"""


def test_command_is_not_interrupted_by_ctrl_c(tmp_path):
    """Ctrl-C sends SIGINT to all processes of the terminal's foreground group."""
    command = [sys.executable, "-c", CTRL_C, str(tmp_path / "out")]
    done = subprocess.run(command, stdout=subprocess.PIPE, start_new_session=True, check=True)
    assert (tmp_path / "out").read_text() == "done\n"
    assert done.stdout == b""


def test_webhook_sends_json_token_and_signature(notices):
    receiver = Receiver()
    sink = Webhook("hook", notices.append, receiver.url, token="abc", secret="def")
    sink.begin(alert())
    sink.close()
    receiver.stop()
    ((headers, body),) = receiver.requests
    assert json.loads(body) == alert().to_dict()
    assert headers["Authorization"] == "Bearer abc"
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Sedkit-Signature"] == "sha256=" + hmac.new(b"def", body, hashlib.sha256).hexdigest()
    assert notices == []


def test_webhook_is_tried_again_after_a_transient_failure(notices):
    receiver = Receiver(503, 429, 200)
    sink = Webhook("hook", notices.append, receiver.url, first_wait=0.01)
    sink.begin(alert())
    wait_until(lambda: len(receiver.requests) == 3)
    sink.close()
    receiver.stop()
    assert len({body for _, body in receiver.requests}) == 1
    assert notices == []


def test_webhook_that_is_refused_is_not_tried_again(notices):
    receiver = Receiver(404)
    sink = Webhook("hook", notices.append, receiver.url, first_wait=0.01)
    sink.begin(alert())
    wait_until(lambda: notices)
    sink.close()
    receiver.stop()
    assert len(receiver.requests) == 1
    assert notices == ["action hook: 127.0.0.1: answered 404; listening goes on, and you are told when it works again"]


def test_text_of_a_request_that_is_no_http_is_not_shown(notices):
    receiver = Receiver()
    sink = Webhook("hook", notices.append, receiver.url, token="secret42\n")
    sink.begin(alert())
    sink.close()
    receiver.stop()
    assert [notice.split(";")[0] for notice in notices] == ["action hook: 127.0.0.1: the request is no valid HTTP"]


def test_receiver_that_dies_and_comes_back_is_told_once_each(notices):
    receiver = Receiver()
    sink = Webhook("hook", notices.append, receiver.url, retries=1, first_wait=0.01)
    receiver.stop()
    for onset in range(3):
        sink.begin(alert(onset))
    wait_until(lambda: sink.lost == 3)
    assert len(notices) == 1
    assert "action hook: 127.0.0.1: " in notices[0]
    assert "hidden" not in notices[0]
    receiver.start()
    sink.begin(alert(9.0))
    wait_until(lambda: len(notices) == 2)
    assert notices[1] == "action hook: works again; 3 alerts were lost"
    sink.close()
    receiver.stop()
    assert [json.loads(body)["onset"] for _, body in receiver.requests] == [9.0]


def test_slow_receiver_does_not_block_and_times_out(notices):
    receiver = Receiver()
    receiver.hold.clear()
    sink = Webhook("hook", notices.append, receiver.url, timeout=0.1, retries=0)
    sink.begin(alert())
    wait_until(lambda: notices)
    assert "127.0.0.1: no answer in time" in notices[0]
    receiver.hold.set()
    sink.close()
    receiver.stop()


class Stuck(QueuedSink[int]):
    """Waits with its first job until it is released; fails for odd jobs."""

    def __init__(self, on_notice) -> None:
        self.released, self.done = threading.Event(), list[int]()
        super().__init__("stuck", on_notice)

    def begin(self, alert) -> None:
        raise AssertionError

    def deliver(self, job: int) -> None:
        self.released.wait(60)
        self.done.append(job)
        if job % 2:
            raise SinkError("odd")
        if job == 100:
            raise RuntimeError("unexpected")


def test_queue_is_bounded_and_drops_the_oldest(notices):
    sink = Stuck(notices.append)
    sink.put(0)
    wait_until(lambda: not sink._waiting)
    for job in range(2, 2 * WAITING + 22, 2):
        sink.put(job)
    assert sink.lost == 10
    sink.released.set()
    sink.close()
    assert sink.done == [0, *range(22, 2 * WAITING + 22, 2)]
    assert notices[0] == "action stuck: 10 alerts were lost"


def test_failures_and_recoveries_alternate_in_the_notices(notices):
    sink = Stuck(notices.append)
    for job in (1, 3, 2, 4, 100, 6):
        sink.put(job)
    sink.released.set()
    sink.close()
    assert [notice.split(";")[0] for notice in notices] == [
        "action stuck: odd",
        "action stuck: works again",
        "action stuck: RuntimeError: unexpected",
        "action stuck: works again",
    ]


def test_end_does_not_wait_for_ever(notices, monkeypatch):
    monkeypatch.setattr("sedkit.alerts.sink.PATIENCE", 0.05)
    sink = Stuck(notices.append)
    for job in (2, 4):
        sink.put(job)
    sink.close()
    sink.released.set()
    assert notices == ["action stuck: ended before it was done with 2 alerts"]


class Faulty(Sink):
    """Fails whatever it is asked for."""

    def begin(self, alert) -> None:
        raise ValueError("begin")

    def end(self, alert) -> None:
        raise ValueError("end")

    def close(self) -> None:
        raise ValueError("close")


def test_faulty_action_is_told_and_ends_nothing(tmp_path, notices):
    code = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"
    actions = {"good": Action("run", {"arguments": (*python(code), str(tmp_path / "out"))})}
    with Dispatcher([Rule("Dog", ("Dog",))], actions, notices.append) as dispatcher:
        faulty = dispatcher.sinks["faulty"] = Faulty("faulty", notices.append)
        dispatcher.of_rule["Dog"].insert(0, faulty)
        dispatcher.tell(alert())
        dispatcher.tell(alert(offset=4.0))
    assert len((tmp_path / "out").read_text().splitlines()) == 1
    assert [notice.split(";")[0] for notice in notices] == ["action faulty: ValueError: begin"]
    assert faulty.lost == 1


def test_rules_choose_their_actions(tmp_path, notices):
    code = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"
    actions = {
        name: Action("run", {"arguments": (*python(code), str(tmp_path / name))}) for name in ("first", "second")
    }
    rules = [Rule("Dog", ("Dog",)), Rule("Cat", ("Cat",), actions=("second",))]
    with Dispatcher(rules, actions, notices.append) as dispatcher:
        dispatcher.tell(alert(1.0, "Dog"))
        dispatcher.tell(alert(2.0, "Cat"))
        dispatcher.tell(alert(1.0, "Dog", offset=4.0))
    told = {name: [json.loads(line)["rule"] for line in (tmp_path / name).read_text().splitlines()] for name in actions}
    assert told == {"first": ["Dog"], "second": ["Dog", "Cat"]}
    assert notices == []


@pytest.mark.parametrize(
    ("module", "action"), [("httpx", Action("webhook", {"url": "http://a"})), ("paho", Action("mqtt", {"host": "a"}))]
)
def test_missing_package_is_named(monkeypatch, notices, module, action):
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SedkitError, match=r"pip install 'sedkit-audio\[alerts\]'"):
        Dispatcher([Rule("Dog", ("Dog",))], {"a": action}, notices.append)


def test_slugs_are_different():
    assert slug("Glass, breaking!") == "glass_breaking"
    assert slug("犬") == "rule"
    assert slugs(["Dog!", "dog", "犬", "猫"]) == {"Dog!": "dog", "dog": "dog_2", "犬": "rule", "猫": "rule_2"}
