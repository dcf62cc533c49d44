"""Help, manual page and examples: made of one set of texts, complete, and true."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from tasks.command_line import FLAGS
from tasks.commands import COMMANDS
from tasks.commands.manual import GLOBAL_OPTIONS, all_texts, command_text, manual_page, overview

from ..support.command import doit_oci, expect


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_gives_an_example(name: str) -> None:
    text = command_text(name)
    assert text.purpose
    assert text.examples, f"tasks/commands/manual.py has no example of {name}"
    for line, purpose in text.examples:
        assert purpose
        words = shlex.split(line.partition(" | ")[0].partition(" > ")[0])
        assert words[0] == "doit-oci"
        assert name in words or any(":" in word or word == "bundle" for word in words[1:])
        known = {word for typed, _ in text.options for word in typed.replace("=", " ").split()}
        used = set(words[1 : words.index("--") if "--" in words else None])
        assert {word for word in used if word.startswith("--")} <= known, line


def test_the_options_that_stand_anywhere_are_all_told() -> None:
    told = " ".join(typed for typed, _ in GLOBAL_OPTIONS)
    assert {flag for flag in FLAGS if flag not in told} <= {"--detach", "--wait"}


def test_the_overview_names_every_command() -> None:
    for text in all_texts():
        assert text.name == "run" or f"  {text.name} " in overview()
    assert max(len(line) for line in overview().splitlines()) <= 100


@pytest.mark.parametrize(
    "words",
    [["help", "lock"], ["lock", "--help"], ["lock", "-h"], ["--help", "lock"], ["help", "run:x"]],
)
def test_both_ways_of_asking_for_help(tmp_path: Path, words: list[str]) -> None:
    shown = expect(doit_oci(tmp_path, *words))
    assert shown.splitlines()[0] == command_text("lock" if "lock" in words else "run").purpose
    assert "examples:" in shown


def test_help_behind_the_dashes_is_the_containers(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text('[images.hello-world]\nimage = "builtin:hello-world"\n')
    result = doit_oci(tmp_path, "run:nope", "--", "--help")
    expect(result, 3)
    assert b"usage" not in result.stdout


def test_help_of_doit_itself_and_of_nothing(tmp_path: Path) -> None:
    assert "ignore" in expect(doit_oci(tmp_path, "help", "ignore"))
    result = doit_oci(tmp_path, "help", "lokc")
    expect(result, 3)
    assert "lock" in result.stderr.decode()
    assert expect(doit_oci(tmp_path, "--version")).startswith("doit-oci ")


@pytest.mark.parametrize("words", [["lock", "--frob"], ["list", "--dry-run"], ["add", "--name"]])
def test_a_wrong_option_is_said_in_one_line(tmp_path: Path, words: list[str]) -> None:
    result = doit_oci(tmp_path, *words)
    expect(result, 3)
    said = result.stderr.decode()
    assert len(said.splitlines()) == 2, said
    assert f"help {words[0]}" in said


def test_the_manual_page_is_well_formed(tmp_path: Path) -> None:
    assert shutil.which("man"), "man is missing: apt-get install man-db"
    page = tmp_path / "doit-oci.1"
    page.write_text(expect(doit_oci(tmp_path, "man")))
    done = subprocess.run(
        ["man", "--warnings", "-l", str(page)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    plain = " ".join(done.stdout.replace("‐\n", "").split())
    for text in all_texts():
        assert text.usage.replace(" ", "") in done.stdout.replace(" ", "").replace("\n", "")
    assert "EXIT STATUS" in plain
    assert "run:BUNDLE [-- ARG...]" in plain


def test_nothing_in_a_text_is_taken_for_a_request_of_roff() -> None:
    requests = {line.split()[0] for line in manual_page().splitlines() if line.startswith(".")}
    assert requests <= {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".br", ".nf", ".fi"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(name: str) -> None:
    module, _, attribute = COMMANDS[name].partition(":")
    found = getattr(import_module(f"tasks.{module}"), attribute)
    assert found.get_name() == name
