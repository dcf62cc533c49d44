"""What mkdocs is given beside docs/: the pages that are made of the code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import pages
from mkdocs.structure.files import File, Files

MADE = {
    "reference/commands.md": pages.commands_page,
    "reference/images-toml.md": lambda: pages.schema_page("images"),
    "reference/images-lock.md": lambda: pages.schema_page("images-lock"),
    "reference/python.md": pages.api_page,
    "reference/events.md": lambda: pages.schema_page("events"),
}


def on_files(files: Files, config: Any) -> Files:
    for name, make in MADE.items():
        files.append(File.generated(config, name, content=make()))
    return files


def on_config(config: Any) -> Any:
    """Pages that the navigation does not name come last, under a heading of their own."""
    docs = Path(config["docs_dir"])
    named = json.dumps(config["nav"])
    others = sorted(
        path.relative_to(docs).as_posix()
        for path in docs.rglob("*.md")
        if path.relative_to(docs).as_posix() not in named and path.name != "README.md"
    )
    if others:
        config["nav"].append({"More": others})
    return config
