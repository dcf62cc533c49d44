"""A config.json in the making, that remembers where every part of it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BUILT_IN = "built-in"
IMAGE = "image"


def pointer(parts: tuple[str | int, ...]) -> str:
    """A JSON pointer. Spec: RFC 6901."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


class Draft:
    """``origins`` says of a place, by JSON pointer, where it and all below it came from."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def put(self, parts: tuple[str | int, ...], value: Any, origin: str) -> None:
        """Set one value; tables on the way are made."""
        table: Any = self.config
        for part in parts[:-1]:
            table = table.setdefault(part, {})
        table[parts[-1]] = value
        self.origins[pointer(parts)] = origin

    def put_list(self, parts: tuple[str | int, ...], items: list[tuple[Any, str]]) -> None:
        """Set a list, each item with its own origin."""
        self.put(parts, [value for value, _ in items], BUILT_IN)
        for place, (_, origin) in enumerate(items):
            self.origins[pointer((*parts, place))] = origin

    def patch(self, patch: Mapping[str, Any], origin: str) -> None:
        """Apply a JSON Merge Patch, and note what it sets. Spec: RFC 7396."""
        from .merge_patch import merge_patch

        self.config = merge_patch(self.config, patch)
        for parts, value in _leaves(patch, ()):
            place = pointer(parts)
            for known in [each for each in self.origins if each.startswith(place + "/")]:
                del self.origins[known]
            if value is None:
                self.origins.pop(place, None)
            else:
                self.origins[place] = origin

    def leaf_origins(self) -> dict[str, str]:
        """The origin of every leaf of the finished config, in its order."""
        found = {}
        for parts, _ in _leaves(self.config, (), into_lists=True):
            for depth in range(len(parts), -1, -1):
                origin = self.origins.get(pointer(parts[:depth]))
                if origin is not None:
                    found[pointer(parts)] = origin
                    break
            else:
                found[pointer(parts)] = BUILT_IN
        return found


def _leaves(
    value: Any, parts: tuple[str | int, ...], *, into_lists: bool = False
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*parts, name), into_lists=into_lists)
    elif into_lists and isinstance(value, list) and value:
        for place, inner in enumerate(value):
            yield from _leaves(inner, (*parts, place), into_lists=True)
    else:
        yield parts, value


def nearest_origin(origins: Mapping[str, str], path: tuple[str | int, ...]) -> str:
    """Where the place came from: its own origin, else one below it, else one above."""
    place = pointer(path)
    below = next((name for name in origins if name == place or name.startswith(place + "/")), None)
    if below is not None:
        return origins[below]
    return nearest_origin(origins, path[:-1]) if path else BUILT_IN
