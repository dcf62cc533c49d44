"""The way from images.toml's text to checked, merged, plain JSON.

All violations are reported at once: those of the schema, and those of the rules beside it for
every table that the schema has nothing against. What rules over bundles is loaded where there are
any.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import DeclarationError, SchemaViolations
from .images import FORMAT
from .plain_toml import load_plain
from .schema import Violation, violations_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .overrides import Level

NOT_OVERRIDES = frozenset({"image", "platform", "extends", "unset", "spec", "check"})


def compile_declaration(path: Path) -> dict[str, Any]:
    """Checked JSON in the form that ImageSet keeps. Raises: DeclarationError, SchemaViolations."""
    text = read_declaration(path)
    return compile_text(text, path)


def read_declaration(path: Path) -> str:
    """The text of images.toml. Raises: DeclarationError."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DeclarationError(
            "no such file",
            subject=str(path),
            hint='write one, for example:  [images.hello-world]  image = "builtin:hello-world"',
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(f"cannot be read: {error}", subject=str(path)) from error


def compile_text(text: str, path: Path) -> dict[str, Any]:
    """As :func:`compile_declaration`, of a text that is already read."""
    value = load_plain(text)
    if value is None:
        import tomllib

        try:
            value = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # also of a number of thousands of digits
            raise DeclarationError(f"no valid TOML: {error}", subject=str(path)) from error
    violations = violations_of("images", value)
    compiler = Compiler(value, violations)
    found = compiler.compile()
    if compiler.violations:
        from .declaration_lines import lines_of

        lines = lines_of(text)
        said = sorted(
            {(lines.find(each.path), each.text()) for each in compiler.violations},
        )
        raise SchemaViolations(
            tuple(f"{path.name}:{line}: {words}" for line, words in said), subject=str(path)
        )
    return found


def _note_users(
    images: Mapping[str, dict[str, Any]], bundles: Mapping[str, Mapping[str, Any]], default: str
) -> None:
    """Put into each image which bundles it has and for which platforms, so that nobody has to walk
    over ten thousand bundles for one image."""
    for name, image in images.items():
        implied = name not in bundles
        image["users"] = [name] if implied else []
        image["wanted"] = [default] if implied else []
    for name, bundle in bundles.items():
        image = images[bundle["image"]]
        image["users"].append(name)
        platform = bundle.get("platform", "")
        if platform not in image["wanted"]:
            image["wanted"].append(platform)


class Compiler:
    """Collects violations while it reads; what it returns counts only if there are none."""

    def __init__(self, value: Mapping[str, Any], violations: list[Violation]) -> None:
        self.value = value
        self.violations = list(violations)
        self.refused = {
            each.path[:depth] for each in violations for depth in range(len(each.path) + 1)
        }
        self.levels: dict[str, Level] = {}
        self.tables: dict[str, dict[str, Any]] = {}

    def report(self, path: tuple[str | int, ...], message: str) -> None:
        self.violations.append(Violation(path, message))

    def table(self, *path: str) -> Mapping[str, Any]:
        """The table there, or an empty one where the schema refuses it or it is not there."""
        found: Any = self.value
        for part in path:
            found = found.get(part, {}) if isinstance(found, Mapping) else {}
        return found if isinstance(found, Mapping) else {}

    def sound(self, *path: str) -> bool:
        """Whether the schema has nothing against what is there."""
        return path not in self.refused

    def sound_keys(self, *path: str) -> dict[str, Any]:
        """The table there without the keys that the schema refuses."""
        return {key: value for key, value in self.table(*path).items() if self.sound(*path, key)}

    def compile(self) -> dict[str, Any]:
        images = {name: self.sound_keys("images", name) for name in self.table("images")}
        for name, image in images.items():
            self._check_image(name, image)
        bundles = self._bundles()
        defaults = self._defaults()
        _note_users(images, bundles, defaults.get("platform", ""))
        return {
            "format": FORMAT,
            "runtime": self.value.get("runtime"),
            "runtimes": self.table("runtimes"),
            "defaults": defaults,
            "images": images,
            "bundles": bundles,
            "registries": list(self.value.get("registry", ())) if self.sound("registry") else [],
            "limits": self._limits(),
            "cache": self._cache(),
            "fleet": self.table("fleet"),
        }

    def _bundles(self) -> dict[str, Any]:
        """Every bundle with an image; one without, that others extend, is a template."""
        self.tables = {name: self.sound_keys("bundles", name) for name in self.table("bundles")}
        bases = {table["extends"] for table in self.tables.values() if "extends" in table}
        found = {}
        for name, table in self.tables.items():
            bundle = self._bundle(name, table)
            if bundle["image"] in self.table("images"):
                found[name] = bundle
            elif name not in bases or "image" in table:
                self._unknown_image(name, table, bundle["image"])
        return found

    def _limits(self) -> dict[str, Any]:
        if not self.sound("limits"):
            return {}
        from .quantity import parse_bytes

        found: dict[str, Any] = {}
        for name, value in self.table("limits").items():
            size = parse_bytes(value) if name.endswith("bytes") else value
            if size is None:
                self.report(("limits", name), f"{value!r} is no size; expected one like 10GB")
            found[name] = size
        return found

    def _cache(self) -> dict[str, Any]:
        found = dict(self.table("cache"))
        if "max_size" in found and self.sound("cache", "max_size"):
            from .quantity import parse_bytes

            size = parse_bytes(found["max_size"])
            if size is None:
                self.report(("cache", "max_size"), f"{found['max_size']!r} is no size")
            found["max_size"] = size
        return found

    def _check_image(self, name: str, image: Mapping[str, Any]) -> None:
        for place, text in enumerate(image.get("platforms", ())):
            self._check_platform(("images", name, "platforms", place), text)

    def _check_platform(self, path: tuple[str | int, ...], text: str) -> None:
        from ..oci.platform import parse_platform

        try:
            parse_platform(text)
        except DeclarationError as error:
            self.report(path, f"{text!r} is {error.message}")

    def _defaults(self) -> dict[str, Any]:
        table = self.sound_keys("defaults")
        if not table:
            return {"overrides": {}, "origins": {}, "spec": [], "unset": []}
        from .overrides import merge

        merged = merge([self._level("defaults", table, ("defaults",))])
        found = {
            "overrides": merged.values,
            "origins": merged.origins,
            "spec": merged.spec,
            "unset": merged.unset,
        }
        if "platform" in table:
            self._check_platform(("defaults", "platform"), table["platform"])
            found["platform"] = table["platform"]
        return found

    def _level(self, name: str, table: Mapping[str, Any], path: tuple[str, ...]) -> Level:
        from .override_keys import normalise
        from .overrides import Level
        from .runtime_rules import unknown_keys

        values = normalise(
            {key: value for key, value in table.items() if key not in NOT_OVERRIDES},
            lambda below, message: self.report((*path, *below), message),
        )
        self._check_unset(table, path)
        for each in unknown_keys(table.get("spec", {})):
            self.report((*path, "spec", *each.path), each.message)
        return Level(name, values, table.get("unset", ()), table.get("spec"))

    def _check_unset(self, table: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for place, text in enumerate(table.get("unset", ())):
            key, _, item = text.partition(".")
            inside = table.get(key)
            if inside is not None and (
                not item or (isinstance(inside, Mapping) and item in inside)
            ):
                self.report((*path, "unset", place), f"{text!r} is set in the same table")

    def _chain(self, name: str) -> list[tuple[str, Mapping[str, Any]]]:
        """The bundle and what it extends, lowest first; a cycle or a gap is reported."""
        chain: list[tuple[str, Mapping[str, Any]]] = [(name, self.tables[name])]
        while "extends" in chain[-1][1]:
            here, table = chain[-1]
            wanted = table["extends"]
            if wanted in [seen for seen, _ in chain]:
                if wanted == name:
                    circle = " → ".join([*(seen for seen, _ in chain), wanted])
                    self.report(("bundles", name, "extends"), f"goes round in a circle: {circle}")
                break
            if wanted not in self.tables:
                if here == name:
                    from .suggestion import did_you_mean

                    guess = did_you_mean(wanted, self.tables)
                    self.report(("bundles", name, "extends"), f"no bundle {wanted!r}{guess}")
                break
            chain.append((wanted, self.tables[wanted]))
        return chain[::-1]

    def _bundle(self, name: str, table: Mapping[str, Any]) -> dict[str, Any]:
        from .overrides import Level, merge

        chain = self._chain(name)
        levels = [self._cached_level("defaults", self.sound_keys("defaults"), ("defaults",))]
        for each, its in chain:
            level = self._cached_level(each, its, ("bundles", each))
            words = "bundle" if each == name else f"extends {each}"
            levels.append(Level(words, level.values, level.unset, level.spec))
        merged = merge(levels)
        found: dict[str, Any] = {
            "overrides": merged.values,
            "origins": merged.origins,
            "spec": merged.spec,
            "unset": merged.unset,
            "image": self._inherited(chain, "image") or name,
        }
        platform = self._inherited(chain, "platform") or self.table("defaults").get("platform")
        if "platform" in table:
            self._check_platform(("bundles", name, "platform"), table["platform"])
        if platform:
            found["platform"] = platform
        if "check" in table:
            found["check"] = self._check_table(name, table["check"])
        return found

    def _cached_level(self, name: str, table: Mapping[str, Any], path: tuple[str, ...]) -> Level:
        key = "/".join(path)
        if key not in self.levels:
            self.levels[key] = self._level(name, table, path)
        return self.levels[key]

    def _check_table(self, name: str, table: Mapping[str, Any]) -> dict[str, Any]:
        from .quantity import parse_duration

        found = dict(table)
        if "timeout" in found:
            found["timeout"] = parse_duration(found["timeout"])
            if found["timeout"] is None:
                self.report(("bundles", name, "check", "timeout"), "is no duration")
        for key in ("stdout", "stderr"):
            self._check_patterns(("bundles", name, "check", key), found.get(key, ()))
        for path, expected in found.get("files", {}).items():
            self._check_patterns(("bundles", name, "check", "files", path), expected)
        return found

    def _check_patterns(self, path: tuple[str | int, ...], expected: Any) -> None:
        """``/…/`` has to be a regular expression."""
        for each in [expected] if isinstance(expected, str) else expected:
            if len(each) > 2 and each.startswith("/") and each.endswith("/"):
                import re

                try:
                    re.compile(each[1:-1])
                except re.error as error:
                    self.report(path, f"{each!r} is no pattern: {error}")

    @staticmethod
    def _inherited(chain: list[tuple[str, Mapping[str, Any]]], key: str) -> Any:
        return next((table[key] for _, table in reversed(chain) if key in table), None)

    def _unknown_image(self, name: str, table: Mapping[str, Any], image: str) -> None:
        from .suggestion import did_you_mean

        guess = did_you_mean(image, self.table("images"))
        if "image" in table:
            self.report(("bundles", name, "image"), f"no image {image!r} is declared{guess}")
        else:
            self.report(
                ("bundles", name),
                f"has no image, and no image has its name{guess or '; set image'}",
            )
