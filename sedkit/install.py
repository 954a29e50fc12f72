"""The name under which sedkit is installed, and the commands that messages tell people to run.

The import package and the command are called ``sedkit``. The distribution, which pip installs, is called
``sedkit-audio``, because ``sedkit`` on PyPI is an unrelated astronomy package. Both packages write
``sedkit/__init__.py``, so whichever is installed last breaks the other.
"""

from __future__ import annotations

DISTRIBUTION = "sedkit-audio"
NAMESAKE = "sedkit"  # the unrelated distribution on PyPI


def version() -> str:
    """The installed version, or ``"0+uninstalled"`` in a source tree that was never installed."""
    return _version_of(DISTRIBUTION) or "0+uninstalled"


def install_command(*extras: str) -> str:
    """The command that installs sedkit with some of its extras.

    >>> install_command("cluster")
    "pip install 'sedkit-audio[cluster]'"
    """
    return f"pip install '{DISTRIBUTION}[{','.join(extras)}]'" if extras else f"pip install {DISTRIBUTION}"


def install_remedy(*extras: str) -> str:
    """:func:`install_command`, followed by :func:`conflict` if there is one. For error messages."""
    problem = conflict()
    return f"{install_command(*extras)}; {problem}" if problem else install_command(*extras)


def conflict() -> str | None:
    """What is wrong and how to repair it, on one line, if the astronomy package is installed too; otherwise None."""
    found = _version_of(NAMESAKE)
    if found is None:
        return None
    return (
        f"the package {NAMESAKE} {found} is installed too, and it overwrites files of {DISTRIBUTION}: "
        f"pip uninstall {NAMESAKE} && pip install --force-reinstall --no-deps {DISTRIBUTION}"
    )


def _version_of(distribution: str) -> str | None:
    from importlib import metadata  # a tenth of the time that sedkit takes to start

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
