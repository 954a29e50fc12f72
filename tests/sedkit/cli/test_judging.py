"""``sedkit evaluate``, ``compare`` and ``tune``, run in this process on a model with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner, Result

pytest.importorskip("sed_scores_eval", reason="these commands need the extra 'evaluation'")

from sedkit.cli import main
from sedkit.tagger import Tagger
from sedkit.timeline.settings import PostProcessing
from tests.conftest import make_sound

RATE = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tagger: Tagger) -> Path:
    """Recordings; what the model finds in them, as results and, moved a little, as labels in several formats."""
    folder = tmp_path_factory.mktemp("judging")
    (folder / "audio").mkdir()
    (folder / "labels").mkdir()
    results, labels = ["file\tonset\toffset\tlabel\tmid\tscore"], ["filename\tonset\toffset\tevent_label"]
    for number in range(3):
        name = folder / "audio" / f"{number}.wav"
        soundfile.write(name, make_sound(9, seed=number), RATE, "FLOAT")
        lines = []
        for event in tagger.timeline(name).events:
            results.append(f"{name}\t{event.onset}\t{event.offset}\t{event.label}\t{event.mid or ''}\t{event.score}")
            labels.append(f"{name.name}\t{event.onset + 0.05:.3f}\t{event.offset + 0.05:.3f}\t{event.label}")
            lines.append(f"{event.onset + 0.05}\t{event.offset + 0.05}\t{event.label}\n")
        (folder / "labels" / f"{number}.txt").write_text("".join(lines))
    (folder / "results.tsv").write_text("\n".join(results) + "\n")
    (folder / "labels.tsv").write_text("\n".join(labels) + "\n")
    return folder


@pytest.fixture
def sedkit(model_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEDKIT_DEBUG", "1")

    def run(command: str, *arguments: str | Path) -> Result:
        model = [] if command == "compare" else ["--model", str(model_path)]
        result = CliRunner().invoke(main, [command, *map(str, arguments), *model, "--device", "cpu"])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def test_a_model_is_measured_on_audio(sedkit, folder: Path, tmp_path: Path):
    output, plot = tmp_path / "figures.json", tmp_path / "figures.png"
    result = sedkit(
        "evaluate", folder / "audio", folder / "labels.tsv", "-o", output, "--plot", plot, "--bootstrap", "5"
    )
    assert (result.exit_code, result.output) == (0, "")
    report = json.loads(output.read_text())
    assert report["recordings"] == 3
    assert report["seconds"] == 27
    assert report["overall"]["event_f1"]["value"] > 0.9  # the labels are 50 ms late, within the tolerance
    assert report["overall"]["mAP"]["value"] > 0.5
    assert {"PSDS1", "PSDS2", "segment_f1", "mAUC", "d_prime"} <= set(report["overall"])
    assert sum(row["events"] for row in report["classes"]) == report["events"]
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json", "figures.png"]


@pytest.mark.parametrize("reference", ["labels.tsv", "labels"])
def test_results_are_measured_against_labels_of_any_form(sedkit, folder: Path, reference):
    result = sedkit("evaluate", folder / "results.tsv", folder / reference, "--bootstrap", "0")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("3 recordings, 0.5 min, ")
    assert any(line.startswith("event F1 ") for line in lines)
    assert any(line.startswith("class  ") for line in lines)


@pytest.mark.parametrize("swapped", [False, True])
def test_channels_are_measured_against_labels_of_the_recording(sedkit, folder: Path, tmp_path: Path, swapped: bool):
    """What both channels have is one event, with the higher score; what one has is there too."""
    places = {}
    for name in ("results", "labels"):
        text = (folder / f"{name}.tsv").read_text()
        places[name] = tmp_path / f"{name}.tsv"
        places[name].write_text(text)
    changed = places["labels" if swapped else "results"]
    head, *rows = changed.read_text().splitlines()
    both = [row.replace(".wav", f".wav#{1 + number % 2}", 1) for number, row in enumerate(rows)]
    both += [row.replace(".wav", f".wav#{2 - number % 2}", 1) for number, row in enumerate(rows[:5])]
    changed.write_text("\n".join([head, *both]) + "\n")
    arguments = "--bootstrap", "0", "-f", "json"
    expected = sedkit("evaluate", folder / "results.tsv", folder / "labels.tsv", *arguments).stdout
    assert sedkit("evaluate", places["results"], places["labels"], *arguments).stdout == expected
    if swapped:
        expected = sedkit("evaluate", folder / "audio", folder / "labels.tsv", *arguments).stdout
        assert sedkit("evaluate", folder / "audio", places["labels"], *arguments).stdout == expected


def test_channels_are_measured_against_labels_of_the_channels(sedkit, folder: Path, tmp_path: Path):
    for name in ("results", "labels"):
        text = (folder / f"{name}.tsv").read_text().replace(f"{folder}/audio/1.wav", f"{folder}/audio/0.wav#2")
        text = text.replace("0.wav\t", "0.wav#1\t").replace("\n1.wav\t", "\n0.wav#2\t")
        (tmp_path / f"{name}.tsv").write_text(text)
    report = json.loads(
        sedkit("evaluate", tmp_path / "results.tsv", tmp_path / "labels.tsv", "--bootstrap", "0", "-f", "json").stdout
    )
    expected = json.loads(
        sedkit("evaluate", folder / "results.tsv", folder / "labels.tsv", "--bootstrap", "0", "-f", "json").stdout
    )
    assert report["recordings"] == 3
    assert report["overall"] == expected["overall"]


def test_a_class_that_was_never_detected_has_no_psds(sedkit, tmp_path: Path):
    """Also if a label ends after its recording, and with intervals."""
    records = [
        {"file": "a.wav", "duration": 10, "events": [{"onset": 1, "offset": 2, "label": "Cat", "score": 0.7}]},
        *({"file": file, "duration": 10, "events": []} for file in ("b.wav", "c.wav")),
    ]
    (tmp_path / "found.json").write_text("\n".join(map(json.dumps, records)))
    rows = ["a.wav\t1\t2\tCat", "a.wav\t3\t6\tDog", "b.wav\t0\t4\tDog", "c.wav\t0\t15\tDog"]
    (tmp_path / "labels.tsv").write_text("\n".join(["filename\tonset\toffset\tevent_label", *rows]) + "\n")
    for replicates in ("0", "10"):
        arguments = (
            "evaluate",
            tmp_path / "found.json",
            tmp_path / "labels.tsv",
            "--bootstrap",
            replicates,
            "-f",
            "json",
        )
        result = sedkit(*arguments)
        assert result.exit_code == 0, result.output
        classes = json.loads(result.stdout)["classes"]
        figures = {row["label"]: row["PSDS2"]["value"] for row in classes}
        assert figures == {"Cat": 1.0, "Dog": 0.0}


def test_settings_change_the_figures(sedkit, folder: Path, tmp_path: Path):
    """No event is left if every event must last a minute."""
    settings = tmp_path / "long.toml"
    settings.write_text(PostProcessing(min_duration=60.0).to_toml())
    arguments = ["evaluate", folder / "audio", folder / "labels.tsv", "--bootstrap", "0", "-f", "json"]
    report = json.loads(sedkit(*arguments, "--postprocess", settings).stdout)
    assert report["overall"]["event_f1"]["value"] == 0
    assert report["overall"]["segment_f1"]["value"] == 0


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["evaluate", "{results}", "{empty}"], "empty.tsv: ", 2),
        (["evaluate", "{results}", "nowhere.tsv"], "nowhere.tsv: does not exist", 1),
        (["evaluate", "nowhere.tsv", "{labels}"], "nowhere.tsv: does not exist", 1),
        (["evaluate", "nowhere.wav", "{labels}"], "nowhere.wav: no such file", 1),
        (["evaluate", "{results}", "{cats}"], "results.tsv: has no class of", 2),
        (["evaluate", "{audio}", "{cats}"], "the model test has no class of the reference (Cat)", 2),
        (["evaluate", "{audio}", "{others}"], "is about other.wav, not about", 2),
        (["evaluate", "{results}", "{labels}", "--classes", "Cat"], "has no label Cat; it has", 2),
        (["evaluate", "{results}", "{labels}", "-o", "/nowhere/x.json"], "create it first", 1),
        (["evaluate", "{results}", "{labels}", "--plot", "x.jpeg"], "must end in .png, .svg or .pdf", 2),
        (["evaluate", "{results}", "{labels}", "-o", "{labels}"], "is read by this command; choose another", 1),
        (["evaluate", "{audio}", "{labels}", "--postprocess", "{bird}"], "Bird: the model test has no such class", 2),
        (["evaluate", "{audio}", "{labels}", "-t", "Dgo=0.5"], "Dgo: the model test has no such class", 2),
        (["evaluate", "{results}"], "Missing argument 'RESULTS", 2),
        (["compare", "{results}", "{others}"], "have no recording in common", 2),
        (["compare", "{results}"], "Missing argument 'B'", 2),
        (["compare", "{results}", "{tags}"], "{results} has events, and {tags} tags; compare files of one kind", 2),
        (["compare", "{tags}", "{results}"], "{tags} has tags, and {results} events; compare files of one kind", 2),
        (["compare", "{results}", "{labels}", "--classes", "Dogg"], "neither has the class Dogg; classes that", 2),
        (["compare", "{results}", "{labels}", "-o", "{results}"], "is read by this command; choose another", 1),
        (["compare", "{results}", "{results}", "--tolerance", "nan"], "'nan' is not a finite number", 2),
        (["compare", "nowhere", "nothing", "{audio}"], "nowhere: no such model", 1),
        (["compare", "{model}", "{model}", "{labels}"], "labels.tsv: not audio", 1),
        (["tune", "nowhere.wav", "--labels", "{labels}"], "nowhere.wav: no such file", 1),
        (["tune"], "no LABELLED recordings given", 2),
        (["tune", "a.wav", "b.wav"], "--labels is missing", 2),
        (["tune", "{audio}", "--labels", "{labels}", "-o", "{labels}"], "is read by this command; choose another", 1),
        (["tune", "{audio}", "--labels", "{labels}", "-o", "x.toml", "--json", "x.toml"], "name the same file", 2),
        (["tune", "{audio}", "--labels", "{others}"], "is about other.wav, not about", 2),
        (["tune", "{audio}/0.wav", "--labels", "{labels}"], "tuning needs two or more", 2),
        (["tune", "{audio}", "--labels", "{weak}"], "has no events; tuning needs labels with onset and offset", 2),
    ],
)  # fmt: skip
def test_wrong_input_is_explained(sedkit, folder: Path, tmp_path: Path, model_path: Path, arguments, message, code):
    header = "filename\tonset\toffset\tevent_label\n"
    (tmp_path / "empty.tsv").write_text("")
    (tmp_path / "cats.tsv").write_text(header + "0.wav\t1\t2\tCat\n")
    (tmp_path / "others.tsv").write_text(header + "other.wav\t1\t2\tDog\n")
    (tmp_path / "weak.tsv").write_text("filename\tevent_labels\n0.wav\tDog\n1.wav\tDog\n")
    places = {name: tmp_path / f"{name}.tsv" for name in ("empty", "cats", "others", "weak")}
    (tmp_path / "bird.toml").write_text("[classes.Bird]\nthreshold = 0.2\n")
    places |= {
        "bird": tmp_path / "bird.toml",
        "model": model_path,
        "results": folder / "results.tsv",
        "labels": folder / "labels.tsv",
        "audio": folder / "audio",
        "tags": tmp_path / "tags.csv",
    }
    places["tags"].write_text("file,label,score\n0.wav,Dog,0.9\n")
    result = sedkit(*(argument.format(**places) for argument in arguments))
    assert message.format(**places) in result.stderr
    assert result.exit_code == code
    assert result.stdout == ""
    assert code == 2 or result.stderr.count("\n") == 1


def test_results_are_compared(sedkit, folder: Path, tmp_path: Path):
    output = tmp_path / "changes.json"
    assert sedkit("compare", folder / "results.tsv", folder / "labels", "-o", output).exit_code == 0
    report = json.loads(output.read_text())
    assert report["recordings"] == {"both": 3, "only_a": 0, "only_b": 0}
    assert report["events"]["same"] > 0
    assert report["events"]["only in A"] == report["events"]["only in B"] == 0
    result = sedkit("compare", folder / "results.tsv", folder / "labels", "--tolerance", "0")
    assert "moved" in result.stdout
    assert "only in A" in result.stdout


def test_results_without_events_are_compared_and_measured(sedkit, folder: Path, tmp_path: Path):
    empty = tmp_path / "empty.tsv"
    empty.write_text("file\tonset\toffset\tlabel\tmid\tscore\n")
    report = json.loads(sedkit("compare", folder / "results.tsv", empty, "-f", "json").stdout)
    assert report["recordings"] == {"both": 0, "only_a": 3, "only_b": 0}
    assert report["events"]["only in A"] == len(report["differences"]) > 0
    result = sedkit("evaluate", empty, folder / "labels.tsv", "--bootstrap", "5", "-f", "json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["overall"]["event_f1"]["value"] == report["overall"]["segment_f1"]["value"] == 0
    assert {row["event_recall"]["value"] for row in report["classes"]} == {0}


def test_reports_go_to_standard_output(sedkit, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    result = sedkit("compare", folder / "results.tsv", folder / "labels.tsv", "-o", "-")
    assert result.stdout.startswith("A: ")
    result = sedkit("evaluate", folder / "results.tsv", folder / "labels.tsv", "--bootstrap", "0", "--output", "-")
    assert result.stdout.startswith("3 recordings")
    assert not list(tmp_path.iterdir())


def test_models_are_compared_on_recordings(sedkit, folder: Path, model_path: Path):
    audio = sorted((folder / "audio").glob("*.wav"))
    result = sedkit("compare", model_path, model_path, *audio, folder / "nothing.wav", "-f", "json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert result.stderr.count("nothing.wav: no such file") == 1
    assert report["differences"] == []
    assert report["recordings"]["both"] == 3
    assert all(row["tags"]["largest_difference"] == 0 for row in report["classes"] if row["tags"])


def test_tuned_settings_can_be_used(sedkit, folder: Path, tmp_path: Path):
    output, figures = tmp_path / "mine.toml", tmp_path / "figures.json"
    arguments = ["tune", folder / "audio", "--labels", folder / "labels", "--folds", "2"]
    result = sedkit(*arguments, "-o", output, "--json", figures)
    assert result.exit_code == 0
    assert "held out, 2 folds, with 95 % intervals" in result.stdout
    settings = PostProcessing.read_toml(output)
    report = json.loads(figures.read_text())
    assert report["toml"] == settings.to_toml()
    assert 0 <= report["held_out"]["event-f1"]["tuned"]["value"] <= 1
    assert output.read_text().startswith("# Settings of sedkit tune for the model test, from 3 recordings, ")


def test_settings_go_to_standard_output_and_figures_elsewhere(sedkit, folder: Path, tmp_path: Path):
    audio = [folder / "audio" / f"{number}.wav" for number in range(2)]
    arguments = ["tune", *audio, "--labels", folder / "labels.tsv", "--metric", "segment-f1"]
    result = sedkit(*arguments)
    (tmp_path / "piped.toml").write_text(result.stdout)
    assert PostProcessing.read_toml(tmp_path / "piped.toml")
    assert "2 recordings" in result.stderr
    assert sedkit(*arguments, "-o", "-").stdout == result.stdout
