"""Results as HTML for notebooks, without scripts and without matplotlib."""

from __future__ import annotations

from html import escape

from sedkit.formats.lanes import Lane, lanes_of, time_step
from sedkit.formats.terminal import clock, printable
from sedkit.results import Tag, Tagging, Timeline

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0548a", "#9a6b00", "#2f8fc4", "#7b4fa3", "#5f6b6d")  # Okabe and Ito's
WIDTH, LANE, LABELS = 860, 26, 170  # pixels
MAX_LANES, MAX_POINTS, MAX_TAGS = 16, 400, 20
STYLE = "font:13px system-ui,sans-serif"


def tagging_html(tagging: Tagging) -> str:
    """A bar for each tag."""
    rows = "".join(_bar(tag) for tag in tagging.tags[:MAX_TAGS]) or "<div>nothing heard</div>"
    return f'<div style="{STYLE}">{_heading(tagging)}{rows}</div>'


def timeline_html(timeline: Timeline) -> str:
    """The lanes of the classes that are present, as SVG."""
    lanes = lanes_of(timeline, MAX_LANES)
    if not lanes:
        return f'<div style="{STYLE}">{_heading(timeline)}<div>no class reaches its threshold</div></div>'
    height = LANE * len(lanes)
    body = "".join(_lane(lane, row, timeline.duration) for row, lane in enumerate(lanes))
    return (
        f'<div style="{STYLE}">{_heading(timeline)}<svg viewBox="0 0 {WIDTH} {height + 22}" '
        f'style="max-width:{WIDTH}px;width:100%" role="img" aria-label="{len(timeline.events)} events" '
        f'font-size="12" fill="currentColor">{body}{_axis(timeline.duration, height)}</svg></div>'
    )


def _heading(result: Tagging | Timeline) -> str:
    name = "standard input" if result.file == "-" else printable(result.file)
    long = f"{result.duration:.1f} s" if result.duration < 60 else clock(result.duration, result.duration)
    return f'<div style="margin-bottom:6px"><b>{escape(name)}</b> &nbsp;{long}</div>'


def _bar(tag: Tag) -> str:
    return (
        '<div style="display:flex;gap:10px;align-items:center">'
        f'<span style="width:{LABELS}px">{escape(tag.label)}</span>'
        f'<span style="width:{round(tag.score * 300)}px;height:10px;border-radius:3px;background:{COLOURS[0]}"></span>'
        f"<span>{tag.score:.2f}</span></div>"
    )


def _lane(lane: Lane, row: int, duration: float) -> str:
    colour, base = COLOURS[row % len(COLOURS)], LANE * (row + 1) - 3
    edges, scores = lane.at_most(MAX_POINTS)
    steps = "".join(
        f"H{_x(start, duration)}V{base - round(float(score) * (LANE - 6), 1)}H{_x(stop, duration)}"
        for start, stop, score in zip(edges[:-1].tolist(), edges[1:].tolist(), scores.tolist(), strict=True)
    )
    boxes = "".join(
        f'<rect x="{_x(event.onset, duration)}" y="{base - LANE + 6}" rx="2" height="{LANE - 6}" '
        f'width="{max(1.5, round(_x(event.offset, duration) - _x(event.onset, duration), 1))}">'
        f"<title>{escape(lane.label)} {event.onset:.2f} to {event.offset:.2f} s, {event.score:.2f}</title></rect>"
        for event in lane.events
    )
    return (
        f'<text x="{LABELS - 10}" y="{base - 5}" text-anchor="end">{escape(lane.label)}</text>'
        f'<path d="M{LABELS} {base}{steps}V{base}Z" fill="{colour}" fill-opacity=".5"/>'
        f'<g fill="{colour}" fill-opacity=".12" stroke="{colour}">{boxes}</g>'
    )


def _axis(duration: float, height: int) -> str:
    step = time_step(duration, 9)
    digits = 1 if step < 1 else 0
    ticks = [number * step for number in range(int(duration / step + 1e-6) + 1)]
    texts = "".join(
        f'<text x="{_x(tick, duration)}" y="{height + 17}" text-anchor="middle">{clock(tick, duration, digits)}</text>'
        f'<path d="M{_x(tick, duration)} {height}v5" stroke="currentColor"/>'
        for tick in ticks
    )
    return f'<path d="M{LABELS} {height}H{WIDTH - 14}" stroke="currentColor" stroke-opacity=".4"/>{texts}'


def _x(time: float, duration: float) -> float:
    return round(LABELS + time / max(duration, 1e-9) * (WIDTH - 14 - LABELS), 1)
