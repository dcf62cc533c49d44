"""Reply: a server's answer as every transport gives it, its body still to be read."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol
else:
    Protocol = object


class Headers:
    """Header fields; names in any case, repeated fields joined by commas."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        """``fields`` by name in lower case."""
        self._fields = fields

    def get(self, name: str, default: str = "") -> str:
        return self._fields.get(name.lower(), default)


class Reply(Protocol):
    """One answer; whoever has it calls :meth:`release` or :meth:`close`."""

    status: int
    headers: Headers

    def read_into(self, view: memoryview) -> int:
        """What has arrived of the body, at least a byte of it; 0 at its end.

        Raises: OSError (TimeoutError among them) when it breaks off before its end.
        """

    def release(self) -> None:
        """Give the connection back where the body was read to its end, else close it."""

    def close(self) -> None: ...
