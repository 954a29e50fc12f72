"""Load on ``sedkit serve``: its throughput against that of ``sedkit tag``, and minutes of good and bad requests.

``python -m benchmarks.serving FOLDER`` with a folder of recordings. The server and the 32 clients share the machine.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from statistics import median
from threading import Lock

import click

from benchmarks.processes import SEDKIT, run

CLIENTS, ROUNDS, SAMPLES = 32, 3, 12
BAD = {  # bodies that are refused, and the status of the answer
    b"": 400,
    b"no audio at all": 422,
    b"RIFF\x24\x00\x00\x00WAVEfmt ": 422,
    b"\x89PNG\r\n\x1a\n" + bytes(2000): 422,
    b"#EXTM3U\nfile:///etc/passwd\n": 422,
}


@contextmanager
def server(model: str, queue: int) -> Iterator[tuple[int, int]]:
    """A server on a free port; its port and its process."""
    command = [*SEDKIT, "serve", "--port", "0", "--model", model, "--device", "cpu", "--queue", str(queue)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        if (found := re.search(r":(\d+) ", line)) is None:
            raise click.ClickException(line + process.stderr.read())
        try:
            yield int(found[1]), process.pid
        finally:
            process.send_signal(signal.SIGTERM)


def clients(port: int, bodies: Iterator[tuple[str, bytes]], count: int, until: float = float("inf")) -> Counter[int]:
    """Send the bodies, named, from several clients at the same time; returns how often each status was answered."""
    lock, statuses = Lock(), Counter[int]()

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        while time.monotonic() < until:
            with lock:
                name, body = next(bodies, ("", None))
            if body is None:
                return
            connection.request("POST", f"/v1/tag?name={name}", body)
            response = connection.getresponse()
            json.loads(response.read())
            with lock:
                statuses[response.status] += 1

    with ThreadPoolExecutor(count) as threads:
        for done in [threads.submit(work) for _ in range(count)]:
            done.result()
    return statuses


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def throughput(port: int, model: str, files: Sequence[Path]) -> float:
    """Files per second of the server over those of ``sedkit tag``, whose start does not count; printed, too."""
    bodies = [(path.name, path.read_bytes()) for path in files]
    command = [*SEDKIT, "tag", "--model", model, "--device", "cpu", "--format", "json"]
    ratios = []
    for number in range(ROUNDS + 1):
        served = timed(lambda: clients(port, iter(bodies), CLIENTS))
        start = timed(lambda: run([*command, *files[:1], *files[:1]]))
        tagged = timed(lambda: run([*command, *files])) - start
        if number:  # the first round warms up
            ratios.append(tagged / served)
            click.echo(f"served {len(files) / served:.1f} files/s, tagged {len(files) / tagged:.1f} files/s")
    return median(ratios)


def soak(port: int, process: int, files: Sequence[Path], minutes: float) -> tuple[Counter[int], list[int], bool]:
    """Good and bad requests for some minutes: statuses, samples of the memory in MB, whether all was as intended."""
    good = [(path.name, path.read_bytes()) for path in files]
    bad = [("bad", body) for body in BAD]
    rng, expected = random.Random(0), Counter[int]()

    def bodies() -> Iterator[tuple[str, bytes]]:
        for one in cycle(good):
            name, body = rng.choice(bad) if rng.random() < 0.3 else one
            expected[BAD.get(body, 200)] += 1
            yield name, body

    statuses, memory, source = Counter[int](), list[int](), bodies()
    for _ in range(SAMPLES):
        statuses += clients(port, source, CLIENTS, time.monotonic() + 60 * minutes / SAMPLES)
        status = Path(f"/proc/{process}/status").read_text()
        memory.append(round(int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1000))
    return statuses, memory, statuses == expected


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default="wels-secost", show_default=True, help="Name of an installed model.")
@click.option("--files", "count", default=600, show_default=True, help="Recordings of the comparison.")
@click.option("--minutes", default=10.0, show_default=True, help="Length of the mixed load.")
def main(folder: Path, model: str, count: int, minutes: float) -> None:
    """Compare the server with `sedkit tag`, then send good and bad recordings."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file()][:count]
    with server(model, 2 * CLIENTS) as (port, process):
        click.echo(f"served / tagged, {len(files)} files, {CLIENTS} clients: {throughput(port, model, files):.2f}")
        statuses, memory, right = soak(port, process, files, minutes)
    answers = ", ".join(f"{number} x {status}" for status, number in sorted(statuses.items()))
    click.echo(f"{minutes:g} minutes: {answers}; {'all' if right else 'NOT ALL'} as intended")
    click.echo(f"memory in MB: {' '.join(map(str, memory))}")


if __name__ == "__main__":
    main()
