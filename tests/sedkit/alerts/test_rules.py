"""Rules in their short form and in TOML, schedules, and what is said about faulty ones."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedkit.alerts.reading import ACTIONS, RULE, Action, read_alerts
from sedkit.alerts.rules import Rule, columns_of, numbered, parse_rule
from sedkit.alerts.schedule import Schedule, days_of, time_of, zone_of
from sedkit.contract import Label
from sedkit.errors import ArgumentError
from tests.conftest import LABELS

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dog", Rule("Dog", ("Dog",))),
        ("Dog>0.5", Rule("Dog", ("Dog",), 0.5)),
        ("Dog >= .5", Rule("Dog", ("Dog",), 0.5)),
        ("Dog>0.5 until 0.2 for 1s every 60s", Rule("Dog", ("Dog",), 0.5, 0.2, 1.0, 60.0)),
        ("Chirp, tweet>0.3 every 5 min", Rule("Chirp, tweet", ("Chirp, tweet",), 0.3, every=300.0)),
        ("/m/0bt9lr for 0.5", Rule("/m/0bt9lr", ("/m/0bt9lr",), lasting=0.5)),
        ("Dog>0.5 every 60s for 1 s until 0.2", Rule("Dog", ("Dog",), 0.5, 0.2, 1.0, 60.0)),
        ("Dog for 1 every 2 min", Rule("Dog", ("Dog",), lasting=1.0, every=120.0)),
        ("Dog every 1h", Rule("Dog", ("Dog",), every=3600.0)),
    ],
)
def test_short_form(text, expected):
    assert parse_rule(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no rule; write for example 'Dog>0.5 for 1s every 60s'"),
        ("Dog>>0.5", "is no rule"),
        ("Dog<0.5", "is no rule"),
        ("Dog>loud", "is no rule"),
        ("Dog>0.5 for 2 weeks", "'2 weeks' is no duration"),
        ("Dog>0.5 for 1s for 2s", "until, for and every may be given once"),
        ("Dog>0.5 until 0.2x", "'0.2x' is no level"),
        ("Dog>1.5", "level must be above 0 and at most 1, not 1.5"),
        ("Dog>0.5 until 0.6", "until must be between 0 and the level, 0.5, not 0.6"),
        ("Dog for 2h", "for must be at most one hour"),
        ("Dog every 99999999999999h", "every must be at most seven days"),
    ],
)
def test_faulty_short_form(text, message):
    with pytest.raises(ArgumentError, match=re.escape(message)):
        parse_rule(text)


def test_names_are_unique():
    rules = numbered([parse_rule(text) for text in ("Dog", "Dog>0.3", "Cat", "Dog>0.5")])
    assert [rule.name for rule in rules] == ["Dog", "Dog 2", "Cat", "Dog 3"]


def test_class_stands_for_those_below_it():
    labels = [*LABELS, Label("Bark", "/m/05tny_"), Label("Cat", "/m/01yrx")]
    names = [label.name for label in labels]
    assert [names[column] for column in columns_of("animal", labels)] == ["Dog", "Bark", "Cat"]
    assert [names[column] for column in columns_of("/m/0bt9lr", labels)] == ["Dog", "Bark"]
    assert [names[column] for column in columns_of("our kettle", labels)] == ["Our kettle"]
    with pytest.raises(ArgumentError, match=r"Dgo: the model has no such class; did you mean Dog\?"):
        columns_of("Dgo", labels)


def test_days_and_times():
    assert days_of("mon-fri") == frozenset(range(5))
    assert days_of("Saturday, sun") == {5, 6}
    assert days_of("fri-mon") == {4, 5, 6, 0}
    assert (time_of("7:05"), time_of("24:00")) == (time(7, 5), time(0))
    assert zone_of("local") is None
    for function, text in ((days_of, "someday"), (time_of, "25:00"), (time_of, "24:30"), (zone_of, "Mars/Base")):
        with pytest.raises(ArgumentError, match="write"):
            function(text)


def test_period_over_midnight_belongs_to_the_day_on_which_it_begins():
    schedule = Schedule(days_of("mon"), time(22), time(6), UTC)
    inside = [MONDAY + timedelta(hours=hours) for hours in (22, 23.9, 24, 29.9)]
    outside = [MONDAY + timedelta(hours=hours) for hours in (0, 5, 21.9, 30, 46, 48)]
    assert all(moment in schedule for moment in inside)
    assert not any(moment in schedule for moment in outside)


def test_time_zone_and_summer_time():
    """On the night in which clocks go back, 02:30 comes twice, and both count."""
    schedule = Schedule(start=time(2), stop=time(3), zone=ZoneInfo("Europe/Berlin"))
    night = datetime(2026, 10, 25, tzinfo=UTC)
    active = [hour for hour in range(5) if night + timedelta(hours=hour, minutes=30) in schedule]
    assert active == [0, 1]
    assert night + timedelta(days=1, hours=1, minutes=30) in schedule


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 20_000))
def test_schedule_and_its_complement_cover_the_week(start, stop, minutes):
    first, last = time(*divmod(start, 60)), time(*divmod(stop, 60))
    moment = MONDAY + timedelta(minutes=minutes)
    inside = moment in Schedule(start=first, stop=last, zone=UTC)
    assert inside if start == stop else inside != (moment in Schedule(start=last, stop=first, zone=UTC))


COMPLETE = """
[[rules]]
class = ["Dog", "Cat"]
level = 0.5
until = 0.2
for = "1s"
every = 60
days = "mon-fri"
from = "22:00"
to = "06:00"
timezone = "Europe/Berlin"
actions = ["light", "clips"]

[[rules]]
name = "alarm"
class = "Siren"

[actions.light]
run = ["light", "on"]
timeout = 5

[actions.hook]
webhook = "https://example.org/hook"
token_env = "HOOK_TOKEN"
secret_env = "HOOK_SECRET"
timeout = 5
retries = 2

[actions.home]
mqtt = "localhost"
port = 1884
tls = false
username = "me"
password_env = "HOOK_TOKEN"
topic = "garden"
discovery = false

[actions.clips]
save = "clips"
before = 1
after = "5s"
format = "flac"
max_clips = 100
max_megabytes = 50
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK_TOKEN", "abc")
    monkeypatch.setenv("HOOK_SECRET", "def")

    def write_and_read(text: str):
        path = tmp_path / "alerts.toml"
        path.write_text(text)
        return read_alerts(path)

    return write_and_read


def test_file_with_everything(read):
    found = read(COMPLETE)
    schedule = Schedule(frozenset(range(5)), time(22), time(6), ZoneInfo("Europe/Berlin"))
    assert found.rules == (
        Rule("Dog or Cat", ("Dog", "Cat"), 0.5, 0.2, 1.0, 60.0, schedule, ("light", "clips")),
        Rule("alarm", ("Siren",)),
    )
    assert found.actions["light"] == Action("run", {"arguments": ("light", "on"), "timeout": 5.0})
    assert found.actions["hook"].values == {
        "url": "https://example.org/hook",
        "token": "abc",
        "secret": "def",
        "timeout": 5.0,
        "retries": 2,
    }
    assert found.actions["home"].values["discovery"] is None
    assert found.actions["clips"].values["max_megabytes"] == 50.0
    given = set(re.findall(r"^(\w+) =", COMPLETE, re.MULTILINE))
    assert given == set(RULE) | {key for keys in ACTIONS.values() for key in keys}  # the test has every key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules = 3", "rules must be a list of tables; write [[rules]] above each"),
        ("[actions]\na = 3", "actions must be tables; write [actions.NAME] above each"),
        ("[[rule]]\nclass = 'Dog'", "the file: unknown key rule; did you mean rules?"),
        ("[[rules]]\nlevel = 0.5", 'rule 1 has no class; add for example class = "Dog"'),
        ("[[rules]]\nclass = 'Dog'\nlevle = 0.5", "rule 1: unknown key levle; did you mean level?"),
        (
            "[[rules]]\nclass = 'Dog'\n[[rules]]\nclass = 3",
            'rule 2: class: must be a text, or a list such as ["a", "b"]',
        ),
        ("[[rules]]\nclass = 'Dog'\nlevel = 50", "rule 1: level: must be a number from 0 to 1, not 50"),
        ("[[rules]]\nclass = 'Dog'\nlevel = true", "rule 1: level: must be a number from 0 to 1, not True"),
        ("[[rules]]\nclass = 'Dog'\nlevel = 0.2\nuntil = 0.3", "rule 1: until must be between 0 and the level, 0.2"),
        ("[[rules]]\nclass = 'Dog'\nfor = 'a while'", "rule 1: for: 'a while' is no duration; write seconds, or for"),
        ("[[rules]]\nclass = 'Dog'\nfor = 9999", "rule 1: for: must be from 0 s to 3600 s"),
        ("[[rules]]\nclass = 'Dog'\nfrom = '22:00'", "rule 1 has only one of from and to; add the other"),
        ("[[rules]]\nclass = 'Dog'\nfrom = 22", "rule 1: from: must be text in quotes, not 22"),
        ("[[rules]]\nclass = 'Dog'\ntimezone = 'Berlin'", "rule 1: timezone: 'Berlin' is no time zone"),
        (
            "[[rules]]\nclass = 'Dog'\nactions = 'lihgt'\n[actions.light]\nrun = ['a']",
            "no action lihgt; did you mean light?",
        ),
        ("[[rules]]\nclass = 'Dog'\nname='a'\n[[rules]]\nclass = 'Cat'\nname='a'", "two rules have the name a"),
        ("[actions.a]\ntimeout = 3", "actions.a says not what to do; give exactly one of run, webhook, mqtt, save"),
        ("[actions.a]\nrun = ['a']\nsave = 'b'", "actions.a has run and save; give exactly one"),
        ("[actions.a]\nrun = 'rm -r x'", "actions.a: run: must be a list of program and arguments"),
        ("[actions.a]\nwebhook = 'example.org'", "actions.a: webhook: must begin with http:// or https://"),
        ("[actions.a]\nwebhook = 'http://[bad'", "actions.a: webhook: names no valid host and port"),
        ("[actions.a]\nwebhook = 'http://me:secret@host:port'", "actions.a: webhook: names no valid host and port"),
        ("[actions.a]\nwebhook = 'http://a'\ntoken_env = 'NO_SUCH'", "the environment variable NO_SUCH is not set"),
        ("[actions.a]\nsave = 'a'\nformat = 'mp3'", "actions.a: format: must be 'wav' or 'flac', not 'mp3'"),
        ("[actions.a]\nsave = 'a'\nmax_clips = 1.5", "max_clips: must be a whole number from 1"),
        ("rules = [", "not valid TOML"),
    ],
)
def test_error_names_file_key_and_remedy(read, tmp_path, text, message):
    with pytest.raises(ArgumentError) as caught:
        read(text)
    assert str(caught.value).startswith(f"{tmp_path / 'alerts.toml'}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("topic", "home/+/x", "actions.home: topic: must not contain +, # or NUL, not 'home/+/x'; write for example"),
        ("topic", "home/#", "topic: must not contain +, # or NUL"),
        ("topic", "home\\u0000", "topic: must not contain +, # or NUL"),
        ("discovery", "ha/+", "actions.home: discovery: must not contain +, # or NUL, not 'ha/+'; write for example"),
        ("mqtt", "broker..local", "actions.home: mqtt: must be the name of a host, not 'broker..local'; write for"),
        ("mqtt", "b" * 64, "mqtt: must be the name of a host"),
        ("mqtt", "mqtt://broker", "mqtt: must be the name of a host"),
        ("mqtt", "broker\\u0000", "mqtt: must be the name of a host"),
    ],
)
def test_what_mqtt_cannot_take_is_refused(read, tmp_path, key, value, message):
    values = {"mqtt": "localhost", key: value}
    lines = "\n".join(f'{name} = "{each}"' for name, each in values.items())
    with pytest.raises(ArgumentError, match=re.escape(message)) as caught:
        read(f"[actions.home]\n{lines}")
    assert str(caught.value).startswith(f"{tmp_path / 'alerts.toml'}: ")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "broker.local.", "b\u00fccher.example"])
def test_names_of_hosts(read, name):
    assert read(f"[actions.home]\nmqtt = '{name}'").actions["home"].values["host"] == name


HOOK = "[actions.a]\nwebhook = 'http://a'\n"


def test_secret_loses_the_line_break_of_its_file(read, monkeypatch):
    monkeypatch.setenv("HOOK_TOKEN", "secret42\r\n")
    monkeypatch.setenv("HOOK_SECRET", "pass word\u00e9\n")
    values = read(f"{HOOK}token_env = 'HOOK_TOKEN'\nsecret_env = 'HOOK_SECRET'").actions["a"].values
    assert (values["token"], values["secret"]) == ("secret42", "pass word\u00e9")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("token_env", "secr\u00e9t", "has characters that a token cannot have; set it to visible ASCII"),
        ("token_env", "secr\nt", "has characters that a token cannot have; set it to visible ASCII"),
        ("token_env", "\n", "is not set; set it before sedkit starts"),
        ("secret_env", "secr\udcfft", "is not UTF-8 text; set it to another value"),
    ],
)
def test_secret_that_cannot_be_sent_is_refused_and_not_shown(read, tmp_path, monkeypatch, key, value, message):
    monkeypatch.setenv("OWN", value)
    with pytest.raises(ArgumentError) as caught:
        read(f"{HOOK}{key} = 'OWN'")
    assert str(caught.value) == f"{tmp_path / 'alerts.toml'}: actions.a: {key}: the environment variable OWN {message}"


def test_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_alerts(tmp_path / "nosuch.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xff")
    with pytest.raises(ArgumentError, match="not UTF-8 text"):
        read_alerts(tmp_path / "latin.toml")
