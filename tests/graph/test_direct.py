"""One target's chain without doit tells, does and returns what doit's own run of it does.

``doit-oci run TARGET`` is doit's way, ``doit-oci TARGET`` the direct one.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import doit_oci, expect
from tests.support.layers import item, tar
from tests.support.layout import write_layout

DECLARATION = (
    '[images.a]\nimage = "oci:../layout"\n'
    '[bundles.b]\nimage = "a"\ncommand = ["/f"]\n'
    '[images.many]\nimage = "builtin:hello-world"\n'
    '[bundles.arm]\nimage = "many"\nplatform = "linux/arm64"\n'
)
VARYING = re.compile(r"\d+(\.\d+)? m?s\b|[0-9.]+ s\b")


def fresh(project: Path) -> None:
    """Nothing was ever built."""


def built(project: Path) -> None:
    expect(doit_oci(project, "bundle:b"))


def overridden(project: Path) -> None:
    built(project)
    text = (project / "images.toml").read_text()
    (project / "images.toml").write_text(text.replace('["/f"]', '["/g", "A=b"]'))


def lacking_a_blob(project: Path) -> None:
    built(project)
    largest = max((project / "build/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.unlink()


def damaged_lock(project: Path) -> None:
    (project / "images.lock").write_text("{")


def without_image(project: Path) -> None:
    shutil.rmtree(project.parent / "layout")


def changed_layer(project: Path) -> None:
    """The image's layer is not what its manifest says."""
    expect(doit_oci(project, "lock"))
    blobs = project.parent / "layout/blobs/sha256"
    largest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(b"x" * largest.stat().st_size)


def full_state(project: Path) -> None:
    """A file stands where the state directory should be."""
    (project / "build").write_text("")


def wrong_declaration(project: Path) -> None:
    (project / "images.toml").write_text("[bundles.b]\nimage = 3\n")


STATES = [
    fresh,
    built,
    overridden,
    lacking_a_blob,
    damaged_lock,
    without_image,
    changed_layer,
    full_state,
    wrong_declaration,
]
WORDS = [
    ("layout:a",),
    ("rootfs:b",),
    ("config:b",),
    ("bundle:b",),
    ("bundle:b", "--locked"),
    ("bundle:b", "--offline"),
    ("bundle:arm",),
    ("layout:many",),
    ("bundle:nobody",),
    ("layout:nobody",),
    ("blob:nobody",),
    ("bundle:",),
]


def told(project: Path, words: tuple[str, ...], *how: str) -> tuple[int, list[Any]]:
    """The exit status and every event, without times and the words themselves."""
    done = doit_oci(project, "--json", *how, *words)
    assert done.stdout == b""
    events = []
    for line in done.stderr.decode().splitlines():
        event = json.loads(line)
        if event["event"] in ("begin", "bytes"):
            continue
        for name in ("at", "seconds", "worker", "item"):
            event.pop(name, None)
        events.append(json.loads(json.dumps(event).replace(str(project.parent), "HERE")))
    return done.returncode, events


def project_in(folder: Path) -> Path:
    (folder / "project").mkdir(parents=True)
    write_layout(folder / "layout", tar([item("f", "x" * 500)]))
    (folder / "project/images.toml").write_text(DECLARATION)
    return folder / "project"


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
@pytest.mark.parametrize("state", STATES, ids=lambda each: each.__name__)
def test_the_direct_way_tells_what_doits_way_tells(
    state: Callable[[Path], None], words: tuple[str, ...], tmp_path: Path
) -> None:
    direct, doits = project_in(tmp_path / "direct"), project_in(tmp_path / "doits")
    for project in (direct, doits):
        state(project)
    assert told(direct, words) == told(doits, words, "run")
    locks = [project / "images.lock" for project in (direct, doits)]
    assert locks[0].exists() == locks[1].exists()
    if locks[0].exists():
        assert locks[0].read_bytes() == locks[1].read_bytes()


def test_lines_for_people_are_the_same_too(tmp_path: Path) -> None:
    lines = []
    for name, how in (("direct", ()), ("doits", ("run",))):
        project = project_in(tmp_path / name)
        done = doit_oci(project, *how, "bundle:b")
        lines.append(VARYING.sub("TIME", done.stderr.decode()))
    assert lines[0] == lines[1]
    assert lines[0].count("\n") >= 5


def test_a_bug_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no fault of a user's shows its traceback, and doit's status for it."""
    project = project_in(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import tasks.layout\ndef broken(**_): raise ZeroDivisionError('oops')\n"
        "tasks.layout.write_layout = broken\n"
    )
    found = [
        doit_oci(project, *how, "bundle:b", env={"PYTHONPATH": str(broken)})
        for how in ((), ("run",))
    ]
    for done in found:
        assert done.returncode == 2
        assert b"this is a bug in doit-oci" in done.stderr
        assert b"ZeroDivisionError: oops" in done.stderr


def test_a_run_ends_with_the_containers_status(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text('[images.hello]\nimage = "builtin:hello-world"\n')
    first = doit_oci(tmp_path, "run:hello")
    assert (first.returncode, b"Hello" in first.stdout) == (0, True)
    assert (tmp_path / "build/state.db").exists()
    (tmp_path / "images.toml").write_text(
        '[images.hello]\nimage = "builtin:hello-world"\n[bundles.bad]\nimage = "hello"\n'
        'command = ["/nothing-here"]\n'
    )
    assert (
        doit_oci(tmp_path, "run:bad").returncode == doit_oci(tmp_path, "run", "run:bad").returncode
    )
