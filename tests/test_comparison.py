"""The tables that compare the shipped models are those of the committed figures."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_tables_agree_with_the_figures() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "comparison.py"))["pages"]()
    assert {path.name for path in pages} == {"README.md", "default-model.md", "unknown-thresholds.md"}
    for path, text in pages.items():
        assert path.read_text("utf-8") == text, "run python docs/comparison.py"
