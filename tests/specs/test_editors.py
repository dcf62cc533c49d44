"""The schema of images.toml in the hands of the tools that people use, without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.project.schema import SPECS

GOOD = """#:schema specs/images.schema.json
[images.hello]
image = "builtin:hello-world"
[bundles.hello]
image = "hello"
environment = { A = "1" }
mem_limit = "64m"
volumes = ["./a:/b:ro", { source = "./c", target = "/d" }]
"""
BAD = ['imagee = "x"', "mem_limit = []", 'network = "bridge"', 'ports = ["80"]', "pids_limit = -2"]


def tool(name: str) -> str:
    beside = os.path.join(os.path.dirname(sys.executable), name)
    found = beside if os.path.exists(beside) else shutil.which(name)
    assert found, f"{name} is not installed: run ./doitw test, which installs it"
    return found


def taplo(project: Path) -> int:
    """Even Better TOML is taplo in an editor; the first line of the file names the schema."""
    return run(tool("taplo"), "lint", "images.toml", project=project)


def check_jsonschema(project: Path) -> int:
    words = ("--schemafile", "specs/images.schema.json", "images.toml")
    return run(tool("check-jsonschema"), *words, project=project)


def run(*words: str, project: Path) -> int:
    return subprocess.run(words, cwd=project, capture_output=True, check=False).returncode


TOOLS = pytest.mark.parametrize("check", [taplo, check_jsonschema])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(SPECS, tmp_path / "specs")
    return tmp_path


@TOOLS
def test_a_good_declaration_passes(project: Path, check: object) -> None:
    (project / "images.toml").write_text(GOOD)
    assert callable(check)
    assert check(project) == 0


@TOOLS
@pytest.mark.parametrize("line", BAD)
def test_a_bad_one_is_refused(project: Path, check: object, line: str) -> None:
    (project / "images.toml").write_text(f"{GOOD}[bundles.bad]\nimage = 'hello'\n{line}\n")
    assert callable(check)
    assert check(project) != 0


def test_every_schema_keeps_its_own_specification() -> None:
    schemas = [str(path) for path in sorted(SPECS.rglob("*.schema.json"))]
    assert run(tool("check-jsonschema"), "--check-metaschema", *schemas, project=SPECS) == 0
