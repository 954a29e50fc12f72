"""Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, ending in a newline."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def three(value: float | None) -> str:
    """A value with three decimals; ``-`` if it is undefined."""
    return "-" if value is None else f"{value:.3f}"
