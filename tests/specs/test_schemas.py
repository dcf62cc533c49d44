"""The schemas: documents that must pass, and for every constraint one that must fail at its place.

``bad.json`` of a schema lists changes to its good documents: ``place`` (a JSON pointer) is set to
``value`` in the document ``in``, and the violation found there has to say ``why``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tasks.oci.config_draft import pointer
from tasks.project.image_rules import DOCUMENTS
from tasks.project.runtime_rules import runtime_violations
from tasks.project.schema import (
    IDENTIFIER,
    REFUSED,
    SPECS,
    load_schema,
    schema_names,
    validator,
    violations_of,
)

HERE = Path(__file__).parent
NAMES = [name for name in schema_names() if (HERE / name).is_dir()]
OURS = {
    "images",
    "images-lock",
    "image-spec/config",
    "image-spec/descriptor",
    "image-spec/index",
    "image-spec/layout",
    "image-spec/manifest",
    "runtime-spec/config",
}

CONSTRAINTS = {
    "additionalProperties",
    "const",
    "dependentRequired",
    "enum",
    "exclusiveMinimum",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "not",
    "pattern",
    "required",
    "type",
    "uniqueItems",
}
STRUCTURE = {"properties", "$defs", "patternProperties"}


def good(name: str) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_bytes()) for path in (HERE / name / "good").iterdir()}


def bad(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((HERE / name / "bad.json").read_bytes())
    return rows


def changed(document: Any, place: str, value: Any) -> Any:
    """A copy of ``document`` with ``value`` at a JSON pointer."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in place.split("/")[1:]]
    if not parts:
        return value
    found = copy.deepcopy(document)
    inner = found
    for part in parts[:-1]:
        inner = inner[int(part)] if isinstance(inner, list) else inner[part]
    if isinstance(inner, list):
        inner[int(parts[-1])] = value
    else:
        inner[parts[-1]] = value
    return found


def test_every_schema_of_ours_has_documents() -> None:
    assert set(NAMES) >= OURS


@pytest.mark.parametrize("name", schema_names())
def test_a_schema_is_one(name: str) -> None:
    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"]
    assert schema["description"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_identifier_is_the_place(name: str) -> None:
    assert load_schema(name)["$id"] == f"{IDENTIFIER}{name}.schema.json"


@pytest.mark.parametrize(
    ("name", "document"),
    [pytest.param(name, key, id=f"{name} {key}") for name in NAMES for key in sorted(good(name))],
)
def test_good(name: str, document: str) -> None:
    assert violations_of(name, good(name)[document]) == []


@pytest.mark.parametrize("name", NAMES)
def test_bad_fails_at_the_named_place_and_says_why(name: str) -> None:
    documents = good(name)
    for row in bad(name):
        found = violations_of(name, changed(documents[row["in"]], row["place"], row["value"]))
        assert (row["place"], row["why"]) in {(pointer(v.path), v.message) for v in found}, row


def test_every_constraint_has_a_bad_document() -> None:
    """A constraint that no document here violates could be taken out, and nothing would say so."""
    hit: set[tuple[int, str]] = set()
    for name in NAMES:
        documents = good(name)
        for row in bad(name):
            document = changed(documents[row["in"]], row["place"], row["value"])
            for error in validator(name).iter_errors(document):
                hit.add((id(error.schema), str(error.validator)))
    missing = [
        f"{name}{place}: {keyword}"
        for name in sorted(OURS)
        for place, schema in subschemas(load_schema(name), "")
        for keyword in constraints(schema)
        if (id(schema), keyword) not in hit
    ]
    assert missing == []


def constraints(schema: dict[str, Any]) -> list[str]:
    """The keywords that can be violated: ``additionalProperties`` only where it is false."""
    found = CONSTRAINTS & schema.keys()
    return sorted(key for key in found if key != "additionalProperties" or schema[key] is False)


def subschemas(schema: dict[str, Any], place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema that constrains (what follows ``if`` only asks)."""
    yield place, schema
    for keyword, value in schema.items():
        where = f"{place}/{keyword}"
        if keyword in STRUCTURE:
            for name, inner in value.items():
                yield from subschemas(inner, f"{where}/{name}")
        elif keyword in ("items", "additionalProperties", "propertyNames", "then", "else"):
            if isinstance(value, dict):
                yield from subschemas(value, where)
        elif keyword in ("allOf", "anyOf", "oneOf"):
            for number, inner in enumerate(value):
                yield from subschemas(inner, f"{where}/{number}")


def test_every_key_of_images_toml_is_described() -> None:
    """An editor shows these on completion and on hover."""
    schema = load_schema("images")
    silent = []
    for place, inner in subschemas(schema, ""):
        for name, value in inner.get("properties", {}).items():
            reference = value.get("$ref", "").rpartition("/")[2]
            found = {**schema["$defs"].get(reference, {}), **value}
            if not found.get("description") and not found.get("title"):
                silent.append(f"{place}/{name}")
    assert silent == []


def test_a_refused_key_says_what_to_do_instead() -> None:
    for name, value in load_schema("images")["$defs"]["bundle"]["properties"].items():
        if REFUSED in value:
            assert len(value[REFUSED]) > 30, name


def test_references_are_answered_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a schema asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert violations_of("images-lock", good("images-lock")["whole"]) == []


@pytest.mark.parametrize("name", ["index", "manifest", "config", "layout"])
def test_good_documents_of_images_keep_the_rules_too(name: str) -> None:
    for key, document in good(f"image-spec/{name}").items():
        assert DOCUMENTS[name](document) == [], key


def test_good_runtime_configurations_keep_the_rules_too() -> None:
    for key in ("minimal", "unknown-field"):
        assert runtime_violations(good("runtime-spec/config")[key]) == []


def test_no_schema_is_left_out_of_the_readme() -> None:
    text = (SPECS / "README.md").read_text()
    for name in OURS:
        assert f"{name}.schema.json" in text, name
