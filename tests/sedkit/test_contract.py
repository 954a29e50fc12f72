"""sedkit.contract: metadata round trips, and errors name the invalid field."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.contract import EMBEDDING, Contract, Label, check_tensors
from sedkit.errors import ContractError, ModelError
from sedkit.geometry import SAMPLE_RATE, Geometry, segment_count

NAMES = st.text("abXY 19,;\"'\\/\u00e4\u00df\u0451\u65e5\U0001f436", min_size=1, max_size=12).filter(str.strip)


@pytest.fixture
def metadata(description) -> dict[str, str]:
    return description.to_metadata()


def problem_of(metadata: dict[str, str], field: str) -> str:
    """What the ContractError says about `field`, which must be the field that it names."""
    with pytest.raises(ContractError) as caught:
        Contract.from_metadata(metadata)
    assert isinstance(caught.value, ModelError)
    assert caught.value.field == f"sedkit.{field}"
    assert f"sedkit.{field}: " in str(caught.value)
    return caught.value.problem


def test_metadata_round_trip(description, metadata):
    assert Contract.from_metadata(metadata) == description


@settings(max_examples=50, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=5, unique=True),
    threshold=st.integers(1, 999_999),
    lineage=st.dictionaries(NAMES, st.none() | st.integers() | st.text() | st.lists(st.booleans()), max_size=3),
)
def test_metadata_round_trip_of_any_contract(names, threshold, lineage):
    labels = tuple(Label(name, f"/m/{i}" if i % 2 else None, i if i % 2 else None) for i, name in enumerate(names))
    written = Contract("x", labels, (threshold / 1e6,) * len(names), {"kind": "none"}, lineage, "MIT")
    assert Contract.from_metadata(written.to_metadata()) == written


def test_metadata_round_trip_with_calibration_and_timeline_thresholds(description):
    platt = {"kind": "platt", "slope": [1.5, 1, 2, 0.5, 1], "offset": [0.25, -3, 0, 1, 2]}
    written = replace(description, calibration=platt, timeline_thresholds=(0.1, 0.2, 0.3, 0.4, 0.5))
    assert Contract.from_metadata(written.to_metadata()) == written


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(16_000, 7_680, 15_360, 15_840),
        Geometry(32_000, 10_240, 30_720, 112_384),
        Geometry(44_100, 44_100, 88_200, 88_200),
        Geometry(32_000, 319_360, 320_000, 320_000),
    ],
)
def test_metadata_round_trip_with_another_geometry(description, geometry):
    written = replace(description, geometry=geometry)
    assert Contract.from_metadata(written.to_metadata()) == written


def test_thresholds_may_be_unknown(description):
    assert description.has_thresholds
    unknown = replace(description, lineage={"thresholds": "unknown"})
    assert not Contract.from_metadata(unknown.to_metadata()).has_thresholds


def test_timeline_thresholds_default_to_thresholds(metadata, description):
    del metadata["sedkit.timeline_thresholds"]
    assert Contract.from_metadata(metadata).timeline_thresholds == description.thresholds


def test_tag_segments_default_to_ten_seconds(metadata, description):
    written = replace(description, tag_segments=14)
    assert Contract.from_metadata(written.to_metadata()) == written
    del metadata["sedkit.tag_segments"]
    assert Contract.from_metadata(metadata).tag_segments == segment_count(10 * SAMPLE_RATE)


def test_equal_contracts_give_equal_metadata(metadata, description):
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
def test_missing_field(metadata, field):
    assert problem_of({key: value for key, value in metadata.items() if key != f"sedkit.{field}"}, field) == "missing"
    assert problem_of({**metadata, f"sedkit.{field}": " "}, field) == "missing"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("contract", "2"),
        ("name", "two\nlines"),
        ("license", "\x1b[2J"),
        ("labels", '[{"name": "Dog\\u0007", "mid": null, "index": null}]'),
        ("lineage", "[" * 100_000),
        ("lineage", '{"a":' * 100_000),
        ("lineage", '{"seed": ' + "9" * 5000 + "}"),
        *(("sample_rate", value) for value in ("0", "-16000", "16050", "7900", "96100", "16e3", "²", "9" * 5000)),
        *(("segment_hop", value) for value in ("5120.0", "0", "-5120", "5121", "960160")),
        *(("segment_span", value) for value in ("15361", "15520", "5120", "4800", "960320")),
        *(("receptive_field", value) for value in ("15359", "15361", "15200", "1920001", "1920002")),
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
def test_invalid_field(metadata, field, value):
    assert problem_of({**metadata, f"sedkit.{field}": value}, field)


@pytest.mark.parametrize("key", ["name", "mid"])
def test_duplicate_classes(metadata, key):
    labels = json.loads(metadata["sedkit.labels"])
    labels[1][key] = labels[0][key]
    assert "two classes have the same" in problem_of({**metadata, "sedkit.labels": json.dumps(labels)}, "labels")


INPUTS = {"waveform": ["batch", None]}
OUTPUTS = {
    "segments": ["batch", "K", 5],
    "clip": ["batch", 5],
    "embedding": [None, None, EMBEDDING],
}


def test_valid_tensors():
    check_tensors(INPUTS, OUTPUTS, 5)
    check_tensors(INPUTS, {**OUTPUTS, "weights": ["batch", "K", 5]}, 5)
    check_tensors(INPUTS, {**OUTPUTS, "attention": ["batch", 3]}, 5)  # extra outputs are allowed
    check_tensors(INPUTS, {**OUTPUTS, "embedding": ["batch", "K", 960]}, 5)


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
        (INPUTS, {**OUTPUTS, "embedding": ["batch", "K", "size"]}, "embedding"),
        (INPUTS, {**OUTPUTS, "embedding": ["batch", EMBEDDING]}, "embedding"),
        (INPUTS, {key: OUTPUTS[key] for key in ("segments", "clip")}, "embedding"),
    ],
)
def test_invalid_tensors(inputs, outputs, field):
    with pytest.raises(ContractError) as caught:
        check_tensors(inputs, outputs, 5)
    assert caught.value.field == field
