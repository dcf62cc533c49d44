"""Amounts as Compose spells them: sizes in bytes and durations in seconds.

Spec: Compose "Specifying byte values" and "Specifying durations".
"""

from __future__ import annotations

UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
LARGEST = (1 << 63) - 1
LENGTH = 40
"""Digits of a number: Python refuses to read one of thousands."""
LONGEST = 1e10
"""Seconds: three centuries, which every clock and timer still takes."""
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_bytes(value: int | str) -> int | None:
    """Bytes of ``64m``, ``1.5 GiB`` or a plain number; None where it is no size.

    >>> parse_bytes("64m")
    67108864
    """
    if isinstance(value, int):
        return value if 0 <= value <= LARGEST else None
    text = value.strip().lower()
    digits = text.rstrip("bkmgti ")
    unit = text[len(digits) :].strip()
    if unit.endswith("ib"):
        unit = unit[:-2]
    elif unit.endswith("b") and unit != "b":
        unit = unit[:-1]
    if unit not in UNITS or not digits:
        return None
    whole, _, fraction = digits.partition(".")
    if not digits.isascii() or not whole.isdigit() or (fraction and not fraction.isdigit()):
        return None
    if len(digits) > LENGTH:
        return None
    size = int(whole) * UNITS[unit]
    if fraction:
        size += int(fraction) * UNITS[unit] // 10 ** len(fraction)
    return size if size <= LARGEST else None


def parse_duration(value: float | str) -> float | None:
    """Seconds of ``1m30s``, ``250ms`` or a plain number; None where it is no duration.

    >>> parse_duration("1m30s")
    90.0
    """
    if not isinstance(value, str):
        return float(value) if 0 <= value <= LONGEST else None
    text, total, found = value.strip().lower(), 0.0, False
    while text:
        digits = text[: len(text) - len(text.lstrip("0123456789."))]
        rest = text[len(digits) :]
        unit = rest[: len(rest) - len(rest.lstrip("abcdefghijklmnopqrstuvwxyz"))]
        if unit not in SECONDS or digits.count(".") > 1 or not digits.strip("."):
            return None
        total += float(digits) * SECONDS[unit]
        text, found = rest[len(unit) :], True
    return total if found and total <= LONGEST else None
