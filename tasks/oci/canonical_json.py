"""Canonical JSON: one text for one value, so that its digest can be a key.

Sorted keys, no spaces, UTF-8; integers only, because floats have no single spelling.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def canonical(value: Any) -> bytes:
    """Bytes for hashing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def pretty(value: Any) -> bytes:
    """Bytes for files that people read: sorted, indented by two, LF, one newline at the end."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()
