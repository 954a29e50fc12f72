"""The exceptions that sedkit raises.

SedkitError                 base class; the message is one line: what failed, why, and how to fix it
├── AudioError              a recording cannot be found, read or decoded
│   └── LostSourceError     a live source has ended that should go on
├── ModelError              a model cannot be found or loaded
│   └── ContractError       an ONNX file violates the model contract; names the field
├── DeviceError             the requested device or microphone does not work
├── OutputError             a result cannot be written
└── ArgumentError           an argument has an invalid value; also a ValueError

AudioWarning                what sedkit chose or left out in a recording; a UserWarning, not an error
"""

from __future__ import annotations

from typing import Any


class SedkitError(Exception):
    """Base class of all errors that sedkit raises. ``str(error)`` is one line."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle message and attributes, so that an error can come from another process whatever its class takes."""
        return _rebuilt, (type(self), self.args), self.__dict__


def _rebuilt(kind: type[SedkitError], args: tuple[Any, ...]) -> SedkitError:
    return kind.__new__(kind, *args)


class AudioError(SedkitError):
    """A recording cannot be found, read or decoded."""


class LostSourceError(AudioError):
    """A live source has ended that should go on, such as a microphone that was unplugged."""


class ModelError(SedkitError):
    """A model cannot be found or loaded."""


class ContractError(ModelError):
    """An ONNX file violates the model contract (:mod:`sedkit.contract`).

    Attributes
    ----------
    field : name of the invalid input, output or metadata field.
    problem : what is wrong with the field.
    file : path of the file; None if unknown.
    """

    def __init__(self, field: str, problem: str, file: str | None = None) -> None:
        text = f"not a sedkit model: {field}: {problem}"
        super().__init__(f"{file}: {text}; export it again with sedkit-train secost --resume RUN" if file else text)
        self.field = field
        self.problem = problem
        self.file = file


class DeviceError(SedkitError):
    """The requested compute device or microphone does not work."""


class OutputError(SedkitError):
    """A result cannot be written."""


class AnnotationError(SedkitError):
    """A file of events or labels cannot be read."""


class ArgumentError(SedkitError, ValueError):
    """An argument has an invalid value."""


class AudioWarning(UserWarning):
    """What sedkit chose or left out in a recording, such as one of several audio tracks."""
