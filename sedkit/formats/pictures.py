"""Writers of what people look at: pictures (:mod:`sedkit.formats.plot`) and web pages (:mod:`sedkit.formats.html`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from sedkit.formats.writers import Writer

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline


class PngWriter(Writer):
    """A picture as PNG, of one recording."""

    suffixes: ClassVar[tuple[str, ...]] = (".png",)
    single = ("events", "tags")
    binary = True
    modules = ("matplotlib",)
    extra = "plot"
    keeps = frozenset({"overview"})

    def write(self, result: Tagging | Timeline) -> None:
        from sedkit.formats import plot

        if self.run.kind == "events":
            figure = plot.draw_timeline(cast("Timeline", result))
        else:
            figure = plot.draw_tagging(cast("Tagging", result))
        plot.save(figure, self.stream, self.suffixes[0][1:])


class SvgWriter(PngWriter):
    """A picture as SVG, of one recording."""

    suffixes = (".svg",)


class PdfWriter(PngWriter):
    """A picture as PDF, of one recording."""

    suffixes = (".pdf",)


class HtmlWriter(Writer):
    """A page for a browser: of one recording's timeline, or of the tags of all recordings."""

    suffixes = (".html", ".htm")
    single = ("events",)
    errors = "xmlcharrefreplace"
    keeps = frozenset({"overview"})
    takes = frozenset({"audio"})

    def begin(self) -> None:
        self.taggings: list[Tagging] = []

    def write(self, result: Tagging | Timeline) -> None:
        if self.run.kind == "tags":
            self.taggings.append(cast("Tagging", result))
            return
        from sedkit.formats.html import timeline_page_parts

        self.stream.writelines(timeline_page_parts(cast("Timeline", result), self.run))

    def finish(self) -> None:
        if self.run.kind == "tags":
            from sedkit.formats.html import tags_page

            self.stream.write(tags_page(self.taggings, self.run))
