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


HELLO = '[images.hello-world]\nimage = "builtin:hello-world"\n'
WORDS_THAT_PRINT = (
    *("list", "list --all", "help", "help lock", "--version", "man", "schema", "doctor", "ps"),
    *("digest hello-world", "inspect hello-world", "why", "why --json", "graph", "report"),
    *("validate --json", "completion bash", "__complete ru", "tabcompletion"),
)


def in_shell(project: Path, line: str) -> subprocess.CompletedProcess[bytes]:
    """``line``, in which ``doit-oci`` is the program."""
    program = "from tasks.cli import console; console()"
    return subprocess.run(
        ["bash", "-c", f'doit-oci() {{ "$PYTHON" -c "$PROGRAM" "$@"; }}; set -o pipefail; {line}'],
        cwd=project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={
            **{name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"},
            "PYTHONPATH": str(CHECKOUT),
            "PYTHON": sys.executable,
            "PROGRAM": program,
        },
        check=False,
    )


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("hello")
    (project / "images.toml").write_text(HELLO)
    expect(doit_oci(project, "bundle"))
    return project


@pytest.mark.parametrize("words", WORDS_THAT_PRINT)
def test_standard_output_that_takes_nothing_is_said_in_words(hello: Path, words: str) -> None:
    full = in_shell(hello, f"doit-oci {words} >/dev/full")
    expect(full, 1)
    assert b"standard output: No space left" in full.stderr
    unread = in_shell(hello, f"doit-oci {words} | true")
    assert unread.returncode in {0, 141}, "what is short may have been written before the end"
    assert not unread.stderr
    expect(in_shell(hello, f"doit-oci {words} >&-"))


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["bundle", "bundle:hello-world", "lock --update"])
def test_a_build_needs_no_standard_files(tmp_path: Path, closed: str, words: str) -> None:
    """What was opened next took the number of a closed one, and got the lines meant for people."""
    (tmp_path / "images.toml").write_text(HELLO)
    expect(in_shell(tmp_path, f"doit-oci {words} {closed}"))
    expect(doit_oci(tmp_path, "lock", "--check"))
    expect(doit_oci(tmp_path, "verify"))


@pytest.mark.parametrize("words", [["--dir"], ["list", "--dir="], ["--dir", ""], ["--shard"]])
def test_an_option_without_its_value_is_refused(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "images.toml").write_text(HELLO)
    refused = doit_oci(tmp_path, *words)
    expect(refused, 3)
    assert b"behind it" in refused.stderr


CONTAINER_WORDS = ("ps", "logs", "kill", "stop", "pause", "resume", "delete", "stats")


@pytest.mark.parametrize("words", [*CONTAINER_WORDS, "exec"])
def test_a_container_of_a_bundle_and_a_name_that_is_nobodys(hello: Path, words: str) -> None:
    tail = ["--", "true"] if words == "exec" else []
    expect(doit_oci(hello, words, "nope", *tail), 3)
    expect(doit_oci(hello, words, "hello-world", *tail), 0 if words == "ps" else 1)


@pytest.mark.parametrize("command", ["info", "ignore", "reset-dep", "strace"])
def test_a_command_of_doits_own_knows_no_such_task(hello: Path, command: str) -> None:
    expect(doit_oci(hello, command, "run:nope"), 3)
    expect(doit_oci(hello, command, "--nope"), 3)


def test_doits_commands_work(hello: Path) -> None:
    assert "run:hello-world" in expect(doit_oci(hello, "info", "run:hello-world"), 1)  # not current
    expect(doit_oci(hello, "dumpdb"))


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
