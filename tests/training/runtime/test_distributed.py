"""Two processes train what one trains, and end as one."""

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

from tests.training.conftest import SMALL, begin, cascade, metrics, weights
from tests.training.processes import background, ranks, rendezvous, wait_for
from training.networks.wels import Network
from training.runtime import distributed

GENTLE = ["--learning-rate", "1e-4"]  # Adam's first steps are of one size: they make much of a last digit


def worker(agent: int, rank: int) -> int:
    """Process number of a rank that torchrun, as ``agent``, has started."""
    for child in Path(f"/proc/{agent}/task/{agent}/children").read_text().split():
        if f"RANK={rank}" in Path(f"/proc/{child}/environ").read_text().split("\0"):
            return int(child)
    raise AssertionError(f"torchrun has started no rank {rank}")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes in /proc")
def test_two_processes_train_what_one_trains_and_end_when_one_dies_and_one_goes_on(
    small_manifest: Path, tmp_path: Path
) -> None:
    alone, together, log = tmp_path / "alone", tmp_path / "together", tmp_path / "log"
    settings = ["--stages", "1", "--ema", "0.5", *GENTLE]
    begin(small_manifest, alone, *settings)
    cascade(alone)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "training.secost", "--manifest", small_manifest, "--directory", together, *SMALL, *settings]
    with log.open("wb") as file:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([*command, "--sync-bn"], stdout=file, stderr=file, env=environment)
    while not (together / "generation-1" / "checkpoint.pt").exists():
        assert process.poll() is None, log.read_text()
        time.sleep(0.001)
    os.kill(worker(process.pid, 1), signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    said = log.read_text()
    assert said.count("Teacher-0  epoch 3/3") == 1, "rank 0 alone speaks"
    assert f"resume with: torchrun --nproc-per-node 2 -m training.secost --resume {together}" in said
    cascade(together)
    for generation in range(2):
        np.testing.assert_allclose(metrics(together, generation), metrics(alone, generation), rtol=2e-3)
        expected = weights(alone, generation)
        for name, value in weights(together, generation).items():
            if name.endswith("weight"):
                assert (value - expected[name]).norm() < 0.02 * expected[name].norm(), name


WAITING = """
import os, sys, threading, time
os.environ.update(RANK="0", WORLD_SIZE="2", LOCAL_RANK="0", LOCAL_WORLD_SIZE="2")
os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="1")
threads = [threading.Thread(target=time.sleep, args=(60,), daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()  # before: signals may come to them
from training.runtime.interruption import ExitReporter
ExitReporter().report_sigterm()
print("ready", flush=True)
threads[0].join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="torchrun sends SIGTERM where there is one")
def test_whichever_thread_sigterm_comes_to_it_says_so() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert said.startswith("terminated, as torchrun does when another process of the run ends; no epoch was trained")
    assert process.returncode == 128 + signal.SIGTERM


def test_batch_statistics_are_those_of_each_process_unless_synchronised(small_manifest: Path, tmp_path: Path) -> None:
    """Two processes compute what one does that goes through the two halves of a batch in turn."""
    settings = ["--stages", "0", "--epochs", "1", "--dropout", "0.5", *GENTLE]
    begin(small_manifest, tmp_path / "whole", *settings)
    cascade(tmp_path / "whole")
    begin(small_manifest, tmp_path / "halves", *settings, "--accumulate", "2")
    cascade(tmp_path / "halves", accumulate=2)
    command = ["--manifest", small_manifest, "--run", tmp_path / "two", *SMALL, *settings]
    both = ranks(*command, log=tmp_path / "log")
    wait_for((tmp_path / "two" / "generation-0" / "network.pt").exists, both[0])
    for process in both:
        process.kill()
        process.join()
    two, halves, whole = (metrics(tmp_path / name, 0) for name in ("two", "halves", "whole"))
    np.testing.assert_allclose(two, halves, rtol=1e-3)
    assert np.abs(np.subtract(two, halves)).max() < 0.2 * np.abs(np.subtract(two, whole)).max()


def test_an_error_is_said_once_and_ends_all(tmp_path: Path) -> None:
    both = ranks("--manifest", tmp_path / "nowhere.csv", "--device", "cpu", log=tmp_path / "log")
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [1, 1]
    assert "nowhere.csv: no such manifest" in (tmp_path / "log.0").read_text()
    assert not (tmp_path / "log.1").read_text()


def normalise(environment: dict[str, str], folder: str) -> None:
    """A network's loss and gradient on half of a batch each, with statistics of the whole."""
    os.environ.update(environment)
    torch.manual_seed(0)
    network, logmel = Network(3, 1 / 16), torch.randn(6, 1, 96, 64)
    with distributed.process_group(torch.device("cpu")):
        synchronised = distributed.with_sync_batch_norm(network).train()
        assert any(isinstance(module, distributed.SyncBatchNorm) for module in synchronised.modules())
        part = slice(0, 2) if distributed.rank() == 0 else slice(2, 6)
        synchronised.wels(logmel[part]).clip.sum().backward()
        values = {
            name: distributed.sum_over_ranks(p.grad.numpy().copy()) for name, p in synchronised.named_parameters()
        }
        values |= {name: buffer.numpy() for name, buffer in synchronised.named_buffers()}
        if distributed.rank() == 1:
            np.savez(Path(folder) / "values.npz", **values)


def test_synchronised_statistics_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    both = [background(normalise, environment, str(tmp_path)) for environment in rendezvous(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    torch.manual_seed(0)
    network, logmel = Network(3, 1 / 16).train(), torch.randn(6, 1, 96, 64)
    network.wels(logmel).clip.sum().backward()
    found = np.load(tmp_path / "values.npz")
    for name, parameter in network.named_parameters():
        np.testing.assert_allclose(found[name], parameter.grad.numpy(), rtol=1e-3, atol=1e-4, err_msg=name)
    for name, buffer in network.named_buffers():
        np.testing.assert_allclose(found[name], buffer.numpy(), rtol=1e-4, atol=1e-6, err_msg=name)


def test_one_process_needs_nobody() -> None:
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.on_rank_0(lambda: "done") == "done"
    assert distributed.rank_0_decides(True)
    np.testing.assert_array_equal(distributed.sum_over_ranks(np.ones(2)), [1, 1])
    network = Network(2, 1 / 16)
    assert distributed.with_sync_batch_norm(network) is network
