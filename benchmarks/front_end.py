"""(3) Overhead of the log-mel front end: the whole graph (waveform to scores) against its body (log-mel to scores)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, Setup, at_most, race, ratios, seconds
from benchmarks.networks import Cut, cut, full_width
from sedkit.inference.session import open_session
from sedkit.model_file import ModelFile

GOAL = at_most(5.0)  # percent
SECONDS = 30.72
ROUNDS = 3  # per repeat; a difference of a few percent needs more rounds


def measure(setup: Setup) -> Iterator[Row]:
    models = full_width(setup)
    for precision, path in (("fp32", models.fp32), ("int8", models.int8)):
        yield share(f"{models.name}, {precision}", path, cut(models, path, setup.scratch), setup)


def share(name: str, path: Path, parts: Cut, setup: Setup) -> Row:
    files = (ModelFile(part) for part in (path, parts.front, parts.body))
    whole, front, body = (open_session(file, "cpu", setup.threads)[0] for file in files)
    length, count = (2.56, setup.repeats) if setup.quick else (SECONDS, ROUNDS * setup.repeats)
    contenders = {
        "whole": lambda pair: whole.run(["segments"], {"waveform": pair[0]}),
        "body": lambda pair: body.run(None, {parts.logmel: pair[1]}),
    }
    waveforms = (waveform[None] for waveform in setup.recordings.many(1 + count, length))
    inputs = ((waveform, front.run(None, {"waveform": waveform})[0]) for waveform in waveforms)
    rounds = race(contenders, inputs, warm_up=next(inputs))
    before, after = (1e3 * seconds(rounds, contender) for contender in ("body", "whole"))
    return Row(
        3,
        f"front-end overhead, {name}",
        [100 * (ratio - 1) for ratio in ratios(rounds, "whole", "body")],
        unit="%",
        figure=f"{before:.0f} → {after:.0f} ms for {length:g} s",
        goal=GOAL,
        details={"seconds_of_sound": length, "body_seconds": before / 1e3, "whole_seconds": after / 1e3},
    )
