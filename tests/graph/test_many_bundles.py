"""Many bundles one after the other: none of them costs what all of them together are."""

from __future__ import annotations

from pathlib import Path

from tasks.project.lock import load_lock
from tasks.project.plan import Options
from tasks.project_folder import open_plan
from tasks.steps import Steps
from tests.support.layers import item, tar
from tests.support.layout import write_layout

NAMES = ("a", "b", "c")


def test_a_bundle_that_is_built_does_not_write_the_lock_of_all_before_its_time(
    tmp_path: Path,
) -> None:
    write_layout(tmp_path / "layout", tar([item("file", "content")]))
    tables = [f'[images.{name}]\nimage = "oci:layout"\n' for name in NAMES]
    (tmp_path / "images.toml").write_text("".join(tables))
    plan = open_plan(Options(quiet=True), tmp_path)
    steps = Steps(plan)
    steps.locking.resolve(NAMES)
    last_write_took_an_age = 1e9
    plan.unsaved.saved(started=0.0, ended=last_write_took_an_age)
    for name in NAMES:
        steps.build(name)
    assert load_lock(plan.workspace.lock).bundles == ()
    steps.locking.flush()
    assert load_lock(plan.workspace.lock).bundles == NAMES
