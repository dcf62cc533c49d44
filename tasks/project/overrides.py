"""Levels of overrides merged into one: ``[defaults]`` < ``extends`` < the bundle's own table.

Spec: Compose "extends", "Merge Compose files": maps merge by key, mounts by target, lists of
capabilities, groups and files add up, everything else is replaced. ``unset`` takes away what a
lower level or the image says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MERGED_BY_KEY = frozenset(
    {
        "annotations",
        "devices",
        "environment",
        "healthcheck",
        "hooks",
        "log",
        "secrets",
        "security",
        "sysctls",
        "tmpfs",
        "ulimits",
        "volumes",
    }
)
ADDED_UP = frozenset({"cap_add", "cap_drop", "env_file", "group_add"})
OPPOSITES = {"cap_add": "cap_drop", "cap_drop": "cap_add", "volumes": "tmpfs", "tmpfs": "volumes"}
"""What a higher level says under one key takes the same name out of the other."""

WRITTEN_AS = {
    "labels": ("annotations", ""),
    "cpus": ("cpu_quota", ""),
    "seccomp": ("security", "seccomp"),
    "security_opt": ("security", ""),
}
"""Keys of images.toml whose normal form stands elsewhere."""


class Level:
    """One table in its normal form, with its ``unset`` list and the words that name it."""

    __slots__ = ("name", "spec", "unset", "values")

    def __init__(
        self,
        name: str,
        values: Mapping[str, Any],
        unset: Iterable[str] = (),
        spec: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.values = values
        self.unset = tuple(unset)
        self.spec = spec or {}


class Merged:
    """``values`` in normal form; ``origins`` maps a JSON pointer in it to the level it is from.

    ``unset`` holds what has to be taken out of the image too; ``spec`` the patches, lowest first.
    """

    __slots__ = ("origins", "spec", "unset", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.unset: list[str] = []
        self.spec: list[tuple[str, Mapping[str, Any]]] = []


def pointer(*parts: str | int) -> str:
    """A JSON pointer. Spec: RFC 6901."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def merge(levels: Iterable[Level]) -> Merged:
    """All levels in one, lowest first."""
    found = Merged()
    for level in levels:
        for path in level.unset:
            _unset(found, path)
        for key, value in level.values.items():
            _put(found, key, value, level.name)
        if level.spec:
            found.spec.append((level.name, level.spec))
    return found


def _put(found: Merged, key: str, value: Any, name: str) -> None:
    if key in MERGED_BY_KEY:
        _put_named(found, key, value, name)
    elif key in ADDED_UP:
        _put_added(found, key, value, name)
    else:
        found.values[key] = value
        found.origins[pointer(key)] = name
        found.unset = [path for path in found.unset if path != key]


def _put_named(found: Merged, key: str, value: Mapping[str, Any], name: str) -> None:
    kept = dict(found.values.get(key, {}))
    other = dict(found.values.get(OPPOSITES.get(key, ""), {}))
    for item, content in value.items():
        kept[item] = [*kept.get(item, []), *content] if key == "hooks" else content
        found.origins[pointer(key, item)] = name
        if other.pop(item, None) is not None:
            found.origins.pop(pointer(OPPOSITES[key], item))
        found.unset = [path for path in found.unset if path != f"{key}.{item}"]
    found.values[key] = kept
    if key in OPPOSITES and OPPOSITES[key] in found.values:
        found.values[OPPOSITES[key]] = other


def _put_added(found: Merged, key: str, value: Iterable[Any], name: str) -> None:
    kept = list(found.values.get(key, []))
    opposite = OPPOSITES.get(key)
    for item in value:
        if item not in kept:
            kept.append(item)
            label = item["path"] if isinstance(item, dict) else item
            found.origins[pointer(key, label)] = name
        if opposite and item in found.values.get(opposite, ()):
            found.values[opposite] = [word for word in found.values[opposite] if word != item]
            found.origins.pop(pointer(opposite, item), None)
    found.values[key] = kept
    found.unset = [path for path in found.unset if path != key]


def _unset(found: Merged, path: str) -> None:
    key, _, item = path.partition(".")
    key, fixed = WRITTEN_AS.get(key, (key, ""))
    item = item or fixed
    if not item:
        found.values.pop(key, None)
        for place in [p for p in found.origins if p == f"/{key}" or p.startswith(f"/{key}/")]:
            del found.origins[place]
    else:
        kept = found.values.get(key)
        if isinstance(kept, dict):
            found.values[key] = {name: value for name, value in kept.items() if name != item}
        elif isinstance(kept, list):
            found.values[key] = [word for word in kept if _label(word) != item]
        found.origins.pop(pointer(key, item), None)
    text = f"{key}.{item}" if item else key
    if text not in found.unset:
        found.unset.append(text)


def _label(word: Any) -> Any:
    return word["path"] if isinstance(word, dict) else word
