"""A run on a cluster: Ray Data distributes partitions to workers and collects their reports."""

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
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from sedkit.cluster.archive import Archive
from sedkit.cluster.partitions import Failure, Partition, Report, parse_report
from sedkit.cluster.recordings import Recording
from sedkit.cluster.storage import Store, is_uri
from sedkit.cluster.worker import Ledger, Task, Worker
from sedkit.errors import DeviceError, SedkitError
from sedkit.install import install_command, install_remedy, version

if TYPE_CHECKING:
    from sedkit.formats.writers import Kind
    from sedkit.inference.session import Device
    from sedkit.results import Tagging, Timeline
    from sedkit.timeline.views import View

Item = TypeVar("Item")

SAVE_INTERVAL = 10.0  # seconds between manifests
CONNECT_TIMEOUT = 10.0  # seconds
ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a warning about a future change
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # keeps the driver's log off standard error
}


def analyse(
    kind: Kind,
    recordings: Sequence[Recording],
    output: str,
    *,
    model: Path,
    make_view: Callable[[], View[Tagging | Timeline]],
    options: Mapping[str, Any],
    reading: Mapping[str, Any] | None = None,
    device: Device = "auto",
    resume: bool = False,
    address: str | None = None,
    on_plan: Callable[[int], None] = lambda remaining: None,
    on_report: Callable[[Report], None] = lambda report: None,
    on_notice: Callable[[str], None] = lambda line: None,
) -> list[Failure]:
    """Analyse recordings on a Ray cluster and write an archive (sedkit.cluster.archive).

    Parameters
    ----------
    kind : ``"tags"`` or ``"events"``.
    recordings : in the order of the results. All workers must be able to read them under these names.
    output : a folder that all machines share, or a URI.
    model : the model file; only this machine needs to have it.
    make_view : makes the view of one recording; sent to the workers by pickle.
    options : the options that determine the results, by name; values are JSON-serialisable.
    reading : arguments of :func:`sedkit.audio.reading.open_audio`.
    device : ``"auto"`` runs one worker per GPU if the cluster has GPUs, otherwise one per CPU.
    resume : whether to continue the results in ``output``.
    address : of the cluster, as for ``ray.init``. None is $RAY_ADDRESS, otherwise a cluster that runs on this machine,
        otherwise a new one with this machine's CPUs, which ends with the run.
    on_plan : called with the number of recordings to analyse.
    on_report : called with the report of each finished partition.
    on_notice : called with one-line notices: about a recording or a worker's device, or that Ray has not answered yet.

    Returns
    -------
    Those of the recordings that have no result, and why.

    Raises
    ------
    SedkitError
        If Ray or pyarrow is not installed, no cluster answers at the address, or the cluster fails.
    OutputError
        If the archive cannot be written, holds results and ``resume`` is false, or has other settings.
    ModelError, DeviceError
        If a worker cannot load the model.
    """
    content = model.read_bytes()
    settings = {
        "sedkit": version(),
        "results": kind,
        "--model": f"{model.name} (SHA-256 {hashlib.sha256(content).hexdigest()[:16]})",
        **options,
    }
    check_installed()
    archive = Archive(Store(output), settings, resume)  # before Ray starts, which is slow: mistakes show early
    with connected(address, on_notice), _settings_of_ray_data():
        workers = Workers.of_cluster(device)
        partitions = archive.plan(recordings, os.getcwd(), workers.count)
        on_plan(sum(len(partition.files) for partition in partitions))
        location = output if is_uri(output) else os.path.abspath(output)
        task = Task(kind, make_view, (model.name, content), device, workers.cpus, location, reading or {})
        last_saved = time.monotonic()
        try:
            for number, report in run_partitions(task, partitions, workers, on_notice):
                archive.reports[number] = report
                on_report(report)
                if time.monotonic() - last_saved > SAVE_INTERVAL:
                    archive.save()
                    last_saved = time.monotonic()
        finally:
            archive.save()
    return archive.save_failures()


@dataclass(frozen=True)
class Workers:
    """How many workers a cluster can run at present, and the CPUs and GPUs of each."""

    count: int
    cpus: int
    gpus: int

    @classmethod
    def of_cluster(cls, device: Device) -> Self:
        """One worker per GPU, with its share of the machine's CPUs, or one per CPU.

        Raises
        ------
        DeviceError
            If ``device`` needs a GPU and the cluster has none.
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


def run_partitions(
    task: Task, partitions: Sequence[Partition], workers: Workers, on_notice: Callable[[str], None]
) -> Iterator[tuple[int, Report]]:
    """Numbers and reports of the partitions, as they finish. If a worker is lost, its partition is analysed again.

    Raises
    ------
    SedkitError
        If a worker cannot start, or the cluster fails.
    """
    if not partitions:
        return
    import ray
    import ray.data

    ledger = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Ledger).remote()
    pool = ray.data.ActorPoolStrategy(
        min_size=1,
        initial_size=min(workers.count, len(partitions)),
        max_size=len(partitions),  # the cluster may grow
        max_tasks_in_flight_per_actor=2,
    )
    rows = [asdict(partition) for partition in partitions]
    answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        cast("Any", Worker),
        fn_constructor_args=(task, ledger),
        compute=pool,
        num_cpus=workers.cpus,
        num_gpus=workers.gpus or None,
    )
    notices = set()
    try:
        for answer in _quietly(iter(answers.iter_rows())):
            if answer["error"]:
                raise SedkitError(answer["error"])
            for notice in answer["notice"].splitlines():
                if notice not in notices:
                    notices.add(notice)
                    on_notice(notice)
            yield answer["number"], parse_report(answer["report"])
    except ray.exceptions.RayError as error:
        problem = last_line(error)
        missing = "No module named" in problem
        remedy = f"on all its machines, {install_command('cluster')}" if missing else "repair it"
        raise SedkitError(f"the cluster failed: {problem}; {remedy}, then --resume") from error


def _quietly(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items; while the next one is computed, what is printed on standard output is discarded."""
    while True:
        with redirect_stdout(io.StringIO()):  # Ray prints messages that are also in its logs
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


@contextmanager
def _settings_of_ray_data() -> Iterator[None]:
    """Ray Data without progress bars and without a limit on the time that one recording takes."""
    import ray.data

    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    values = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "execution_no_progress_timeout_s": -1,  # one recording may take hours
    }
    before = {name: getattr(context, name) for name in values}
    level = logger.level
    try:
        for name, value in values.items():
            setattr(context, name, value)
        logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        logger.setLevel(level)


def last_line(error: BaseException) -> str:
    """The last line of a Ray error, whose text is a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else type(error).__name__


def check_installed() -> None:
    """Raise a SedkitError if Ray or pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
        import ray  # noqa: F401
    except ImportError as error:
        raise SedkitError(
            f"--engine ray needs {error.name}, which is not installed: {install_remedy('cluster')}"
        ) from None


@contextmanager
def connected(address: str | None, on_notice: Callable[[str], None]) -> Iterator[None]:
    """Connect to a Ray cluster for the duration of the block, unless this process is connected already.

    Parameters
    ----------
    address : see :func:`analyse`.
    on_notice : called if connecting takes long; Ray itself tries silently for minutes.

    Raises
    ------
    SedkitError
        If no cluster can be reached or started.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    address_text = address or os.environ.get("RAY_ADDRESS", "")
    check_answers(address_text)
    waiting = threading.Timer(CONNECT_TIMEOUT, on_notice, [f"still waiting for Ray {address_text}".rstrip()])
    waiting.start()
    level = logging.getLogger("ray").level
    with _environment(ENVIRONMENT):
        try:
            with native_stderr_muted(), redirect_stdout(io.StringIO()):  # Ray's C++ code says that it read a variable
                ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # ConnectionError, ValueError, RuntimeError, or plain Exception
            failure = (
                f"{address_text}: cannot connect to a Ray cluster"
                if address_text
                else "Ray cannot be started on this machine"
            )
            raise SedkitError(f"{failure}: {last_line(error.__cause__ or error)}") from error
        finally:
            waiting.cancel()
        try:
            yield
        finally:
            with redirect_stdout(io.StringIO()):
                ray.shutdown()
            logging.getLogger("ray").setLevel(level)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables that are not set, for the duration of the block."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def check_answers(address: str) -> None:
    """Raise a SedkitError if nothing listens at an address HOST:PORT. Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), CONNECT_TIMEOUT).close()
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SedkitError(
                f"{address}: no Ray cluster answers ({reason}); check --address and $RAY_ADDRESS, or start a cluster: "
                "ray start --head"
            ) from None


@contextmanager
def native_stderr_muted() -> Iterator[None]:
    """Discard what native libraries write to standard error; keep what Python writes."""
    with open(os.dup(2), "w", buffering=1) as original, open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), 2)
        try:
            with redirect_stderr(original if sys.stderr is sys.__stderr__ else sys.stderr):
                yield
        finally:
            os.dup2(original.fileno(), 2)
