"""What other repositories use of this one: hooks, action, schema. Held against their own tools."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ..support.command import CHECKOUT, doit_oci, expect

HOOKS = yaml.safe_load((CHECKOUT / ".pre-commit-hooks.yaml").read_text("utf-8"))
ACTION = CHECKOUT / ".github" / "actions" / "doit-oci" / "action.yml"
GOOD = '[images.hello-world]\nimage = "builtin:hello-world"\n'
BAD = '[images.hello-world]\nimage = "builtin:hello-world"\npul_policy = "always"\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "images.toml").write_text(GOOD)
    expect(doit_oci(tmp_path, "lock"))
    return tmp_path


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hook_passes_and_fails(hook: dict[str, str], project: Path) -> None:
    command, *words = shlex.split(hook["entry"])
    assert command == "doit-oci"
    expect(doit_oci(project, *words))
    (project / "images.toml").write_text(GOOD + '[images.more]\nimage = "oci:elsewhere"\n')
    if "--check" in words:
        expect(doit_oci(project, *words), 3)
    (project / "images.toml").write_text(BAD)
    result = doit_oci(project, *words)
    assert result.returncode != 0
    assert b"pull_policy" in result.stderr + result.stdout


def tool(name: str, *words: str, folder: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name(name)
    assert program.exists(), f"{name} is missing from this environment: .ci/requirements-dev.txt"
    return subprocess.run(
        [str(program), *words], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_action_is_valid_and_its_scripts_are() -> None:
    done = tool("check-jsonschema", "--builtin-schema", "vendor.github-actions", str(ACTION))
    assert done.returncode == 0, done.stdout + done.stderr
    for step in yaml.safe_load(ACTION.read_text("utf-8"))["runs"]["steps"]:
        if "run" in step:
            subprocess.run(["bash", "-n", "-c", step["run"]], check=True)
            assert "${{ inputs" not in step["run"], "an input in a script is code from outside"


@pytest.mark.parametrize(("text", "status"), [(GOOD, 0), (BAD, 1)])
def test_other_tools_find_by_the_schema_what_we_find(text: str, status: int, project: Path) -> None:
    schema = project / "images.schema.json"
    schema.write_text(expect(doit_oci(project, "schema")))
    (project / "images.toml").write_text("#:schema ./images.schema.json\n" + text)
    checked = tool(
        "check-jsonschema", "--schemafile", "images.schema.json", "images.toml", folder=project
    )
    assert checked.returncode == status, checked.stdout + checked.stderr
    # Without an option: taplo follows the line in the file, as editors do.
    linted = tool("taplo", "lint", "--no-auto-config", "images.toml", folder=project)
    assert linted.returncode == status, linted.stdout + linted.stderr
    if status:
        assert "pul_policy" in checked.stdout
        assert "pul_policy" in linted.stderr


@pytest.mark.parametrize("name", ["images", "images-lock", "events"])
def test_each_schema_of_ours_is_a_schema(name: str) -> None:
    path = CHECKOUT / "specs" / f"{name}.schema.json"
    done = tool("check-jsonschema", "--check-metaschema", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
