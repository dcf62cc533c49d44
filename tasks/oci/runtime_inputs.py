"""What the parts of the translation to config.json read, and where each override is from."""

from __future__ import annotations

from collections.abc import Mapping

from ..value import Value
from .config_draft import BUILT_IN, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Inputs(Value):
    """The image's ``config`` object and the overrides."""

    image: Mapping[str, Any]
    overrides: Mapping[str, Any]
    levels: Mapping[str, str]
    files: Mapping[str, bytes]
    owners: Mapping[str, tuple[int, int, int]]
    architecture: str

    def origin(self, *parts: str | int) -> str:
        """``LEVEL: key.name`` for an override; the nearest level that is known for it."""
        for depth in range(len(parts), 0, -1):
            level = self.levels.get(pointer(parts[:depth]))
            if level:
                return level if level == BUILT_IN else f"{level}: {'.'.join(map(str, parts))}"
        return f"bundle: {'.'.join(map(str, parts))}"
