"""images.toml as checked JSON: validated once, then read back while the text is the same.

``build/images.json`` holds the text it was made from beside the result, and what checked it, so
that neither an edit nor a newer doit-oci can be missed; losing it costs time only.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from . import __version__
from .errors import DoitOciError
from .project.images import ImageSet, load_images
from .project.workspace import Workspace
from .store.atomic import write_atomic


def load_declaration(workspace: Workspace) -> ImageSet:
    """The declaration of a project. Raises: DeclarationError, SchemaViolations."""
    path = workspace.declaration
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return load_images(path)
    checked_by = _checked_by()
    found = _read(workspace.compiled)
    if found.get("text") == text and found.get("checked_by") == checked_by:
        try:
            return ImageSet.from_json(found["value"], path)
        except (KeyError, ValueError):
            pass
    images = load_images(path)
    value = {"text": text, "checked_by": checked_by, "value": images.to_json()}
    try:
        workspace.compiled.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(workspace.compiled, json.dumps(value).encode())
    except (OSError, DoitOciError):
        # A state directory that cannot be written is said by the step that needs it.
        return images
    return images


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _checked_by() -> list[Any]:
    """The version, and the size and time of the schema: a checkout's changes between versions."""
    schema = Path(__file__).resolve().parent.parent / "specs" / "images.schema.json"
    try:
        found = os.stat(schema)
    except OSError:
        return [__version__]
    return [__version__, found.st_size, found.st_mtime_ns]
