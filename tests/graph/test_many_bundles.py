"""Many bundles one after the other: none of them costs what all of them together are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.creators import make_tasks
from tasks.project.lock import load_lock
from tasks.project.plan import Options
from tasks.project_folder import open_plan
from tasks.steps import Steps
from tasks.view.events import Events
from tests.support.command import doit_oci, expect
from tests.support.layers import item, tar
from tests.support.layout import write_layout

NAMES = ("a", "b", "c")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_layout(tmp_path / "layout", tar([item("file", "content")]))
    tables = [f'[images.{name}]\nimage = "oci:layout"\n' for name in NAMES]
    (tmp_path / "images.toml").write_text("".join(tables))
    return tmp_path


def test_a_bundle_that_is_built_does_not_write_the_lock_of_all_before_its_time(
    project: Path,
) -> None:
    plan = open_plan(Options(quiet=True), project)
    steps = Steps(plan)
    steps.locking.resolve(NAMES)
    last_write_took_an_age = 1e9
    plan.unsaved.saved(started=0.0, ended=last_write_took_an_age)
    for name in NAMES:
        steps.build(name)
    assert load_lock(plan.workspace.lock).bundles == ()
    steps.locking.flush()
    assert load_lock(plan.workspace.lock).bundles == NAMES


@pytest.mark.parametrize("words", [[], ["bundle"]])
def test_for_a_bundle_that_stands_there_is_no_task(project: Path, words: list[str]) -> None:
    expect(doit_oci(project, "bundle"))
    plan = open_plan(Options(quiet=True), project)
    plan.workspace.stamp("config", "b").unlink()
    events = Events([])
    made = {task.name for task in make_tasks(plan, words, resolve=True, told=events)}
    assert {"layout:b", "rootfs:b", "config:b", "bundle:b"} <= made
    assert not {"layout:a", "rootfs:a", "config:c", "bundle:c"} & made
    assert events.totals.reused == 3 + 2 * 4, "three blobs, and the steps of two"


def told_of(project: Path, *words: str) -> dict[str, list[str]]:
    """The subjects of what stood and of what was done."""
    done = doit_oci(project, *words, "--json")
    expect(done)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    return {
        name: sorted(each["subject"] for each in events if each["event"] == name)
        for name in ("hit", "finish")
    }


def test_what_stands_is_told_once_each(project: Path) -> None:
    """Bundle also shares its blobs and its layout with bundle a, which stands."""
    toml = project / "images.toml"
    toml.write_text(toml.read_text() + '[bundles.also]\nimage = "a"\n')
    expect(doit_oci(project, "bundle"))
    plan = open_plan(Options(quiet=True), project)
    plan.workspace.stamp("config", "also").unlink()
    told = told_of(project, "bundle")
    assert told["finish"] == ["config:also"]
    assert len(told["hit"]) == len(set(told["hit"])) == 3 + 3 * 4 + 2


def test_what_is_always_to_be_done_is_done_of_what_stands_too(project: Path) -> None:
    expect(doit_oci(project, "bundle"))
    told = told_of(project, "bundle", "--always-execute")
    assert {f"bundle:{name}" for name in NAMES} <= set(told["finish"])
