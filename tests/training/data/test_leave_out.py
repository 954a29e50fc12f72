"""Classes left out of a manifest: which clips remain, and how the clips with these classes are labelled."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sedkit.contract import Label
from training.data.commands import main
from training.data.leave_out import leave_out
from training.data.manifest.problems import ManifestError
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary

DOG, BARK, CAT, OWN = (
    Label("Dog", "/m/0bt9lr", 74),
    Label("Bark", "/m/05tny_", 75),
    Label("Cat", "/m/01yrx", 81),
    Label("own"),
)
CLIPS = [  # labels and split
    ("Cat", "train"),
    ("Dog;Cat", "train"),
    ("Cat;?Bark", "train"),
    ("-;?own", "validation"),
    ("Bark", "validation"),
    ("?", "train"),
    ("Dog", "test"),
    ("Dog;Bark;Cat;?own", "test"),
    ("Bark;?own", "test"),
    ("Cat;?Dog", "test"),
    ("-;?Dog", "test"),
]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    rows = [Row(f"{at}.wav", labels=labels, split=split) for at, (labels, split) in enumerate(CLIPS)]
    return Manifest.from_rows(rows, Vocabulary([DOG, BARK, CAT, OWN]), tmp_path)


def clips(manifest: Manifest, folder: Path) -> dict[str, str]:
    return {row.path.removesuffix(".wav"): row.labels for row in manifest.rows(str(folder))}


def test_a_class_goes_with_those_below_it(manifest: Manifest, tmp_path: Path):
    parted = leave_out(manifest, ["Dog"])
    assert parted.rest.vocabulary.labels == parted.left.vocabulary.labels == (CAT, OWN)
    assert clips(parted.rest, tmp_path) == {
        "0": CAT.mid,
        "3": "-;?own",
        "5": "?",
        "9": CAT.mid,
        "10": "-",
    }  # not 2, in which a dog may bark
    assert clips(parted.left, tmp_path) == {"6": "-", "7": f"{CAT.mid};?own", "8": "-;?own"}


def test_a_class_above_stays(manifest: Manifest, tmp_path: Path):
    parted = leave_out(manifest, ["/m/05tny_"])
    assert parted.rest.vocabulary.labels == (DOG, CAT, OWN)
    assert clips(parted.left, tmp_path) == {"7": f"{DOG.mid};{CAT.mid};?own", "8": "-;?own"}
    assert set(clips(parted.rest, tmp_path)) == {"0", "1", "3", "5", "6", "9", "10"}


def test_bad_classes_are_refused(manifest: Manifest):
    with pytest.raises(ManifestError, match="'Horse' is not a class of the manifest"):
        leave_out(manifest, ["Horse"])
    with pytest.raises(ManifestError, match="all classes of the manifest are left out"):
        leave_out(manifest, ["Dog", "Cat", "own"])
    with pytest.raises(ManifestError, match="no test clip contains a class that is left out"):
        leave_out(manifest, ["own"])


def test_the_command_writes_both_parts(manifest: Manifest, tmp_path: Path):
    manifest.save(tmp_path / "all.csv")
    arguments = ["leave-out", str(tmp_path / "all.csv"), "--class", "Dog", "-o", str(tmp_path / "rest.csv")]
    result = CliRunner().invoke(main, [*arguments, "--left", str(tmp_path / "left.csv")])
    assert result.exit_code == 0, result.output
    assert "rest.csv: 5 clips, 2 classes" in result.output
    assert [len(Manifest.load(tmp_path / name)) for name in ("rest.csv", "left.csv")] == [5, 3]
    same = CliRunner().invoke(main, [*arguments, "--left", str(tmp_path / "rest.csv")])
    assert same.exit_code == 2
    assert "--output and --left name one file" in same.output
