"""The nearest known word, for messages about a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean "command"?``, or nothing where no known word is near.

    >>> did_you_mean("comand", ["command", "cpus"])
    '; did you mean "command"?'
    """
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    if not near:
        folded = {name.lower().replace("-", "_"): name for name in known}
        same = folded.get(word.lower().replace("-", "_"))
        near = [same] if same else []
    return f'; did you mean "{near[0]}"?' if near else ""
