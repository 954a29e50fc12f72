"""Results → the body of a response, in any format of :mod:`sedkit.formats`."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from sedkit.audio.prefetch import channel_of
from sedkit.formats import FORMATS
from sedkit.formats.writers import Run
from sedkit.serve.analyses import Question
from sedkit.serve.uploads import Upload

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline

TYPES = {  # media types of formats; of all others, application/octet-stream
    "json": "application/json", "csv": "text/csv", "tsv": "text/tab-separated-values", "text": "text/plain",
    "html": "text/html", "png": "image/png", "svg": "image/svg+xml", "pdf": "application/pdf", "vtt": "text/vtt",
    "srt": "application/x-subrip", "jams": "application/json", "label-studio": "application/json",
    "elan": "application/xml", "audacity": "text/plain", "textgrid": "text/plain", "rttm": "text/plain",
    "raven": "text/tab-separated-values", "kaleidoscope": "text/csv", "dcase": "text/tab-separated-values",
    "dcase-scores": "text/tab-separated-values", "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.file",
}  # fmt: skip
LINES = "application/jsonl"  # of several results as JSON
_drawing = threading.Lock()  # matplotlib draws one figure at a time


@dataclass(frozen=True)
class Answer:
    """The body of a response: its bytes, their media type, and the name of a file that holds them, if it is one."""

    content: bytes
    type: str
    file: str | None

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response."""
        headers = {"Content-Type": self.type, "Content-Length": str(len(self.content))}
        if self.file is not None:
            headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(self.file, safe='')}"
        return headers


def render(question: Question, results: Sequence[Tagging | Timeline], model: str, upload: Upload | None) -> Answer:
    """Write results in the format that was asked for. Thread-safe.

    Parameters
    ----------
    results : of one recording, or of its channels.
    model : name of the model.
    upload : the recording, which a page of HTML plays; None if it is not there.

    Raises
    ------
    SedkitError
        If the results cannot be written in this format.
    """
    writer = FORMATS[question.format]
    names = [result.file for result in results]
    run = Run(question.kind, names, None, model, question.settings, question.options)
    binary = io.BytesIO()
    stream: Any = (
        binary
        if writer.binary
        else io.TextIOWrapper(binary, encoding="utf-8", errors=writer.errors, newline="\n", write_through=True)
    )
    if question.format == "html":
        stream.write(page_of(results, run, upload))
    elif "matplotlib" in writer.modules:
        with _drawing:
            _write(writer(stream, run), results)
    else:
        _write(writer(stream, run), results)
    kind = TYPES.get(question.format, "application/octet-stream")
    text = not writer.binary and kind.startswith("text/")
    if question.format == "json":
        kind = "application/json" if len(results) == 1 else LINES
    file = None if question.format == "json" else file_name(names[0], writer.ending or writer.suffixes[0])
    return Answer(binary.getvalue(), f"{kind}; charset=utf-8" if text else kind, file)


def _write(writer: Any, results: Sequence[Tagging | Timeline]) -> None:
    for result in results:
        writer.write(result)
    writer.finish()


def page_of(results: Sequence[Tagging | Timeline], run: Run, upload: Upload | None) -> str:
    """A page of HTML. It plays the recording that was sent, and links to no file."""
    from sedkit.formats.html import tags_page, timeline_page
    from sedkit.formats.html.audio import PageAudio, embedded

    if run.kind == "tags":
        return tags_page(cast("Sequence[Tagging]", results), run, linked=False)
    timeline = cast("Timeline", results[0])
    silent = upload is None or run.options.audio == "none"
    if silent or upload is None:
        return timeline_page(timeline, run, PageAudio())
    track, channel = run.settings.get("--track"), channel_of(timeline.file)
    return timeline_page(timeline, run, embedded(upload.file, upload.name, track, channel))


def file_name(recording: str, ending: str) -> str:
    """The name of a file about a recording."""
    return (Path(recording).stem if recording != "-" else "recording") + ending
