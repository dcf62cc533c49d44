"""Signals as images and people name them. Spec: image-spec 1.1 config.md, "StopSignal"."""

from __future__ import annotations

REALTIME = 30
"""SIGRTMAX is SIGRTMIN+30 on Linux with a usual C library."""


def parse_signal(text: str) -> str | None:
    """``SIGNAME`` of ``term``, ``SIGTERM``, ``15`` or ``SIGRTMIN+3``; None where it is none.

    >>> parse_signal("15")
    'SIGTERM'
    """
    import signal

    word = text.strip().upper()
    if word.isascii() and word.isdigit():
        number = int(word) if len(word) < 4 else 0
        if number in {*signal.Signals}:
            return signal.Signals(number).name
        offset = number - signal.SIGRTMIN
        return f"SIGRTMIN+{offset}" if 0 <= offset <= REALTIME else None
    name = word if word.startswith("SIG") else f"SIG{word}"
    for root, sign in (("SIGRTMIN", "+"), ("SIGRTMAX", "-")):
        if name.startswith(root + sign):
            offset_text = name[len(root) + 1 :]
            plain = offset_text.isascii() and offset_text.isdigit() and len(offset_text) < 4
            return name if plain and int(offset_text) <= REALTIME else None
    return name if name in signal.Signals.__members__ else None
