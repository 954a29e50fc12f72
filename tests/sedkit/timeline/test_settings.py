"""Post-processing settings: TOML, precedence, one-line errors."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.errors import ArgumentError
from sedkit.timeline.settings import PostProcessing

VALUES = st.fixed_dictionaries(
    {},
    optional={
        "threshold": st.floats(0, 1),
        "leave": st.floats(0, 1),
        "hold": st.sampled_from([0.0, 0.5, math.inf]),
        "max_duration": st.sampled_from([5.0, math.inf]),
        "max_classes": st.integers(1, 9),
        "method": st.sampled_from(["hysteresis", "change-points"]),
        "classes": st.dictionaries(
            st.sampled_from(["Dog", 'A "quoted", name', "/m/0bt9lr", "Bär"]),
            st.fixed_dictionaries({"threshold": st.floats(0, 1)}),
        ),
    },
)


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_settings_survive_toml(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("toml") / "settings.toml"
    made = PostProcessing(**values)
    path.write_text(made.to_toml(), "utf-8")
    assert PostProcessing.read_toml(path) == made
    assert PostProcessing.from_mapping(made.to_mapping()) == made


def test_a_file_overrides_only_what_it_names(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('hold = 1\n[classes."Chirp, tweet"]\nmerge_gap = 2\n')
    base = PostProcessing(leave=0.3).for_class("Chirp, tweet", threshold=0.2)
    made = PostProcessing.read_toml(path, base)
    assert (made.leave, made.hold) == (0.3, 1)
    assert made.classes == {"Chirp, tweet": {"threshold": 0.2, "merge_gap": 2}}
    path.write_text("threshold = 0.4\n[classes.Dog]\nhold = 1\n")
    made = PostProcessing.read_toml(path, base)
    assert (made.threshold, made.classes) == (0.4, {"Dog": {"hold": 1}})


def test_thresholds_for_all_replace_those_of_classes():
    made = PostProcessing(threshold=0.1).for_class("Dog", threshold=0.2, hold=1.0).for_class("Cat", threshold=0.3)
    chosen = made.with_thresholds({"*": 0.5, "Cow": 0.6})
    assert (chosen.threshold, chosen.classes) == (0.5, {"Dog": {"hold": 1.0}, "Cow": {"threshold": 0.6}})
    assert made.with_thresholds({"Dog": 0.9}).classes["Cat"] == {"threshold": 0.3}


def test_values_for_all_replace_those_of_classes():
    made = PostProcessing().for_class("Dog", threshold=0.2, hold=1.0).for_class("Cat", hold=2.0)
    chosen = made.for_all(hold=3.0, median=1.0)
    assert (chosen.hold, chosen.median, chosen.classes) == (3.0, 1.0, {"Dog": {"threshold": 0.2}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("leave = 2", "leave must be between 0 and 1, not 2"),
        ("hold = -1", "hold must be at least 0, not -1"),
        ("hold = nan", "hold must be at least 0"),
        ("median = true", "median must be between 0 and 60, not True"),
        ("max_classes = 1.5", "max_classes must be at least 1, not 1.5"),
        ('method = "best"', "method must be hysteresis or change-points, not 'best'"),
        ("thresold = 0.3", "thresold: no such setting; the settings are threshold, leave"),
        ("[classes.Dog]\nmethod = 1", "classes.Dog: method cannot be set per class"),
        ("[classes.Dog]\nhold = -1", "classes.Dog.hold must be at least 0"),
        ("[classes]\nDog = 0.5", "classes.Dog must be a table"),
        ("classes = 1", "classes must be a table"),
        ("min_duration = 2\nmax_duration = 3", "max_duration (3) must be at least twice min_duration (2)"),
        ("hold = ", "not valid TOML"),
    ],
)
def test_errors_are_one_line_and_name_the_file(tmp_path, text, message):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ArgumentError) as caught:
        PostProcessing.read_toml(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be read"):
        PostProcessing.read_toml(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe4")
    with pytest.raises(ArgumentError, match="UTF-8"):
        PostProcessing.read_toml(tmp_path / "latin.toml")
