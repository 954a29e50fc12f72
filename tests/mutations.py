"""Mutated text files, for tests of parsers: whatever the bytes, only the parser's own error may come out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TOKENS = (
    *(b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\n", b"\r", b"\r\n", b"\t", b" ", b"\x1b[2J"),
    *(b",", b";", b'"', b'""', b"'", b"[", b"]", b"{", b"}", b":", b"=", b"#", b"\\", b"<", b"&"),
    *(b"nan", b"inf", b"-inf", b"-1", b"0", b"1e999", b"1e-999", b"1_0", b"null", b"true", b"1979-05-27"),
    *("\u2028".encode(), "\u0660".encode(), b"9" * 5000, b"9" * 400, b"x" * 140000, b"[" * 20000, b'{"a":' * 20000),
)


def mutations(seeds: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Files that differ from one of the seeds in one to four places, and any bytes."""

    @st.composite
    def mutated(draw: st.DrawFn) -> bytes:
        content = draw(st.sampled_from(seeds))
        for _ in range(draw(st.integers(1, 4))):
            start = draw(st.integers(0, len(content)))
            end = min(len(content), start + draw(st.sampled_from((0, 0, 1, 4, 20, 10**6))))
            again = draw(st.integers(0, len(content)))
            new = draw(st.sampled_from(TOKENS) | st.binary(max_size=4) | st.just(content[again : again + 30]))
            content = content[:start] + new + content[end:]
        return content

    return mutated() | mutated() | mutated() | st.binary(max_size=200)


def check(
    parse: Callable[[Path], object], path: Path, seeds: tuple[bytes, ...], error: type[Exception], examples: int
) -> int:
    """Parse mutations of the seeds. Every exception but ``error``, of one line, fails the test.

    Returns
    -------
    The number of files that were refused.
    """
    refusals: list[str] = []

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(mutations(seeds))
    def one(content: bytes) -> None:
        path.write_bytes(content)
        try:
            parse(path)
        except error as refusal:
            assert len(str(refusal).splitlines()) == 1  # noqa: PT017
            refusals.append(str(refusal))

    for seed in seeds:
        path.write_bytes(seed)
        parse(path)
    one()
    return len(refusals)
