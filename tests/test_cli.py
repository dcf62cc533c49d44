"""The front door: what stands behind -- is kept whole, and options may stand anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cli import split, take_options

WORDS = st.lists(st.text(max_size=5).filter(lambda word: word != "--"), max_size=5)


@given(WORDS, st.lists(st.text(max_size=5), max_size=5))
def test_everything_behind_the_first_dashes_is_kept(head: list[str], tail: list[str]) -> None:
    assert split([*head, "--", *tail]) == (head, tail)
    assert split(head) == (head, None)


@pytest.mark.parametrize(
    ("words", "rest", "found"),
    [
        (["run:a", "--offline"], ["run:a"], {"offline": True}),
        (["--dir", "x", "run:a"], ["run:a"], {"state": "x"}),
        (["run:a", "--dir=x"], ["run:a"], {"state": "x"}),
        (["-n", "2", "--locked", "bundle"], ["-n", "2", "bundle"], {"locked": True}),
        (["-q", "--json", "list"], ["list"], {"quiet": True, "json": True}),
    ],
)
def test_our_options_are_taken_from_anywhere(
    words: list[str], rest: list[str], found: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOIT_OCI_DIR", raising=False)
    assert take_options(words) == (rest, {"state": "", **found})


def test_the_state_directory_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOIT_OCI_DIR", "elsewhere")
    assert take_options(["list"])[1]["state"] == "elsewhere"
    assert take_options(["list", "--dir", "here"])[1]["state"] == "here"
