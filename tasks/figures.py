"""Figures for people: sizes, durations and counts, spelt one way everywhere."""

from __future__ import annotations

UNITS = ("B", "kB", "MB", "GB", "TB")
MINUTE, HOUR = 60, 3600


def size_text(count: float) -> str:
    """Bytes, in decimal units as registries count them.

    >>> size_text(999), size_text(1_234_567)
    ('999 B', '1.2 MB')
    """
    value, unit = float(count), 0
    while abs(value) >= 999.95 and unit < len(UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.1f} {UNITS[unit]}"


def time_text(seconds: float) -> str:
    """A duration.

    >>> time_text(0.0123), time_text(3.21), time_text(75), time_text(3700)
    ('12 ms', '3.2 s', '1 min 15 s', '1 h 1 min')
    """
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < MINUTE - 0.05:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"


def count_text(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun.

    >>> count_text(1, "layer"), count_text(2, "layer")
    ('1 layer', '2 layers')
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def short_digest(text: str) -> str:
    """A digest as one can tell it from others at a glance; other texts stay as they are.

    >>> short_digest("sha256:" + "ab" * 32)
    'sha256:abababababab'
    """
    algorithm, colon, encoded = text.partition(":")
    return f"{algorithm}:{encoded[:12]}" if colon and len(encoded) >= 64 else text
