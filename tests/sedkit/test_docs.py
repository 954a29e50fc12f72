"""The command pages and docs/formats.md match the code; so does the demonstration recording."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sedkit.cli import COMMANDS
from sedkit.formats import FORMATS
from sedkit.formats.writers import COLUMNS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["cli.md", "training-cli.md"])
def test_command_page_is_not_stale(name: str):
    if name == "training-cli.md":
        for module in ("torch", "onnx"):
            pytest.importorskip(module, reason=f"needs {module}, of the train extra")
    spec = importlib.util.spec_from_file_location("docs_cli", DOCS / "cli.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert (DOCS / name).read_text(encoding="utf-8") == generator.PAGES[name](), "run: python docs/cli.py"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str):
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert f"## sedkit {command}\n" in page
    assert f"Usage: sedkit {command} " in page


def test_every_command_module_is_registered():
    modules = {
        path.stem for path in (DOCS.parent / "sedkit" / "cli").glob("*.py") if "@click.command(" in path.read_text()
    }
    assert modules == set(COMMANDS)


def test_every_format_and_column_is_documented():
    page = (DOCS / "formats.md").read_text(encoding="utf-8")
    for name, writer in FORMATS.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*$", page, re.MULTILINE)
        if name in ("json", "csv"):
            assert all(f"`{suffix}`" in row for suffix in writer.suffixes)
    for kind, columns in COLUMNS.items():
        assert f"| {kind} | {' | '.join(f'`{column}`' for column in columns)} |" in page
        assert all(re.search(rf"^\| .*`{column}`.* \|", page, re.MULTILINE) for column in columns)


def test_demonstration_recording_matches_its_labels(tmp_path: Path):
    script = DOCS.parent / "examples" / "demo.py"
    texts = [
        subprocess.check_output([sys.executable, script, tmp_path / name], text=True) for name in ("a.wav", "b.wav")
    ]
    assert texts[0] == texts[1]
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    sound, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == 16000
    assert 12 < len(sound) / rate < 25
    labelled = np.zeros(len(sound), bool)
    for line in texts[0].splitlines():
        onset, offset, label = line.split("\t")
        part = slice(round(float(onset) * rate), round(float(offset) * rate))
        labelled[part] = True
        assert label
        assert np.abs(sound[part]).max() == pytest.approx(0.5, abs=0.01)
    assert np.abs(sound[~labelled]).max() < 0.01
