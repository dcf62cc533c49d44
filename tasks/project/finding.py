"""Finding: one thing that validate or verify has to say."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """``subject`` is the object (``layout hello``), ``place`` the file, path or JSON path in it."""

    subject: str
    place: str
    message: str

    def __str__(self) -> str:
        return ": ".join(filter(None, self))

    def to_json(self) -> dict[str, str]:
        return {"subject": self.subject, "place": self.place, "message": self.message}
