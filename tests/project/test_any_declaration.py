"""Whatever a file holds, it is compiled or refused: never a traceback, never half of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import DeclarationError
from tasks.project.declaration import compile_text
from tasks.project.images import ImageSet
from tasks.project.schema import load_schema
from tests.specs.test_schemas import good

PATH = Path("images.toml")
SCHEMA = load_schema("images")
KEYS = sorted(SCHEMA["$defs"]["bundle"]["properties"])
TEXTS = (
    *("", "x", "a:b", "./a:/b:ro", "/a", "64m", "1m30s", "ALL", "net_admin", "A=1", "/dev/fuse"),
    *("host", "environment.A", "i", "b", "linux/amd64", "seccomp=x", "SIGTERM", "~/x:/y", "a\0b"),
    *("-1", "$A"),
)
WORDS = st.sampled_from(TEXTS)
SCALARS = st.one_of(WORDS, st.integers(-(2**31), 2**31), st.booleans(), st.floats(0, 10))
NAMES = st.sampled_from(
    ["A", "nofile", "soft", "hard", "target", "source", "path", "type", "a.b", ""]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
TABLES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5)
DOCUMENTS = st.fixed_dictionaries(
    {"images": st.just({"i": {"image": "x"}}), "bundles": st.fixed_dictionaries({"b": TABLES})},
    optional={"defaults": TABLES, "registry": VALUES, "limits": VALUES, "cache": VALUES},
)


def compiled(text: str) -> ImageSet | None:
    try:
        found = compile_text(text, PATH)
    except DeclarationError:
        return None
    return ImageSet(json.loads(json.dumps(found)), PATH)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=80)
@given(DOCUMENTS)
def test_any_table(document: dict[str, Any]) -> None:
    try:
        text = tomlkit.dumps(document)
    except (ValueError, TypeError):
        return
    found = compiled(text)
    if found is not None:
        for name in found.bundle_names():
            found.bundle(name)


WHOLE = good("images")["whole"]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(places(WHOLE)[1:]), VALUES)
def test_any_value_anywhere_in_a_whole_declaration(place: tuple[Any, ...], value: Any) -> None:
    document = json.loads(json.dumps(WHOLE))
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    try:
        text = tomlkit.dumps(document)
    except (ValueError, TypeError):
        return
    compiled(text)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text(text: str) -> None:
    compiled(text)
