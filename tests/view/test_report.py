"""``report``: one page, looked at in a real browser, light and dark, wide and narrow."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import zlib
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tasks.view.report.content import ImageSize, Span, shared_layers
from tasks.view.report.drawing import draw_timeline, pack_lanes, tick_length
from tasks.view.report.page import write_page

from ..support.command import doit_oci, expect
from ..support.images import make_image
from .layouts import tree, write_layout

BASE = tree({"etc/": b"", "etc/base": b"base\n" * 100})
TOP = tree({"bin/": b"", "bin/tool": bytes(range(256)) * 400})
TOML = """\
[images.one]
image = "oci:one"

[images.two]
image = "oci:two"

[bundles."evil.name"]
image = "one"
annotations = { "<script>alert(1)</script>" = "</style><b>&" }

[bundles.broken]
image = "one"
user = "nobody"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "images.toml").write_text(TOML)
    write_layout(folder / "one", make_image(BASE, TOP))
    write_layout(folder / "two", make_image(BASE))
    expect(doit_oci(folder, "bundle", "-n", "2", "--continue"), 1)
    return folder


@pytest.fixture(scope="module")
def page(project: Path) -> Path:
    told = expect(doit_oci(project, "report"))
    assert told.strip() == str(project / "build/report/index.html")
    return Path(told.strip())


class Reader(HTMLParser):
    """Elements with their attributes, and the text; notes tags that do not match."""

    VOID = frozenset({"meta", "br", "img", "link", "hr", "input", "path", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_loads_nothing_and_runs_nothing(page: Path) -> None:
    found = Reader(page.read_text())
    names = {tag for tag, _ in found.elements}
    assert not names & {"script", "link", "img", "iframe", "object", "embed"}
    for tag, attributes in found.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        target = attributes.get("href") or attributes.get("src") or "#"
        assert target.startswith("#"), target
    assert "default-src 'none'" in page.read_text()


def test_names_that_try_to_be_markup_stay_text(page: Path) -> None:
    text = page.read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert text.count("</style>") == 1


def test_everything_asked_for_is_on_the_page(page: Path) -> None:
    text = " ".join(Reader(page.read_text()).text)
    for words in (
        "bundle:evil.name",
        "1 layer shared between images",
        "/bin/tool",
        "bundle: annotations.",
        "built-in",
        "does not know the user 'nobody'",
        "not done, because config:broken failed",
        "it was never built",
        "ended with status 1",
        "Reused",
    ):
        assert words in text, words
    assert re.search(r"worker [12]", text)


def test_the_page_can_be_read_without_seeing_and_without_a_mouse(page: Path) -> None:
    elements = Reader(page.read_text()).elements
    tags = [tag for tag, _ in elements]
    assert dict(elements)["html"] == {"lang": "en"}
    assert tags.count("h1") == 1
    assert {"main", "nav", "header", "title"} <= set(tags)
    assert tags.count("table") == tags.count("caption")
    ids = {a["id"] for _, a in elements if "id" in a}
    assert all(a["href"][1:] in ids for tag, a in elements if tag == "a" and a["href"])
    for tag, attributes in elements:
        if tag == "th":
            assert attributes.get("scope")
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
        if attributes.get("role") == "region":
            assert attributes.get("tabindex") == "0"
            assert attributes.get("aria-label")


CHROMIUM = [
    "chromium",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
DARK = "--blink-settings=preferredColorScheme=0"


def browse(page: Path, tmp_path: Path, *flags: str) -> bytes:
    """What headless Chromium prints; its picture lies in ``shot.png``."""
    assert shutil.which("chromium"), "chromium is missing: apt-get install chromium"
    command = [*CHROMIUM, f"--user-data-dir={tmp_path}/profile", *flags, page.as_uri()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=True)
    return done.stdout


def pixels(path: Path) -> list[list[tuple[int, int, int]]]:
    """The rows of a PNG of eight bits a colour, without interlacing. Spec: PNG, "Filtering"."""
    content = path.read_bytes()
    width, height, _, kind = struct.unpack(">IIBB", content[16:26])
    depth = {2: 3, 6: 4}[kind]
    data, at = b"", 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        if content[at + 4 : at + 8] == b"IDAT":
            data += content[at + 8 : at + 8 + length]
        at += length + 12
    raw, rows, above = zlib.decompress(data), [], bytearray(width * depth)
    for number in range(height):
        start = number * (width * depth + 1)
        row = bytearray(raw[start + 1 : start + 1 + width * depth])
        unfilter(raw[start], row, above, depth)
        rows.append([(row[i], row[i + 1], row[i + 2]) for i in range(0, len(row), depth)])
        above = row
    return rows


def unfilter(kind: int, row: bytearray, above: bytearray, depth: int) -> None:
    for i in range(len(row)):
        left = row[i - depth] if i >= depth else 0
        up, corner = above[i], above[i - depth] if i >= depth else 0
        guess = left + up - corner
        near = min((left, up, corner), key=lambda each: abs(guess - each))
        row[i] = (row[i] + (0, left, up, (left + up) // 2, near)[kind]) & 255


@pytest.mark.parametrize(
    ("flags", "size", "is_dark"),
    [((), (1000, 700), False), ((DARK,), (1000, 700), True), ((), (500, 700), False)],
    ids=["light", "dark", "narrow"],
)
def test_the_page_is_drawn(
    page: Path, tmp_path: Path, flags: tuple[str, ...], size: tuple[int, int], is_dark: bool
) -> None:
    window = f"--window-size={size[0]},{size[1]}"
    browse(page, tmp_path, *flags, window, "--screenshot=shot.png")
    rows = pixels(tmp_path / "shot.png")
    assert (len(rows[0]), len(rows)) == size
    assert (sum(rows[2][2]) < 150) == is_dark
    colours = {pixel for row in rows for pixel in row}
    assert len(colours) > 30, "a page of one colour is empty"
    green = [(r, g, b) for r, g, b in colours if g > r + 8 and g > b + 5]
    red = [(r, g, b) for r, g, b in colours if r > g + 15 and r > b + 15]
    assert green
    assert red


def test_a_browser_builds_the_whole_page_without_complaint(page: Path, tmp_path: Path) -> None:
    probe = tmp_path / "probe.html"
    script = """<script>onload = () => {
        const focus = [...document.querySelectorAll('a[href],summary,[tabindex]')];
        const wide = document.documentElement.scrollWidth > innerWidth;
        const lost = focus.filter(e => e.tabIndex < 0).length;
        document.body.dataset.seen = JSON.stringify({focus: focus.length, lost, wide,
            drawn: [...document.querySelectorAll('svg')].filter(
                e => e.getBoundingClientRect().width > 0).length});
    }</script>"""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    probe.write_text(text.replace("</head>", script + "</head>"))
    shown = browse(probe, tmp_path, "--dump-dom", "--window-size=500,800").decode()
    found = re.search(r'data-seen="([^"]*)"', shown)
    assert found
    seen: dict[str, Any] = json.loads(found[1].replace("&quot;", '"'))
    assert seen["lost"] == 0
    assert seen["focus"] > 10
    assert seen["drawn"] >= 3
    assert not seen["wide"], "on a narrow screen only the tables scroll sideways"


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text('[images.hello-world]\nimage = "builtin:hello-world"\n')
    told = doit_oci(tmp_path, "report")
    expect(told, 3)
    assert "nothing was built yet" in told.stderr.decode()


def test_a_report_goes_where_it_is_wanted(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "page.html"
    expect(doit_oci(project, "report", "--output", str(out)))
    assert out.read_text().startswith("<!doctype html>")


def test_an_interrupted_build_has_a_report(project: Path, tmp_path: Path) -> None:
    from tasks.project.plan import Options
    from tasks.project_folder import open_plan
    from tasks.view.report.content import gather

    record = project / "build/report/last.jsonl"
    kept = record.read_bytes()
    try:
        record.write_bytes(b"\n".join(kept.splitlines()[:6]) + b'\n{"event": "fin')
        plan = open_plan(Options(), project)
        text = write_page(gather(plan))
    finally:
        record.write_bytes(kept)
    assert "was interrupted, or runs still" in text
    Reader(text)


def span(begin: float, end: float, worker: str = "main") -> Span:
    return Span("bundle:x", "step", worker, begin, end, "done", 0, "")


def test_lanes_hold_no_overlap_and_lose_nothing() -> None:
    spans = [span(0, 4), span(1, 2), span(2, 3), span(1.5, 5), span(4, 6)]
    lanes = pack_lanes(spans)
    assert sorted(each for lane in lanes for each in lane) == sorted(spans)
    assert len(lanes) == 3
    for lane in lanes:
        assert all(a.end <= b.begin for a, b in pairwise(lane))


@pytest.mark.parametrize("seconds", [0.0012, 0.5, 1.5, 9.99, 60, 3600, 100_000])
def test_ticks_are_few_and_round(seconds: float) -> None:
    every = tick_length(seconds)
    assert 3 <= seconds / every <= 8
    assert f"{every:e}"[0] in "125"


def test_a_build_that_took_no_time_is_drawn() -> None:
    assert draw_timeline([span(0, 0)], 0).startswith("<svg")


def test_shared_layers_name_their_images_once() -> None:
    images = [
        ImageSize("a", (("x", 10), ("y", 5), ("x", 10))),
        ImageSize("b", (("x", 10), ("z", 1))),
    ]
    assert shared_layers(images) == [("x", 10, ("a", "b"))]


def luminance(colour: str) -> float:
    """Spec: WCAG 2.2, "relative luminance"."""
    text = colour.lstrip("#")
    text = "".join(letter * 2 for letter in text) if len(text) == 3 else text
    parts = [int(text[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


PAIRS = [
    (text, back)
    for text, backs in {
        "text": ("back", "card", "done-back", "kept-back", "failed-back", "step", "blob", "layer"),
        "soft": ("back", "card", "done-back", "kept-back", "failed-back"),
        "link": ("back",),
        "done": ("done-back",),
        "kept": ("kept-back",),
        "failed": ("failed-back",),
    }.items()
    for back in backs
]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(scheme: int) -> None:
    from tasks.view.report.style import STYLE

    table = dict(re.findall(r"--([\w-]+): (#\w+)", STYLE.split("@media")[scheme]))
    for text, back in PAIRS:
        light, dark = sorted((luminance(table[text]), luminance(table[back])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, back)
