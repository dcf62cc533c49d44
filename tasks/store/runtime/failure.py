"""RuntimeFailed, imported only when there is one."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...errors import RuntimeFailed


def failure(message: str, subject: str, hint: str | None = None) -> RuntimeFailed:
    """A RuntimeFailed for the caller to raise."""
    from ...errors import RuntimeFailed

    return RuntimeFailed(message, subject=subject, hint=hint)
