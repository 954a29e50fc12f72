"""Errors reach other processes."""

from __future__ import annotations

import pickle
import pkgutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib import import_module
from multiprocessing import get_context
from typing import Any

import pytest

import sedkit
from sedkit.errors import ContractError, SedkitError

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "ContractError": ("labels", "are missing", "mine.onnx"),
    "Refusal": (413, "a.wav: is too long; cut it", {"Retry-After": "2"}),
    "InputError": ("a.wav", "no such file; check the path"),
}


def classes(base: type[SedkitError] = SedkitError) -> Iterator[type[SedkitError]]:
    yield base
    for below in base.__subclasses__():
        yield from classes(below)


def test_errors_of_all_classes_can_be_pickled():
    for module in pkgutil.walk_packages(sedkit.__path__, "sedkit."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError):  # of an extra
                import_module(module.name)
    own = {kind for kind in classes() if kind.__module__.startswith("sedkit.")}
    assert len(own) > len(ARGUMENTS)
    for kind in own:
        error = kind(*ARGUMENTS.get(kind.__name__, ("a.wav: is damaged; copy it again",)))
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def refuse(_: int) -> None:
    raise ContractError("labels", "are missing", "mine.onnx")


def test_an_error_of_another_process_is_raised():
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as pool,
        pytest.raises(ContractError, match=r"mine\.onnx: not a sedkit model: labels: are missing") as caught,
    ):
        pool.submit(refuse, 0).result(60)
    assert caught.value.field == "labels"
