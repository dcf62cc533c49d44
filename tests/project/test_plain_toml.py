"""The plain reader of TOML: what it takes it reads as tomllib does, and what is wrong it leaves."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.project.plain_toml import load_plain

ROOT = Path(__file__).resolve().parents[2]

PLAIN = {
    "nothing": "",
    "tables": "[a]\nx = 1\n[a.b]\ny = 'z'\n[c-d.e_f]\n",
    "a table below one that comes later": "[a.b]\nx = 1\n[a]\ny = 2\n",
    "comments and spaces": ' # one\n\t[ a . b ] # two\n x\t=\t"#no" # three\n',
    "arrays of tables": "[[r]]\nx = 1\n[[r]]\nx = 2\n[[s.t]]\n",
    "values": 'a = [1, -2, [true, false], [],]\nb = { c = "d", e = [{}], f = {g = 0} }\n',
    "letters of any script": 'a = "gr\u00fc\u00df \U0001f40b" # \u00e9\n',
    "a backslash that is one": "a = 'C:\\x'\n",
}


@pytest.mark.parametrize("text", PLAIN.values(), ids=PLAIN)
def test_plain_text_is_read(text: str) -> None:
    assert repr(load_plain(text)) == repr(tomllib.loads(text))


LEFT = {
    "a key twice": "a = 1\na = 2",
    "a table twice": "[a]\n[a]",
    "a table that is a value": "a = {}\n[a]",
    "a table below a value": "a = 1\n[a.b]",
    "a table below an array of tables": "[[a]]\n[a.b]",
    "an array of tables that is an array": "a = []\n[[a]]",
    "an array of tables that is a table": "[a]\n[[a]]",
    "a table that is an array of tables": "[[a]]\n[a]",
    "a key below a table of its own": "[a.b]\n[a]\nb = 1",
    "a dotted key": "a.b = 1",
    "a quoted key": '"a" = 1',
    "an escape": 'a = "\\n"',
    "a long string": 'a = """x"""',
    "a long literal": "a = '''x'''",
    "an array over lines": "a = [\n1]",
    "a comma too many": "a = {b = 1,}",
    "commas alone": "a = [,]",
    "no comma": "a = [1 2]",
    "a float": "a = 1.5",
    "a date": "a = 2020-01-01",
    "a leading zero": "a = 01",
    "minus zero": "a = -0",
    "a plus": "a = +1",
    "an underscore": "a = 1_000",
    "no value": "a =",
    "no key": "= 1",
    "something behind": "a = 1 b",
    "something behind a string": 'a = "b"c',
    "something behind a table": "[a] b",
    "an open string": 'a = "b',
    "an open table": "[a",
    "an open array": "a = [1",
    "an open inline table": "a = {b = 1",
    "a carriage return": "a = 1\r\n",
    "a control character": 'a = "\x01"',
    "a control character in a comment": "# \x7f",
    "a word": "a = yes",
    "empty parts": "[a..b]",
    "depth": "a = " + "[" * 500 + "]" * 500,
}


@pytest.mark.parametrize("text", LEFT.values(), ids=LEFT)
def test_what_is_not_plain_is_left_to_the_library(text: str) -> None:
    assert load_plain(text) is None


PIECES = st.sampled_from(
    [
        *("a", "b", "c-1", "[", "]", "[[", "]]", "{", "}", "=", ",", ".", " ", "\t", "\n", "#"),
        *('"', "'", "\\", "1", "0", "-", "true", "false", '"x"', "'y'", "\r", "\x00", "\u2028"),
        *("[a]\n", "[[a]]\n", "[a.b]\n", "a = 1\n", "b = {a = 1}\n", "c = [1, 2]\n", "[b.a]\n"),
    ]
)


@given(st.lists(PIECES, max_size=25).map("".join))
@example("[a.b]\n[a]\n[a.b]\n")
def test_whatever_is_read_is_what_the_library_reads(text: str) -> None:
    found = load_plain(text)
    if found is not None:
        assert repr(found) == repr(tomllib.loads(text))


def test_this_projects_own_declaration_is_plain() -> None:
    text = (ROOT / "images.toml").read_text("utf-8")
    assert load_plain(text) == tomllib.loads(text)
