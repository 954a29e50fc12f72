"""Shared fixtures: a tiny model with random weights, synthetic sounds, and the folder of real clips if there is one."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sedkit.contract import Contract, Label
from sedkit.geometry import SAMPLE_RATE
from sedkit.tagger import Tagger

LABELS = (
    Label("Speech", "/m/09x0r", 0),
    Label("Dog", "/m/0bt9lr", 74),
    Label("Siren", "/m/03kmc9", 396),
    Label("Church bell", "/m/03w41f", 201),
    Label("Our kettle"),  # a custom class
)
THRESHOLDS = (0.5, 0.4, 0.6, 0.3, 0.5)


def make_sound(seconds: float, rate: int = SAMPLE_RATE, seed: int = 0) -> NDArray[np.float32]:
    """Bursts of noise and tones separated by near silence, [samples] in [-1, 1]."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * rate)
    time = np.arange(samples) / rate
    sound = 0.003 * rng.standard_normal(samples)
    for start in np.arange(0, seconds, 0.7):
        burst = (time >= start) & (time < start + rng.uniform(0.1, 0.6))
        tone = np.sin(2 * np.pi * rng.uniform(150, 3000) * time[burst])
        sound[burst] += rng.uniform(0.05, 0.4) * (tone if rng.random() < 0.5 else rng.standard_normal(burst.sum()))
    return np.clip(sound, -1, 1).astype(np.float32)


os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # tests import ONNX Runtime by themselves


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Cache optimised graphs in a temporary folder instead of the user's, in child processes too."""
    os.environ["SEDKIT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def description() -> Contract:
    """Metadata of the test model."""
    return Contract("test", LABELS, THRESHOLDS, {"kind": "none"}, {"seed": 0}, "CC0-1.0")


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory, description: Contract) -> Path:
    """A narrow exported WELS-Net with random weights. Its scores are meaningless but depend on the input.

    It is built once for all test processes, because the export takes ten seconds.
    """
    base = tmp_path_factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "test.onnx"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
        if not path.exists():
            export_narrow(description, path)
    return path


def export_narrow(description: Contract, path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the test model is built with torch")
    from training.networks.wels import Network
    from training.release.export import export

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(classes=len(LABELS), width=0.05)
        network.frontend.mean.fill_(-30.0)
        network.frontend.std.fill_(15.0)
        sound = torch.from_numpy(np.stack([make_sound(5, seed=seed) for seed in range(2)]))
        for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
            norm.momentum = 1.0  # use the statistics of the next batch, so that no layer saturates
        with torch.no_grad():
            network(sound)
            network.wels.L4.weight.mul_(3)
    export(network, description, path, [make_sound(10, seed=3)])


@pytest.fixture(scope="session")
def tagger(model_path: Path) -> Tagger:
    return Tagger(
        model_path, "cpu", threads=1
    )  # like the command line for a small model; with more, scores differ by 1e-6


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real recordings: $SEDKIT_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get("SEDKIT_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings in {folder} (set SEDKIT_DATA)")
    return folder
