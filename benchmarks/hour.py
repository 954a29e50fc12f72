"""(4) One hour of audio, from WAV file to tags, against YAMNet.

YAMNet (Apache-2.0, TFLite, 521 classes) scores windows of 0.975 s every 0.48 s. Its graph scores one window per run
and ignores the rest of a longer input, so it cannot be batched. Several combinations of threads and interpreters are
tried first; the fastest is compared with sedkit, as is a single interpreter with LiteRT's own threads. YAMNet reads
the file in blocks, as sedkit does, and averages its scores. Its model is loaded beforehand. sedkit runs as the command
that a user would type, which includes loading its model.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Row, Setup, Unavailable, at_least, packages, race, ratios, seconds
from benchmarks.networks import default_model, full_width, small_model
from sedkit.audio.reading import open_audio
from sedkit.cli import main

FASTEST = "YAMNet, fastest configuration"
YAMNET = "peers/yamnet.tflite"
WINDOW, HOP = 15600, 7680  # samples
SECONDS = 3600.0
FULL_WIDTH, DEFAULT, SMALL = at_least(0.9), at_least(1.3), at_least(4.0)


def measure(setup: Setup) -> Iterator[Row]:
    length, trial = (20.0, 5.0) if setup.quick else (SECONDS, 60.0)
    trial_wav = setup.recordings.write_wav(setup.scratch / "trial.wav", trial)
    yamnets = yamnet_configurations(setup, trial_wav)
    models, default, small = full_width(setup), default_model(setup), small_model(setup)
    own = {
        f"{models.name}, fp32": (models.fp32, None),
        f"{models.name}, int8": (models.int8, FULL_WIDTH),
        f"{default.name}, int8": (default.int8, DEFAULT),
        f"{small.name}, int8": (small.int8, SMALL),
    }
    contenders: dict[str, Callable[[Path], object]] = {name: sedkit_tag(path) for name, (path, _) in own.items()}
    files = (setup.recordings.write_wav(setup.scratch / "hour.wav", length) for _ in range(setup.repeats))
    rounds = race(contenders | yamnets, files, warm_up=trial_wav)
    for way, yamnet in yamnets.items():
        for name, (_, goal) in own.items():
            base, taken = seconds(rounds, way), seconds(rounds, name)
            yield Row(
                4,
                f"{way} / sedkit, {name}, {length / 60:.3g} min wav",
                ratios(rounds, way, name),
                figure=f"{length / base:.0f}x → {length / taken:.0f}x real time",
                goal=goal if way == FASTEST else None,
                details={
                    "seconds_of_sound": length,
                    "seconds": taken,
                    "yamnet_seconds": base,
                    "yamnet_interpreters": yamnet.interpreters,
                    "yamnet_threads": yamnet.threads,
                },
            )


def sedkit_tag(model: Path) -> Callable[[Path], object]:
    """The command ``sedkit tag``, run within this process; includes loading the model."""

    def run(wav: Path) -> None:
        options = ["--model", str(model), "--device", "cpu", "--output", str(wav.with_suffix(".tsv"))]
        if main(["tag", str(wav), *options], standalone_mode=False):
            raise RuntimeError(f"sedkit tag with {model.name} failed")

    return run


class Yamnet:
    """YAMNet run over audio files.

    Parameters
    ----------
    model : YAMNet's TFLite file.
    interpreters : number of interpreters that run in parallel, each in its own thread.
    threads : threads of each interpreter.
    """

    def __init__(self, model: Path, interpreters: int, threads: int) -> None:
        self.interpreters, self.threads = interpreters, threads
        with packages(), quiet():
            from ai_edge_litert.interpreter import Interpreter

            self.free: queue.SimpleQueue[Interpreter] = queue.SimpleQueue()
            for _ in range(interpreters):
                interpreter = Interpreter(str(model), num_threads=threads)
                interpreter.allocate_tensors()
                self.free.put(interpreter)
        self.input = interpreter.get_input_details()[0]["index"]
        self.output = interpreter.get_output_details()[0]["index"]
        self.pool = ThreadPoolExecutor(interpreters)

    def __call__(self, file: Path) -> NDArray[np.float64]:
        """Mean scores [521] of a recording."""
        total, windows = np.zeros(521), 0
        buffer = np.zeros(0, np.float32)
        pending = []
        with open_audio(file) as stream:
            for block in stream:
                buffer = np.concatenate([buffer, block])
                starts = range(0, len(buffer) - WINDOW + 1, HOP)
                pending.append(self.pool.submit(self._scores, buffer, starts))
                windows += len(starts)
                buffer = buffer[len(starts) * HOP :]
        for future in pending:
            total += future.result()
        return total / windows

    def _scores(self, samples: NDArray[np.float32], starts: range) -> NDArray[np.float64]:
        """Sum of the scores [521] of the windows at ``starts``."""
        interpreter = self.free.get()
        total = np.zeros(521)
        for start in starts:
            interpreter.set_tensor(self.input, samples[start : start + WINDOW])
            interpreter.invoke()
            total += interpreter.get_tensor(self.output)[0]
        self.free.put(interpreter)
        return total


@contextmanager
def quiet() -> Iterator[None]:
    """Discard what LiteRT writes directly to file descriptor 2."""
    stderr = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


def yamnet_configurations(setup: Setup, wav: Path) -> dict[str, Yamnet]:
    """YAMNet in its fastest configuration on a short recording, and with LiteRT's threads if that is another one.

    Raises
    ------
    Unavailable
        If YAMNet or LiteRT is missing.
    """
    model = setup.recordings.data / YAMNET
    if not model.is_file():
        raise Unavailable(f"needs YAMNet as {YAMNET} in the data folder (set SEDKIT_DATA)")
    default = (1, setup.threads)
    candidates = {default, (1, 1), (setup.threads, 1), (setup.threads, 2)}  # interpreters, threads
    yamnets = {candidate: Yamnet(model, *candidate) for candidate in candidates}
    trials = race(yamnets, [wav] * 3, warm_up=wav)
    best = min(yamnets, key=lambda candidate: seconds(trials, candidate))
    return {FASTEST: yamnets[best]} | ({} if best == default else {"YAMNet, LiteRT threads": yamnets[default]})
