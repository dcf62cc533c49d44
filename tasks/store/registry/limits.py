"""Limits: how long and how often a registry is asked before it is given up."""

from __future__ import annotations

from ...value import Value


class Limits(Value):
    """Times are in seconds.

    ``attempts`` counts tries in a row without a byte of progress; ``drops`` bounds how often one
    blob's transfer may break off in all. Fewer than ``stall_bytes`` in ``stall_time`` is a stall.
    A request sent ahead on a connection of its own is waited for ``ahead_time`` where another
    connection is free: some servers serve one at a time.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    attempts: int = 5
    drops: int = 50
    backoff: float = 0.3
    backoff_cap: float = 10.0
    retry_after_cap: float = 60.0
    redirects: int = 5
    stall_time: float = 60.0
    stall_bytes: int = 60 << 10
    document_time: float = 120.0
    ahead_time: float = 3.0

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """How long to wait before the next try: the server's word, or growing with jitter."""
        if retry_after is not None:
            return min(max(retry_after, 0.0), self.retry_after_cap)
        import random

        longest: float = min(self.backoff_cap, self.backoff * (1 << attempt))
        return longest * (0.5 + random.random() / 2)  # noqa: S311 - jitter, not a secret
