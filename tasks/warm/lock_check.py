"""What ``lock --check`` found: that this images.lock fits this images.toml.

The record holds the digests of both files, what checked them and for which machine, and not when
they were written: a fresh clone with a CI's cache of the state directory has the same contents.
Any doubt is the command's to settle, which compares what the two say, entry by entry. Losing the
record costs time only.
"""

from __future__ import annotations

import os

from .checked_by import checked_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FITS = ".lock"
"""The name of the record among those of bundles; no bundle can have it."""


def statement(declaration: str, lock: str) -> dict[str, Any] | None:
    """What would be recorded of two files as they are now; None where one cannot be read."""
    import hashlib

    digests = []
    try:
        for path in (declaration, lock):
            with open(path, "rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    except OSError:
        return None
    return {"checked_by": checked_by(), "machine": os.uname().machine, "digests": digests}


def is_known_to_fit(record: str, declaration: str, lock: str) -> bool:
    """Whether a record is of the two files as they are now."""
    import json

    try:
        with open(record, "rb") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return False
    return found is not None and found == statement(declaration, lock)
