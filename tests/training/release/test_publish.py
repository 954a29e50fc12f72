"""Publishing a finished run: model, card, attribution and README results; and ``evaluate run``."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from sedkit.contract import Contract, metadata_of
from sedkit.errors import SedkitError
from sedkit.model_file import with_digest
from sedkit.tagger import Tagger
from tests.training.conftest import run_secost
from training.data.manifest.rows import Row
from training.data.manifest.summary import class_sources, sources
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.store.source import open_audio
from training.evaluate.commands import main as evaluate
from training.evaluate.robustness import robustness
from training.release import publish
from training.release.calibrate import calibrate
from training.release.card.sections import ended_early
from training.release.quantize import quantize
from training.runs.reports import read_generation
from training.runs.run import Run
from training.runtime.files import sha256, write_json

INSTALLED = "wels-secost.onnx", "wels-secost-int8.onnx"


def test_publishing_writes_the_model_its_card_and_its_attribution(run: Path, tmp_path: Path) -> None:
    readme = tmp_path / "front.md"
    readme.write_text("# Ours\n<!-- results -->\noutdated\n<!-- /results -->\nend\n")
    arguments = [run, "--output", tmp_path, "--readme", readme, "--device", "cpu"]
    result = CliRunner().invoke(publish.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "wels-secost.onnx").read_bytes() == (run / "model.onnx").read_bytes()
    assert len(Tagger(tmp_path / "wels-secost.onnx", "cpu").labels) == 3
    with (tmp_path / "attribution.csv").open(encoding="utf-8") as file:
        clips = list(csv.DictReader(file))
    assert len(clips) == 30
    assert {clip["license"] for clip in clips} == {"CC0"}
    front = readme.read_text("utf-8")
    assert front.startswith("# Ours\n<!-- results -->\nWELS-Net for 3 classes, at 0.0625 of its filters")
    assert front.endswith("|\n<!-- /results -->\nend\n")
    assert "outdated" not in front
    card = (tmp_path / "README.md").read_text("utf-8")
    report = json.loads((run / "generation-2" / "report.json").read_text("utf-8"))
    for entry in report["test"]["classes"]:
        assert f"| {entry['label']} | {entry['mid'] or '-'} | 2 | {entry['AP']:.3f} |" in card
    for text in ("CC0-1.0", "Teacher-0", "Student 2", "digital silence", "not calibrated"):
        assert text in card


@pytest.mark.slow
def test_other_models_have_files_with_their_name(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    copy, models = shutil.copytree(run, tmp_path / "run"), tmp_path / "models"
    output = run_secost("--resume", copy, "--name", "wels-secost-small")
    assert "model.onnx" in output
    calibrate(copy / "model.onnx", open_audio(small_manifest), clips=100, soundscapes=4, seed=0)
    for source in (run, copy):
        assert (
            CliRunner().invoke(publish.main, [str(source), "--output", str(models), "--device", "cpu"]).exit_code == 0
        )
    prefix = "wels-secost-small"
    assert {path.name for path in models.iterdir()} == {
        "README.md", "attribution.csv", "wels-secost.onnx",
        f"{prefix}.md", f"{prefix}-attribution.csv", f"{prefix}-reliability.svg", f"{prefix}.onnx",
    }  # fmt: skip
    assert Tagger(models / f"{prefix}.onnx", "cpu").contract.name == prefix
    card = (models / f"{prefix}.md").read_text("utf-8")
    assert f"({prefix}-reliability.svg)" in card
    assert f"`{prefix}-attribution.csv`" in card
    assert "million multiply-adds for 10 s" in card


@pytest.mark.slow
def test_the_int8_version_is_published_only_with_its_model(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    copy, models = shutil.copytree(run, tmp_path / "run"), tmp_path / "models"

    def published() -> tuple[int, str]:
        result = CliRunner().invoke(publish.main, [str(copy), "--output", str(models), "--device", "cpu"])
        return result.exit_code, result.output

    quantize(copy / "model.onnx", open_audio(small_manifest), copy / "model-int8.onnx", clips=8, seed=0)
    assert published()[0] == 0
    assert (models / "wels-secost-int8.onnx").read_bytes() == (copy / "model-int8.onnx").read_bytes()
    assert "| test | 6 | " in (models / "README.md").read_text("utf-8").partition("## 8-bit integers")[2]
    before = (models / "wels-secost.onnx").read_bytes()
    other = onnx.load(copy / "model.onnx")
    other.doc_string = "another"
    (copy / "model.onnx").write_bytes(with_digest(other.SerializeToString()))
    code, output = published()
    assert (code, (models / "wels-secost.onnx").read_bytes()) == (1, before)
    assert "the int8 version of another model" in output
    (copy / "model-int8.onnx").unlink()
    assert published()[0] == 0
    assert not (models / "wels-secost-int8.onnx").exists()
    assert "8-bit" not in (models / "README.md").read_text("utf-8")


@pytest.mark.slow
def test_the_card_has_measurements_of_this_model_only(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    audio = open_audio(small_manifest)
    done = calibrate(copy / "model.onnx", audio, clips=100, soundscapes=6, seed=0).about["test"]
    report = robustness(Tagger(copy / "model.onnx", "cpu"), audio, "test", 3, 0)
    write_json(copy / "robustness.json", report)
    unknown = CliRunner().invoke(
        evaluate,
        ["unknown", f"{copy}/model.onnx", "--manifest", str(small_manifest), "--json", f"{copy}/unknown.json"],
    )
    assert unknown.exit_code == 0, unknown.output

    def published() -> tuple[int, str]:
        result = CliRunner().invoke(publish.main, [str(copy), "--output", str(tmp_path / "models"), "--device", "cpu"])
        return result.exit_code, result.output

    code, output = published()
    assert code == 0, output
    card = (tmp_path / "models" / "README.md").read_text("utf-8")
    assert "calibrated on 6 validation clips" in card
    assert "not calibrated" not in card
    diagram = ElementTree.parse(tmp_path / "models" / "reliability.svg")
    assert len(diagram.findall("{http://www.w3.org/2000/svg}circle")) == len(done["reliability"])
    before, after = done["macro_f1_of_timelines"]
    assert f"| timelines, macro-averaged F1 | {before:.3f} | {after:.3f} |" in card
    assert f"| mp3, 32 kbit/s | {report['conditions'][8]['mAP']:.3f} |" in card
    assert f"sedkit-train calibrate {run}/model.onnx --manifest {small_manifest} --clips 100 --soundscapes 6\n" in card
    assert "## Sounds that it does not know" in card
    assert unknown.output.partition("| score |")[2].strip() in card
    assert f"evaluate unknown {run}/model.onnx --manifest {small_manifest} --json {run}/unknown.json\n" in card
    write_json(copy / "robustness.json", report | {"model_sha256": ""})
    code, output = published()
    assert (code, "measured on another model" in output) == (1, True)
    (copy / "robustness.json").unlink()
    write_json(copy / "unknown.json", [])
    code, output = published()
    assert (code, "repeat sedkit-train evaluate unknown" in output) == (1, True)


@pytest.mark.slow
def test_timelines_are_on_the_card(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    """Results of this model and of YAMNet, on mixtures of the run's own test clips; not of other models."""
    copy = shutil.copytree(run, tmp_path / "run")
    figures = {"mAP": 0.7, "tag_f1": 0.4, "segment_f1": 0.6, "event_f1": 0.2, "PSDS1": 0.1, "PSDS2": 0.5}
    recipe = {"seconds": 10.0, "events": [1, 5], "longest": 2.5, "overlap": 2, "snr": [3.0, 25.0]}
    recipe |= {"background": [-50.0, -30.0], "recorded": 0.5, "count": 9, "seed": 4, "backgrounds": ["Tick, tock"]}
    recipe |= {"split": "test", "manifest_sha256": Run.open(run).data}
    systems = [("runs/model.onnx", sha256(copy / "model.onnx")), ("another", "1" * 64), ("YAMNet, as it is", None)]
    report = {
        "soundscapes": "mixtures",
        "recipe": recipe,
        "split": "test",
        "recordings": 9,
        "events": 20,
        "classes": 3,
        "systems": [{"system": name, "model_sha256": hashed, **figures} for name, hashed in systems],
    }
    front = tmp_path / "front.md"
    front.write_text("<!-- results -->\n<!-- /results -->\n")

    def published(**changed: Any) -> tuple[int, str]:
        write_json(copy / "timelines.json", report | changed)
        arguments = [copy, "--output", tmp_path / "models", "--readme", front, "--device", "cpu"]
        result = CliRunner().invoke(publish.main, [str(argument) for argument in arguments])
        return result.exit_code, result.output

    code, output = published()
    assert code == 0, output
    card = (tmp_path / "models" / "README.md").read_text("utf-8")
    rows = [f"| {name} | 0.700 | 0.400 | 0.600 | 0.200 | 0.100 | 0.500 |" for name in ("wels-secost", systems[2][0])]
    sentence = "Measured on 9 recordings of 10 s, each mixed from 1 to 5 test clips, with 20 events of 3 classes."
    for text in (card, front.read_text("utf-8")):
        assert "\n".join(rows) in text
        assert sentence in text
        assert "another" not in text.partition(sentence)[2].partition("##")[0]
    made = "--split test --count 9 --longest 2.5 --background 'Tick, tock' --seed 4 --output mixtures"
    assert f"sedkit-train data soundscapes {small_manifest} {made}\n" in card
    options = f"{run}/model.onnx mixtures --peer yamnet=yamnet.tflite --json {run}/timelines.json"
    assert f"sedkit-train evaluate timelines {options}\n" in card
    for changed, message in (
        ({"systems": report["systems"][1:]}, "measured on another model"),
        ({"recipe": recipe | {"manifest_sha256": ""}}, "not mixed from the run's own test clips"),
        ({"recipe": None}, "not mixed from the run's own test clips"),
        ({"systems": [{key: row[key] for key in ("system", "model_sha256")} for row in report["systems"]]}, "KeyError"),
        ({"split": "train"}, "not mixed from the run's own test clips"),
    ):
        code, output = published(**changed)
        assert (code, message in output) == (1, True)


def test_sources_are_folders(tmp_path: Path) -> None:
    rows = [
        Row("/data/kitchen/audio/a.wav", labels="Kettle"),
        Row("/data/street/b.wav", labels="Car"),
        Row("/elsewhere/noise/c.flac", labels="-"),
    ]
    manifest = Manifest.from_rows(rows, Vocabulary.of(["Kettle", "Car"]), tmp_path)
    assert sources(manifest) == ["kitchen", "street", "(none of the classes)"]
    assert sources(manifest.take([0, 2])) == ["audio", "(none of the classes)"]


def test_sources_of_a_class_are_counted_without_the_test_split(tmp_path: Path) -> None:
    rows = [
        Row("/data/a1.wav", labels="Kettle", split="train", group="a", attribution="Ann"),
        Row("/data/a2.wav", labels="Kettle;Car", split="train", group="a", attribution="Ann"),
        Row("/data/b.wav", labels="Kettle", split="validation", group="b", attribution="Ann"),
        Row("/data/c.wav", labels="Car", split="train", attribution="Bob"),
        Row("/data/d.wav", labels="Kettle", split="test", group="d", attribution="Bob"),
    ]
    manifest = Manifest.from_rows(rows, Vocabulary.of(["Kettle", "Car", "Cat"]), tmp_path)
    assert class_sources(manifest) == [(2, 2), (0, 0), (2, 1)]  # Car, Cat, Kettle


def test_the_attribution_of_an_earlier_model_is_added(run: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier.csv"
    earlier.write_text("clip,license,attribution\nelsewhere/x.wav,CC-BY,Ann\n")
    rows = publish.attribution_rows(Run.open(run), [earlier])
    assert len(rows) == 31
    assert rows["elsewhere/x.wav"] == ("CC-BY", "Ann")
    earlier.write_text("clip,license\nelsewhere/x.wav,CC-BY\n")
    with pytest.raises(SedkitError, match="attribution"):
        publish.attribution_rows(Run.open(run), [earlier])


def lineage(model: Path) -> dict[str, Any]:
    return dict(Contract.from_metadata(metadata_of(model)).lineage)


@pytest.fixture(scope="module")
def cv(run: Path, small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation of two folds with the settings of ``run`` and made-up scores.

    A third of the clips have groups of ESC-50. Student 2 is always right, the others never in the first fold.
    """
    place = tmp_path_factory.mktemp("crossval")
    write_json(place / "crossval.json", {"folds": {"1": "fold-1.csv", "2": "fold-2.csv"}, "options": []})
    whole, config = Manifest.load(small_manifest), json.loads((run / "config.json").read_text("utf-8"))
    for fold in (0, 1):
        rows = [
            row._replace(
                split="test" if number % 2 == fold else "validation" if number % 4 < 2 else "train",
                group="esc50:" * (row.labels == "tone") + Path(row.path).name,
            )
            for number, row in enumerate(whole.rows())
        ]
        manifest = Manifest.from_rows(rows, whole.vocabulary, place)
        manifest.save(place / f"fold-{fold + 1}.csv")
        directory = place / f"fold-{fold + 1}"
        write_json(directory / "config.json", config | {"manifest_sha256": manifest.sha256()})
        right = manifest.targets(manifest.indices("test"))
        for generation in range(3):
            path = directory / f"generation-{generation}" / "scores.npz"
            path.parent.mkdir()
            scores = right if generation == 2 or fold else 1 - right
            np.savez(path, test=scores, validation=scores, network_sha256=np.array("left behind"))
    return place


@pytest.mark.slow
def test_a_card_leads_with_the_cross_validation(run: Path, cv: Path, small_manifest: Path, tmp_path: Path) -> None:
    copy, models, readme = shutil.copytree(run, tmp_path / "run"), tmp_path / "models", tmp_path / "front.md"
    quantize(copy / "model.onnx", open_audio(small_manifest), copy / "model-int8.onnx", clips=8, seed=0)
    before = {path.name: path.read_bytes() for path in copy.glob("model*.onnx")}
    readme.write_text("<!-- results -->\n<!-- /results -->\n")
    arguments = [copy, "--output", models, "--readme", readme, "--device", "cpu", "--crossval", cv]
    result = CliRunner().invoke(publish.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    card, front = (models / "README.md").read_text("utf-8"), readme.read_text("utf-8")
    own = json.loads((run / "generation-2" / "report.json").read_text("utf-8"))["test"]
    for text in (card, front):
        for expected in (
            "36 clips of 36 recordings in all.",
            "The recipe is the same as the file's. The published generation, Student 2, has accuracy 1.000 "
            "(deviation 0.000, 95 % 1.000 to 1.000)",
            "cannot be tested on these 36 clips: 20 are from recordings in its training or validation split",
            "One seed, 2 folds.",
            "| accuracy | deviation | 95 % | mAP | deviation | 95 % | accuracy on the 12 clips of ESC-50 |",
            "| Teacher-0 | 0.500 | 0.707 |",
            "| Student 2 | 1.000 | 0.000 | 1.000 to 1.000 |",
            "| Student 2 | +0.500 | 0.707 |",
        ):
            assert expected in text, expected
        assert "YAMNet" not in text
    assert f"On the 6 held-out clips of its own test split: accuracy {own['accuracy']:.3f}" in front
    sections = [line for line in card.splitlines() if line.startswith("## ")]
    assert sections == [
        "## Cross-validation", "## What it gets wrong", "## Classes", "## The network in the file",
        "## What the scores mean", "## False alarms", "## 8-bit integers", "## Data and training", "## Rebuild it",
    ]  # fmt: skip
    assert "| tone | 12 | " in card.partition("## Classes")[2].partition("## The network")[0]
    assert "6 held-out clips (6 under CC0) of 3 of its 3 classes" in card
    assert f"sedkit-train publish {run} --crossval {cv}\n" in card
    assert f"\nsedkit-train evaluate crossval {cv}\n" in card
    for name, installed in zip(("model.onnx", "model-int8.onnx"), INSTALLED, strict=True):
        assert (copy / name).read_bytes() == before[name]  # so its measurements stay valid
        ours, published = (lineage(path)["metrics"] for path in (copy / name, models / installed))
        assert published == ours | {"crossval": {"mAP": 1.0, "accuracy": 1.0, "folds": 2, "clips": 36}}
    assert lineage(models / INSTALLED[1])["quantisation"]["of_sha256"] == sha256(models / INSTALLED[0])
    sound = np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    ours, published = (Tagger(path, "cpu").tag(sound, 16_000) for path in (copy / "model.onnx", models / INSTALLED[0]))
    assert published.tags == ours.tags


@pytest.mark.slow
def test_yamnet_and_other_settings_are_on_the_card(run: Path, cv: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(cv, tmp_path / "cv")
    for path in copy.rglob("config.json"):
        config = json.loads(path.read_text("utf-8"))
        config["settings"]["epochs"] = 7
        config["settings"]["augmentation"]["gain"] = 1.0
        write_json(path, config | {"seed": 5})
    whole = Manifest.load(copy / "fold-1.csv")
    np.savez(copy / "yamnet.npz", names=whole.names(), scores=whole.targets(), features=whole.targets())
    arguments = [run, "--output", tmp_path, "--device", "cpu", "--crossval", copy]
    result = CliRunner().invoke(publish.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    card = (tmp_path / "README.md").read_text("utf-8")
    assert re.search(
        r"The recipe differs from the file's in: epochs 7 instead of 3; gain 1.0 instead of [\d.]+\. ", card
    )
    assert "Seeds 5 and 0, 2 folds." in card
    assert "| YAMNet, logistic regression on its features | 1.000 | 0.000 |" in card


def test_a_cross_validation_of_another_recipe_is_refused(run: Path, cv: Path, tmp_path: Path) -> None:
    def refused(*arguments: str | Path) -> str:
        given = [run, "--output", tmp_path / "models", "--device", "cpu", *arguments]
        result = CliRunner().invoke(publish.main, [str(argument) for argument in given])
        assert result.exit_code
        assert not (tmp_path / "models").exists()
        return result.output.splitlines()[-1]

    copy = shutil.copytree(cv, tmp_path / "cv")
    assert "add --crossval" in refused("--peer", f"yamnet={cv / 'crossval.json'}")
    assert "crossval.json: No such file or directory" in refused("--crossval", run)
    (copy / "fold-2" / "generation-2" / "scores.npz").unlink()
    unfinished = refused("--crossval", copy)
    assert unfinished == f"Error: {copy}: fold 2 is not finished: continue with sedkit-train crossval"
    other = Vocabulary.of(["clicks", "noise", "whistle"])
    for fold in (1, 2):
        manifest = Manifest.load(cv / f"fold-{fold}.csv")
        rows = [row._replace(labels=row.labels.replace("tone", "whistle")) for row in manifest.rows()]
        renamed = Manifest.from_rows(rows, other, copy)
        renamed.save(copy / f"fold-{fold}.csv")
        config = json.loads((cv / f"fold-{fold}" / "config.json").read_text("utf-8"))
        config |= {"manifest_sha256": renamed.sha256(), "supervision": config["supervision"][:2]}
        write_json(copy / f"fold-{fold}" / "config.json", config)
    assert f"{copy}: its 3 classes differ from those of {run}" in refused("--crossval", copy)
    for fold in (1, 2):
        shutil.copyfile(cv / f"fold-{fold}.csv", copy / f"fold-{fold}.csv")
        shutil.copyfile(cv / f"fold-{fold}.labels.csv", copy / f"fold-{fold}.labels.csv")
        config = json.loads((cv / f"fold-{fold}" / "config.json").read_text("utf-8"))
        write_json(copy / f"fold-{fold}" / "config.json", config | {"supervision": config["supervision"][:2]})
    assert f"{copy}: it has 2 generations, {run} has 3" in refused("--crossval", copy)


def test_an_unfinished_run_is_not_published(run: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text((run / "config.json").read_text())
    result = CliRunner().invoke(publish.main, [str(tmp_path / "run"), "--output", str(tmp_path / "models")])
    assert result.exit_code == 1
    assert "not finished" in result.output
    assert not (tmp_path / "models").exists()


def test_a_file_without_a_place_for_results_is_refused_before_anything_is_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "front.md").write_text("# Ours\n")
    for readme in ("front.md", "missing.md"):
        with pytest.raises(SedkitError, match=readme):
            publish.publish(run, tmp_path / "out", tmp_path / readme, None, None, torch.device("cpu"))
    assert not (tmp_path / "out").exists()


def test_evaluate_run_summarises_a_run(run: Path) -> None:
    result = CliRunner().invoke(evaluate, ["run", str(run)])
    assert result.exit_code == 0, result.output
    for text in ("- commit: ", "- device: ", "- seed: 0", "training clips/s", "| Teacher-0 |"):
        assert text in result.output


def test_the_card_names_networks_that_were_ended_early(run: Path, tmp_path: Path) -> None:
    short = shutil.copytree(run, tmp_path / "short")
    opened, rows = Run.open(short), [read_generation(short / f"generation-{number}") for number in range(3)]
    assert ended_early(opened, rows) == ""
    log = short / "generation-2" / "metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    assert ended_early(opened, rows) == " The training of student 2 was ended after 2 of its 3 epochs."
