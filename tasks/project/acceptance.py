"""Acceptance: whether a document surely follows a schema, known without loading jsonschema.

Most documents do, and jsonschema's import takes longer than all else of a start. What is accepted
here is valid; what is not has still to be asked of jsonschema, which alone says what is wrong. A
keyword that is not known here, or not simple, accepts nothing.

Spec: JSON Schema 2020-12 core and validation.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sized
    from typing import Any

    Check = Callable[[Any], bool]
    Load = Callable[[str], dict[str, Any]]

SILENT = frozenset(
    {
        *("$schema", "$id", "$defs", "title", "description", "examples", "default", "deprecated"),
        *("format", "contentEncoding", "x-expected", "x-refused", "then", "else"),
    }
)
"""Keywords that refuse nothing by themselves."""
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
EACH: dict[str, type[Collection[Any]]] = {"items": list, "propertyNames": dict}
"""Keywords of one schema for all that is inside."""
OBJECT_WORDS = ("properties", "patternProperties", "additionalProperties")


class Acceptance:
    """The schemas as functions; ``load`` gives a schema by its name, as ``image-spec/index``."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._made: dict[str, Check] = {}

    def accepts(self, name: str, document: Any) -> bool:
        """Whether the document surely follows the schema of that name."""
        try:
            return self._named(f"{name}#")(document)
        except RecursionError:
            return False

    def _named(self, place: str) -> Check:
        """The check of ``NAME#/JSON/POINTER``, made when it is first asked for."""
        if place not in self._made:
            name, _, pointer = place.partition("#")
            schema: Any = self._load(name)
            for part in pointer.split("/")[1:]:
                schema = schema[part.replace("~1", "/").replace("~0", "~")]
            self._made[place] = self._check(schema, name)
        return self._made[place]

    def _check(self, schema: Any, name: str) -> Check:
        if isinstance(schema, bool):
            return lambda _: schema
        checks = [
            self._keyword(word, schema, name)
            for word in schema
            if word not in SILENT and word not in OBJECT_WORDS
        ]
        if any(word in schema for word in OBJECT_WORDS):
            checks.append(self._members(schema, name))
        if len(checks) == 1:
            return checks[0]
        return lambda value: all(check(value) for check in checks)

    def _keyword(self, word: str, schema: dict[str, Any], name: str) -> Check:
        wanted = schema[word]
        if word in SIMPLE:
            return SIMPLE[word](wanted)
        if word == "$ref":
            return self._reference(wanted, name)
        if word == "if":
            return self._condition(schema, name)
        if word in ("allOf", "anyOf"):
            checks = [self._check(each, name) for each in wanted]
            together = all if word == "allOf" else any
            return lambda value: together(check(value) for check in checks)
        if word in EACH:
            # Iterating over an object gives the names of its properties.
            kind, inner = EACH[word], self._check(wanted, name)
            return lambda value: type(value) is not kind or all(inner(each) for each in value)
        return lambda _: False

    def _reference(self, target: str, name: str) -> Check:
        file, _, pointer = target.partition("#")
        if file:
            folder = name.rpartition("/")[0]
            own = file.removesuffix(".schema.json")
            name = own if "/" in file or not folder else f"{folder}/{own}"
            if "//" in file or ".." in file:
                return lambda _: False
        place = f"{name}#{pointer}"

        def check(value: Any) -> bool:
            # Made when a value comes: schemas refer to themselves.
            return self._named(place)(value)

        return check

    def _condition(self, schema: dict[str, Any], name: str) -> Check:
        """What ``if`` does not accept it refuses only if it is exact; else both ways must hold."""
        asked, exact = self._check(schema["if"], name), _is_exact(schema["if"])
        then, other = (self._check(schema.get(word, True), name) for word in ("then", "else"))

        def check(value: Any) -> bool:
            if asked(value):
                return then(value)
            return other(value) and (exact or then(value))

        return check

    def _members(self, schema: dict[str, Any], name: str) -> Check:
        properties = {
            key: self._check(each, name) for key, each in schema.get("properties", {}).items()
        }
        patterns = [
            (re.compile(pattern), self._check(each, name))
            for pattern, each in schema.get("patternProperties", {}).items()
        ]
        other = self._check(schema.get("additionalProperties", True), name)

        def check(value: Any) -> bool:
            if type(value) is not dict:
                return True
            for key, member in value.items():
                own = properties.get(key)
                fitting = [each for pattern, each in patterns if pattern.search(key)]
                if own is not None:
                    fitting.append(own)
                if not all(each(member) for each in fitting or (other,)):
                    return False
            return True

        return check


def _is_exact(schema: Any) -> bool:
    """Whether a check of the schema accepts all that is valid, and not only what surely is."""
    return isinstance(schema, dict) and all(
        (word == "properties" and all(_is_exact(each) for each in wanted.values()))
        or (word == "type" and "integer" not in wanted)
        or (word == "enum" and all(isinstance(each, str) for each in wanted))
        or (word == "const" and isinstance(wanted, str))
        or word in ("pattern", "required")
        for word, wanted in schema.items()
    )


def _type(wanted: str | list[str]) -> Check:
    names = [wanted] if isinstance(wanted, str) else wanted
    kinds = frozenset(kind for each in names for kind in TYPES[each])
    # A whole float is an integer to JSON Schema, and True is none: exact types say less, surely.
    return lambda value: type(value) in kinds


def _enum(wanted: list[Any]) -> Check:
    known = frozenset((type(each), each) for each in wanted if type(each) in (str, int, bool))
    return lambda value: type(value) in (str, int, bool) and (type(value), value) in known


def _pattern(wanted: str) -> Check:
    search = re.compile(wanted).search
    return lambda value: type(value) is not str or search(value) is not None


def _unique(wanted: bool) -> Check:
    def check(value: Any) -> bool:
        if type(value) is not list or not wanted:
            return True
        return all(type(each) is str for each in value) and len(set(value)) == len(value)

    return check


def _required(wanted: list[str]) -> Check:
    return lambda value: type(value) is not dict or all(key in value for key in wanted)


def _companions(wanted: dict[str, list[str]]) -> Check:
    return lambda value: (
        type(value) is not dict
        or all(key not in value or all(each in value for each in wanted[key]) for key in wanted)
    )


def _number(fits: Callable[[Any, Any], bool]) -> Callable[[Any], Check]:
    return lambda wanted: lambda value: type(value) not in (int, float) or fits(value, wanted)


def _length(kind: type[Sized], fits: Callable[[int, int], bool]) -> Callable[[Any], Check]:
    def make(wanted: int) -> Check:
        def check(value: Any) -> bool:
            return type(value) is not kind or fits(len(value), wanted)

        return check

    return make


def _at_least(value: Any, wanted: Any) -> bool:
    return bool(value >= wanted)


def _at_most(value: Any, wanted: Any) -> bool:
    return bool(value <= wanted)


SIMPLE: dict[str, Callable[[Any], Check]] = {
    "type": _type,
    "enum": _enum,
    "const": lambda wanted: _enum([wanted]),
    "pattern": _pattern,
    "required": _required,
    "dependentRequired": _companions,
    "uniqueItems": _unique,
    "minimum": _number(_at_least),
    "maximum": _number(_at_most),
    "exclusiveMinimum": _number(lambda value, wanted: bool(value > wanted)),
    "minLength": _length(str, _at_least),
    "maxLength": _length(str, _at_most),
    "minItems": _length(list, _at_least),
    "minProperties": _length(dict, _at_least),
}
