"""images.toml → ImageSet: what the user declares, checked once and kept as plain JSON.

Importing this module, and reading an ImageSet back from JSON, must stay cheap: a warm start does
both, and neither parses TOML nor loads a schema. Declarations are made on demand, so that ten
thousand images cost nothing until one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ..errors import UnknownTarget
from ..value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Named = Mapping[str, Any]
else:
    Named = Mapping

FORMAT = 2
"""Of the compiled JSON; a reader of another format compiles anew."""


class ImageDeclaration(Value):
    """``image`` is the reference as it was written; ``platforms`` is empty for the default."""

    name: str
    image: str
    platforms: tuple[str, ...]
    pull_policy: str


class BundleDeclaration(Value):
    """``overrides`` is in normal form (see project/overrides.py), without run-only keys' effects.

    ``origins`` maps a JSON pointer in ``overrides`` to ``defaults``, ``extends NAME`` or
    ``bundle``. ``spec`` holds (level, merge patch), lowest first. ``platform`` is empty for the
    default; ``folder`` is images.toml's own, which relative host paths start from.
    """

    name: str
    image: str
    platform: str
    overrides: Mapping[str, Any]
    origins: Mapping[str, str]
    spec: tuple[tuple[str, Mapping[str, Any]], ...]
    unset: tuple[str, ...]
    check: Mapping[str, Any] | None
    folder: str


class Declared(Named):
    """Declarations by name, each made when it is asked for."""

    __slots__ = ("_make", "_raw")

    def __init__(self, raw: Mapping[str, Any], make: Callable[[str, Any], Any]) -> None:
        self._raw = raw
        self._make = make

    def __getitem__(self, name: str) -> Any:
        return self._make(name, self._raw[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __contains__(self, name: object) -> bool:
        return name in self._raw


class ImageSet:
    """The whole declaration. ``registries`` are the ``[[registry]]`` tables as they stand."""

    __slots__ = ("_raw", "bundles", "images", "path")

    def __init__(self, raw: Mapping[str, Any], path: Path) -> None:
        self._raw = raw
        self.path = path
        self.images: Mapping[str, ImageDeclaration] = Declared(raw["images"], _image)
        self.bundles: Mapping[str, BundleDeclaration] = Declared(raw["bundles"], self._bundle)

    def without_cache(self) -> ImageSet:
        """The same where no remote cache is declared."""
        return ImageSet({**self._raw, "cache": {}}, self.path)

    @property
    def runtime(self) -> str | None:
        value: str | None = self._raw["runtime"]
        return value

    @property
    def runtimes(self) -> Mapping[str, Any]:
        """``[runtimes.NAME]``: path and args of each."""
        value: Mapping[str, Any] = self._raw["runtimes"]
        return value

    @property
    def defaults(self) -> Mapping[str, Any]:
        """``platform`` and whatever ``[defaults]`` makes of a bundle that says nothing."""
        value: Mapping[str, Any] = self._raw["defaults"]
        return value

    @property
    def limits(self) -> Mapping[str, int]:
        """``[limits]`` for unpacking, sizes in bytes."""
        value: Mapping[str, int] = self._raw["limits"]
        return value

    @property
    def registries(self) -> list[dict[str, Any]]:
        value: list[dict[str, Any]] = self._raw["registries"]
        return value

    @property
    def cache(self) -> Mapping[str, Any]:
        """``[cache]``, ``max_size`` in bytes."""
        value: Mapping[str, Any] = self._raw["cache"]
        return value

    @property
    def fleet(self) -> Mapping[str, Any]:
        value: Mapping[str, Any] = self._raw["fleet"]
        return value

    def bundle(self, name: str) -> BundleDeclaration:
        """The bundle of that name; an image without one has one. Raises: UnknownTarget."""
        if name in self.bundles:
            return self.bundles[name]
        if name in self.images:
            return self._bundle(name, None)
        raise _unknown("bundle", name, [*self.bundles, *self.images], self.path)

    def wanted(self, image: str) -> list[str]:
        """The platforms that bundles want of an image, each once; empty is the default one."""
        found: list[str] = self._raw["images"][image]["wanted"]
        return found

    def users(self, image: str) -> list[str]:
        """The bundles of an image, the one of its own name first where it is implied."""
        found: list[str] = self._raw["images"][image]["users"]
        return found

    def bundle_names(self) -> list[str]:
        """Every bundle that can be asked for, those that images imply included, sorted."""
        return sorted({*self._raw["bundles"], *self._raw["images"]})

    def image(self, name: str) -> ImageDeclaration:
        """The image of that name. Raises: UnknownTarget."""
        if name in self.images:
            return self.images[name]
        raise _unknown("image", name, list(self.images), self.path)

    def _bundle(self, name: str, raw: Mapping[str, Any] | None) -> BundleDeclaration:
        found = self._raw["defaults"] if raw is None else raw
        overrides, origins = found["overrides"], found["origins"]
        if "hostname" not in overrides:
            overrides = {**overrides, "hostname": name[:63]}
            origins = {**origins, "/hostname": "built-in"}
        return BundleDeclaration(
            name=name,
            image=name if raw is None else raw["image"],
            platform=found.get("platform", ""),
            overrides=overrides,
            origins=origins,
            spec=tuple((level, patch) for level, patch in found["spec"]),
            unset=tuple(found["unset"]),
            check=found.get("check"),
            folder=str(self.path.parent),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON that :meth:`from_json` reads back."""
        return dict(self._raw)

    def part(self, name: str) -> dict[str, Any]:
        """As :meth:`to_json`, with one bundle and its image only."""
        image = self.bundle(name).image
        bundles = self._raw["bundles"]
        return {
            **self._raw,
            "images": {image: self._raw["images"][image]},
            "bundles": {name: bundles[name]} if name in bundles else {},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], path: Path) -> ImageSet:
        """What :meth:`to_json` gave. Raises: ValueError where another version wrote it."""
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise ValueError(f"{path}: compiled in another format")
        return cls(value, path)


def _image(name: str, raw: Mapping[str, Any]) -> ImageDeclaration:
    return ImageDeclaration(
        name=name,
        image=raw["image"],
        platforms=tuple(raw.get("platforms", ())),
        pull_policy=raw.get("pull_policy", "missing"),
    )


def _unknown(kind: str, name: str, known: list[str], path: Path) -> UnknownTarget:
    from .suggestion import did_you_mean

    guess = did_you_mean(name, known)
    return UnknownTarget(
        f"no {kind} of that name in {path.name}{guess}",
        subject=name,
        hint=None if guess else "`list` shows every name",
    )


def load_images(path: Path) -> ImageSet:
    """Read and check images.toml. Raises: DeclarationError, SchemaViolations."""
    from .declaration import compile_declaration

    return ImageSet(compile_declaration(path), path)
