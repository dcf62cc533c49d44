"""A dodo.py of someone's own with our tasks in it, under stock doit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.project.lock import load_lock

from ..support.command import CHECKOUT, expect

DODO = """\
from tasks.graph import *


def task_mine():
    return {"actions": ["echo mine"], "task_dep": ["bundle:hello-world"], "verbosity": 2}
"""
TOML = """\
[images.hello-world]
image = "builtin:hello-world"
[images.nowhere]
image = "oci:nowhere"
[bundles.fails]
image = "hello-world"
entrypoint = ["/nothing"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dodo.py").write_text(DODO)
    (tmp_path / "images.toml").write_text(TOML)
    return tmp_path


def doit(project: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "doit", *words],
        cwd=project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        check=False,
    )


def test_standard_output_belongs_to_the_container(project: Path) -> None:
    for _ in range(2):
        assert expect(doit(project, "run:hello-world")).startswith("\nHello from doit-oci!")


def test_several_containers_run_one_after_the_other(project: Path) -> None:
    (project / "images.toml").write_text(
        TOML + '[bundles.also]\nimage = "hello-world"\n[bundles.too]\nimage = "hello-world"\n'
    )
    done = doit(project, "run:hello-world", "run:also", "run:too", "--", "/hello", "A=b", "-x")
    assert expect(done).count("Hello from") == 3
    assert expect(doit(project, "run:also", "run:too")).count("Hello from") == 2


def test_a_task_of_its_own_is_told_of_as_ever(project: Path) -> None:
    assert expect(doit(project, "-n", "2", "mine")) == ".  mine\nmine\n"
    assert (project / "images.lock").exists(), "its image was resolved when it was needed"
    assert "mine" in expect(doit(project, "list"))


@pytest.mark.parametrize(
    ("word", "status", "said"),
    [
        ("bundle:nowhere", 1, b"error: oci:nowhere: oci-layout: No such file"),
        ("bundle:nope", 3, b"nope: no bundle of that name"),
        ("run:fails", 1, b"error: run:fails: fails: "),
    ],
)
def test_what_goes_wrong_is_said_in_words(
    project: Path, word: str, status: int, said: bytes
) -> None:
    failed = doit(project, word)
    assert expect(failed, status) == ""
    assert said in failed.stderr


def test_a_wrong_declaration_is_said_in_words(project: Path) -> None:
    (project / "images.toml").write_text("imges = 1\n")
    failed = doit(project, "mine")
    expect(failed, 3)
    assert b'images.toml:1: imges: unknown key; did you mean "images"?' in failed.stderr


def test_commands_are_done_by_stock_doit_too(project: Path) -> None:
    expect(doit(project, "lock", "--check", "hello-world"), 3)
    locked = doit(project, "lock", "hello-world")
    assert expect(locked) == ""
    assert b"hello-world: locked " in locked.stderr
    expect(doit(project, "lock", "--check", "hello-world"))
    digest = expect(doit(project, "digest", "hello-world"))
    assert digest.startswith("sha256:")
    assert expect(doit(project, "-f", "dodo.py", "digest", "hello-world")) == digest
    assert "--update" in expect(doit(project, "help", "lock"))
    wrong = doit(project, "inspect", "helo-world")
    expect(wrong, 3)
    assert b'helo-world: no image of that name in images.toml; did you mean "hello' in wrong.stderr


def test_what_follows_a_command_is_not_read_by_doit(project: Path) -> None:
    failed = doit(project, "exec", "hello-world", "--", "/hello", "A=b")
    expect(failed, 1)
    assert b"hello-world: no container of that name" in failed.stderr


def test_a_task_of_ones_own_comes_before_a_command_of_its_name(project: Path) -> None:
    dodo = project / "dodo.py"
    mine = '\n\ndef task_lock():\n    return {"actions": ["echo my lock"], "verbosity": 2}\n'
    dodo.write_text(DODO + mine)
    assert expect(doit(project, "lock")) == ".  lock\nmy lock\n"
    assert not (project / "images.lock").exists()


def test_clean_and_forget_of_our_targets_are_ours(project: Path) -> None:
    expect(doit(project, "bundle:hello-world"))
    bundle = project / "build/bundles/hello-world"
    expect(doit(project, "clean", "mine"))
    assert bundle.exists()
    expect(doit(project, "clean", "--dry-run", "bundle:hello-world"))
    assert bundle.exists()
    expect(doit(project, "forget", "bundle:hello-world"))
    assert b"bundle:hello-world" in doit(project, "bundle:hello-world").stderr
    expect(doit(project, "clean", "bundle:hello-world"))
    assert not bundle.exists()


def test_a_word_that_is_neither_command_nor_target_is_doits_to_refuse(project: Path) -> None:
    failed = doit(project, "lokc")
    expect(failed, 3)
    assert b'"lokc". Must be a command, task, or a target' in failed.stderr


def test_what_was_found_out_is_in_the_lock_when_doit_ends(project: Path) -> None:
    age = "\nfrom tasks.project.plan import Unsaved\nUnsaved.SHARE = 10**9\n"
    (project / "dodo.py").write_text(DODO + age)
    (project / "images.toml").write_text(TOML + '[bundles.also]\nimage = "hello-world"\n')
    expect(doit(project, "bundle:hello-world", "bundle:also"))
    assert load_lock(project / "images.lock").bundles == ("also", "hello-world")
