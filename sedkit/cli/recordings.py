"""Analysis of recordings for the commands beside ``tag`` and ``timeline``: one result each, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import click

from sedkit.cli.batch import failure_message, load_tagger, print_failures, threads_for
from sedkit.cli.inputs import STDIN, expand, stdin
from sedkit.cli.messages import print_notice
from sedkit.cli.progress import Progress
from sedkit.errors import SedkitError

if TYPE_CHECKING:
    from sedkit.inference.installed import Precision
    from sedkit.inference.model import Model
    from sedkit.inference.session import Device
    from sedkit.tagger import Tagger
    from sedkit.timeline.views import View

Result = TypeVar("Result")


class Recordings:
    """The recordings of a command. A context manager, which reports notices and failures at its end.

    Parameters
    ----------
    files : files, folders and globs, and ``-`` if `pipes`.
    recursive, track, channel, gain, model, precision, device : the options of :func:`sedkit.cli.options.analysing`.
    pipes : whether the command can read a recording that cannot be read twice.

    Attributes
    ----------
    names : of the recordings.
    failures : error messages so far, one line each. A recording that fails does not stop the others.

    Raises
    ------
    click.UsageError
        If there is nothing to read.
    """

    def __init__(
        self,
        files: Sequence[str],
        *,
        recursive: bool,
        track: int | None,
        channel: str | int,
        gain: float | Literal["auto"],
        model: str | None,
        precision: Precision,
        device: Device,
        pipes: bool = False,
    ) -> None:
        self.names, problems = expand(files, recursive)
        if STDIN in self.names:
            if not pipes:
                raise click.UsageError("- is standard input, which cannot be read twice; save it to a file first.")
            stdin()  # fails early if nothing is piped in
        self.failures = [str(problem) for problem in problems]
        self.total = len(self.names) + len(problems)
        self.notices = list[str]()
        self.reading: dict[str, Any] = {"track": track, "channel": channel, "gain": gain}
        self.reading["on_notice"] = self.notices.append
        self.model, self.precision, self.device = model, precision, device
        self._tagger: Tagger | None = None

    @property
    def tagger(self) -> Tagger:
        """The tagger; loads the model on first use."""
        if self._tagger is None:
            self._tagger = self.load(self.model)
        return self._tagger

    def load(self, model: str | None) -> Tagger:
        """Load a model for these recordings."""
        from sedkit.inference.installed import find_model

        path = find_model(model, self.precision, self.device)
        return load_tagger(path, self.device, threads_for(path, len(self.names)))

    def analyse(
        self, make_view: Callable[[], View[Result]], model: Model | None = None
    ) -> Iterator[tuple[str, Result]]:
        """Yield the name and the result of each recording that can be analysed; the others go to ``failures``.

        Parameters
        ----------
        make_view : makes the view of one recording.
        model : None for that of ``tagger``.
        """
        from sedkit.audio.prefetch import AudioSource
        from sedkit.inference.pipeline import analyse

        def sources() -> Iterator[AudioSource]:
            for name in self.names:
                progress.start_recording(name)
                yield AudioSource(stdin() if name == STDIN else name, **self.reading)

        model = model or self.tagger.model
        with (
            Progress(self.names) as progress,
            closing(analyse(model, progress.watch(make_view, model.geometry.step), sources())) as results,
        ):
            for name, result in results:
                if isinstance(result, SedkitError):
                    self.failures.append(failure_message(name, result))
                else:
                    yield name, result
                progress.finish_recording()

    def check_any(self, results: Sized | int) -> None:
        """End the command if there are no results; the failures, which are listed at the end, say why.

        Parameters
        ----------
        results : the results, or their number.

        Raises
        ------
        click.exceptions.Exit
            If there are none.
        """
        if not results:
            raise click.exceptions.Exit(self.exit_code)

    @property
    def exit_code(self) -> int:
        return 1 if self.failures else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for notice in self.notices:
            print_notice(notice)
        print_failures(self.failures, self.total)
