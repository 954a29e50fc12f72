"""sedkit.audio.microphone, with a fake of the package sounddevice."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from sedkit.audio.microphone import MAX_QUEUED_BLOCKS, Microphone, microphones
from sedkit.errors import DeviceError
from tests.sedkit.audio.piping import SOUND, all_samples, wait_until

SOUNDDEVICE = '''
"""A fake sounddevice with one microphone, which plays a file of float32 samples."""
import threading, types
import numpy as np

SOUND = np.fromfile({sound!r}, np.float32)
DEVICES = [
    {{"index": 0, "name": "Loudspeaker", "max_input_channels": 0, "default_samplerate": 48000.0}},
    {{"index": 1, "name": "Test microphone", "max_input_channels": 2, "default_samplerate": 16000.0}},
]
default = types.SimpleNamespace(device={{"input": 1, "output": 0}})

class PortAudioError(Exception):
    pass

def query_devices(device=None, kind=None):
    if kind is None:
        return DEVICES
    found = [x for x in DEVICES if device in (None, x["index"]) or (isinstance(device, str) and device in x["name"])]
    found = [x for x in found if x["max_input_channels"]]
    if not found:
        raise ValueError(f"No input device matching {{device!r}}")
    return found[0]

class InputStream:
    def __init__(self, device, samplerate, dtype, channels, blocksize, callback, finished_callback):
        if channels == 1:
            raise PortAudioError("Error opening InputStream: Invalid number of channels [PaErrorCode -9998]")
        if samplerate > 192000:
            raise PortAudioError("Error opening InputStream: Invalid sample rate [PaErrorCode -9997]")
        self.callback, self.finished, self.block, self.channels = callback, finished_callback, blocksize, channels

    def start(self):
        threading.Thread(target=self.play, daemon=True).start()

    def play(self):
        buffer = np.empty((self.block, self.channels), np.float32)
        for start in range(0, len(SOUND) - self.block + 1, self.block):
            buffer[:] = SOUND[start : start + self.block, None]
            self.callback(buffer, self.block, None, types.SimpleNamespace(input_overflow=start == 5 * self.block))
            buffer[:] = 9  # PortAudio reuses the buffer
        self.finished()

    def close(self):
        pass
'''


@pytest.fixture
def microphone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``import sounddevice`` find the fake."""
    SOUND.tofile(tmp_path / "sound.f32")
    (tmp_path / "sounddevice.py").write_text(SOUNDDEVICE.format(sound=str(tmp_path / "sound.f32")))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)


@pytest.mark.usefixtures("microphone")
@pytest.mark.parametrize("name", [None, "Test", "1"])
def test_microphone(name):
    live = Microphone(name)
    assert (live.name, live.sample_rate, live.endless) == ("Test microphone", 16_000, True)
    samples = all_samples(live)
    np.testing.assert_array_equal(
        samples, np.stack([SOUND, SOUND], axis=1)
    )  # the fake refuses to open a single channel
    assert live.losses == 1
    assert microphones() == [(1, "Test microphone", 2, 16_000.0, True)]


@pytest.mark.usefixtures("microphone")
def test_microphone_counts_blocks_lost_by_a_slow_consumer():
    live = Microphone(None, 1_600)  # blocks of 160 samples, 300 of them
    with live:
        wait_until(lambda: live.losses == 1 + 300 - MAX_QUEUED_BLOCKS)
        samples = np.concatenate(list(live))
    assert len(samples) == MAX_QUEUED_BLOCKS * 160
    assert live.losses == 1 + 300 - MAX_QUEUED_BLOCKS


@pytest.mark.usefixtures("microphone")
def test_microphone_errors():
    with pytest.raises(DeviceError, match=r"nosuch: no such microphone .*sedkit listen --list"):
        Microphone("nosuch")
    with pytest.raises(DeviceError, match=r"Test microphone: cannot be opened \(.*sample rate.*--rate"):
        Microphone(None, 1_000_000)
    sys.modules["sounddevice"].DEVICES.pop()
    with pytest.raises(DeviceError, match="this computer has no microphone"):
        Microphone()


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [("ModuleNotFoundError", r"pip install 'sedkit-audio\[listen\]'"), ("OSError", "apt install libportaudio2")],
)
def test_missing_sounddevice_or_portaudio(tmp_path, monkeypatch, fault, remedy):
    (tmp_path / "sounddevice.py").write_text(f"raise {fault}('not here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    for call in (Microphone, microphones):
        with pytest.raises(DeviceError, match=remedy):
            call()
