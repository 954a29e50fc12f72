"""All outputs of a run together: those that get each result at once, and those that are rendered at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from sedkit.cli.journal import Fingerprint
from sedkit.cli.output import Stream
from sedkit.cli.rendering import Rendered, Sheet
from sedkit.cli.run_options import RunOptions
from sedkit.cli.targets import Target, mirror
from sedkit.errors import OutputError
from sedkit.formats.writers import Run

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline


class Outputs:
    """The outputs of a run; a context manager. They are opened before the analysis, so that they fail early.

    Parameters
    ----------
    targets : the outputs.
    run : what they are for, without a path.
    arguments : of the command, which the names of files in folders depend on.
    model_settings : returns what determines the results, apart from the recordings and ``run.settings``; only called
        if a file is written.

    Raises
    ------
    OutputError
        If an output cannot be opened; see also :class:`sedkit.cli.rendering.Rendered`.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        run: Run,
        arguments: Sequence[str],
        model_settings: Callable[[], Mapping[str, Any]],
    ) -> None:
        options = cast(RunOptions, run.options)
        self.keep_journal = options.resume
        self.streams: list[Stream] = []
        self.sheets: list[Sheet] = []
        self.rendered: Rendered | None = None
        files = [target for target in targets if not target.streamed]
        with ExitStack() as stack:
            for target in targets:
                if target.streamed:
                    path = None if target.path is None else Path(target.path)
                    self.streams.append(Stream(target.writer, replace(run, path=path)))
                    stack.callback(self.streams[-1].close)
            if files:
                stems = cache(partial(mirror, run.files, arguments))
                run = replace(run, settings={**model_settings(), **run.settings}, stems=stems)
                for target in files:
                    for path, names in target.paths(run.kind, run.files, arguments).items():
                        self.sheets.append(Sheet(target.writer, replace(run, path=path, files=names)))
                twice = [path for path, count in Counter(sheet.path for sheet in self.sheets).items() if count > 1]
                if twice:
                    raise OutputError(f"{twice[0]}: two formats would write this file; give them different folders")
                places = [target.place() for target in files]
                self.rendered = Rendered(places, run.settings, run.files, options.resume)
                stack.push(self.rendered)
            self.stack = stack.pop_all()

    def holds(self, name: str, now: Fingerprint | None) -> bool:
        """Whether an earlier run has the result of a recording that has not changed since."""
        return self.rendered is not None and self.rendered.holds(name, now)

    def write(self, result: Tagging | Timeline, before: Fingerprint | None) -> None:
        """Write a result to the journal and to the streams.

        Parameters
        ----------
        before : the recording's fingerprint from before it was read, if it has one.
        """
        if self.rendered is not None:
            self.rendered.add(result, before)
        for stream in self.streams:
            stream.write(result)

    def complete(self, failures: Mapping[str, str]) -> None:
        """End the streams, and render the files."""
        for stream in self.streams:
            stream.finish()
        if self.rendered is not None:
            self.rendered.render(self.sheets, failures, keep_journal=self.keep_journal or bool(failures))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stack.__exit__(kind, error, at)
