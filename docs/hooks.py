"""MkDocs hook (``mkdocs.yml``): the site has the tree of the repository, so links work unchanged in both.

Pages are the Markdown files of PAGES. A file that a page links to (picture, table, source) is copied to the site. A
directory that a page links to is its README.md, or else a page that lists its files.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/**/*.md", "models/*.md", "training/**/*.md")
LINK = re.compile(r"(?<=\]\()(?!\w+:|[/#])([^()\s#]+)")  # target of a relative link or image, without its anchor


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of ``docs/`` by the repository's pages and what they link to."""
    built = Files([file for file in files if file.src_dir != config.docs_dir])  # those of the theme
    pages = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    for page in pages:
        add(page, built, config)
    for page in pages:
        for match in LINK.finditer(page.read_text("utf-8")):
            target = (page.parent / match[1]).resolve()
            if not target.is_relative_to(ROOT):
                continue  # MkDocs will report it
            if target.is_dir():
                add_directory(target, built, config)
            elif target.is_file():
                add(target, built, config)
    return built


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to directories at the pages that stand for them."""
    directory = posixpath.dirname(page.file.src_uri)

    def resolve(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(directory, match[1]))
        for name in ("README.md", "index.md"):
            if files.get_file_from_path(f"{target}/{name}"):
                return f"{match[1].rstrip('/')}/{name}"
        return match[1]

    return LINK.sub(resolve, markdown)


def add(path: Path, files: Files, config: MkDocsConfig, content: str | None = None) -> None:
    """Add a file of the repository, or ``content`` in its place, at its own path."""
    uri = path.relative_to(ROOT).as_posix()
    if files.get_file_from_path(uri) is None:
        source = {"abs_src_path": str(path)} if content is None else {"content": content}
        files.append(File.generated(config, uri, **source))


def add_directory(path: Path, files: Files, config: MkDocsConfig) -> None:
    """Add a page that lists the files of a directory, unless it has a README.md."""
    if (path / "README.md").is_file():
        return
    listed = list(visible(path))
    lines = [f"# {path.relative_to(ROOT).as_posix()}/", "", *(f"- [{file.name}]({file.name})" for file in listed)]
    add(path / "index.md", files, config, "\n".join(lines) + "\n")
    for file in listed:
        add(file, files, config)


def visible(path: Path) -> Iterator[Path]:
    """The files of a directory, without hidden ones."""
    return (file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith("."))
