"""Training in two processes: same results as in one, errors, a rank that dies, SIGTERM, shared scoring."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from sedkit.contract import Label
from sedkit.errors import SedkitError
from tests.training.conftest import SMALL, continue_run, metrics, start_run, weights
from tests.training.processes import background, rendezvous, start_ranks, wait_for
from training.data.clips import Clips
from training.loop.batches import Epoch
from training.loop.settings import Execution, Settings
from training.loop.trainer import Trainer
from training.networks.wels import Network
from training.runtime import distributed
from training.supervision.equations import LABELS
from training.supervision.segments import score_segments
from training.supervision.targets import Targets

LOW_RATE = ["--learning-rate", "1e-4"]  # Adam's first steps have a fixed size and would amplify rounding


def pid_of_rank(torchrun: int, rank: int) -> int:
    """Process id of a rank that the process ``torchrun`` has started."""
    for child in Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split():
        if f"RANK={rank}" in Path(f"/proc/{child}/environ").read_text().split("\0"):
            return int(child)
    raise AssertionError(f"torchrun has not started rank {rank}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_run_of_two_ranks_ends_when_one_is_killed_and_resumes_on_one_with_the_same_results(
    small_manifest: Path, tmp_path: Path
) -> None:
    alone, together, log = tmp_path / "alone", tmp_path / "together", tmp_path / "log"
    settings = ["--stages", "1", "--set", "ema=0.5", *LOW_RATE]
    start_run(small_manifest, alone, *settings, "--set", "accumulate=2")
    continue_run(alone, accumulate=2)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "training.secost", "--manifest", small_manifest, "--directory", together, *SMALL, *settings]
    with log.open("wb") as file:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    while not (together / "generation-1" / "checkpoint.pt").exists():
        assert process.poll() is None, log.read_text()
        time.sleep(0.001)
    os.kill(pid_of_rank(process.pid, 1), signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    output = log.read_text()
    assert output.count("Teacher-0  epoch 3/3") == 1, "only rank 0 prints"
    assert f"resume with: torchrun --nproc-per-node 2 -m training.secost --resume {together}" in output
    continue_run(together, accumulate=2)
    for generation in range(2):
        np.testing.assert_allclose(metrics(together, generation), metrics(alone, generation), rtol=5e-3)
        expected = weights(alone, generation)
        for name, value in weights(together, generation).items():
            if name.endswith("weight"):
                assert (value - expected[name]).norm() < 0.02 * expected[name].norm(), name


BLOCKED = """
import os, sys, threading, time
os.environ.update(RANK="0", WORLD_SIZE="2", LOCAL_RANK="0", LOCAL_WORLD_SIZE="2")
os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="1")
threads = [threading.Thread(target=time.sleep, args=(60,), daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()  # before report_sigterm, so that they can get the signal
from training.runtime.interruption import ExitReporter
ExitReporter().report_sigterm()
print("ready", flush=True)
threads[0].join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="SIGTERM is a POSIX signal")
def test_sigterm_is_reported_while_the_main_thread_is_blocked() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BLOCKED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert errors.startswith("terminated, as torchrun does when another process of the run ends; no epoch was trained")
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.slow
def test_ranks_normalise_their_own_parts_without_sync_bn(small_manifest: Path, tmp_path: Path) -> None:
    """Two processes compute the same as one with --accumulate 2."""
    settings = ["--stages", "0", "--epochs", "1", "--set", "dropout=0.5", *LOW_RATE]
    start_run(small_manifest, tmp_path / "whole", *settings)
    continue_run(tmp_path / "whole")
    start_run(small_manifest, tmp_path / "halves", *settings, "--set", "accumulate=2")
    continue_run(tmp_path / "halves", accumulate=2)
    command = ["--manifest", small_manifest, "--run", tmp_path / "two", *SMALL, *settings]
    processes = start_ranks(*command, log=tmp_path / "log")
    wait_for((tmp_path / "two" / "generation-0" / "network.pt").exists, processes[0])
    for process in processes:
        process.kill()
        process.join()
    two, halves, whole = (metrics(tmp_path / name, 0) for name in ("two", "halves", "whole"))
    np.testing.assert_allclose(two, halves, rtol=1e-3)
    assert np.abs(np.subtract(two, halves)).max() < 0.2 * np.abs(np.subtract(two, whole)).max()


def train_share(environment: dict[str, str], losses: str) -> None:
    """Train in one of two processes; rank 0 saves the losses."""
    os.environ.update(environment)
    with distributed.process_group(torch.device("cpu")):
        curve = loss_curve(Execution(torch.device("cpu")))
        if distributed.rank() == 0:
            np.save(losses, curve)


def loss_curve(execution: Execution) -> list[float]:
    """The losses of ten batches, with mixup and dropout."""
    settings = Settings(batch_size=4, crop=1.0, dropout=0.2, width=1 / 16)
    clips = noisy_clips(8)
    torch.manual_seed(0)
    trainer = Trainer(Network(3, 1 / 16, settings.dropout), settings, execution)
    losses = []
    for epoch in range(1, 6):
        for parts in Epoch(clips, Targets({LABELS: 1.0}, clips), settings, (0, 0, epoch), execution).batches():
            loss = trainer.step(parts, 1e-4)
            losses.append(float(distributed.sum_over_ranks(np.array([float(loss)]))[0]))
    return losses


def test_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    processes = [background(train_share, ranks, str(tmp_path / "losses.npy")) for ranks in rendezvous(2)]
    expected = loss_curve(Execution(torch.device("cpu"), accumulate=2))
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    found = np.load(tmp_path / "losses.npy")
    assert len(found) == 10
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    whole = loss_curve(Execution(torch.device("cpu")))  # each part has batch statistics of its own
    assert np.abs(found - expected).max() < 0.01 * np.abs(np.subtract(whole, expected)).max()


def test_error_on_rank_0_is_printed_once_and_ends_all_ranks(tmp_path: Path) -> None:
    processes = start_ranks("--manifest", tmp_path / "nowhere.csv", "--device", "cpu", log=tmp_path / "log")
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [1, 1]
    assert "nowhere.csv: no such manifest" in (tmp_path / "log.0").read_text()
    assert not (tmp_path / "log.1").read_text()


def score_share(environment: dict[str, str], folder: str) -> None:
    """Score isolated clips by segment in one of two processes; rank 1 saves what it gets."""
    os.environ.update(environment)
    torch.manual_seed(0)
    network, clips = Network(3, 1 / 16).eval(), noisy_clips()
    with distributed.process_group(torch.device("cpu")):
        found = score_segments(network, clips, Path(folder), 2)
        with pytest.raises((SedkitError, distributed.FailedOnRank0)):
            distributed.with_sync_batch_norm(network, torch.device("cpu"))
        if distributed.rank() == 1:
            np.savez(Path(folder) / "values.npz", segments=found.segments, firsts=found.firsts)


def noisy_clips(count: int = 5) -> Clips:
    random = np.random.default_rng(0)
    lengths = (20_000, 50_000, 16_000, 33_000, 8_000)
    waveforms = [random.integers(-9000, 9000, lengths[number % 5], np.int16) for number in range(count)]
    return Clips(waveforms, np.eye(3, dtype=np.float32)[np.arange(count) % 3], [Label(name) for name in "abc"])


def test_ranks_share_the_scoring_of_segments(tmp_path: Path) -> None:
    processes = [background(score_share, environment, str(tmp_path / "two")) for environment in rendezvous(2)]
    torch.manual_seed(0)
    expected = score_segments(Network(3, 1 / 16).eval(), noisy_clips(), tmp_path / "one", 2)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    found = np.load(tmp_path / "two" / "values.npz")
    np.testing.assert_array_equal(found["firsts"], expected.firsts)
    np.testing.assert_array_equal(found["segments"], expected.segments)


def test_single_process_needs_no_process_group() -> None:
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.on_rank_0(lambda: "done") == "done"
    assert distributed.rank_0_decides(True)
    np.testing.assert_array_equal(distributed.sum_over_ranks(np.ones(2)), [1, 1])
    network = Network(2, 1 / 16)
    assert distributed.with_sync_batch_norm(network, torch.device("cpu")) is network
