"""A generated project of many images, all built: what the scale rows start from.

The steps are the project's own, in one process, and only their syncs are left out: ten thousand
bundles would otherwise wait for the disk a hundred thousand times before anything is measured.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tasks.project.plan import Options
from tasks.project_folder import open_plan
from tasks.steps import Steps
from tests.support.layers import item, tar
from tests.support.layout import write_layout


def write_project(folder: Path, count: int) -> Path:
    """images.toml of ``count`` images with one small layer each, in layouts beside it."""
    text = ""
    for number in range(count):
        write_layout(
            folder / "sources" / f"i{number}",
            tar([item("etc/name", f"i{number}\n")]),
            compress=False,
        )
        text += f'[images.i{number}]\nimage = "oci:sources/i{number}"\n'
    (folder / "images.toml").write_text(text)
    return folder


def build(folder: Path) -> None:
    """Build every bundle of a project, and leave the lock as the commands do."""
    os.fsync = lambda descriptor: None
    plan = open_plan(Options(quiet=True), folder)
    steps = Steps(plan)
    steps.locking.resolve(plan.images.images)
    for name in plan.bundle_names():
        steps.build(name)
    steps.locking.flush()


def make_project(folder: Path, count: int, python: str) -> None:
    """A project of so many images, built by a process of its own."""
    checkout = Path(__file__).resolve().parents[2]
    subprocess.run(
        [python, "-m", "tests.bench.many", str(folder), str(count)], cwd=checkout, check=True
    )


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir(parents=True)
    build(write_project(folder, count))


if __name__ == "__main__":
    main()
