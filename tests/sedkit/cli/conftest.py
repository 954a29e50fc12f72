"""The commands, run in this process, and recordings for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner, Result

from sedkit.cli import main
from tests.conftest import make_sound


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings, one of them in a subfolder, and a file that is not audio."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "below").mkdir()
    soundfile.write(folder / "a.wav", make_sound(2.5, 44100, seed=1), 44100)
    soundfile.write(folder / "b.flac", make_sound(4, seed=2), 16000)
    soundfile.write(folder / "below" / "c.ogg", make_sound(3, seed=3), 16000)
    (folder / "broken.wav").write_bytes(b"RIFF but no audio")
    return folder


@pytest.fixture
def sedkit(model_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEDKIT_DEBUG", "1")

    def run(command: str, *arguments: str | Path, model: Path | str | None = model_path, stdin: bytes = b"") -> Result:
        options = ["--model", str(model), "--device", "cpu"] if model else []
        result = CliRunner().invoke(main, [command, *options, *map(str, arguments)], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run
