"""The page of a report: HTML with everything in it, readable without pictures and by keyboard.

No script and nothing from elsewhere: its own policy forbids both, whatever a name tries to be.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape

from ...figures import count_text, size_text, time_text
from ..why import gathered
from .content import BundleDetail, Content, ImageSize, outcome_of, shared_layers, totals_of
from .drawing import draw_bar, draw_graph, draw_timeline, span_title, state_class
from .style import STYLE

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
NUMBER = "number"


def write_page(content: Content) -> str:
    """The whole document."""
    sections = [
        ("graph", "Graph", _graph(content)),
        ("time", "Time line", _timeline(content)),
        ("layers", "Layers and what images share", _layers(content.images)),
        ("files", "Largest files", _files(content.bundles)),
        ("config", "Configuration and its origins", _configs(content.bundles)),
        ("hits", "Reused", _hits(content)),
    ]
    words = " ".join(content.begin["words"])
    title = f"doit-oci {words}".strip()
    links = "".join(f'<li><a href="#{name}">{text}</a></li>' for name, text, _ in sections)
    body = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{text}</h2>{inner}</section>'
        for name, text, inner in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        '<a class="skip" href="#content">To the content</a>'
        f"<header><h1>{escape(title)}</h1>{_when(content)}</header>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>'
        f'<main id="content">{_problems(content)}{_sums(content)}{body}</main></body></html>\n'
    )


def _when(content: Content) -> str:
    status = content.end.get("status")
    said = {None: "was interrupted, or runs still", 0: "succeeded"}.get(
        status, f"ended with status {status}"
    )
    kind = "done" if status == 0 else "failed" if status else "kept"
    return (
        f'<p class="soft"><span class="mark {kind}">{said}</span> '
        f"{escape(content.begin['time'])}, doit-oci {escape(content.begin['version'])}</p>"
    )


def _problems(content: Content) -> str:
    parts = []
    for event in content.errors:
        hint = f"\nhint: {event['hint']}" if event.get("hint") else ""
        text = f"{event['subject']}: {event['message']}{hint}"
        parts.append(f'<p class="errors">{escape(text)}</p>')
    parts += [f'<p class="soft">note: {escape(text)}</p>' for text in content.notes]
    return "".join(parts)


def _sums(content: Content) -> str:
    sums = totals_of(content)
    rows = [
        ("Time", time_text(content.end["at"])),
        ("Steps done", str(sums["steps"])),
        ("Reused", str(sums["reused"])),
        ("Fetched", f"{size_text(sums['fetched'])} in {count_text(sums['blobs'], 'blob')}"),
        ("Unpacked", f"{size_text(sums['unpacked'])} of {count_text(sums['layers'], 'layer')}"),
        ("Saved", size_text(sums["saved"])),
    ]
    inner = "".join(f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in rows)
    return f'<dl class="sums">{inner}</dl>'


def _graph(content: Content) -> str:
    outcomes = outcome_of(content)
    rows = []
    for finding in content.findings:
        state = outcomes.get(finding.title, "not done")
        now = f"{finding.state}: {'; '.join(finding.words)}"
        rows.append([_code(finding.title), _mark(state), escape(now)])
    picture = draw_graph(content.findings, outcomes)
    return _scroll("The graph", picture) + _details(
        "The graph as a table",
        _table(
            "Every task, what became of it, and how it stands now", ["Task", "Build", "Now"], rows
        ),
    )


def _timeline(content: Content) -> str:
    rows = [
        [
            _code(span_title(span)),
            escape(span.worker),
            time_text(span.begin),
            time_text(span.end - span.begin),
            size_text(span.size) if span.size else "",
            _mark(span.outcome),
            escape(span.why),
        ]
        for span in content.spans
    ]
    picture = draw_timeline(content.spans, content.end["at"]) if content.spans else ""
    heads = ["Work", "Worker", "Began at", "Took", "Bytes", "Outcome", "Why"]
    return _scroll("The time line", picture) + _details(
        "The time line as a table", _table("Every piece of work", heads, rows, (2, 3, 4))
    )


def _layers(images: Sequence[ImageSize]) -> str:
    shared = shared_layers(images)
    twice = sum(size * (len(names) - 1) for _, size, names in shared)
    most = max((size for image in images for _, size in image.layers), default=1)
    parts = [
        f"<p>{count_text(len(shared), 'layer')} shared between images; that saves "
        f"{size_text(twice)} of {size_text(sum(image.total for image in images))}.</p>"
    ]
    if shared:
        rows = [
            [_digest(digest), size_text(size), escape(", ".join(names))]
            for digest, size, names in shared
        ]
        parts.append(_table("Shared layers", ["Layer", "Stored", "Images"], rows, (1,)))
    common = {digest for digest, _, _ in shared}
    for image in images:
        rows = [
            [
                str(place),
                _digest(digest),
                size_text(size),
                draw_bar(size, most),
                "shared" if digest in common else "",
            ]
            for place, (digest, size) in enumerate(image.layers, 1)
        ]
        title = f"{image.name}: {count_text(len(image.layers), 'layer')}, {size_text(image.total)}"
        heads = ["Place", "Layer", "Stored", "Size", "Shared"]
        parts.append(
            _details(
                title,
                _table(f"Layers of {image.name}, the base first", heads, rows, (0, 2)),
                is_open=len(images) <= 3,
            )
        )
    return "".join(parts)


def _files(bundles: Iterable[BundleDetail]) -> str:
    parts: list[str] = []
    for bundle in bundles:
        if bundle.files:
            most = bundle.files[0][1]
            rows = [
                [_code(path), size_text(size), draw_bar(size, most)] for path, size in bundle.files
            ]
            inner = _table(f"Largest files of {bundle.name}", ["File", "Bytes", "Size"], rows, (1,))
            parts.append(_details(bundle.name, inner, is_open=not parts))
    return "".join(parts) or '<p class="soft">No rootfs is unpacked here.</p>'


def _configs(bundles: Iterable[BundleDetail]) -> str:
    parts = []
    for bundle in bundles:
        if bundle.problem:
            parts.append(f'<p class="soft">{escape(bundle.name)}: {escape(bundle.problem)}</p>')
            continue
        rows = [
            [_code(each.pointer), _code(_value(each.value)), escape(each.origin)]
            for each in gathered(bundle.origins)
        ]
        inner = _table(f"config.json of {bundle.name}", ["Place", "Value", "From"], rows)
        parts.append(_details(f"{bundle.name}: {len(bundle.origins)} values", inner))
    return "".join(parts)


def _value(value: object) -> str:
    return value if isinstance(value, str) and value.endswith(" values)") else json.dumps(value)


def _hits(content: Content) -> str:
    if not content.hits:
        return '<p class="soft">Nothing was up to date before.</p>'
    rows = [[_code(subject), size_text(size) if size else ""] for subject, size in content.hits]
    return _details(
        f"{count_text(len(rows), 'task')} up to date",
        _table("Tasks that had nothing to do", ["Task", "Bytes not fetched"], rows, (1,)),
    )


def _table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()
) -> str:
    """``rows`` are HTML; ``numbers`` are the columns that are set to the right."""
    mark = [f' class="{NUMBER}"' if place in numbers else "" for place in range(len(heads))]
    head = "".join(
        f'<th scope="col"{mark[place]}>{escape(text)}</th>' for place, text in enumerate(heads)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{mark[place]}>{cell}</td>" for place, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _scroll(label: str, inner: str) -> str:
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{inner}</div>'
        if inner
        else ""
    )


def _details(summary: str, inner: str, *, is_open: bool = False) -> str:
    word = " open" if is_open else ""
    return f"<details{word}><summary>{escape(summary)}</summary>{inner}</details>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _digest(text: str) -> str:
    return f'<span class="digest">{escape(text)}</span>'


def _mark(state: str) -> str:
    return f'<span class="mark {state_class(state)}">{escape(state)}</span>'
