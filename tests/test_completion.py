"""Tab completion: the words, where they come from, and the three shells themselves."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pexpect
import pytest

from tasks.commands import COMMANDS as COMMAND_PLACES
from tasks.commands.manual import TARGETS, command_text
from tasks.completion import (
    COMMANDS,
    SCRIPTS,
    STEPS,
    candidates,
    declared,
    known_commands,
)
from tasks.creators import STEPS as GRAPH_STEPS

from .support.command import CHECKOUT, DOOR, doit_oci, expect, run_python

TOML = """\
[images.hello-world]
image = "builtin:hello-world"
[images."quoted"] # why
image = "builtin:hello-world"
[bundles.shell]
image = "hello-world"
[bundles.shell.check]
status = 0
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "images.toml").write_text(TOML)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("doit-oci ru", ["run:hello-world", "run:quoted", "run:shell"]),
        ("doit-oci run:h", ["run:hello-world"]),
        ("doit-oci layout:", ["layout:hello-world", "layout:quoted"]),
        ("doit-oci bundle:a run:sh", ["run:shell"]),
        ("doit-oci --offline run:sh", ["run:shell"]),
        ("doit-oci lock ", ["hello-world", "quoted"]),
        ("doit-oci digest s", ["shell"]),
        ("doit-oci lock --up", ["--update"]),
        ("doit-oci completion ", ["bash", "zsh", "fish"]),
        ("doit-oci run:shell -- ru", []),
        ("doit-oci --dir ", []),
        ("doit-oci blob:", []),
        ("doit-oci nonsense:", []),
    ],
)
def test_words_that_can_stand_there(project: Path, line: str, found: list[str]) -> None:
    assert candidates(line, str(project)) == found


def test_commands_come_with_their_purpose(project: Path) -> None:
    assert "init\twrite a first images.toml" in candidates("doit-oci in", str(project))


def test_names_come_from_a_folder_below_and_from_the_compiled_declaration(project: Path) -> None:
    below = project / "a" / "b"
    below.mkdir(parents=True)
    assert candidates("doit-oci run:s", str(below)) == ["run:shell"]
    (project / "images.toml").write_text('images.inline.image = "builtin:hello-world"\n')
    assert declared(str(project)) == (set(), set())
    expect(doit_oci(project, "list"))
    assert declared(str(project)) == ({"inline"}, set())
    (project / "images.toml").write_text(TOML)
    assert declared(str(project))[1] == {"shell"}


def test_names_that_only_the_lock_knows_are_offered(project: Path) -> None:
    (project / "images.toml").write_text("images.inline.image = 'builtin:hello-world'\n")
    (project / "images.lock").write_text(json.dumps({"images": {"inline": {}}, "bundles": {}}))
    assert candidates("doit-oci run:", str(project)) == ["run:inline"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[[[", b"[images.]\n[images", b"[]"])
def test_a_broken_declaration_ends_nothing(project: Path, content: bytes) -> None:
    (project / "images.toml").write_bytes(content)
    assert isinstance(candidates("doit-oci run:", str(project)), list)
    assert candidates("doit-oci run:", "/nowhere/at/all") == []


def test_the_table_of_words_is_that_of_the_commands() -> None:
    assert set(COMMAND_PLACES) - {"run"} <= set(COMMANDS)
    assert set(known_commands()) == set(COMMAND_PLACES) - {"run"}
    for name in known_commands():
        kind, purpose, options = COMMANDS[name]
        text = command_text(name)
        long = {
            typed.split("--")[1].partition("=")[0] for typed, _ in text.options if "--" in typed
        }
        assert {option[2:] for option in options} <= long, name
        assert purpose, name
        assert kind, name


def test_the_targets_are_those_of_the_graph() -> None:
    assert set(STEPS) == set(GRAPH_STEPS)
    told = " ".join(typed for typed, _ in TARGETS)
    assert [step for step in STEPS if f"{step}:" not in told] == []


def test_neither_doit_nor_toml_is_loaded(project: Path) -> None:
    code = (
        "import sys; from tasks.cli import main; main(['__complete', 'doit-oci run:'])\n"
        "print(*sorted(sys.modules))"
    )
    done = run_python(project, code)
    assert done.returncode == 0, done.stderr
    *words, modules = done.stdout.splitlines()
    assert words == ["run:hello-world", "run:quoted", "run:shell"]
    assert not {"doit", "tomllib", "tomlkit", "tasks.creators", "pathlib"} & set(modules.split())


def command_folder(tmp_path: Path) -> Path:
    """A folder for PATH with a doit-oci that runs this checkout."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "doit-oci"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(CHECKOUT)!r})\n{DOOR}\n"
    )
    script.chmod(0o755)
    return folder


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile"], "source"),
    "zsh": (["zsh", "-f"], "autoload -Uz compinit; compinit -u; source"),
    "fish": (["fish", "--no-config"], "source"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(shell: str, project: Path, tmp_path: Path) -> None:
    command, source = SHELLS[shell]
    assert shutil.which(shell), f"{shell} is missing: apt-get install {shell}"
    script = tmp_path / "completion-script"
    script.write_text(expect(doit_oci(project, "completion", shell)))
    assert script.read_text() == SCRIPTS[shell]
    path = f"{command_folder(tmp_path)}:{os.environ['PATH']}"
    env = {"PATH": path, "HOME": str(tmp_path), "TERM": "dumb", "LC_ALL": "C.UTF-8"}
    child = pexpect.spawn(
        command[0], command[1:], cwd=str(project), env=env, encoding="utf-8", timeout=30
    )
    child.setwinsize(50, 120)
    child.sendline(f"{source} {script}; echo lo''aded")
    child.expect("loaded")
    for typed, result in (("run:sh", "run:shell"), ("digest hel", "digest hello-world")):
        child.send(f"doit-oci {typed}\t")
        child.expect_exact(result[len(typed) :] if shell == "bash" else result)
        child.send("\x15")
    child.close(force=True)
