"""What every writer is: something that takes results one at a time and puts them on a text stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, TextIO

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline

Kind = Literal["tags", "events"]  # what a run yields: the tags of every recording, or its events


class Writer(ABC):
    """Writes results, all of one kind, in one format.

    Parameters
    ----------
    stream : where to write, UTF-8 text.
    kind : ``"tags"`` if :class:`~sedkit.results.Tagging` are to come, ``"events"`` for
        :class:`~sedkit.results.Timeline`.
    files : names of the recordings to come, so that a writer can lay itself out. Some may fail and never come.

    Attributes
    ----------
    suffixes : endings of file names that ask for this format.
    errors : how the stream should encode the undecodable bytes of a file name (see :func:`open`).
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    errors: ClassVar[str] = "surrogateescape"

    def __init__(self, stream: TextIO, kind: Kind, files: Sequence[str] = ()) -> None:
        self.stream = stream
        self.kind = kind
        self.files = files
        self.begin()

    def begin(self) -> None:  # noqa: B027 (most formats have no header)
        """Write what stands before the first result."""

    @abstractmethod
    def write(self, result: Tagging | Timeline) -> None:
        """Write one result."""
