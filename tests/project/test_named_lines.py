"""Entries on lines of their own: the same as the JSON that they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import DeclarationError
from tasks.project.named_lines import FEW, Lines, to_lines

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
TRICKY = st.sampled_from(
    ["a", "b", "images", "bundles", "a\n", '": {', '"', "}", "names", "é\udc80"]
)
ENTRIES = st.dictionaries(st.text(max_size=4) | TRICKY, VALUES, max_size=FEW + 4)


@given(head=VALUES, images=ENTRIES, bundles=ENTRIES)
def test_what_was_written_is_read_one_by_one_and_as_a_whole(
    head: Any, images: dict[str, Any], bundles: dict[str, Any]
) -> None:
    content = to_lines({"first": head, "more": 1}, {"images": images, "bundles": bundles})
    lines = Lines(content)
    assert json.loads(content)["images"] == images
    assert lines["first"] == head
    assert lines.begins_with({"first": head})
    assert not lines.begins_with({"first": [head]})
    for key, expected in (("images", images), ("bundles", bundles)):
        section = lines.section(key)
        assert list(section) == list(expected)
        assert len(section) == len(expected)
        assert {name: section[name] for name in expected} == expected
        fresh = lines.section(key)
        assert fresh.read_all() == expected
        for name in ("", "a", "zzz", "images"):
            assert (name in lines.section(key)) == (name in expected)
            assert lines.section(key).get(name) == expected.get(name)


def test_what_is_not_there_is_a_key_error() -> None:
    lines = Lines(to_lines({"a": 1}, {"images": {"x": 1}}))
    with pytest.raises(KeyError):
        lines["b"]
    with pytest.raises(KeyError):
        lines.section("bundles")
    with pytest.raises(KeyError):
        lines.section("images")["y"]


def test_a_damaged_line_is_said_and_the_others_are_read() -> None:
    content = to_lines({}, {"images": {"x": {"k": "v"}, "y": 2}})
    section = Lines(content.replace(b'{"k": "v"}', b'{"k": "v"')).section("images")
    assert section["y"] == 2
    with pytest.raises(DeclarationError, match="damaged"):
        section["x"]
