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
    header : whether to write what stands before the first result; not where earlier results stand already.

    Attributes
    ----------
    suffixes : endings of file names that ask for this format.
    errors : how the stream should encode the undecodable bytes of a file name (see :func:`open`).
    resumable : whether results can be added to those of an earlier run, that is, do not depend on each other.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    errors: ClassVar[str] = "surrogateescape"
    resumable: ClassVar[bool] = True

    def __init__(self, stream: TextIO, kind: Kind, files: Sequence[str] = (), header: bool = True) -> None:
        self.stream = stream
        self.kind = kind
        self.files = files
        self.begin(header)

    def begin(self, header: bool) -> None:  # noqa: B027 (most formats have no header)
        """Get ready, and write the header if there is one and it is wanted."""

    @abstractmethod
    def write(self, result: Tagging | Timeline) -> None:
        """Write one result."""
