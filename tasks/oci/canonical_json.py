"""Canonical JSON: one text for one value, so that its digest can be a key.

Sorted keys, no spaces, UTF-8; integers only, because floats have no single spelling.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INDENT = "  "


def canonical(value: Any) -> bytes:
    """Bytes for hashing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def pretty(value: Any) -> bytes:
    """Bytes for files that people read: sorted, indented by two, LF, one newline at the end."""
    return (_indented(value, "\n") + "\n").encode()


def _indented(value: Any, line: str) -> str:
    """What ``json.dumps`` with an indent gives, whose encoder is in C only where there is none:
    what holds nothing but scalars, which is nearly all, is encoded by that one.

    ``line`` is a newline and the indentation of ``value``.
    """
    if not value or not isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False)
    inner = line + INDENT
    held = value.values() if isinstance(value, dict) else value
    if not any(isinstance(each, dict | list | tuple) for each in held):
        flat = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=("," + inner, ": "))
        return f"{flat[0]}{inner}{flat[1:-1]}{line}{flat[-1]}"
    if isinstance(value, dict):
        items = [
            f"{json.dumps(k, ensure_ascii=False)}: {_indented(value[k], inner)}"
            for k in sorted(value)
        ]
        return f"{{{inner}{f',{inner}'.join(items)}{line}}}"
    return f"[{inner}{f',{inner}'.join([_indented(x, inner) for x in value])}{line}]"
