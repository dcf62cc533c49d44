"""The pictures of a report as SVG in the page: the graph, the time line and bars.

Colours are the page's own by class, so that light and dark are one picture; every picture has a
title, and stands beside a table with the same content.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from ...figures import short_digest, size_text, time_text
from ..why import Finding
from .content import Span

COLUMNS = ("blob", "layout", "rootfs", "config", "bundle")
BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y = 176, 44, 34, 12
WIDTH = 1000
LANE, LABEL = 20, 80
TICKS = 8
CHARACTER = 6.2
"""Width of a small letter in the pictures, to see what fits."""


class Box:
    """One task in the graph, or all blobs of an image in one."""

    __slots__ = ("needs", "state", "title", "x", "y")

    def __init__(self, title: str, state: str, needs: tuple[str, ...]) -> None:
        self.title, self.state, self.needs = title, state, needs
        self.x = self.y = 0


def draw_graph(findings: Sequence[Finding], outcomes: Mapping[str, str]) -> str:
    """Tasks from left to right in the order of the steps."""
    boxes = place_boxes(gather_boxes(findings, outcomes))
    if not boxes:
        return ""
    width = max(box.x for box in boxes.values()) + BOX_WIDTH + 2
    height = max(box.y for box in boxes.values()) + BOX_HEIGHT + 2
    parts = [f'<svg class="graph" viewBox="-1 -1 {width} {height}" width="{width}" ']
    parts.append(f'height="{height}" role="img" aria-label="The graph of the build">')
    for box in boxes.values():
        parts += [_edge(boxes[need], box) for need in box.needs if need in boxes]
    parts += [_box(box) for box in boxes.values()]
    return "".join([*parts, "</svg>"])


def gather_boxes(findings: Sequence[Finding], outcomes: Mapping[str, str]) -> dict[str, Box]:
    boxes: dict[str, Box] = {}
    for finding in findings:
        step = finding.title.partition(":")[0]
        if step == "blob":
            continue
        needs = finding.needs
        if step == "layout":
            blobs = [need for need in needs if need.startswith("blob:")]
            title = f"blobs:{finding.title.partition(':')[2]}"
            fetched = sum(outcomes.get(blob, "").startswith("done") for blob in blobs)
            state = f"{len(blobs)} blobs, {fetched} fetched" if fetched else f"{len(blobs)} blobs"
            boxes[title] = Box(title, state, ())
            needs = (title,)
        state = outcomes.get(finding.title, finding.state)
        boxes[finding.title] = Box(finding.title, state, needs)
    return boxes


def place_boxes(boxes: dict[str, Box]) -> dict[str, Box]:
    """Columns by step; a task stands as high as the first task that needs it."""
    row = 0
    placed: set[str] = set()

    def place(title: str, y: int) -> None:
        if title in placed or title not in boxes:
            return
        placed.add(title)
        box = boxes[title]
        step = "blob" if title.startswith("blobs:") else title.partition(":")[0]
        column = COLUMNS.index(step) if step in COLUMNS else len(COLUMNS)
        box.x, box.y = column * (BOX_WIDTH + GAP_X), y
        for need in box.needs:
            place(need, y)

    needed = {need for box in boxes.values() for need in box.needs}
    for title in boxes:
        if title not in needed:
            place(title, row * (BOX_HEIGHT + GAP_Y))
            row += 1
    return boxes


def _edge(start: Box, end: Box) -> str:
    x1, y1 = start.x + BOX_WIDTH, start.y + BOX_HEIGHT // 2
    x2, y2 = end.x, end.y + BOX_HEIGHT // 2
    middle = (x1 + x2) // 2
    return f'<path class="edge" d="M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"/>'


def _box(box: Box) -> str:
    kind = state_class(box.state)
    title = clip(box.title, BOX_WIDTH - 16)
    return (
        f'<g class="box {kind}"><title>{escape(box.title)}: {escape(box.state)}</title>'
        f'<rect x="{box.x}" y="{box.y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>'
        f'<text x="{box.x + 8}" y="{box.y + 18}">{escape(title)}</text>'
        f'<text class="small" x="{box.x + 8}" y="{box.y + 35}">{escape(box.state)}</text></g>'
    )


def state_class(state: str) -> str:
    """The class of a state: what it looks like, beside what it says."""
    if state.startswith("done") or state.endswith("fetched"):
        return "done"
    return "failed" if state in ("failed", "interrupted") else "kept"


def clip(text: str, width: float) -> str:
    """A text cut so that it fits a width in pixels."""
    most = max(int(width / CHARACTER), 1)
    return text if len(text) <= most else text[: most - 1] + "…"


def draw_timeline(spans: Sequence[Span], seconds: float) -> str:
    """One lane per worker, more where its work overlaps: a step and what is moved for it."""
    seconds = max(seconds, 0.001)
    scale = (WIDTH - LABEL) / seconds
    parts: list[str] = []
    y = 24
    for worker in dict.fromkeys(span.worker for span in spans):
        own = [span for span in spans if span.worker == worker]
        lanes = pack_lanes(own)
        parts.append(f'<text x="0" y="{y + 14}">{escape(clip(worker, LABEL))}</text>')
        for lane in lanes:
            parts += [_bar(span, scale, y) for span in lane]
            y += LANE
        y += 8
    every = tick_length(seconds)
    ticks = [every * number for number in range(int(seconds / every + 1e-9) + 1)]
    axis = "".join(
        f'<path class="edge" d="M{LABEL + at * scale:.1f} 20V{y}"/><text class="small" '
        f'text-anchor="{"end" if at > 0.97 * seconds else "middle"}" x="{LABEL + at * scale:.1f}" '
        f'y="12">{time_text(at)}</text>'
        for at in ticks
    )
    return (
        f'<svg class="timeline" viewBox="0 0 {WIDTH} {y}" role="img" '
        f'aria-label="The time line of the build">{axis}{"".join(parts)}</svg>'
    )


def tick_length(seconds: float) -> float:
    """A round time of which the whole has at most TICKS.

    >>> tick_length(1.5), tick_length(300)
    (0.2, 50.0)
    """
    power = 10.0 ** math.floor(math.log10(seconds / TICKS))
    return next(power * step for step in (1, 2, 5, 10) if seconds / (power * step) <= TICKS)


def pack_lanes(spans: Sequence[Span]) -> list[list[Span]]:
    """The fewest lanes without overlap, filled in the order of beginning."""
    lanes: list[list[Span]] = []
    for span in sorted(spans, key=lambda span: (span.begin, -span.end)):
        for lane in lanes:
            if lane[-1].end <= span.begin:
                lane.append(span)
                break
        else:
            lanes.append([span])
    return lanes


def _bar(span: Span, scale: float, y: int) -> str:
    x = LABEL + span.begin * scale
    width = max((span.end - span.begin) * scale, 1.5)
    title = span_title(span)
    shown = clip(title, width - 6) if width > 5 * CHARACTER else ""
    kind = "failed" if span.outcome in ("failed", "interrupted") else span.kind
    tip = f"{title}: {span.outcome} in {time_text(span.end - span.begin)}"
    tip += f", {size_text(span.size)}" if span.size else ""
    text = f'<text class="small" x="{x + 3:.1f}" y="{y + 12}">{escape(shown)}</text>'
    return (
        f'<g class="bar {kind}"><title>{escape(tip)}</title><rect x="{x:.1f}" y="{y}" '
        f'width="{width:.1f}" height="{LANE - 4}" rx="2"/>{text if shown else ""}</g>'
    )


def span_title(span: Span) -> str:
    """What a span is called: a task as on the command line, a blob or layer by its digest."""
    if span.kind == "step":
        step, colon, name = span.title.partition(":")
        return f"{step}{colon}{short_digest(name)}"
    return f"{span.kind} {short_digest(span.title)}"


def draw_bar(size: int, most: int) -> str:
    """A bar for a table cell; the number stands beside it."""
    width = 160 * size / max(most, 1)
    return (
        '<svg class="size" viewBox="0 0 160 10" width="160" height="10" aria-hidden="true">'
        f'<rect width="{max(width, 1):.1f}" height="10" rx="2"/></svg>'
    )
