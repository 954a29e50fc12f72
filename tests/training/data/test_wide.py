"""The wide data set: parents of labels, unknown children, doubtful labels, splits, and sounds of no class."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sedkit.contract import Label
from training.data.commands import main
from training.data.lineage import most_specific
from training.data.manifest.rows import Row
from training.data.manifest.splits import NO_FOLD, Splitting
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.readers.wide import wide

CLASSES = {
    "Animal": "/m/0jbk",
    "Dog": "/m/0bt9lr",
    "Bark": "/m/05tny_",
    "Bird": "/m/015p6",
    "Speech": "/m/09x0r",
    "Music": "/m/04rlf",
    "Flute": "/m/0l14j_",
    "Ding": "/m/07phxs1",
}
MORE = "filename,labels,mids,group,fold,license,author,source,yamnet_rank"


def table(path: Path, header: str, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(","), *rows])


def more(number: int, names: str, fold: int = 1, rank: str = "2", group: str = "g") -> list[str]:
    mids = "|".join(CLASSES.get(name, f"/m/{name}") for name in names.split("|"))
    return [f"{number:03}.wav", names, mids, f"{group}{number}", str(fold), "CC0", "somebody", "package", rank]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve dogs, six barks, two birds, one doubtful dog, and sounds of forty classes that the ontology lacks."""
    rows = [more(n, "Dog", fold=5 if n > 9 else 1) for n in range(12)]
    rows += [more(20 + n, "Bark") for n in range(6)] + [more(30 + n, "Bird") for n in range(2)]
    rows += [more(40, "Dog", rank="300")] + [more(50 + n, f"odd{n}") for n in range(40)]
    table(tmp_path / "more" / "clips.csv", MORE, rows)
    for row in rows:
        path = tmp_path / "more" / "audio" / row[0]
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.zeros(160), 16_000)
    esc50 = "filename,fold,target,category,esc10,src_file,take,license,author,url"
    rain = ["r.wav", "1", "0", "rain", "False", "s", "A", "CC0", "somebody", "url"]
    table(tmp_path / "esc50" / "esc50.csv", esc50, [rain])
    table(tmp_path / "speech" / "speech.csv", "filename,fold,speaker,license", [["s.wav", "1", "p", "CC0"]])
    table(tmp_path / "music" / "music.csv", "filename,fold,track,license,source", [["m.wav", "1", "t", "CC0", "p"]])
    for name in ("esc50/audio/r.wav", "speech/audio/s.wav", "music/audio/m.wav"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, np.zeros(160), 16_000)
    labels = [[str(index), mid, name] for index, (name, mid) in enumerate(CLASSES.items())]
    table(tmp_path / "audioset" / "class_labels_indices.csv", "index,mid,display_name", labels)
    return tmp_path


def labels_of(manifest: Manifest) -> dict[str, str]:
    names = {mid: name for name, mid in CLASSES.items()}
    return {
        Path(row.path).stem: ";".join(
            text[: -len(text.lstrip("?"))] + names.get(text.lstrip("?"), text.lstrip("?"))
            for text in row.labels.split(";")
        )
        for row in manifest.rows()
    }


def test_labels_get_their_parents_and_children_are_unknown(folder: Path) -> None:
    manifest = wide(folder, Splitting(NO_FOLD))
    assert [label.name for label in manifest.vocabulary.labels] == ["Animal", "Dog", "Bark"]  # five groups or more
    labels = labels_of(manifest)
    assert labels["000"] == "Animal;Dog;?Bark"
    assert labels["020"] == "Animal;Dog;Bark"
    assert labels["030"] == "Animal"  # a bird is no dog
    assert labels["040"] == "-;?Animal;?Dog;?Bark"  # ranked 300th by YAMNet, which knows dogs
    assert labels["m"] == "-"


def test_a_clip_of_an_instrument_with_another_label_may_be_music(folder: Path) -> None:
    rows = [more(n, "Flute", fold=5 if n > 5 else 1, group="fluidr3:") for n in range(7)]
    rows += [more(10, "Ding", group="philharmonia:"), more(11, "Ding")]
    table(folder / "more" / "clips.csv", MORE, rows)
    labels = labels_of(wide(folder, Splitting(NO_FOLD)))
    assert labels["000"] == "Music;Flute"
    assert (labels["010"], labels["011"]) == ("-;?Music", "-")


def test_fold_5_is_the_test_and_half_of_the_other_sounds_are(folder: Path) -> None:
    manifest = wide(folder, Splitting(NO_FOLD))
    splits = {Path(path).stem: split for path, split in zip(manifest.paths, manifest.splits, strict=True)}
    assert {splits["010"], splits["011"]} == {"test"}
    odd = [splits[f"{50 + n:03}"] for n in range(40)]
    assert 10 <= odd.count("test") <= 30
    assert odd.count("test") + odd.count("train") + odd.count("validation") == 40
    manifest.check_splits()


def test_command_writes_the_manifest(folder: Path) -> None:
    result = CliRunner().invoke(
        main, ["wide", str(folder), "--test-fold", "none", "--output", str(folder / "wide.csv")]
    )
    assert result.exit_code == 0, result.output
    assert labels_of(Manifest.load(folder / "wide.csv"))["020"] == "Animal;Dog;Bark"


def test_the_folder_may_be_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = wide(folder, Splitting(NO_FOLD))
    monkeypatch.chdir(folder.parent)
    assert list(wide(folder.name, Splitting(NO_FOLD)).splits) == list(whole.splits)


def test_a_label_and_its_parents_are_one_sound() -> None:
    vocabulary = Vocabulary(
        [Label("Animal", "/m/0jbk"), Label("Dog", "/m/0bt9lr"), Label("Speech", "/m/09x0r"), Label("X")]
    )
    rows = [
        Row(f"{n}.wav", labels=labels, split="test")
        for n, labels in enumerate(["Dog;Animal", "Animal", "Dog;Speech", "-", "X", "X;Dog"])
    ]
    assert most_specific(Manifest.from_rows(rows, vocabulary, Path("/data"))).tolist() == [1, 0, -1, -1, 3, -1]
