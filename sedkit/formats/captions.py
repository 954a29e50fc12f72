"""Captions of sounds, as SubRip (SRT) and WebVTT; on their own, or between the lines of existing subtitles.

A caption says what sounds from its start to its end. It lasts at least 1 s and has at most two lines of 37 characters,
as broadcasters ask for. Sounds at the same time are in one caption. Where sounds begin or end less than 1 s apart, one
caption holds them all, so that none flashes by.

The libraries that write subtitles lose text (pysubs2 drops what is in braces and does not escape WebVTT), so only
reading of existing subtitles is left to one. WebVTT is read here, since pysubs2 loses the settings of its cues, and
takes notes and identifiers for text.
"""

from __future__ import annotations

import csv
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from sedkit.errors import OutputError
from sedkit.formats.writers import Kind, Writer

if TYPE_CHECKING:
    from sedkit.results import Event, Tagging, Timeline

    Interval = tuple[int, int, list[Event]]  # start and end in milliseconds, and what sounds

SHORTEST = 1000  # milliseconds
LINES, LINE = 2, 37  # at most, of a caption: lines, and characters in a line
STYLE = "[{}]"  # how a caption of sounds is set apart from speech
TIME = r"(?:(\d{1,4}):)?(\d\d):(\d\d)\.(\d{3})"
TIMES = re.compile(rf"\s*{TIME}[ \t]+-->[ \t]+{TIME}[ \t]*(.*)")  # of a cue of WebVTT, with its settings
TAG = re.compile(r"<(/?)([^\s.<>]*+)[^<>]*+>")  # of WebVTT
KEPT_TAGS = ("b", "i", "u")  # which players show in SRT, too
SRT_MARKUP = re.compile(r"\{\\[^{}]*\}|<(/?)(b|i|u|s|strike|font|span)\b[^<>]*>", re.IGNORECASE)
OVERRIDES = ("ass", "ssa", "microdvd", "mpl2")  # formats that pysubs2 gives the markup of ASS
BLOCK = re.compile(r"(\{[^}]*\})")  # of ASS: overrides or a comment
OVERRIDE = re.compile(r"\\(r|[biup](?=\d))(\d*)")  # \p1 begins a drawing


@dataclass(frozen=True)
class Caption:
    """Text from ``start`` to ``end``, in milliseconds."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Cue(Caption):
    """A cue of a file of WebVTT: its text has tags and escaped characters.

    Attributes
    ----------
    identifier : the line above its times; empty if there is none.
    settings : what is behind its times, such as ``align:start``.
    """

    identifier: str = ""
    settings: str = ""


@dataclass(frozen=True)
class Line(Caption):
    """A line of a file of another format: its text has tags as those of SRT."""


class CaptionWriter(Writer):
    """Base class of the writers of captions."""

    kinds: ClassVar[tuple[Kind, ...]] = ("events",)
    single: ClassVar[tuple[Kind, ...]] = ("events",)
    takes: ClassVar[frozenset[str]] = frozenset({"caption_style", "merge"})

    def write(self, result: Tagging | Timeline) -> None:
        options, timeline = self.run.options, cast("Timeline", result)
        captions = self.shown(captions_of(timeline.events, timeline.duration, options.caption_style))
        if options.merge is not None:
            captions = between(captions, self.shown(read_subtitles(options.merge)))
        for number, caption in enumerate(captions, 1):
            self.write_caption(number, caption)

    def shown(self, captions: Iterable[Caption]) -> list[Caption]:
        """The captions with their text as the format has it."""
        return [replace(caption, text=self.text_of(caption)) for caption in captions]

    @abstractmethod
    def text_of(self, caption: Caption) -> str:
        """The text of a caption or :class:`Cue` as the format has it."""

    @abstractmethod
    def write_caption(self, number: int, caption: Caption) -> None:
        """Write one caption with such a text; ``number`` counts from 1."""


class SrtWriter(CaptionWriter):
    """SubRip. A file without sounds is empty."""

    suffixes = (".srt",)

    def text_of(self, caption: Caption) -> str:
        return unescape(caption.text) if isinstance(caption, Cue) else caption.text

    def write_caption(self, number: int, caption: Caption) -> None:
        start, end = clock(caption.start, ","), clock(caption.end, ",")
        self.stream.write(f"{number}\n{start} --> {end}\n{caption.text}\n\n")


class VttWriter(CaptionWriter):
    """WebVTT (https://www.w3.org/TR/webvtt1/). A note names the model."""

    suffixes = (".vtt",)

    def begin(self) -> None:
        made_by = ", ".join(filter(None, [self.run.model, f"sedkit {self.run.version}"]))
        self.stream.write(f"WEBVTT\n\nNOTE Sounds found by {escape(' '.join(made_by.split()))}\n\n")
        if self.run.options.merge is not None:
            for block in webvtt_blocks(subtitle_text(self.run.options.merge)):
                if block.startswith(("STYLE", "REGION")) and "-->" not in block:
                    self.stream.write(f"{block}\n\n")

    def text_of(self, caption: Caption) -> str:
        if isinstance(caption, Cue):
            return caption.text
        return escape(SRT_MARKUP.sub(kept_tag, caption.text) if isinstance(caption, Line) else caption.text)

    def write_caption(self, number: int, caption: Caption) -> None:
        times = f"{clock(caption.start, '.')} --> {clock(caption.end, '.')}"
        if isinstance(caption, Cue):
            above = f"{caption.identifier}\n" if caption.identifier else ""
            times = f"{above}{times} {caption.settings}".rstrip()
        self.stream.write(f"{times}\n{caption.text}\n\n")


def captions_of(events: Iterable[Event], duration: float, style: str = STYLE) -> list[Caption]:
    """Make captions of events.

    Parameters
    ----------
    events : of one recording.
    duration : of the recording, in seconds. Captions end there, if they last 1 s then.
    style : text of a caption, with ``{}`` for the sounds.

    Returns
    -------
    Captions in order, without overlap.
    """
    spans = [(*_span(event, round(duration * 1000)), event) for event in events]
    captions: list[Caption] = []
    for start, end, sounding in _readable(_intervals(spans)):
        text = caption_text(sounding, style)
        if captions and captions[-1].end == start and captions[-1].text == text:
            captions[-1] = replace(captions[-1], end=end)
        else:
            captions.append(Caption(start, end, text))
    return captions


def _span(event: Event, duration: int) -> tuple[int, int]:
    """Start and end of an event in milliseconds, at least SHORTEST apart."""
    start, end = round(event.onset * 1000), round(event.offset * 1000)
    if end - start < SHORTEST:
        start = max(0, min(start, duration - SHORTEST))
        end = start + SHORTEST
    return start, end


def _readable(intervals: Iterable[Interval]) -> list[Interval]:
    """Join intervals shorter than SHORTEST with the next one; before silence, with the one before.

    A caption thus starts with a sound of its own, never before all of them.
    """
    joined: list[Interval] = []
    for start, end, events in intervals:
        if joined and joined[-1][1] == start and start - joined[-1][0] < SHORTEST:
            start, _, earlier = joined.pop()
            events = list(dict.fromkeys([*earlier, *events]))
        joined.append((start, end, events))
    readable: list[Interval] = []
    for start, end, events in joined:
        if readable and readable[-1][1] == start and end - start < SHORTEST:
            start, _, earlier = readable.pop()
            events = list(dict.fromkeys([*earlier, *events]))
        readable.append((start, end, events))
    return readable


def _intervals(spans: Sequence[tuple[int, int, Event]]) -> Iterator[Interval]:
    """Cut the time at all edges; yield start, end and events of each interval in which something sounds."""
    waiting = sorted(spans, key=lambda span: span[0])[::-1]
    sounding: list[tuple[int, int, Event]] = []
    for start, end in pairwise(sorted({time for span in spans for time in span[:2]})):
        sounding = [span for span in sounding if span[1] > start]
        while waiting and waiting[-1][0] <= start:
            sounding.append(waiting.pop())
        if sounding:
            yield start, end, [event for *_, event in sounding]


def caption_text(events: Sequence[Event], style: str = STYLE) -> str:
    """Words for the sounds of events, on at most LINES lines of LINE characters; the lowest scores make room."""
    import textwrap

    scores: dict[str, float] = {}
    for event in events:
        sound = wording(event.label)
        scores[sound] = max(event.score, scores.get(sound, 0.0))
    while True:
        lines = textwrap.wrap(style.replace("{}", ", ".join(scores)), LINE, break_on_hyphens=False)
        if len(lines) <= LINES or len(scores) == 1:
            break
        del scores[min(scores, key=lambda sound: scores[sound])]
    return "\n".join(lines[:LINES])


def wording(label: str) -> str:
    """Words for a class in a caption: "dog barks" for "Dog"; its first name in lower case if the table lacks it."""
    return _wordings().get(label) or plain_name(label) or label


def plain_name(label: str) -> str:
    """The first name of a class in lower case, without what is in brackets."""
    return re.sub(r"\s*\([^)]*\)", "", label).split(",")[0].strip().lower()


@cache
def _wordings() -> dict[str, str]:
    with Path(__file__).with_name("caption_wording.tsv").open(encoding="utf-8", newline="") as table:
        return {row["class"]: row["caption"] for row in csv.DictReader(table, delimiter="\t")}


def between(captions: Iterable[Caption], lines: Sequence[Caption]) -> list[Caption]:
    """Put captions of sounds between lines of dialogue.

    A caption goes to the first second or more of its time in which nobody speaks. Where there is none, it becomes the
    first line of what is on screen at its start, or, if that has two lines already, a caption at the same time.

    Returns
    -------
    All lines and captions, sorted by start.
    """
    spoken = sorted(lines, key=lambda line: line.start)
    placed: list[Caption] = []
    for caption in captions:
        gaps = (gap for gap in _gaps(caption, spoken) if gap[1] - gap[0] >= SHORTEST)
        if gap := next(gaps, None):
            placed.append(Caption(*gap, caption.text))
            continue
        first = next(n for n, line in enumerate(spoken) if line.end > caption.start)
        if "\n" in spoken[first].text + caption.text:
            placed.append(caption)
        else:
            spoken[first] = replace(spoken[first], text=f"{caption.text}\n{spoken[first].text}")
    return sorted([*spoken, *placed], key=lambda caption: caption.start)


def _gaps(caption: Caption, spoken: Iterable[Caption]) -> Iterator[tuple[int, int]]:
    """Start and end of each time within a caption in which nobody speaks. ``spoken`` is sorted by start."""
    start = caption.start
    for line in spoken:
        if line.start >= caption.end:
            break
        if line.start > start:
            yield start, line.start
        start = max(start, line.end)
    if start < caption.end:
        yield start, caption.end


def read_subtitles(path: str | Path) -> list[Caption]:
    """Read subtitles of any format that pysubs2 knows; bytes that are not UTF-8 stay as they are.

    Returns
    -------
    The lines with text in the order of the file; those of WebVTT as :class:`Cue`, others as :class:`Line`.

    Raises
    ------
    OutputError
        If the file cannot be read, or pysubs2 is missing.
    """
    text = subtitle_text(path)
    if not text:
        return []
    if blocks := webvtt_blocks(text):
        return list(cues_of(blocks))
    try:
        import pysubs2
    except ImportError:
        from sedkit.install import install_remedy

        raise OutputError(f"--merge needs pysubs2, which is not installed: {install_remedy('formats')}") from None
    try:
        found = pysubs2.SSAFile.from_string(text, keep_html_tags=True, keep_unknown_html_tags=True)
    except (pysubs2.Pysubs2Error, ValueError) as error:
        problem = " ".join(str(error).split())
        raise OutputError(f"{path}: not readable as subtitles ({problem}); convert it to SRT") from None
    read = [line for line in found if not line.is_comment]
    texts = [_lines(tags_of(line.text) if found.format in OVERRIDES else line.text) for line in read]
    return [Line(line.start, line.end, text) for line, text in zip(read, texts, strict=True) if text]


def subtitle_text(path: str | Path) -> str:
    """The content of a file of subtitles.

    Raises
    ------
    OutputError
        If it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise OutputError(f"{path}: cannot be read: {error.strerror}") from None


def webvtt_blocks(text: str) -> list[str]:
    """The blocks of WebVTT, between empty lines, the header first; none if it is another format."""
    text = text.strip("\n")
    return re.split(r"\n\n+", text) if text.startswith("WEBVTT") else []


def cues_of(blocks: Iterable[str]) -> Iterator[Cue]:
    """The cues among the blocks of WebVTT; times that browsers do not understand are left out, as they do."""
    for block in blocks:
        above, arrow, rest = block.partition("-->")
        identifier, _, start = above.rpartition("\n")
        line, _, text = rest.partition("\n")
        if match := TIMES.fullmatch(start + arrow + line):
            *times, settings = match.groups()
            yield Cue(milliseconds(times[:4]), milliseconds(times[4:]), text, identifier, settings.rstrip())


def milliseconds(groups: Sequence[str | None]) -> int:
    """Milliseconds of hours, minutes, seconds and milliseconds, as digits."""
    hours, minutes, seconds, rest = (int(group or 0) for group in groups)
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest


def _lines(text: str) -> str:
    """The lines of pysubs2's text; an empty one would end a caption."""
    return "\n".join(line for line in text.replace(r"\N", "\n").splitlines() if line.strip())


def tags_of(text: str) -> str:
    """Text of ASS with the tags of SRT for bold, italics and underlining; without other overrides and drawings."""
    shown = ""
    active = set[str]()
    for part in BLOCK.split(text):
        if BLOCK.fullmatch(part):
            for name, value in OVERRIDE.findall(part):
                if name == "r":
                    active -= set(KEPT_TAGS)
                else:
                    (active.add if int(value) else active.discard)(name)
        elif part and "p" not in active:
            tags = [tag for tag in KEPT_TAGS if tag in active]
            opening, closing = (f"<{tag}>" for tag in tags), (f"</{tag}>" for tag in reversed(tags))
            shown += "".join([*opening, re.sub(r"\\[hn]", " ", part), *closing])
    return shown


def clock(milliseconds: int, mark: str) -> str:
    """``01:02:03`` with the decimal mark of the format and milliseconds."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{rest:03}"


def escape(text: str) -> str:
    """Text as WebVTT has it; bold, italics and underlining stay."""
    import html

    escaped = html.escape(html.unescape(text), quote=False)
    return re.sub(r"&lt;(/?[biu])&gt;", r"<\1>", escaped)


def unescape(text: str) -> str:
    """The text of a cue of WebVTT for other formats; bold, italics and underlining stay."""
    import html

    return html.unescape(TAG.sub(kept_tag, text))


def kept_tag(markup: re.Match[str]) -> str:
    """A tag without its attributes if it is for bold, italics or underlining; nothing for other markup."""
    name = (markup[2] or "").lower()
    return f"<{markup[1]}{name}>" if name in KEPT_TAGS else ""
