"""The Python API does what the commands do, with the same results, and without doit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.api import open_project
from tasks.errors import DeclarationError, OfflineError, UnknownTarget

from .support.command import CHECKOUT, doit_oci, expect

TOML = """\
[images.hello-world]
image = "builtin:hello-world"
[images.far]
image = "registry.invalid/never/there:1"
[bundles.loud]
image = "hello-world"
environment = { A = "b" }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "images.toml").write_text(TOML)
    return tmp_path


def test_a_project_tells_what_it_has(project: Path) -> None:
    found = open_project(project)
    assert found.folder == project
    assert found.state == project / "build"
    assert found.images == ("hello-world", "far")
    assert set(found.bundles) == {"loud", "hello-world", "far"}


def test_plan_build_and_plan_again(project: Path) -> None:
    found = open_project(project, offline=True)
    before = found.plan("loud")
    assert [step.step for step in before] == ["layout", "rootfs", "config", "bundle"]
    assert not any(step.is_current for step in before)
    bundle = found.build("loud")
    assert all(step.is_current and step.key for step in found.plan("loud"))
    config = json.loads((bundle.path / "config.json").read_text())
    assert "A=b" in config["process"]["env"]
    assert bundle.digest == expect(doit_oci(project, "digest", "loud")).strip()
    assert open_project(project).build("loud") == bundle


def test_run_gives_the_container_this_process_streams(project: Path) -> None:
    code = (
        "import sys; from tasks.api import open_project\n"
        "status = open_project('.').run('hello-world')\n"
        "print('status', status, 'doit' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Hello from doit-oci!" in done.stdout
    assert done.stdout.splitlines()[-1] == "status 0 False"


def test_errors_are_of_the_family(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = open_project(project, offline=True)
    with pytest.raises(UnknownTarget):
        found.plan("nope")
    with pytest.raises(OfflineError):
        found.build("far")
    with pytest.raises(DeclarationError):
        open_project(tmp_path_factory.mktemp("empty"))
    assert [step.key for step in found.plan("far")][1:] == [None, None, None]


def test_another_state_directory(project: Path) -> None:
    found = open_project(project, state="elsewhere")
    assert found.build("hello-world").path == project / "elsewhere/bundles/hello-world"
    assert not (project / "build" / "bundles").exists()
