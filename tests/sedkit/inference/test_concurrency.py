"""One Tagger, or two, in threads, in asyncio, in forked and spawned processes, and after an interruption."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sedkit.inference.pipeline import analyse
from sedkit.tagger import Tagger
from tests.conftest import make_sound

Outcome = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(8):
        soundfile.write(folder / f"{number}.wav", make_sound(1 + 3.5 * number, seed=number), 16000)
    return sorted(str(path) for path in folder.iterdir())


def outcome(tagger: Tagger, clip: str) -> Outcome:
    return tagger.tag(clip).to_dict(), tagger.timeline(clip, threshold=0.3).to_dict()


@pytest.fixture(scope="module")
def expected(tagger: Tagger, clips: list[str]) -> list[Outcome]:
    return [outcome(tagger, clip) for clip in clips]


def test_one_tagger_in_eight_threads(tagger: Tagger, clips: list[str], expected: list[Outcome]):
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda clip: outcome(tagger, clip), clips * 3)) == expected * 3


def test_two_taggers_in_threads(model_path: Path, tagger: Tagger, clips: list[str], expected: list[Outcome]):
    taggers = itertools.cycle([tagger, Tagger(model_path, "cpu", threads=1)])
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(outcome, taggers, clips * 2)) == expected * 2


def test_one_tagger_in_two_pipelines(tagger: Tagger, clips: list[str], expected: list[Outcome]):
    def run(jobs: int) -> list[dict[str, Any]]:
        return [result.to_dict() for _, result in analyse(tagger.model, tagger.tags_view(), clips, jobs)]

    with ThreadPoolExecutor(2) as pool:
        for results in pool.map(run, (1, 3)):
            assert results == [tags for tags, _ in expected]


def test_asyncio(tagger: Tagger, clips: list[str], expected: list[Outcome]):
    async def run() -> list[Outcome]:
        return await asyncio.gather(*(asyncio.to_thread(outcome, tagger, clip) for clip in clips))

    assert asyncio.run(run()) == expected


def test_several_streams_at_once(tagger: Tagger):
    """The items of two streams, taken in turn, are those of each alone."""
    sounds = [np.array_split(make_sound(12, seed=seed), 9) for seed in (1, 2)]
    alone = [list(tagger.stream(blocks, threshold=0.3)) for blocks in sounds]
    in_turn = itertools.zip_longest(*(tagger.stream(blocks, threshold=0.3) for blocks in sounds))
    assert [[item for item in items if item is not None] for items in zip(*in_turn, strict=True)] == alone


def test_after_an_interruption(tagger: Tagger, clips: list[str], expected: list[Outcome]):
    with closing(analyse(tagger.model, tagger.tags_view(), itertools.repeat(clips[-1]))) as results:
        next(results)
    assert [outcome(tagger, clip) for clip in clips[:3]] == expected[:3]


def work_of_child(pickled: bytes, clips: list[str]) -> list[Outcome]:
    tagger = pickle.loads(pickled)
    return [outcome(tagger, clip) for clip in clips]


FORK = """
import os, sys
from sedkit.tagger import Tagger

tagger = Tagger(sys.argv[1], "cpu", threads=int(sys.argv[2]))
tags = tagger.tag(sys.argv[3])
child = os.fork()
if child:
    _, status = os.waitpid(child, 0)
    assert status == 0
assert tagger.tag(sys.argv[3]) == tags
del tagger
assert Tagger(sys.argv[1], "cpu", threads=1).tag(sys.argv[3])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_fork(threads: int, model_path: Path, clips: list[str]):
    """A forked child uses the parent's Tagger, drops it and ends; it used to wait for threads that it does not have."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, model_path, str(threads), clips[1]]
    subprocess.run(command, check=True, timeout=120)


def test_spawn(model_path: Path, clips: list[str], expected: list[Outcome]):
    """A Tagger that is passed to a new process loads its model there."""
    pickled = pickle.dumps(Tagger(model_path, "cpu", threads=1))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(work_of_child, (pickled, clips[:3])) == expected[:3]
