"""What checks a declaration: another version or, in a checkout, schema may find otherwise."""

from __future__ import annotations

import os

from .. import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../specs/images.schema.json")


def checked_by() -> list[Any]:
    """The version, and the size and time of the schema: a checkout's changes between versions."""
    try:
        found = os.stat(SCHEMA)
    except OSError:
        return [__version__]
    return [__version__, found.st_size, found.st_mtime_ns]
