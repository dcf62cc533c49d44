"""The schemas under specs/: found, compiled and applied here and nowhere else.

They refer to each other by ``$id``; a registry of all of them answers every ``$ref``, so that
nothing is ever asked of the network. A violation says where it is and what to write instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from ..value import Value
from .acceptance import Acceptance
from .suggestion import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
    from referencing import Registry

SPECS = Path(__file__).resolve().parents[2] / "specs"
SUFFIX = ".schema.json"
IDENTIFIER = "https://doit-oci.invalid/specs/"
"""What every ``$id`` begins with; nothing is ever fetched from there."""

EXPECTED = "x-expected"
"""In a schema: what a value should look like, in words, for messages."""
REFUSED = "x-refused"
"""In a schema: a key that is known and refused, and what to do instead."""

TYPES = {
    "object": "a table",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


class Violation(Value, kw_only=False):
    """``path`` leads from the document's root to the place; ``message`` says what is wrong."""

    path: tuple[str | int, ...]
    message: str

    def text(self) -> str:
        where = dotted(self.path)
        return f"{where}: {self.message}" if where else self.message


def dotted(path: tuple[str | int, ...]) -> str:
    """The path as people write it.

    >>> dotted(("bundles", "hello.x", "volumes", 0))
    'bundles."hello.x".volumes[0]'
    """
    found = ""
    for part in path:
        if isinstance(part, int):
            found += f"[{part}]"
        elif part and all(letter.isalnum() or letter in "-_" for letter in part):
            found += f".{part}"
        else:
            import json

            found += "." + json.dumps(part, ensure_ascii=False)
    return found.removeprefix(".")


def schema_names() -> list[str]:
    """Every schema's name, such as ``images`` or ``image-spec/index``."""
    return sorted(
        path.relative_to(SPECS).as_posix().removesuffix(SUFFIX)
        for path in SPECS.rglob(f"*{SUFFIX}")
    )


@lru_cache(maxsize=16)
def load_schema(name: str) -> dict[str, Any]:
    """A schema as JSON; the caller changes nothing in it."""
    import json

    value: dict[str, Any] = json.loads((SPECS / f"{name}{SUFFIX}").read_bytes())
    return value


ACCEPTANCE = Acceptance(load_schema)


@lru_cache(maxsize=1)
def _registry() -> Registry[Any]:
    from referencing import Registry, Resource
    from referencing.exceptions import NoSuchResource

    def retrieve(uri: str) -> Resource[Any]:
        name = uri.removeprefix(IDENTIFIER).removesuffix(SUFFIX)
        if not uri.startswith(IDENTIFIER) or name not in schema_names():
            raise NoSuchResource(ref=uri)  # type: ignore[call-arg]
        return Resource.from_contents(load_schema(name))

    found: Registry[Any] = Registry(retrieve=retrieve)  # type: ignore[call-arg]
    return found


@lru_cache(maxsize=16)
def validator(name: str) -> Draft202012Validator:
    """The compiled schema of that name, once per process."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator(load_schema(name), registry=_registry())


def violations_of(name: str, document: Any) -> list[Violation]:
    """All violations of schema ``name``, by place in the document."""
    if ACCEPTANCE.accepts(name, document):
        return []
    found = {
        violation
        for error in validator(name).iter_errors(document)
        for violation in _violations(error)
    }
    return sorted(found, key=lambda each: ([str(part) for part in each.path], each.message))


def _violations(error: ValidationError) -> Iterator[Violation]:
    path = tuple(error.absolute_path)
    kind = error.validator
    if kind == "additionalProperties" and isinstance(error.instance, Mapping):
        yield from _unknown_keys(error, path)
    elif "propertyNames" in error.absolute_schema_path:
        yield Violation((*path, str(error.instance)), _message(error))
    elif kind in ("anyOf", "oneOf") and error.context and EXPECTED not in _schema_of(error):
        yield from _violations(_most_relevant(error))
    elif kind == "dependentRequired":
        yield from _lacking_companions(error, path)
    elif kind == "required":
        wanted: Any = error.validator_value
        instance: Any = error.instance
        for name in wanted:
            if name not in instance:
                yield Violation(path, f"lacks {name!r}")
    else:
        yield Violation(path, _message(error))


def _lacking_companions(error: ValidationError, path: tuple[str | int, ...]) -> Iterator[Violation]:
    companions: Any = error.validator_value
    instance: Any = error.instance
    for name, others in companions.items():
        for other in others:
            if name in instance and other not in instance:
                yield Violation(path, f"has {name!r} and lacks {other!r}")


def _most_relevant(error: ValidationError) -> ValidationError:
    from jsonschema.exceptions import relevance

    return max(error.context, key=lambda each: (len(each.absolute_path), relevance(each)))


def _schema_of(error: ValidationError) -> dict[str, Any]:
    """The part of the schema that was violated."""
    return error.schema if isinstance(error.schema, dict) else {}


def _unknown_keys(error: ValidationError, path: tuple[str | int, ...]) -> Iterator[Violation]:
    schema = _schema_of(error)
    instance: Any = error.instance
    known = {
        name
        for name, value in schema.get("properties", {}).items()
        if not (isinstance(value, dict) and REFUSED in value)
    }
    patterns = tuple(schema.get("patternProperties", ()))
    for name in instance:
        if name in schema.get("properties", {}) or _matches(name, patterns):
            continue
        guess = did_you_mean(name, known)
        yield Violation((*path, name), f"unknown key{guess or _all_known(known)}")


def _all_known(known: set[str]) -> str:
    return f"; known are {', '.join(sorted(known))}" if 0 < len(known) <= 12 else ""


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    import re

    return any(re.search(pattern, name) for pattern in patterns)


def _message(error: ValidationError) -> str:
    schema = _schema_of(error)
    value = _short(error.instance)
    kind = error.validator
    wanted: Any = error.validator_value
    if REFUSED in schema:
        return str(schema[REFUSED])
    if kind == "enum":
        guess = did_you_mean(str(error.instance), [str(each) for each in wanted])
        known = ", ".join(_short(each) for each in wanted)
        return f"{value} is none of {known}{guess}"
    if kind == "const":
        return f"{value} is not {_short(error.validator_value)}"
    if EXPECTED in schema:
        return f"{value} is wrong; expected {schema[EXPECTED]}"
    if kind == "type":
        words = [TYPES[each] for each in ([wanted] if isinstance(wanted, str) else wanted)]
        return f"{value} is wrong; expected {' or '.join(words)}"
    return _bounds(error, value)


def _bounds(error: ValidationError, value: str) -> str:
    limit: Any = error.validator_value
    words = {
        "minimum": f"is below {limit}",
        "maximum": f"is above {limit}",
        "exclusiveMinimum": f"is not above {limit}",
        "minLength": "is empty" if limit == 1 else f"is shorter than {limit} characters",
        "maxLength": f"is longer than {limit} characters",
        "minItems": "is empty" if limit == 1 else f"has fewer than {limit} items",
        "minProperties": "is empty",
        "maxItems": f"has more than {limit} items",
        "uniqueItems": "has an item twice",
        "pattern": f"does not match {limit}",
        "format": f"is no {limit}",
    }.get(str(error.validator))
    return f"{value} {words}" if words else error.message


def _short(value: Any) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "…"
