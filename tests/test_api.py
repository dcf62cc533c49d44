"""The Python API does what the commands do, with the same results, and without doit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.api import Project, open_project
from tasks.errors import DeclarationError, OfflineError, UnknownTarget
from tasks.project.lock import Lock, load_lock
from tasks.project.plan import Options
from tasks.project_folder import open_plan

from .support.command import doit_oci, expect, run_python
from .support.layers import item, tar
from .support.layout import write_layout

LOOPED = 24
"""Bundles that are built of a project, however many it has."""
LOOKUPS = 32
"""After so many all of a large lock is in memory (named_lines.FEW)."""
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
    done = run_python(project, code)
    assert done.returncode == 0, done.stderr
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


def write_many(folder: Path, count: int) -> Path:
    """A project of so many images of one layout, which none but the first few are built of."""
    folder.mkdir()
    write_layout(folder / "layout", tar([item("file", "content")]))
    names = [f"i{number}" for number in range(count)]
    tables = [f'[images.{name}]\nimage = "oci:layout"\n' for name in names]
    (folder / "images.toml").write_text("".join(tables))
    open_project(folder).lock("i0")
    locked = load_lock(folder / "images.lock")
    image = locked.image("i0")
    assert image is not None
    others = dict.fromkeys(names[LOOPED:], image)
    (folder / "images.lock").write_bytes(Lock(locked.path).with_images(others).to_bytes())
    return folder


def bytes_moved() -> int:
    """What this process has read and written so far, by the kernel's own count."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"]) + int(fields["wchar"])


def bytes_of_a_loop(folder: Path) -> int:
    """What it takes to build a few bundles one after the other, when the last write took an age."""
    plan = open_plan(Options(quiet=True), folder)
    with Project(plan) as found:
        found.build("i0")
        for _ in range(LOOKUPS):
            plan.locked_image("i0")
        plan.unsaved.saved(started=0.0, ended=1e9)
        before = bytes_moved()
        for number in range(1, LOOPED):
            found.build(f"i{number}")
        moved = bytes_moved() - before
    assert len(load_lock(folder / "images.lock").bundles) == LOOPED
    return moved


def test_a_loop_costs_each_bundle_the_same_however_many_there_are(tmp_path: Path) -> None:
    few = bytes_of_a_loop(write_many(tmp_path / "few", LOOPED))
    many = bytes_of_a_loop(write_many(tmp_path / "many", 100 * LOOPED))
    assert many < 1.1 * few


def test_a_call_outside_of_a_block_leaves_the_lock_right(project: Path) -> None:
    found = open_project(project, offline=True)
    for name in ("hello-world", "loud"):
        digest = found.build(name).digest
        written = json.loads((project / "images.lock").read_bytes())
        assert digest in {each["digest"] for each in written["bundles"][name].values()}


def test_a_block_leaves_the_lock_right_whatever_ends_it(project: Path) -> None:
    def build_all() -> None:
        with open_project(project, offline=True) as found:
            for name in ("hello-world", "loud", "far"):
                found.build(name)

    with pytest.raises(OfflineError):
        build_all()
    lock = load_lock(project / "images.lock")
    assert set(lock.bundles) == {"hello-world", "loud"}
    assert lock.images == ("hello-world",)


def test_a_kill_in_a_block_loses_no_work(project: Path) -> None:
    code = (
        "import os, signal; from tasks.api import open_project\n"
        "with open_project('.', offline=True) as found:\n"
        "    found.lock('hello-world')\n"
        "    found._plan.unsaved.saved(started=0.0, ended=1e9)\n"
        "    print(*(found.build(name).digest for name in ('hello-world', 'loud')), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = run_python(project, code)
    assert killed.returncode == -9, killed.stderr
    lock = load_lock(project / "images.lock")
    assert (lock.images, lock.bundles) == (("hello-world",), ())
    trees = [project / f"build/bundles/{name}/rootfs" for name in ("hello-world", "loud")]
    before = [tree.stat().st_ino for tree in trees]
    with open_project(project, offline=True) as found:
        digests = [found.build(name).digest for name in ("hello-world", "loud")]
    assert digests == killed.stdout.split()
    assert [tree.stat().st_ino for tree in trees] == before
    assert load_lock(project / "images.lock").bundles == ("hello-world", "loud")


def test_a_program_that_has_built_keeps_nobody_from_cleaning(project: Path) -> None:
    path = open_project(project, offline=True).build("loud").path
    expect(doit_oci(project, "clean", "loud", timeout=30))
    assert not path.exists()
