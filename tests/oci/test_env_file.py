"""The syntax of env_file, as Compose has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import DeclarationError
from tasks.oci.env_file import parse_env_file

CASES: dict[str, tuple[str, dict[str, str]]] = {
    "plain": ("A=b", {"A": "b"}),
    "colon": ("A: b", {"A": "b"}),
    "export": ("export A=b", {"A": "b"}),
    "empty": ("A=", {"A": ""}),
    "blanks around": ("  A = b  \n", {"A": "b"}),
    "comments and empty lines": ("# c\n\n  # d\nA=b\n", {"A": "b"}),
    "comment behind": ("A=b # c", {"A": "b"}),
    "no comment without a blank": ("A=b# c", {"A": "b# c"}),
    "equals signs": ("A=b=c=d", {"A": "b=c=d"}),
    "single quotes are literal": (r"A='$B \n # \'x\''", {"A": r"$B \n # 'x'"}),
    "double quotes unescape": (r'A="a\tb\n\"c\" \\ \$x"', {"A": 'a\tb\n"c" \\ $x'}),
    "hash in quotes": ('A="b # c" # d', {"A": "b # c"}),
    "quotes over lines": (
        "A='one\ntwo'\nB=\"three\nfour\"\n",
        {"A": "one\ntwo", "B": "three\nfour"},
    ),
    "quotes inside": ("A=b'c'd", {"A": "b'c'd"}),
    "windows": ("A=b\r\nB=c\r\n", {"A": "b", "B": "c"}),
    "byte order mark": ("\ufeffA=b", {"A": "b"}),
    "last one wins": ("A=1\nA=2", {"A": "2"}),
    "reference": ("A=1\nB=$A-${A}", {"A": "1", "B": "1-1"}),
    "reference in quotes": ('A=1\nB="x$A"', {"A": "1", "B": "x1"}),
    "default": ("B=${A:-x}${C-y}", {"B": "xy"}),
    "nested default": ("A=1\nB=${X:-${A}}", {"A": "1", "B": "1"}),
    "default of an empty one": ("A=\nB=${A:-x}${A-y}", {"A": "", "B": "x"}),
    "alternative": ("A=1\nB=${A:+x}${C+y}", {"A": "1", "B": "x"}),
    "required": ("A=1\nB=${A:?must}", {"A": "1", "B": "1"}),
    "dollars": ("A=$$B\nC=a$", {"A": "$B", "C": "a$"}),
    "unicode": ("Ä=ö", {"Ä": "ö"}),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_syntax(text: str, expected: dict[str, str]) -> None:
    assert parse_env_file(text.encode(), subject="x.env") == expected


BAD: dict[str, tuple[bytes, str]] = {
    "no value": (b"A=1\nHOME\n", "x.env:2: HOME has no value, and none is taken from the host"),
    "no name": (b"=1", "x.env:1: this line is no NAME=VALUE"),
    "a blank in the name": (b"A B=1", "x.env:1: this line is no NAME=VALUE"),
    "open single quote": (b"A='b", "x.env:1: a ' is not closed"),
    "open double quote": (b'\nA="b', 'x.env:2: a " is not closed'),
    "text behind a quote": (b"A='b'c", "x.env:1: something stands after the closing '"),
    "unknown reference": (b"A=$B", "x.env:1: B is not set in this file"),
    "open brace": (b"A=${B", "x.env:1: a ${ is not closed"),
    "no reference": (b"A=${B!}", "is no reference to a variable"),
    "required": (b"A=${B:?say B}", "B is required: say B"),
    "no UTF-8": (b"A=\xff", "x.env: no UTF-8"),
    "NUL": (b"A=\0", "is no NAME=VALUE"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD.keys())
def test_refused(content: bytes, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_env_file(content, subject="x.env")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["PASSWORD hunter2", "A='b' hunter2", "A=hunter2\0", "A=${hunter2 }", "hunter2" + "A" * 60],
)
def test_a_refusal_shows_no_secret(line: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_env_file(line.encode(), subject="x.env")
    assert "hunter2" not in str(caught.value)


def test_earlier_files_are_known() -> None:
    assert parse_env_file(b"B=$A", subject="x", known={"A": "1"}) == {"B": "1"}


NAMES = st.text("ABC_", min_size=1, max_size=4)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=20)


@given(st.dictionaries(NAMES, TEXTS, max_size=5))
def test_double_quotes_can_hold_everything(expected: dict[str, str]) -> None:
    def quote(text: str) -> str:
        for letter, escape in (("\\", "\\\\"), ('"', '\\"'), ("$", "\\$"), ("\n", "\\n")):
            text = text.replace(letter, escape)
        return f'"{text}"'

    content = "".join(f"{name}={quote(value)} # c\n" for name, value in expected.items())
    assert parse_env_file(content.encode(), subject="x") == expected


@given(st.dictionaries(NAMES, TEXTS, max_size=5))
def test_single_quotes_can_hold_nearly_everything(expected: dict[str, str]) -> None:
    kept = {name: value.replace("\\", "/") for name, value in expected.items()}
    content = "".join(
        "{}='{}'\n".format(name, value.replace("'", "\\'")) for name, value in kept.items()
    )
    assert parse_env_file(content.encode(), subject="x") == kept


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        parse_env_file(content, subject="x")
    except DeclarationError:
        return
