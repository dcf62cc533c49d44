"""What a worker of a fleet does with a job, without a cluster."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tasks import __version__
from tasks.fleet import worker
from tasks.fleet.worker import work
from tasks.store.guard import SharedGuard


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    """One bundle of the built-in image, as a client describes it."""
    from tasks.fleet.jobs import make_job
    from tasks.project.plan import Options
    from tasks.project_folder import open_plan
    from tasks.steps import Steps

    project = tmp_path / "project"
    project.mkdir()
    (project / "images.toml").write_text(
        f'[cache]\nremote = "file://{tmp_path}/remote"\n'
        '[images.hello]\nimage = "builtin:hello-world"\nplatforms = ["linux/amd64"]\n'
    )
    steps = Steps(open_plan(Options(), project))
    steps.locking.resolve(["hello"])
    made = make_job(steps, "hello")
    return {
        "bundle": made.bundle,
        "platform": made.platform,
        "version": __version__,
        "declared": made.declared,
        "lock": made.lock,
    }


def test_a_job_leaves_its_store_and_nothing_else(tmp_path: Path, job: dict[str, Any]) -> None:
    root = tmp_path / "place" / "doit-oci"
    left = root / "projects" / "unpack-left-by-a-kill"
    left.mkdir(parents=True)
    (left.parent / ".unpack.lock").touch()
    found = work(job, {}, str(tmp_path / "place"))
    assert "error" not in found
    assert found["digest"].startswith("sha256:")
    assert sorted(os.listdir(root)) == ["in-use", "projects", "state"]
    assert os.listdir(root / "projects") == [".unpack.lock"]


def test_a_store_that_another_job_uses_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    use = SharedGuard(tmp_path / "in-use")
    use.take()
    assert not worker.emptied(tmp_path)
    use.release()
    assert worker.emptied(tmp_path)
    assert not (tmp_path / "state").exists()


def test_a_build_that_is_killed_is_said_in_words(
    tmp_path: Path, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif '-c' in sys.argv[:1]: os.kill(os.getpid(), 9)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = work(job, {}, str(tmp_path / "place"))
    assert found["error"] == "the build was ended by signal 9; had it memory enough?"
    assert found["status"] == -signal.SIGKILL
