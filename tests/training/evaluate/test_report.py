"""The report on runs beside the paper's numbers, checked on made-up runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from training.evaluate.commands import main
from training.evaluate.report import classes, document, stages, sweep, table2
from training.evaluate.tables.run_comparison import Spread, alphas, studies

CLASSES = ("Dog", "Rain", "Bell")


def network(aps: list[float | None], supervision: dict[str, float], generation: int) -> dict[str, Any]:
    """A generation's report in which classes have these APs."""
    known = [ap for ap in aps if ap is not None]
    entries = [{"label": name, "AP": ap, "AUC": 0.9} for name, ap in zip(CLASSES, aps, strict=True)]
    summary = {"mAP": sum(known) / len(known), "mAUC": 0.9 + generation / 100, "classes": entries}
    return {"generation": generation, "supervision": supervision, "validation": summary, "test": summary}


def made(folder: Path, name: str, seed: int, stages: list[tuple[dict[str, float], list[float | None]]]) -> Path:
    """A finished run of made-up networks."""
    directory = folder / name
    directory.mkdir(parents=True)
    config = {
        "date": "2026-01-02",
        "git_revision": "abc",
        "device": "a device",
        "clips": {"train": 100, "validation": 10, "test": 20},
        "seed": seed,
        "manifest_sha256": "0123456789abcdef0123",
        "labels": [{"name": name} for name in CLASSES],
        "settings": {"width": 0.125, "epochs": 3, "crop": 4.0, "batch_size": 16, "learning_rate": 0.002},
    }
    rows = [network(aps, weights, number) for number, (weights, aps) in enumerate(stages)]
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "report.json").write_text(json.dumps(rows))
    return directory


LABELS = {"labels": 1.0}


def student(alpha: float, stage: int) -> dict[str, float]:
    return {key: weight for key, weight in (("labels", alpha), (str(stage - 1), 1 - alpha)) if weight}


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two seeds of three cascades."""
    found = []
    for seed, shift in ((0, 0.0), (1, 0.1)):
        base = [0.05 + shift, 0.3 + shift, 0.55 + shift]
        fixed = [(LABELS, base)] + [
            (student(0.3, stage), [base[0] * (1 + stage), base[1] * 1.1, base[2] * 0.8]) for stage in (1, 2)
        ]
        found.append(made(tmp_path, f"fixed-seed{seed}", seed, fixed))
        only = [(LABELS, base), (student(0, 1), base), (student(0, 2), base)]
        found.append(made(tmp_path, f"only-seed{seed}", seed, only))
        several = [(LABELS, base), fixed[1], ({"labels": 0.3, "0": 0.35, "1": 0.35}, [ap * 1.2 for ap in base])]
        found.append(made(tmp_path, f"several-seed{seed}", seed, several))
    return found


def study(runs: list[Path]):
    (one,), faults = studies(runs)
    assert not faults
    return one


def rows(text: str) -> dict[str, list[str]]:
    """Cells of a table in Markdown by the first."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {cells[0]: cells[1:] for cells in lines[2:]}


def test_shared_networks_count_once_and_seeds_are_grouped(runs: list[Path]) -> None:
    one = study(runs)
    assert len(one.networks) == 6  # Teacher-0; two students of each of the first two cascades; one of several teachers
    assert {len(seeds) for seeds in one.networks.values()} == {2}
    assert sorted(one.cascades.values()) == ["fixed", "only", "several"]


def test_a_missing_setting_counts_as_its_default(tmp_path: Path) -> None:
    earlier, later = (made(tmp_path, f"a-seed{seed}", seed, [(LABELS, [0.1, 0.2, 0.3])]) for seed in (0, 1))
    config = json.loads((later / "config.json").read_text())
    config["settings"] |= {"views": 0, "teachers_hear": "clip", "network": "wels"}
    (later / "config.json").write_text(json.dumps(config))
    assert len(study([earlier, later]).configs) == 2


def test_table_2_with_the_papers_numbers(runs: list[Path]) -> None:
    found = rows(table2(study(runs)))
    assert found["WELS-Net (Teacher-0)"] == ["0", "2", "0.350 ± 0.071", "0.900 ± 0.000", "", "0.352", "0.962"]
    assert found["SeCoST, alpha 0.3"][:2] == ["2", "2"]
    assert found["SeCoST, alpha 0.3"][5:] == ["0.379", ""]
    assert found["teachers only (alpha 0)"][4] == "+0.0% ± 0.0%"
    assert found["several teachers (Eq. 6), several"][4:] == ["+20.0% ± 0.0%", "", ""]


def test_changes_over_stages_are_computed_per_seed(runs: list[Path]) -> None:
    one = study(runs)
    (line,) = [line for line, name in one.cascades.items() if name == "fixed"]
    found = rows(stages(one, line))
    # Seed 0: 0.9 to 0.1 + 0.33 + 0.44 = 0.87, -3.3 %; seed 1: 1.2 to 0.3 + 0.44 + 0.52 = 1.26, +5.0 %.
    assert found["Student 1"] == [
        "0.3 labels + 0.7 T0",
        "0.355 ± 0.092",
        "0.910 ± 0.000",
        "+0.8% ± 5.9%",
        "0.374",
        "+6.3%",
    ]
    assert found["Student 2"][4:] == ["0.379", "+7.7%"]


def test_sweep_over_the_teachers_weight(runs: list[Path], tmp_path: Path) -> None:
    one = study(runs)
    assert [share for share, _ in one.first_students()] == pytest.approx([0.7, 1])
    found = rows(sweep(one))
    assert found["1"] == ["0", "0.350 ± 0.071", "+0.0% ± 0.0%", "0.366"]
    (alone,), _ = studies([made(tmp_path, "alone", 0, [(LABELS, [0.1, 0.2, 0.3])])])
    assert sweep(alone) == ""


def test_classes_are_compared_for_the_student_with_the_best_validation_map(runs: list[Path]) -> None:
    one = study(runs)
    assert alphas(one.best()) is None  # +20 % of every class
    assert "several" in classes(one)
    found = rows(classes(one))
    assert found["better"] == ["3 of 3 (100%)", "448 of 527 (85%)"]
    assert found["better by more than 100 %"][0] == "0 of 3 (0%)"
    (fixed,), _ = studies([run for run in runs if run.name.startswith("fixed")])
    found = rows(classes(fixed))
    assert found["better"][0] == "2 of 3 (67%)"
    assert found["better by more than 100 %"][0] == "1 of 3 (33%)"
    assert found["worse by more than 10 %"][0] == "1 of 3 (33%)"
    assert found["best"][0] == "Dog +200%, Rain +10%, Bell -20%"
    assert found["worst"] == ["Bell -20%, Rain +10%, Dog +200%", "Squish -19%"]


def test_figure_4_is_the_change_of_mean_ap_within_a_range(runs: list[Path]) -> None:
    (fixed,), _ = studies([run for run in runs if run.name == "fixed-seed0"])
    found = {low: (count, change) for low, _, count, change in fixed.by_range()}
    assert found[0.0] == (1, pytest.approx(2.0))
    assert found[0.3] == (1, pytest.approx(0.1))
    assert found[0.5] == (1, pytest.approx(-0.2))
    assert found[0.1][0] == 0
    assert math.isnan(found[0.1][1])


def test_a_class_without_clips_is_left_out(tmp_path: Path) -> None:
    (one,), _ = studies([made(tmp_path, "run", 0, [(LABELS, [0.2, None, 0.4]), (student(0.3, 1), [0.3, None, 0.4])])])
    assert rows(classes(one))["better"][0] == "1 of 2 (50%)"
    assert sum(count for _, _, count, _ in one.by_range()) == 2
    assert "nan" not in document(one, [])


def test_a_spread_of_one_seed_has_no_deviation() -> None:
    assert Spread.of([0.25]).text() == "0.250"
    assert Spread.of([0.1, 0.3]).text("+.1%") == "+20.0% ± 14.1%"
    assert Spread.of([]).text() == Spread.of([math.nan]).text() == "-"


def test_the_command_writes_tables_and_figures(runs: list[Path], tmp_path: Path) -> None:
    other = made(tmp_path / "other", "wide", 0, [(LABELS, [0.1, 0.2, 0.3])])
    config = json.loads((other / "config.json").read_text())
    config["settings"]["width"] = 1.0
    (other / "config.json").write_text(json.dumps(config))
    (tmp_path / "torn").mkdir()
    output = tmp_path / "out"
    result = CliRunner().invoke(
        main, ["report", *map(str, runs), str(other), str(tmp_path / "torn"), "-o", str(output)]
    )
    assert result.exit_code == 0, result.output
    assert result.stderr == f"left out: {tmp_path}/torn: not a run directory: config.json: No such file or directory\n"
    assert (output / "report.md").read_text() == result.stdout
    assert result.stdout.count("## 6 runs") == result.stdout.count("## 1 run,") == 1
    assert "width 0.125, 3 epochs" in result.stdout
    assert "width 1, 3 epochs" in result.stdout
    for name in ("stages-1", "classes-1"):
        assert (output / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert "</svg>" in (output / f"{name}.svg").read_text()
        assert f"({name}.png)" in result.stdout
    assert not (output / "alpha-1.png").exists()  # two points are no curve


def test_report_on_a_real_run(run: Path) -> None:
    result = CliRunner().invoke(main, ["report", str(run)])
    assert result.exit_code == 0, result.output
    assert "| SeCoST, alpha 0.3 | 2 | 1 |" in result.stdout


def test_nothing_to_report(tmp_path: Path) -> None:
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.json").write_text("{}")
    for given, message in ((tmp_path / "nowhere", "No such file"), (tmp_path / "torn", "finish the run first")):
        result = CliRunner().invoke(main, ["report", str(given)])
        assert result.exit_code == 1
        assert message in result.output
    (tmp_path / "torn" / "report.json").write_text("[]")
    assert "config.json lacks date" in CliRunner().invoke(main, ["report", str(tmp_path / "torn")]).output
