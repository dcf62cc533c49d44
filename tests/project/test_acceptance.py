"""What is accepted without jsonschema is valid to jsonschema: for every schema, whatever comes."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.project.acceptance import Acceptance
from tasks.project.schema import ACCEPTANCE, schema_names, validator
from tests.specs.test_schemas import NAMES, bad, changed, good

STRAY: list[Any] = [
    *(None, True, False, 0, 1, 2, -1, 1.0, 1.5, 2**70, "", "x", "a b", "sha256:", "linux/amd64"),
    *([], ["x"], ["x", "x"], [1, 1], {}, {"x": 1}, {"": ""}, [[]], [{}], float("nan")),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    return [path, *(each for key, inner in items for each in places(inner, (*path, key)))]


def altered(document: Any, chance: random.Random) -> Any:
    """The document with one to three places changed: set, taken out or added to."""
    found = copy.deepcopy(document)
    for _ in range(chance.randint(1, 3)):
        path = chance.choice(places(found))
        value = copy.deepcopy(chance.choice(STRAY))
        if not path:
            found = value if chance.random() < 0.1 else found
            continue
        inner = found
        for part in path[:-1]:
            inner = inner[part]
        action = chance.choice(("set", "delete", "add", "swap"))
        if action == "delete":
            del inner[path[-1]]
        elif action == "add" and isinstance(inner, dict):
            inner[chance.choice(("x", "image", "type", "os.version", "platform", ""))] = value
        elif action == "swap":
            other = document
            for part in chance.choice(places(document)):
                other = other[part]
            inner[path[-1]] = copy.deepcopy(other)
        else:
            inner[path[-1]] = value
    return found


@pytest.mark.parametrize("name", NAMES)
def test_good_documents_are_accepted(name: str) -> None:
    for document in good(name).values():
        assert ACCEPTANCE.accepts(name, document)


@pytest.mark.parametrize("name", NAMES)
def test_bad_documents_are_not(name: str) -> None:
    for row in bad(name):
        document = changed(good(name)[row["in"]], row["place"], row.get("value"))
        assert not ACCEPTANCE.accepts(name, document) or validator(name).is_valid(document)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False))
def test_what_is_accepted_is_valid(name: str, chance: random.Random) -> None:
    document = altered(chance.choice(list(good(name).values())), chance)
    if ACCEPTANCE.accepts(name, document):
        assert validator(name).is_valid(document)


@pytest.mark.parametrize("name", schema_names())
def test_stray_documents(name: str) -> None:
    for document in STRAY:
        assert not ACCEPTANCE.accepts(name, document) or validator(name).is_valid(document)


@pytest.mark.parametrize(
    ("schema", "document", "accepted"),
    [
        ({"type": "integer"}, True, False),
        ({"type": "integer"}, 1, True),
        ({"const": 1}, True, False),
        ({"enum": ["a", 2]}, 2, True),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1}, False),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1, "b": 1}, True),
        ({"if": {"required": ["a"]}, "else": {"required": ["b"]}}, {"b": 1}, True),
        ({"if": {"required": ["a"]}, "else": {"required": ["b"]}}, {}, False),
        ({"if": {"type": "integer"}, "then": False}, 1.0, False),
        ({"if": {"type": "string"}, "then": False}, 1.0, True),
        ({"$ref": "#/$defs/x~1y", "$defs": {"x/y": {"type": "string"}}}, "z", True),
        ({"$ref": "#/$defs/x~1y", "$defs": {"x/y": {"type": "string"}}}, 1, False),
        ({"contains": {"type": "string"}}, ["x"], False),
        ({"$ref": "../other.schema.json"}, 1, False),
        ({"uniqueItems": True}, ["a", "b"], True),
        ({"uniqueItems": True}, ["a", "a"], False),
        (
            {"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": False},
            {"a": "x"},
            True,
        ),
        (
            {"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": False},
            {"b": "x"},
            False,
        ),
        (
            {
                "patternProperties": {"^a": {"type": "string"}},
                "properties": {"a": {"minLength": 2}},
            },
            {"a": "x"},
            False,
        ),
    ],
)
def test_keywords(schema: Any, document: Any, accepted: bool) -> None:
    assert Acceptance(lambda _: schema).accepts("x", document) is accepted


def test_a_document_without_end_is_left_to_jsonschema() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    schema = {"items": {"$ref": "#"}}
    assert not Acceptance(lambda _: schema).accepts("x", deep)
