"""Training processes for tests that kill or join them, forked from a server that has torch loaded."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["training.secost", "torch._dynamo"])  # torch.optim imports the latter


def background(work: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Run ``work`` in a process in which torch uses one thread."""
    process = SERVER.Process(target=_one_thread, args=(work, *arguments), daemon=True)
    process.start()
    return process


def _one_thread(work: Callable[..., Any], *arguments: Any) -> None:
    import torch

    torch.set_num_threads(1)  # more threads sum in another order, which changes the last digit
    work(*arguments)


def secost(arguments: list[str], log: str, environment: dict[str, str], chunk: int, without: tuple[str, ...]) -> None:
    """Run ``python -m training.secost`` with its output in the file ``log``."""
    from training import secost as command
    from training.supervision import targets

    os.environ.update(environment)
    with Path(log).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    assert not set(without) & set(sys.modules)
    sys.modules.update(dict.fromkeys(without))  # None: cannot be imported
    targets.CHUNK = chunk
    command.main(arguments)


def training(
    *arguments: str | Path,
    log: Path,
    environment: dict[str, str] | None = None,
    chunk: int = 2048,
    without: tuple[str, ...] = (),
) -> BaseProcess:
    """Start ``python -m training.secost`` in a process of its own.

    ``chunk``: clips that a teacher scores between two writes. ``without``: packages that cannot be imported.
    """
    return background(secost, [str(a) for a in arguments], str(log), environment or {}, chunk, without)


def rendezvous(count: int) -> list[dict[str, str]]:
    """The environment variables that torchrun would set for each of ``count`` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    return [{**shared, "MASTER_PORT": port, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def start_ranks(*arguments: str | Path, log: Path, count: int = 2) -> list[BaseProcess]:
    """Start the processes that torchrun would start. The output of rank r goes to ``log.r``."""
    return [
        training(*arguments, log=log.with_suffix(f".{rank}"), environment=environment)
        for rank, environment in enumerate(rendezvous(count))
    ]


def wait_for(condition: Callable[[], Any], process: BaseProcess) -> None:
    """Wait until ``condition()`` is true; fail if the process ends first."""
    while not condition():
        assert process.is_alive(), "the process ended early"
        time.sleep(0.0005)
