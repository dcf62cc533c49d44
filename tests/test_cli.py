"""The front door: what stands behind -- is kept whole, and options may stand anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.command_line import split, take_options

from .support.command import CHECKOUT, doit_oci, expect

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


@pytest.mark.parametrize("words", [["run:hello-world"], ["list"], ["run:nope"], ["bundle"]])
def test_the_program_ends_as_main_says(tmp_path: Path, words: list[str]) -> None:
    """A warm start leaves at once; what was written and the status are the same as ever."""
    (tmp_path / "images.toml").write_text('[images.hello-world]\nimage = "builtin:hello-world"\n')
    program = "from tasks.cli import console; console()"
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    for _ in range(2):
        by_main = doit_oci(tmp_path, *words)
        by_console = subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=tmp_path,
            capture_output=True,
            env=env,
            check=False,
        )
    assert by_console.returncode == by_main.returncode
    assert (by_console.stdout, by_console.stderr) == (by_main.stdout, by_main.stderr)


def test_a_warm_start_needs_no_standard_output(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text('[images.hello-world]\nimage = "builtin:hello-world"\n')
    expect(doit_oci(tmp_path, "bundle"))
    expect(doit_oci(tmp_path, "bundle"))
    words = [sys.executable, "-c", "from tasks.cli import console; console()", "bundle"]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    closed = subprocess.run(
        ["sh", "-c", '"$@" >&- 2>&-', "sh", *words], cwd=tmp_path, env=env, check=False
    )
    assert closed.returncode == 0
