"""The scanner that finds lines: every form that a key can stand in."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.project.declaration_lines import lines_of

TEXT = '''\
# comment = 1
top = 1 # trailing
"quoted key" = [
  "one", # a "comment" ]
  """two
  lines""",
  { deep = { er = 1 }, other = 'x\\' },
]
[a.b]
c.d = { e = [1, 2] }
'lit' = \'\'\'
# no comment
[no.header]
\'\'\'
[[list]]
x = 1
[list.inner]
y = 2
[[list]]
x = 2025-01-01T00:00:00Z
[[list.sub]]
z = """a\\"""" # four quotes
[a."b.c"]
k = 1
'''

EXPECTED: dict[tuple[str | int, ...], int] = {
    ("top",): 2,
    ("quoted key",): 3,
    ("quoted key", 0): 4,
    ("quoted key", 1): 5,
    ("quoted key", 2): 7,
    ("quoted key", 2, "deep", "er"): 7,
    ("quoted key", 2, "other"): 7,
    ("a", "b"): 9,
    ("a", "b", "c", "d", "e", 1): 10,
    ("a", "b", "lit"): 11,
    ("list",): 15,
    ("list", 0): 15,
    ("list", 0, "x"): 16,
    ("list", 0, "inner", "y"): 18,
    ("list", 1): 19,
    ("list", 1, "x"): 20,
    ("list", 1, "sub", 0, "z"): 22,
    ("a", "b.c", "k"): 24,
    ("a", "b", "not there"): 9,
    ("nowhere",): 1,
}


@pytest.mark.parametrize(("path", "line"), EXPECTED.items(), ids=str)
def test_lines(path: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(TEXT)
    assert lines_of(TEXT).find(path) == line
    assert lines_of(TEXT.replace("\n", "\r\n")).find(path) == line


KEY = st.text("abc-_ .\"'", min_size=1, max_size=4)
SCALAR = st.one_of(st.integers(), st.booleans(), st.text("ab#[]{}=\"'\\\n,", max_size=8))
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEY, VALUE, max_size=5))
def test_every_place_of_a_document_has_its_line(document: dict[str, Any]) -> None:
    """Written by tomlkit, read by tomllib: each key's line is the one that holds it."""
    import tomlkit

    text = tomlkit.dumps(document)
    found = tomllib.loads(text)
    lines = lines_of(text)
    count = text.count("\n") + 1
    for key in found:
        assert 1 <= lines.find((key,)) <= count
    top = [lines.find((key,)) for key in found if not isinstance(found[key], dict)]
    assert top == sorted(top)
