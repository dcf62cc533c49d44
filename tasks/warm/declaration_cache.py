"""images.toml as checked JSON: validated once, then read back while the text is the same.

``build/images.json`` holds the text it was made from beside the result, and what checked it, so
that neither an edit nor a newer doit-oci can be missed; losing it costs time only. Every image and
every bundle stands on a line of its own, so that one target reads its own.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import DeclarationError, DoitOciError
from ..project.images import ImageSet, load_images
from ..project.named_lines import Lines, to_lines
from ..project.workspace import Workspace
from ..store.atomic import write_atomic
from .checked_by import checked_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SECTIONS = ("images", "bundles")


def load_declaration(workspace: Workspace) -> ImageSet:
    """The declaration of a project. Raises: DeclarationError, SchemaViolations."""
    path = workspace.declaration
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return load_images(path)
    head = {"text": text, "checked_by": checked_by()}
    found = _read(workspace.compiled, head, path)
    if found is not None:
        return found
    images = load_images(path)
    rest = images.to_json()
    sections = {key: rest.pop(key) for key in SECTIONS}
    try:
        workspace.compiled.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(workspace.compiled, to_lines({**head, "rest": rest}, sections), sync=False)
    except (OSError, DoitOciError):
        # A state directory that cannot be written is said by the step that needs it.
        return images
    return images


def _read(compiled: Path, head: dict[str, Any], path: Path) -> ImageSet | None:
    try:
        lines = Lines(compiled.read_bytes())
        if not lines.begins_with(head):
            return None
        return ImageSet.from_json(
            {**lines["rest"], **{key: lines.section(key) for key in SECTIONS}}, path
        )
    except (OSError, KeyError, ValueError, TypeError, DeclarationError):
        return None
