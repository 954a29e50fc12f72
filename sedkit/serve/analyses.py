"""What a request asks for. The command line's own options are the parameters, so both mean the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, Protocol, TypeAlias

from sedkit.formats.options import FormatOptions
from sedkit.formats.writers import Kind
from sedkit.results import Tagging, Timeline
from sedkit.timeline.views import View

Pairs: TypeAlias = Sequence[tuple[str, str]]  # the names and values of a query


@dataclass(frozen=True)
class Parameter:
    """A parameter of a query.

    Attributes
    ----------
    name : in the query.
    schema : of its values, as in OpenAPI.
    text : what it means.
    """

    name: str
    schema: Mapping[str, Any]
    text: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a request asks about a recording.

    Attributes
    ----------
    kind : tags or events.
    format : name of the format of the answer, a key of :data:`sedkit.formats.FORMATS`.
    reading : arguments of :func:`sedkit.audio.reading.open_audio`; a ``channel`` may be ``"each"``.
    options : of the format.
    settings : everything that determines the result, by option name.
    make_views : takes the fields of results to keep (``Writer.keeps``); returns what makes the view of a recording.
    recorded_at : takes the recording and its name; returns when the recording began.
    """

    kind: Kind
    format: str
    reading: Mapping[str, Any] = field(default_factory=dict)
    options: FormatOptions = field(default_factory=FormatOptions)
    settings: Mapping[str, Any] = field(default_factory=dict)
    make_views: Callable[[frozenset[str]], Callable[[], View[Tagging | Timeline]]]
    recorded_at: Callable[[BinaryIO, str], datetime | None]


@dataclass(frozen=True, kw_only=True)
class LiveQuestion:
    """What a client asks about live audio.

    Attributes
    ----------
    rate, channels, encoding : of the samples; `encoding` is a key of :data:`sedkit.audio.pipe.ENCODINGS`.
    resolution : of the cells.
    options : arguments of :meth:`sedkit.tagger.Tagger.stream`.
    """

    rate: float
    channels: int
    encoding: str
    resolution: float | str
    options: Mapping[str, Any]


class Analysis(Protocol):
    """Reads queries about recordings."""

    @property
    def parameters(self) -> Sequence[Parameter]:
        """The parameters that a query may have."""

    def read(self, query: Pairs) -> Question:
        """Read a query.

        Raises
        ------
        ArgumentError
            If it has an unknown parameter or an invalid value.
        """


class LiveAnalysis(Protocol):
    """Reads queries about live audio."""

    @property
    def parameters(self) -> Sequence[Parameter]:
        """The parameters that a query may have."""

    def read(self, query: Pairs) -> LiveQuestion:
        """Read a query; errors as for :meth:`Analysis.read`."""
