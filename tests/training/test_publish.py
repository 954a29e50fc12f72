"""What a finished run turns into: the model, its card, who made the clips, an entry for the log."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import onnx
from click.testing import CliRunner

from sedkit.tagger import Tagger
from tests.training.conftest import train
from training import publish
from training.calibrate import calibrate
from training.card import sources
from training.data import Manifest, Vocabulary
from training.data.rows import Row
from training.data.source import open_audio
from training.evaluate.__main__ import main as evaluate
from training.evaluate.robustness import robustness
from training.files import write_json
from training.quantize import quantize


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
    assert front.startswith("# Ours\n<!-- results -->\nWELS-Net at 0.0625 of its width")
    assert front.endswith("|\n<!-- /results -->\nend\n")
    assert "outdated" not in front
    card = (tmp_path / "README.md").read_text("utf-8")
    report = json.loads((run / "generation-2" / "report.json").read_text("utf-8"))
    for entry in report["test"]["classes"]:
        assert f"| {entry['label']} | {entry['mid'] or '-'} | 2 | {entry['AP']:.3f} |" in card
    for text in ("CC0-1.0", "Teacher-0", "Student 2", "digital silence", "not calibrated"):
        assert text in card


def test_a_model_beside_the_default_has_files_of_its_own(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    copy, models = shutil.copytree(run, tmp_path / "run"), tmp_path / "models"
    said = train("--resume", copy, "--name", "wels-secost-small")
    assert "model.onnx" in said
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


def test_the_int8_form_is_published_with_its_model_or_not_at_all(
    run: Path, small_manifest: Path, tmp_path: Path
) -> None:
    copy, models = shutil.copytree(run, tmp_path / "run"), tmp_path / "models"

    def published() -> tuple[int, str]:
        result = CliRunner().invoke(publish.main, [str(copy), "--output", str(models), "--device", "cpu"])
        return result.exit_code, result.output

    quantize(copy / "model.onnx", open_audio(small_manifest), copy / "model-int8.onnx", clips=8, seed=0)
    assert published()[0] == 0
    assert (models / "wels-secost-int8.onnx").read_bytes() == (copy / "model-int8.onnx").read_bytes()
    assert "| test | 6 | " in (models / "README.md").read_text("utf-8").partition("## In 8-bit integers")[2]
    before = (models / "wels-secost.onnx").read_bytes()
    other = onnx.load(copy / "model.onnx")
    other.doc_string = "another"
    onnx.save(other, copy / "model.onnx")
    code, said = published()
    assert (code, (models / "wels-secost.onnx").read_bytes()) == (1, before)
    assert "made of another model" in said
    (copy / "model-int8.onnx").unlink()
    assert published()[0] == 0
    assert not (models / "wels-secost-int8.onnx").exists()
    assert "8-bit" not in (models / "README.md").read_text("utf-8")


def test_the_card_says_what_was_measured_of_this_model_and_no_other(
    run: Path, small_manifest: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    audio = open_audio(small_manifest)
    done = calibrate(copy / "model.onnx", audio, clips=100, soundscapes=6, seed=0).about["test"]
    report = robustness(Tagger(copy / "model.onnx", "cpu"), audio, "test", 3, 0)
    write_json(copy / "robustness.json", report)

    def published() -> tuple[int, str]:
        result = CliRunner().invoke(publish.main, [str(copy), "--output", str(tmp_path / "models"), "--device", "cpu"])
        return result.exit_code, result.output

    code, said = published()
    assert code == 0, said
    card = (tmp_path / "models" / "README.md").read_text("utf-8")
    assert "calibrated on 6 clips" in card
    assert "not calibrated" not in card
    diagram = ElementTree.parse(tmp_path / "models" / "reliability.svg")
    assert len(diagram.findall("{http://www.w3.org/2000/svg}circle")) == len(done["reliability"])
    before, after = done["macro_f1_of_timelines"]
    assert f"| timelines, mean F1 of the classes | {before:.3f} | {after:.3f} |" in card
    assert f"| mp3, 32 kbit/s | {report['conditions'][8]['mAP']:.3f} |" in card
    assert "python -m training.calibrate RUN/model.onnx --manifest MANIFEST\n" in card
    write_json(copy / "robustness.json", report | {"model_sha256": ""})
    code, said = published()
    assert (code, "of another model" in said) == (1, True)


def test_clips_are_told_by_their_folder_and_those_of_no_class_apart(tmp_path: Path) -> None:
    rows = [
        Row("/data/kitchen/audio/a.wav", labels="Kettle"),
        Row("/data/street/b.wav", labels="Car"),
        Row("/elsewhere/noise/c.flac", labels="-"),
    ]
    manifest = Manifest.from_rows(rows, Vocabulary.of(["Kettle", "Car"]), tmp_path)
    assert sources(manifest) == ["kitchen", "street", "(none of the classes)"]
    assert sources(manifest.take([0, 2])) == ["audio", "(none of the classes)"]


def test_an_unfinished_run_is_not_published(run: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text((run / "config.json").read_text())
    result = CliRunner().invoke(publish.main, [str(tmp_path / "run"), "--output", str(tmp_path / "models")])
    assert result.exit_code == 1
    assert "not finished" in result.output
    assert not (tmp_path / "models").exists()


def test_a_run_as_an_entry_of_the_log(run: Path) -> None:
    result = CliRunner().invoke(evaluate, ["run", str(run)])
    assert result.exit_code == 0, result.output
    for text in ("- commit: ", "- device: ", "- seed: 0", "training clips/s", "| Teacher-0 |"):
        assert text in result.output
