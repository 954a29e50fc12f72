"""Where the results of a run go, in which formats: from ``--format``, ``--output`` and ``--output-dir``."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from sedkit.audio.files import AUDIO_SUFFIXES
from sedkit.cli.inputs import STDIN, has_magic
from sedkit.cli.output import write_errors
from sedkit.cli.run_options import RunOptions
from sedkit.errors import OutputError
from sedkit.formats import FORMATS, check_installed, format_of
from sedkit.formats.recordings import TABLES
from sedkit.formats.writers import Kind, Writer

STDOUT = "-"
PICTURES = ("png", "svg", "pdf")
IN_FOLDER = "sedkit"  # name of the journal and the lock in an output folder
JOURNAL, LOCK = ".journal", ".lock"  # endings of the files beside an output of an unfinished run
LONGEST_NAME = 230  # bytes; with the ending of a format and .tmp no more than the 255 that file systems allow


@dataclass(frozen=True)
class Target:
    """A format, and where it goes.

    Attributes
    ----------
    name : of the format.
    writer : its writer.
    path : of a file, or of the folder that gets it; None for standard output.
    in_folder : whether `path` is a folder.
    """

    name: str
    writer: type[Writer]
    path: str | None
    in_folder: bool = False

    @property
    def streamed(self) -> bool:
        """Whether results are written as they come: to standard output, a device or a named pipe."""
        if self.path is None:
            return True
        return not self.in_folder and os.path.exists(self.path) and not os.path.isfile(self.path)

    def place(self) -> Path:
        """The file whose lock and journal are those of this target, after a check that it can be written.

        Raises
        ------
        OutputError
            If it cannot.
        """
        assert self.path is not None
        if os.path.exists(self.path) and not os.access(self.path, os.W_OK):
            raise OutputError(f"{self.path}: is write-protected; change its permissions, or choose another --output")
        if not self.in_folder:
            return followed(self.path)
        with write_errors(self.path):
            os.makedirs(self.path, exist_ok=True)
        return Path(self.path, IN_FOLDER)

    def paths(self, kind: Kind, names: Sequence[str], arguments: Sequence[str]) -> dict[Path, list[str]]:
        """The files of a target that is not standard output, each with the recordings whose results it holds.

        Parameters
        ----------
        kind : of the results.
        names, arguments : the recordings, and the arguments of the command that they come from.
        """
        assert self.path is not None
        if not self.in_folder:
            return {followed(self.path): list(names)}
        suffix = self.writer.ending or self.writer.suffixes[0]
        if kind in self.writer.single:
            mirrored = mirror(names, arguments)
            return {Path(self.path, mirrored[name] + suffix): [name] for name in names}
        return {Path(self.path, kind + suffix): list(names)}


def choose_targets(kind: Kind, options: RunOptions) -> list[Target]:
    """The targets that the options ask for, checked as far as that is possible without the recordings.

    Raises
    ------
    click.UsageError
        If the options make no sense.
    OutputError
        If a package that a format needs is not installed.
    """
    targets = list(_targets(options))
    for target in targets:
        if kind not in target.writer.kinds:
            command = "sedkit timeline" if kind == "tags" else "sedkit tag"
            raise click.UsageError(f"{target.name} holds {target.writer.kinds[0]}, not {kind}; use {command}.")
        if target.path is None and target.writer.binary and sys.stdout.isatty():
            raise click.UsageError(f"{target.name} is not for a terminal; name a file with --output.")
    check_format_options(options, targets)
    if options.resume and any(target.streamed for target in targets):
        raise click.UsageError("--resume needs an --output FILE or an --output-dir, and no other output.")
    places = Counter(
        (target.path if target.path is None else os.path.realpath(target.path), target.in_folder and target.name)
        for target in targets
    )
    files = {place for place, _ in places if place is not None}
    if taken := next((f"{place}{end}" for place in files for end in (JOURNAL, LOCK) if f"{place}{end}" in files), None):
        raise click.UsageError(f"{taken} is where the results of an unfinished run go; choose another --output.")
    if twice := next((place for (place, _), count in places.items() if count > 1), None):
        raise click.UsageError(f"{twice} is given twice; give each --output once.")
    for target in targets:
        check_installed(target.name, target.writer)
    return targets


def check_format_options(options: RunOptions, targets: Sequence[Target]) -> None:
    """Refuse options that none of the formats takes.

    Raises
    ------
    click.UsageError
        If one is given.
    """
    for name in options.given_format_options():
        if not any(name in target.writer.takes for target in targets):
            takers = [taker for taker, writer in FORMATS.items() if name in writer.takes]
            formats = ", ".join(dict.fromkeys(target.name for target in targets))
            raise click.UsageError(
                f"--{name.replace('_', '-')} is for {', '.join(takers[:-1])} and {takers[-1]}; leave it out, "
                f"or choose --format {takers[0]} ({formats} now)."
            )


def _targets(options: RunOptions) -> Iterator[Target]:
    outputs = list(options.output)
    folders = [output for output in outputs if is_folder(output)] + [*filter(None, [options.output_dir])]
    files = [output for output in outputs if not is_folder(output)]
    formats = list(dict.fromkeys(options.formats)) if folders else list(options.formats)
    for folder in folders:
        if not formats:
            raise click.UsageError(
                f"{folder}: is a folder; choose with --format what to write into it, or name a file in it, "
                f"such as {os.path.join(folder, 'results.csv')}."
            )
        yield from (Target(name, FORMATS[name], folder, in_folder=True) for name in formats)
    if folders or not formats:
        chosen = [default_format(file) for file in files or ([] if folders else [STDOUT])]
    elif len(formats) == max(1, len(files)):
        chosen = formats
    else:
        raise click.UsageError(
            f"{len(formats)} times --format and {len(files)} times --output; give as many of each, "
            "or all formats one --output-dir."
        )
    for file, name in zip(files or [STDOUT], chosen, strict=False):
        yield Target(name, FORMATS[name], None if file == STDOUT else file)
    for picture in options.plot:
        name = picture_format(picture)
        yield Target(name, FORMATS[name], picture)
    if options.recordings is not None:
        yield Target("--recordings", table_writer(options.recordings), options.recordings)


def check_recordings(kind: Kind, targets: Sequence[Target], names: Sequence[str]) -> None:
    """Check the targets against the recordings.

    Raises
    ------
    click.UsageError
        If a target is one of the recordings, or a file cannot hold all of them.
    """
    for target in targets:
        if not target.in_folder and kind in target.writer.single and len(names) > 1:
            place = "standard output" if target.path is None else target.path
            raise click.UsageError(
                f"{place}: a file of the format {target.name} holds one recording, and {len(names)} are given; "
                f"name a folder, such as out/, with --format {target.name} to get a file for each."
            )
        if target.path is not None and any(is_same_file(name, target.path) for name in names):
            raise click.UsageError(f"{target.path} is one of the recordings; choose another --output.")


def default_format(output: str) -> str:
    """The format when ``--format`` is not given: by the ending of a file, text on a terminal, otherwise tsv.

    Raises
    ------
    click.UsageError
        If no format has this ending.
    """
    if output == STDOUT:
        return "text" if sys.stdout.isatty() else "tsv"
    if not Path(output).suffix:
        return "tsv"
    format_name = format_of(output)
    if format_name is None:
        endings = ", ".join(dict.fromkeys(suffix for writer in FORMATS.values() for suffix in writer.suffixes))
        raise click.UsageError(
            f"{output}: no format has the ending {Path(output).suffix}; choose one with --format. Known are {endings}."
        )
    return format_name


def picture_format(path: str) -> str:
    """The format of a picture, by the ending of its file.

    Raises
    ------
    click.UsageError
        If the ending is another.
    """
    name = format_of(path)
    if name not in PICTURES:
        raise click.UsageError(f"--plot {path}: must end in {', '.join('.' + picture for picture in PICTURES)}.")
    return name


def table_writer(path: str) -> type[Writer]:
    """The writer of the table of recordings, by the ending of its file.

    Raises
    ------
    click.UsageError
        If the ending is another.
    """
    for writer in TABLES:
        if path.lower().endswith(writer.suffixes):
            return writer
    raise click.UsageError(f"--recordings {path}: must end in .csv, .tsv or .parquet.")


def is_folder(output: str) -> bool:
    """Whether an ``--output`` is a folder, or ends like one."""
    return output != STDOUT and (os.path.isdir(output) or not os.path.basename(output))


def followed(path: str) -> Path:
    """A path, or what it points to if it is a symbolic link, which is to be kept."""
    return Path(path).resolve() if os.path.islink(path) else Path(path)


def is_same_file(name: str, output: str) -> bool:
    """Whether a recording is also the output file."""
    if os.path.basename(name).casefold() != os.path.basename(output).casefold() and not os.path.islink(name):
        return False  # quick exit: there may be 100,000 recordings
    return os.path.realpath(name) == os.path.realpath(output)


def mirror(names: Sequence[str], arguments: Sequence[str]) -> dict[str, str]:
    """Relative paths for files about recordings, without a suffix; no two are the same, whatever the case of letters.

    They mirror the tree below the folder that all `arguments` have in common. The ending of a recording is left out,
    unless another recording there has the same name apart from its ending. Names that would be too long are cut.
    """
    base = _common_folder(arguments)
    whole = {name: "stdin" if name == STDIN else _relative(os.path.abspath(name), base) for name in names}
    short = {name: without_ending(path, name) for name, path in whole.items()}
    while True:
        counts = Counter(path.casefold() for path in short.values())
        clashing = [name for name, path in short.items() if counts[path.casefold()] > 1 and path != whole[name]]
        if not clashing:
            return {name: cut(path) for name, path in short.items()}
        short.update((name, whole[name]) for name in clashing)


def without_ending(path: str, name: str) -> str:
    """The path of a recording without its ending: one of audio, or any with letters if the recording is there.

    Other endings are a part of the name, as in ``site1.day2`` or ``05.30.00``.
    """
    stem, ending = os.path.splitext(path)
    is_ending = ending.lower() in AUDIO_SUFFIXES or (any(map(str.isalpha, ending)) and os.path.isfile(name))
    return stem if is_ending else path


def cut(path: str, longest: int = LONGEST_NAME) -> str:
    """A path whose last part, if it is longer than so many bytes, is its beginning and a hash of all of it."""
    folder, name = os.path.split(path)
    encoded = os.fsencode(name)
    if len(encoded) <= longest:
        return path
    from hashlib import blake2b

    digest = blake2b(encoded, digest_size=4).hexdigest()
    beginning = encoded[: longest - len(digest) - 1].decode("utf-8", "ignore")
    return os.path.join(folder, f"{beginning}~{digest}")


def _common_folder(arguments: Sequence[str]) -> str | None:
    """The deepest folder that holds all arguments, or is the only one; None if they are on several drives."""
    folders = []
    for argument in arguments:
        folder = os.path.abspath(argument)
        if has_magic(argument) and not os.path.exists(argument):
            while has_magic(folder):
                folder = os.path.dirname(folder)
        elif not os.path.isdir(argument):
            folder = os.path.dirname(folder)
        folders.append(folder)
    try:
        return os.path.commonpath(folders)
    except ValueError:
        return None


def _relative(path: str, base: str | None) -> str:
    return os.path.splitdrive(path)[1].lstrip(os.sep) if base is None else os.path.relpath(path, base)
