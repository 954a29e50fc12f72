"""The run: Ray Data hands the shares of an archive to the workers of a cluster and collects their reports."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import sedkit
from sedkit.cluster.archive import Archive, Failure, Report, Share, parse_report
from sedkit.cluster.recordings import Recording
from sedkit.cluster.storage import Store, is_uri
from sedkit.cluster.worker import Ledger, Task, Worker
from sedkit.errors import DeviceError, SedkitError

if TYPE_CHECKING:
    from sedkit.formats import Kind
    from sedkit.inference.session import Device
    from sedkit.results import Tagging, Timeline
    from sedkit.timeline.views import View

RENEWAL = 10.0  # seconds between manifests
PATIENCE = 10.0  # seconds to wait for a cluster to answer


def analyse(
    kind: Kind,
    recordings: Sequence[Recording],
    output: str,
    *,
    model: Path,
    view: Callable[[], View[Tagging | Timeline]],
    options: Mapping[str, Any],
    device: Device = "auto",
    resume: bool = False,
    address: str | None = None,
    on_plan: Callable[[int], None] = lambda recordings: None,
    on_done: Callable[[Report], None] = lambda part: None,
    on_notice: Callable[[str], None] = lambda line: None,
) -> list[Failure]:
    """Analyse recordings on a Ray cluster into an archive (sedkit.cluster.archive).

    Parameters
    ----------
    kind : what the view finds.
    recordings : in the order of the results; the machines of all workers have to see them under that name.
    output : a folder that all machines share, or a URI.
    model : file of the model; only this machine needs to have it.
    view : makes a recording's result; goes to the workers by pickle.
    options : what the view was made with, by the names that a user knows them by; values that JSON can hold.
    device : ``"auto"`` takes the cluster's GPUs where it has some, a worker each, else a worker a CPU.
    resume : whether `output` may hold results already, with which the run goes on.
    address : of the cluster, as of ``ray.init``: None is $RAY_ADDRESS, else the cluster that runs on this machine, else
        a new one of this machine's CPUs, which ends with the run.
    on_plan, on_done : told how many recordings there are to do, and what came of each part of them.
    on_notice : told what a worker has to say of its device, and that Ray keeps us waiting.

    Returns
    -------
    The recordings that have no result, and why.

    Raises
    ------
    SedkitError
        If Ray or pyarrow are not installed, there is no cluster at the address, or it breaks down.
    OutputError
        If the archive cannot be written, or does not fit what is asked.
    ModelError, DeviceError
        If a worker cannot load the model.
    """
    content = model.read_bytes()
    settings = {
        "sedkit": sedkit.__version__,
        "results": kind,
        "--model": f"{model.name} (SHA-256 {hashlib.sha256(content).hexdigest()[:16]})",
        **options,
    }
    check_installed()
    archive = Archive(Store(output), settings, resume)  # first: Ray takes its time, and a mistake should show at once
    with connected(address, on_notice):
        workers = Workers.of_cluster(device)
        shares = archive.plan(recordings, os.getcwd(), workers.count)
        on_plan(sum(len(share.files) for share in shares))
        location = output if is_uri(output) else os.path.abspath(output)
        task = Task(kind, view, (model.name, content), device, workers.cpus, location)
        renewed = time.monotonic()
        try:
            for number, report in reports(task, shares, workers, on_notice):
                archive.reports[number] = report
                on_done(report)
                if time.monotonic() - renewed > RENEWAL:
                    archive.save()
                    renewed = time.monotonic()
        finally:
            archive.save()
    return archive.save_failures()


@dataclass(frozen=True)
class Workers:
    """How many workers a cluster has room for at the moment, and the CPUs and GPUs of each."""

    count: int
    cpus: int
    gpus: int

    @classmethod
    def of_cluster(cls, device: Device) -> Self:
        """A worker a GPU with its part of the machine's CPUs, or else a worker a CPU.

        Raises
        ------
        DeviceError
            If `device` needs a GPU and the cluster has none.
        """
        import ray

        nodes = [node["Resources"] for node in cast("Any", ray).nodes() if node["Alive"]]
        with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1]
        if device == "cpu" or (device == "auto" and not with_gpu):
            return cls(max(1, int(sum(node.get("CPU", 0) for node in nodes))), 1, 0)
        if not with_gpu:
            raise DeviceError(f"device {device} does not work: the cluster has no GPU; add one, or use --device cpu")
        cpus = max(1, min(int(node.get("CPU", 0) / node["GPU"]) for node in with_gpu))
        return cls(int(sum(node["GPU"] for node in with_gpu)), cpus, 1)


def reports(
    task: Task, shares: Sequence[Share], workers: Workers, on_notice: Callable[[str], None]
) -> Iterator[tuple[int, Report]]:
    """Numbers and reports of the shares, as they are done. A share whose worker is lost is done again.

    Raises
    ------
    SedkitError
        What a worker says that cannot work at all, or why the cluster broke down.
    """
    if not shares:
        return
    import ray
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a recording takes as long as it takes
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ledger = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Ledger).remote()
    pool = ray.data.ActorPoolStrategy(
        min_size=1,
        initial_size=min(workers.count, len(shares)),
        max_size=len(shares),  # the cluster may grow
        max_tasks_in_flight_per_actor=2,
    )
    rows = [asdict(share) for share in shares]
    answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        cast("Any", Worker),
        fn_constructor_args=(task, ledger),
        compute=pool,
        num_cpus=workers.cpus,
        num_gpus=workers.gpus or None,
    )
    notices = set()
    try:
        for answer in answers.iter_rows():
            if answer["error"]:
                raise SedkitError(answer["error"])
            if answer["notice"] and answer["notice"] not in notices:
                notices.add(answer["notice"])
                on_notice(answer["notice"])
            yield answer["number"], parse_report(answer["report"])
    except ray.exceptions.RayError as error:
        problem = last_line(error)
        remedy = "install sedkit[cluster] on all its machines" if "No module named" in problem else "mend it"
        raise SedkitError(f"the cluster broke down: {problem}; {remedy}, then --resume") from error


def last_line(error: BaseException) -> str:
    """Of what Ray says, which is a traceback, the error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else type(error).__name__


def check_installed() -> None:
    """Raise a SedkitError if what a cluster needs is not installed."""
    try:
        import pyarrow  # noqa: F401
        import ray  # noqa: F401
    except ImportError as error:
        raise SedkitError(
            f"--engine ray needs {error.name}, which is not installed: pip install 'sedkit[cluster]'"
        ) from None


@contextmanager
def connected(address: str | None, on_notice: Callable[[str], None]) -> Iterator[None]:
    """A Ray cluster to work on: the one this process is connected to, or for the time being that at the address.

    Parameters
    ----------
    on_notice : told if it takes long: Ray tries for minutes, without a word.

    Raises
    ------
    SedkitError
        If there is none.
    """
    import ray

    with redirect_stdout(io.StringIO()):  # Ray prints what it has also in its logs
        if ray.is_initialized():
            yield
            return
        wanted = address or os.environ.get("RAY_ADDRESS", "")
        check_answers(wanted)
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of a change to come
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else the driver logs to standard error, too
        waiting = threading.Timer(PATIENCE, on_notice, [f"still waiting for Ray {wanted}".rstrip()])
        waiting.start()
        try:
            with native_stderr_muted():  # it tells that it has read the variable
                ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # ConnectionError, ValueError, RuntimeError, and some that are plain Exception
            failing = f"{wanted}: no Ray cluster to be had there" if wanted else "Ray cannot be started on this machine"
            raise SedkitError(f"{failing}: {last_line(error.__cause__ or error)}") from error
        finally:
            waiting.cancel()
        try:
            yield
        finally:
            ray.shutdown()


def check_answers(address: str) -> None:
    """Raise a SedkitError if nothing listens at an address HOST:PORT, where Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), PATIENCE).close()
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SedkitError(
                f"{address}: no Ray cluster answers there ({reason}); check --address and $RAY_ADDRESS, or start one: "
                "ray start --head"
            ) from None


@contextmanager
def native_stderr_muted() -> Iterator[None]:
    """What libraries write to standard error past Python goes nowhere; what Python writes arrives."""
    with open(os.dup(2), "w", buffering=1) as kept, open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            with redirect_stderr(kept if sys.stderr is sys.__stderr__ else sys.stderr):
                yield
        finally:
            os.dup2(kept.fileno(), 2)
