"""The graph for other programs: Mermaid, DOT, and SVG by graphviz."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import DoitOciError
from ...figures import short_digest
from ..why import ALWAYS, CURRENT, DUE, UNKNOWN, Finding

COLOURS = {
    CURRENT: ("#e6f4ea", "#1e7f3c"),
    DUE: ("#fff4e0", "#a15c00"),
    UNKNOWN: ("#f0f0f4", "#5c5c6e"),
    ALWAYS: ("#e6f0fb", "#1f5fa8"),
}
"""Fill and line of each state; the state is written in the box as well."""


def label(finding: Finding) -> tuple[str, str]:
    """The two lines in a box."""
    step, colon, name = finding.title.partition(":")
    return f"{step}{colon}{short_digest(name)}", finding.state


def draw_mermaid(findings: Sequence[Finding]) -> str:
    """A flowchart that GitHub and GitLab show in Markdown."""
    numbers = {finding.title: f"n{place}" for place, finding in enumerate(findings)}
    lines = ["flowchart LR"]
    for finding in findings:
        title, state = (_mermaid_text(text) for text in label(finding))
        name = finding.state.replace(" ", "_")
        lines.append(f'    {numbers[finding.title]}["{title}<br>{state}"]:::{name}')
    for finding in findings:
        lines += [f"    {numbers[need]} --> {numbers[finding.title]}" for need in finding.needs]
    for state in dict.fromkeys(finding.state for finding in findings):
        fill, line = COLOURS[state]
        name = state.replace(" ", "_")
        lines.append(f"    classDef {name} fill:{fill},stroke:{line},color:#1c1c24")
    return "\n".join(lines) + "\n"


def _mermaid_text(text: str) -> str:
    return text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;")


def draw_dot(findings: Sequence[Finding]) -> str:
    """A digraph for graphviz."""
    lines = [
        "digraph doit_oci {",
        "    rankdir=LR;",
        '    node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11];',
    ]
    for finding in findings:
        title, state = label(finding)
        fill, line = COLOURS[finding.state]
        tip = "; ".join(finding.words)
        lines.append(
            f"    {_quoted(finding.title)} [label={_quoted(title, state)}, "
            f'fillcolor="{fill}", color="{line}", tooltip={_quoted(tip)}];'
        )
    for finding in findings:
        lines += [f"    {_quoted(need)} -> {_quoted(finding.title)};" for need in finding.needs]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(*lines: str) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'


def draw_svg(findings: Sequence[Finding]) -> str:
    """Raises: DoitOciError where graphviz is not installed or refuses."""
    import shutil
    import subprocess

    program = shutil.which("dot")
    if program is None:
        raise DoitOciError(
            "graphviz's dot is not on PATH",
            subject="graph",
            hint="install graphviz, or take --format mermaid, dot or text",
        )
    done = subprocess.run(
        [program, "-Tsvg"], input=draw_dot(findings).encode(), capture_output=True, check=False
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise DoitOciError(f"dot ended with status {done.returncode}: {said}", subject="graph")
    return done.stdout.decode()
