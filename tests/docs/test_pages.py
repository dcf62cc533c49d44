"""Every command and every document in docs/ and README.md is executed or checked.

A page is a story: its blocks run in order, in one folder of their own. Registries that a page
names are a docker-registry on a loopback port; skopeo and doit-oci are told so by the
registries.conf that both read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tasks.project.declaration import compile_text

from ..support.command import CHECKOUT, DOOR
from ..support.docker_registry import running_registry
from .blocks import Block, agrees, blocks_of, commands_of
from .images import publish

DOCS = CHECKOUT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "decisions" not in path.parts)
STORIES = [page for page in PAGES if any(block.language for block in blocks_of(page))]
EXECUTED = {"console", "sh", "bash", "python", "toml", "json", "yaml", "ini", "groovy", "mermaid"}
VENDORS = {".github/workflows/": "vendor.github-workflows", ".gitlab-ci.yml": "vendor.gitlab-ci"}
REGISTRIES = ("docker.io", "registry.example.com")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose registries are all one server on loopback, with what the pages ask it for."""
    folder = tmp_path_factory.mktemp("docs-home")
    with running_registry(folder / "registry") as server:
        publish(server.host, folder / "images")
        tables = "".join(
            f'[[registry]]\nprefix = "{name}"\nlocation = "{server.host}"\ninsecure = true\n'
            for name in REGISTRIES
        )
        settings = folder / ".config" / "containers"
        settings.mkdir(parents=True)
        (settings / "registries.conf").write_text(
            tables + f'[[registry]]\nlocation = "{server.host}"\ninsecure = true\n'
        )
        programs = folder / "bin"
        programs.mkdir()
        script = programs / "doit-oci"
        script.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(CHECKOUT)!r})\n{DOOR}\n"
        )
        script.chmod(0o755)
        (programs / "python").symlink_to(sys.executable)
        (folder / "host").write_text(server.host)
        yield folder


def environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "PATH": f"{home / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def perform(block: Block, folder: Path, home: Path) -> None:
    """Execute one block, or check it. A command's output has to hold what the page shows of it."""
    text = block.text.replace("127.0.0.1:5000", (home / "host").read_text())
    if block.file:
        path = folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if block.language == "console":
        for command in commands_of(text):
            done = run(["bash", "-euo", "pipefail", "-c", command.text], folder, home, block)
            if not block.syntax_only:
                compare(block, command.text, command.shown, done)
    elif block.language in ("sh", "bash"):
        check = ["-n"] if block.syntax_only or block.file else []
        run([block.language, *check, "-euc", text], folder, home, block._replace(syntax_only=""))
    elif block.language == "python":
        code = ["python", "-c", text if not block.syntax_only else f"compile({text!r}, '', 'exec')"]
        run(code, folder, home, block._replace(syntax_only=""))
    elif block.language == "toml":
        value = tomllib.loads(text)
        if not block.file or block.file == "images.toml":
            compile_text(text, folder / "images.toml")
            (folder / "images.toml").write_text(text)
        assert value
    elif block.language == "json":
        json.loads(text)
    elif block.language == "yaml":
        list(yaml.safe_load_all(text))
        for part, schema in VENDORS.items():
            if part in block.file:
                words = ["check-jsonschema", "--builtin-schema", schema, block.file]
                run(words, folder, home, block)


def run(command: list[str], folder: Path, home: Path, block: Block) -> str:
    if block.syntax_only:
        command = ["bash", "-n", "-c", command[-1]]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"{block.place}: {command[-1]}\n{said}"
    assert "Traceback" not in said, said
    return said


def compare(block: Block, command: str, shown: tuple[str, ...], said: str) -> None:
    """The shown lines come in that order; a page may leave lines out by a line of one …"""
    lines = iter(said.splitlines())
    for wanted in shown:
        if wanted.strip() in ("…", ""):
            continue
        found = any(agrees(wanted, line) for line in lines)
        assert found, f"{block.place}: {command}\nshows: {wanted}\nsaid:\n{said}"


@pytest.mark.parametrize("page", STORIES, ids=lambda page: str(page.relative_to(DOCS)))
def test_what_a_page_shows_is_so(page: Path, home: Path, tmp_path: Path) -> None:
    for block in blocks_of(page):
        perform(block, tmp_path, home)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_block_is_of_a_kind_that_is_checked(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language in EXECUTED | {"text"}, f"{block.place}: ```{block.language}"


def test_what_the_readme_declares_is_valid() -> None:
    """Its commands are those of the first test that there is: ./doitw test."""
    for block in blocks_of(CHECKOUT / "README.md"):
        if block.language == "toml":
            compile_text(block.text, CHECKOUT / "images.toml")


@pytest.mark.parametrize("text", ["$ false\n", "$ echo a\nb\n", "$ echo a; echo b\nb\na\n"])
def test_a_page_that_is_wrong_is_found(text: str, home: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```console\n{text}```\n")
    with pytest.raises(AssertionError):
        perform(blocks_of(page)[0], tmp_path, home)
