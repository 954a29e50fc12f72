"""Everything sedkit raises on purpose.

SedkitError                 one line for a person: what is wrong, with what, and the remedy
├── AudioError              a recording cannot be found, read or decoded
├── ModelError              a model cannot be found or loaded
│   └── ContractError       an ONNX file breaks the contract; names the field
├── DeviceError             the wanted device has no working execution provider
├── OutputError             a result cannot be written where it was asked for
└── ArgumentError           an argument has a value that it cannot have; also a ValueError
"""

from __future__ import annotations


class SedkitError(Exception):
    """Base of all errors that sedkit raises on purpose. ``str(error)`` is one line."""


class AudioError(SedkitError):
    """A recording cannot be found, read or decoded."""


class ModelError(SedkitError):
    """A model cannot be found or loaded."""


class ContractError(ModelError):
    """An ONNX file lacks or contradicts what a sedkit model must hold.

    Attributes
    ----------
    field : name of the offending input, output or metadata field.
    problem : what is wrong with it.
    file : the file's path, where it is known.
    """

    def __init__(self, field: str, problem: str, file: str | None = None) -> None:
        text = f"not a sedkit model: {field}: {problem}"
        super().__init__(f"{file}: {text}; export it again with sedkit-train secost --resume RUN" if file else text)
        self.field = field
        self.problem = problem
        self.file = file


class DeviceError(SedkitError):
    """The wanted device has no working execution provider."""


class OutputError(SedkitError):
    """A result cannot be written where it was asked for."""


class ArgumentError(SedkitError, ValueError):
    """An argument has a value that it cannot have."""
