"""What a report is made of: the record of the last build, the lock, and what stands on the disk."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import DeclarationError, DoitOciError
from ...oci.entry import Entry
from ...project.plan import Plan
from ...store.recorded_entries import show
from ..events import load_record, short
from ..why import Finding, Origin, find_origins, find_reasons

if TYPE_CHECKING:
    from ..events import Event

LARGEST = 15
"""Files of each bundle that are named."""
DETAILED = 40
"""Bundles that are shown one by one; of more than these a page is no help."""


class Span(NamedTuple):
    """One piece of work on the time line; ``begin`` and ``end`` in seconds since the start."""

    title: str
    kind: str
    worker: str
    begin: float
    end: float
    outcome: str
    size: int
    why: str


class ImageSize(NamedTuple):
    """An image's stored layers, the base layer first, as (digest, bytes)."""

    name: str
    layers: tuple[tuple[str, int], ...]

    @property
    def total(self) -> int:
        return sum(size for _, size in self.layers)


class BundleDetail(NamedTuple):
    """``files`` are the largest, as (path, bytes); ``problem`` is why there are no origins."""

    name: str
    files: tuple[tuple[str, int], ...]
    origins: tuple[Origin, ...]
    problem: str


class Content(NamedTuple):
    """Everything on the page."""

    begin: Event
    end: Event
    spans: tuple[Span, ...]
    hits: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]
    errors: tuple[Event, ...]
    findings: tuple[Finding, ...]
    images: tuple[ImageSize, ...]
    bundles: tuple[BundleDetail, ...]


def gather(plan: Plan) -> Content:
    """Raises: DeclarationError where nothing was built yet."""
    events = load_record(plan.workspace.record)
    if not events or events[0]["event"] != "begin":
        raise DeclarationError(
            "nothing was built yet, so there is nothing to report",
            subject=str(plan.workspace.record),
            hint="build something first: `doit bundle`",
        )
    last = events[-1]
    names = _bundles(plan, events)
    return Content(
        begin=events[0],
        end=last if last["event"] == "end" else {"event": "end", "at": last["at"]},
        spans=tuple(find_spans(events)),
        hits=tuple((e["subject"], e.get("bytes", 0)) for e in events if e["event"] == "hit"),
        notes=tuple(e["text"] for e in events if e["event"] == "note"),
        errors=tuple(e for e in events if e["event"] == "error"),
        findings=tuple(find_reasons(plan, [f"bundle:{name}" for name in names])) if names else (),
        images=tuple(_images(plan)),
        bundles=tuple(_detail(plan, name) for name in names),
    )


def find_spans(events: Sequence[Event]) -> Iterator[Span]:
    """Every piece of work with its begin and end; what never ended goes to the end."""
    last = events[-1]["at"]
    names = {"MainThread": "main"}
    ends = {event["item"]: event for event in events if event["event"] == "finish"}
    for event in events:
        if event["event"] != "start":
            continue
        end = ends.get(event["item"], {"at": last, "outcome": "interrupted", "bytes": 0})
        yield Span(
            title=event["subject"],
            kind=event["kind"],
            worker=names.setdefault(event["worker"], f"worker {len(names)}"),
            begin=event["at"],
            end=max(end["at"], event["at"]),
            outcome=end["outcome"],
            size=end["bytes"],
            why=event.get("why", ""),
        )


def _bundles(plan: Plan, events: Sequence[Event]) -> list[str]:
    """The bundles that the record speaks of and that are still declared."""
    said = [event.get("subject", "") for event in events]
    wanted = {word.partition(":")[2] for word in said if word.startswith(("bundle:", "run:"))}
    wanted |= {word.partition(":")[2] for word in said if word.startswith(("rootfs:", "config:"))}
    return [name for name in plan.bundle_names() if name in wanted][:DETAILED]


def _images(plan: Plan) -> Iterator[ImageSize]:
    for name in plan.lock.images:
        image = plan.lock.image(name)
        for text, found in image.platforms.items() if image else ():
            layers = tuple(
                (str(each.descriptor.digest), each.descriptor.size) for each in found.layers
            )
            several = image is not None and len(image.platforms) > 1
            yield ImageSize(f"{name} ({text})" if several else name, layers)


def shared_layers(images: Sequence[ImageSize]) -> list[tuple[str, int, tuple[str, ...]]]:
    """Layers that more than one image has, the largest first: digest, bytes, images."""
    users: dict[tuple[str, int], list[str]] = {}
    for image in images:
        for layer in dict.fromkeys(image.layers):
            users.setdefault(layer, []).append(image.name)
    found = [(digest, size, tuple(names)) for (digest, size), names in users.items()]
    return sorted((each for each in found if len(each[2]) > 1), key=lambda each: -each[1])


def _detail(plan: Plan, name: str) -> BundleDetail:
    files = tuple(largest_files(plan.workspace.entries(name)))
    try:
        return BundleDetail(name, files, tuple(find_origins(plan, name)), "")
    except (DoitOciError, OSError) as problem:
        return BundleDetail(name, files, (), str(problem).partition("\n")[0])


def largest_files(entries: Path, count: int = LARGEST) -> list[tuple[str, int]]:
    """The largest recorded files, further names of one file left out; none where it is unbuilt."""
    try:
        with entries.open("rb") as stream:
            found = (Entry.from_line(line) for line in stream)
            sizes = ((each.size, each.path) for each in found if each.size and not each.hard_link)
            return [(show(path), size) for size, path in heapq.nlargest(count, sizes)]
    except (OSError, ValueError, KeyError):
        return []


def outcome_of(content: Content) -> Mapping[str, str]:
    """What became of each task in the build: done, up to date, failed."""
    from ...figures import time_text

    found = dict.fromkeys((subject for subject, _ in content.hits), "up to date")
    along = {short(span.title) for span in content.spans if span.kind == "blob"}
    for finding in content.findings:
        if finding.title.startswith("blob:") and short(finding.title) in along:
            found[finding.title] = "done along with another"
    for span in content.spans:
        if span.kind == "step":
            time = time_text(span.end - span.begin)
            found[span.title] = f"done in {time}" if span.outcome == "done" else span.outcome
    return found


def totals_of(content: Content) -> Mapping[str, int]:
    """The totals of the end, or zeroes where the build was cut off."""
    names = ("fetched", "blobs", "unpacked", "layers", "reused", "saved", "steps", "failed")
    found: Any = content.end.get("totals", {})
    return {name: found.get(name, 0) for name in names}
