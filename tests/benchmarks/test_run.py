"""``python -m benchmarks --quick`` runs, and docs/benchmarks.md documents its output."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="benchmarks need the extra 'benchmarks'")

from benchmarks import report
from benchmarks.__main__ import BENCHMARKS, main, rows_to_keep

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results.json"


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> tuple[dict, str]:
    """Results and table of a quick run of benchmarks that need no other network."""
    folder = tmp_path_factory.mktemp("benchmarks")
    path = folder / "results.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "9,1,3,4", "--output", str(path)]
    variables = os.environ | {"XDG_CACHE_HOME": str(folder), "SEDKIT_DATA": str(folder)}  # no clips, empty cache
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(path.read_text("utf-8")), done.stdout


@pytest.mark.slow
def test_quick_run_measures_and_does_not_judge(quick):
    results, _ = quick
    rows = [row for row in results["rows"] if row["value"] is not None]
    assert {row["benchmark"] for row in rows} == {1, 3, 9}
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["met"] is None  # no verdict in quick runs
    shares = [row["value"] for row in rows if row["benchmark"] == 1]
    assert all(0.01 < share < 100 for share in shares)
    seams = [row["value"] for row in rows if row["benchmark"] == 9]
    assert max(seams) <= 1e-6
    assert results["failures"] == []
    assert results["machine"]["cpus"] >= 1


@pytest.mark.slow
def test_unavailable_benchmark_is_reported_and_the_others_run(quick):
    results, table = quick
    (row,) = (row for row in results["rows"] if row["benchmark"] == 4)
    assert row["value"] is None
    assert "needs YAMNet" in row["figure"]
    assert "needs YAMNet" in table
    assert "SYNTHETIC" in table
    assert "QUICK" in table


@pytest.mark.slow
def test_table_through_a_pipe_is_markdown(quick):
    results, table = quick
    assert "\x1b" not in table
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(results["rows"])
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.slow
def test_every_json_key_is_documented(quick):
    results, _ = quick
    page = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    for key in [*results, *results["rows"][0]]:
        assert re.search(rf"^\| .*`{key}`.* \|", page, re.MULTILINE), key
    for number in BENCHMARKS:
        assert f"\n| {number} | " in page


@pytest.mark.skipif(not RESULTS.exists(), reason="no committed results")
def test_docs_show_the_committed_results():
    page = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    assert page == report.page(page, json.loads(RESULTS.read_text("utf-8"))), "run: python -m benchmarks.report"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "10"), "numbered 1 to 9"),
        (("--only", "one"), "numbered 1 to 9"),
        (("--repeats", "0"), "x>=1"),
        (("--output", "no/such/folder/x.json"), "no such folder"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, message):
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.slow
def test_only_replaces_rows_of_an_existing_file(quick, tmp_path):
    results, _ = quick
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results), "utf-8")
    assert {row["benchmark"] for row in rows_to_keep(path, [4, 9], results)} == {1, 3}
    with pytest.raises(click.UsageError, match="differs in commit"):
        rows_to_keep(path, [4, 9], results | {"commit": {"revision": "another", "changed": False}})
    path.write_text("{", "utf-8")
    with pytest.raises(click.UsageError, match="not a results file"):
        rows_to_keep(path, [4, 9], results)
