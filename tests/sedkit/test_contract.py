"""The contract as text: what is written reads back, and whatever breaks it is named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.contract import EMBEDDING, Contract, Label, check_tensors
from sedkit.errors import ContractError, ModelError
from sedkit.geometry import SAMPLE_RATE, segment_count

NAMES = st.text(min_size=1, max_size=12).filter(str.strip)


@pytest.fixture
def metadata(description) -> dict[str, str]:
    return description.to_metadata()


def refused(metadata: dict[str, str], field: str) -> str:
    with pytest.raises(ContractError) as caught:
        Contract.from_metadata(metadata)
    assert isinstance(caught.value, ModelError)
    assert caught.value.field == f"sedkit.{field}"
    assert f"sedkit.{field}: " in str(caught.value)
    return caught.value.problem


def test_it_reads_back(description, metadata):
    assert Contract.from_metadata(metadata) == description


@settings(max_examples=50, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=5, unique=True),
    threshold=st.integers(1, 999_999),
    lineage=st.dictionaries(NAMES, st.none() | st.integers() | st.text() | st.lists(st.booleans()), max_size=3),
)
def test_any_contract_reads_back(names, threshold, lineage):
    labels = tuple(Label(name, f"/m/{i}" if i % 2 else None, i if i % 2 else None) for i, name in enumerate(names))
    written = Contract("x", labels, (threshold / 1e6,) * len(names), {"kind": "none"}, lineage, "MIT")
    assert Contract.from_metadata(written.to_metadata()) == written


def test_calibration_and_timeline_thresholds_read_back(description):
    platt = {"kind": "platt", "slope": [1.5, 1, 2, 0.5, 1], "offset": [0.25, -3, 0, 1, 2]}
    written = replace(description, calibration=platt, timeline_thresholds=(0.1, 0.2, 0.3, 0.4, 0.5))
    assert Contract.from_metadata(written.to_metadata()) == written


def test_a_model_without_timeline_thresholds_takes_its_thresholds(metadata, description):
    del metadata["sedkit.timeline_thresholds"]
    assert Contract.from_metadata(metadata).timeline_thresholds == description.thresholds


def test_a_model_that_does_not_say_how_long_its_clips_were_takes_ten_seconds(metadata, description):
    written = replace(description, tag_segments=14)
    assert Contract.from_metadata(written.to_metadata()) == written
    del metadata["sedkit.tag_segments"]
    assert Contract.from_metadata(metadata).tag_segments == segment_count(10 * SAMPLE_RATE)


def test_equal_contracts_give_equal_text(metadata, description):
    shuffled = Contract(**{**vars(description), "lineage": dict(reversed(description.lineage.items()))})
    assert list(shuffled.to_metadata().items()) == list(metadata.items())


@pytest.mark.parametrize(
    "field",
    [
        "contract",
        "name",
        "labels",
        "sample_rate",
        "segment_hop",
        "segment_span",
        "receptive_field",
        "thresholds",
        "calibration",
        "lineage",
        "license",
    ],
)
def test_every_field_is_needed(metadata, field):
    assert refused({key: value for key, value in metadata.items() if key != f"sedkit.{field}"}, field) == "missing"
    assert refused({**metadata, f"sedkit.{field}": " "}, field) == "missing"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("contract", "2"),
        ("sample_rate", "32000"),
        ("segment_hop", "5120.0"),
        ("segment_span", "10240"),
        ("receptive_field", "15360"),
        ("labels", "Dog, Cat"),
        ("labels", "[]"),
        ("labels", "{}"),
        ("labels", '["Dog"]'),
        ("labels", '[{"name": "Dog", "mid": null}]'),
        ("labels", '[{"name": "", "mid": null, "index": null}]'),
        ("labels", '[{"name": "Dog", "mid": 3, "index": null}]'),
        ("labels", '[{"name": "Dog", "mid": null, "index": true}]'),
        ("thresholds", "0.5"),
        ("thresholds", "[0.5]"),
        ("thresholds", "[0.5, 0.5, 0.5, 0.5, 1]"),
        ("thresholds", "[0.5, 0.5, 0.5, 0.5, 0]"),
        ("thresholds", "[0.5, 0.5, 0.5, 0.5, NaN]"),
        ("thresholds", '[0.5, 0.5, 0.5, 0.5, "0.5"]'),
        ("calibration", "none"),
        ("calibration", "[]"),
        ("calibration", "{}"),
        ("calibration", '{"kind": "isotonic"}'),
        ("calibration", '{"kind": "platt", "slope": [1, 1, 1, 1, 1]}'),
        ("calibration", '{"kind": "platt", "slope": [1, 1, 1, 1, 1], "offset": [0, 0, 0, 0]}'),
        ("calibration", '{"kind": "platt", "slope": 1, "offset": [0, 0, 0, 0, 0]}'),
        ("calibration", '{"kind": "platt", "slope": [1, 1, 1, 1, 0], "offset": [0, 0, 0, 0, 0]}'),
        ("calibration", '{"kind": "platt", "slope": [1, 1, 1, 1, -1], "offset": [0, 0, 0, 0, 0]}'),
        ("calibration", '{"kind": "platt", "slope": [1, 1, 1, 1, 1], "offset": [0, 0, 0, 0, NaN]}'),
        ("calibration", '{"kind": "platt", "slope": [1, 1, 1, 1, 1e9], "offset": [0, 0, 0, 0, 0]}'),
        ("calibration", '{"kind": "platt", "slope": [1, 1, 1, 1, true], "offset": [0, 0, 0, 0, 0]}'),
        ("timeline_thresholds", "[0.5]"),
        ("timeline_thresholds", "[0.5, 0.5, 0.5, 0.5, 1]"),
        ("timeline_thresholds", ""),
        *(("tag_segments", value) for value in ("", "0", "-1", "1001", "14.0", "x", "²", "9" * 5000)),
        ("lineage", '"Teacher-0"'),
    ],
)
def test_what_contradicts_it_is_named(metadata, field, value):
    assert refused({**metadata, f"sedkit.{field}": value}, field)


@pytest.mark.parametrize("key", ["name", "mid"])
def test_no_two_classes_are_the_same(metadata, key):
    labels = json.loads(metadata["sedkit.labels"])
    labels[1][key] = labels[0][key]
    assert "twice" in refused({**metadata, "sedkit.labels": json.dumps(labels)}, "labels")


INPUTS = {"waveform": ["batch", None]}
OUTPUTS = {
    "segments": ["batch", "K", 5],
    "clip": ["batch", 5],
    "embedding": [None, None, EMBEDDING],
}


def test_tensors_as_they_should_be():
    check_tensors(INPUTS, OUTPUTS, 5)
    check_tensors(INPUTS, {**OUTPUTS, "weights": ["batch", "K", 5]}, 5)
    check_tensors(INPUTS, {**OUTPUTS, "attention": ["batch", 3]}, 5)  # more than is needed does no harm


@pytest.mark.parametrize(
    ("inputs", "outputs", "field"),
    [
        (INPUTS, {**OUTPUTS, "weights": ["batch", "K", 4]}, "weights"),
        ({}, OUTPUTS, "waveform"),
        ({"audio": ["batch", None]}, OUTPUTS, "waveform"),
        ({**INPUTS, "lengths": ["batch"]}, OUTPUTS, "waveform"),
        ({"waveform": [1, None]}, OUTPUTS, "waveform"),
        ({"waveform": ["batch", 160_000]}, OUTPUTS, "waveform"),
        ({"waveform": [None]}, OUTPUTS, "waveform"),
        (INPUTS, {**OUTPUTS, "segments": ["batch", 30, 5]}, "segments"),
        (INPUTS, {**OUTPUTS, "segments": ["batch", "K", 6]}, "segments"),
        (INPUTS, {**OUTPUTS, "clip": ["batch", "K", 5]}, "clip"),
        (INPUTS, {**OUTPUTS, "clip": ["batch", "classes"]}, "clip"),
        (INPUTS, {**OUTPUTS, "embedding": ["batch", "K", 512]}, "embedding"),
        (INPUTS, {key: OUTPUTS[key] for key in ("segments", "clip")}, "embedding"),
    ],
)
def test_tensors_that_break_it_are_named(inputs, outputs, field):
    with pytest.raises(ContractError) as caught:
        check_tensors(inputs, outputs, 5)
    assert caught.value.field == field
