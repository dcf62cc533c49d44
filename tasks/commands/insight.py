"""Commands that look: why, graph, report, diff, doctor. None of them builds or fetches."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from ..doit_bridge import ProjectCommand
from ..errors import DeclarationError

FORMATS = ("text", "mermaid", "dot", "svg")


def put(text: str) -> None:
    """Requested data; what standard output's encoding lacks becomes a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))


class Why(ProjectCommand):
    """``why [TARGET…]``"""

    doc_purpose = "say in words which steps would run and why, without running them"
    doc_usage = "[TARGET...]"
    doc_description = (
        "`why config:BUNDLE` also says of every value of config.json where it came from."
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..view.why import find_origins, find_reasons, origins_text, parse_target, reasons_text

        found = find_reasons(self.plan, names)
        configs = [
            name
            for step, name in (parse_target(self.plan, word) for word in names)
            if step == "config"
        ]
        known = [
            name
            for name in configs
            if self.plan.locked(
                self.plan.bundle(name).image, self.plan.platform(self.plan.bundle(name))
            )
        ]
        origins = {name: find_origins(self.plan, name) for name in known}
        if self.options.json:
            value: dict[str, Any] = {"tasks": [finding.to_json() for finding in found]}
            if origins:
                value["origins"] = {n: [o.to_json() for o in each] for n, each in origins.items()}
            put(json.dumps(value, indent=4) + "\n")
            return 0
        put(reasons_text(found))
        for name, each in origins.items():
            put(f"\nconfig.json of {name}, each value and where it is from:\n")
            put(origins_text(each))
        return 0


class Graph(ProjectCommand):
    """``graph [TARGET…] [--format text|mermaid|dot|svg]``"""

    doc_purpose = "draw what targets need and how it stands: text, Mermaid, DOT or SVG"
    doc_usage = "[TARGET...] [--format text|mermaid|dot|svg]"
    cmd_options = (
        {
            "name": "format",
            "short": "f",
            "long": "format",
            "type": str,
            "default": "text",
            "choices": tuple((name, "") for name in FORMATS),
            "help": "text, mermaid, dot or svg",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..view.picture.markup import draw_dot, draw_mermaid, draw_svg
        from ..view.picture.tree import draw_tree
        from ..view.why import find_reasons

        found = find_reasons(self.plan, names)
        if self.options.json:
            put(json.dumps([each.to_json() for each in found], indent=4) + "\n")
        elif given["format"] == "text":
            plain = "utf" not in (sys.stdout.encoding or "").lower()
            put(draw_tree(found, plain=plain))
        else:
            draw = {"mermaid": draw_mermaid, "dot": draw_dot, "svg": draw_svg}[given["format"]]
            put(draw(found))
        return 0


class Diff(ProjectCommand):
    """``diff A B``"""

    doc_purpose = "compare two images or bundles, or two lock files: config, layers, files"
    doc_usage = "A B [--all]"
    cmd_options = (
        {
            "name": "all",
            "long": "all",
            "type": bool,
            "default": False,
            "help": "name every file",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..view.diff import diff_locks, diff_names, difference_text, open_lock

        if len(names) != 2:
            raise DeclarationError(
                "expected two images, bundles or lock files", subject="diff", hint="diff A B"
            )
        paths = [Path(name) for name in names]
        if all(path.is_file() for path in paths):
            old, new = (open_lock(path) for path in paths)
            found = dict(diff_locks(old, new, self.plan.workspace))
        else:
            found = {" → ".join(names): diff_names(self.plan, *names)}
        if self.options.json:
            value = {title: each.to_json() for title, each in found.items()}
            put(json.dumps(value, indent=4) + "\n")
            return 0
        for title, each in found.items():
            put(f"{title}\n{difference_text(each, every=given['all'])}")
        return 0


class Report(ProjectCommand):
    """``report [--output PATH]``"""

    doc_purpose = "write one HTML page about the last build, and print its path"
    doc_usage = "[--output PATH]"
    cmd_options = (
        {
            "name": "output",
            "short": "o",
            "long": "output",
            "type": str,
            "default": "",
            "help": "where to write it; default: report/index.html in the state directory",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..store.atomic import write_atomic
        from ..view.report.content import gather
        from ..view.report.page import write_page

        if names:
            raise DeclarationError("takes no names", subject="report")
        page = self.plan.workspace.record.with_name("index.html")
        path = Path(given["output"]) if given["output"] else page
        write_atomic(path, write_page(gather(self.plan)).encode(errors="replace"))
        put(f"{path}\n")
        return 0


class Doctor(ProjectCommand):
    """``doctor``"""

    doc_purpose = "print what this host offers to containers, and what to install"
    doc_usage = ""

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..doctor import examine_host, findings_text
        from ..project.workspace import STATE_DIRECTORY
        from ..project_folder import find_project

        if names:
            raise DeclarationError("takes no names", subject="doctor")
        state = Path(self.options.state or STATE_DIRECTORY).absolute()
        if not self.options.state:
            # The question makes sense without a project, too.
            with contextlib.suppress(DeclarationError):
                state = find_project(Path.cwd()) / STATE_DIRECTORY
        # What will be made there lies on the file system of what is there; nothing is left behind.
        there = next(folder for folder in (state, *state.parents) if folder.is_dir())
        found = examine_host(state=there)
        if self.options.json:
            put(json.dumps([each.to_json() for each in found], indent=4) + "\n")
        else:
            put(findings_text(found))
        return 0
