"""Everything is current: said by one record, and never when anything at all is different."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.boot import boot_id
from tasks.warm.all_bundles import MANY, is_unchanged, marks
from tasks.warm.bundle import ALL, VERSION
from tests.support.command import doit_oci, expect, loads_doit
from tests.support.layers import item, tar
from tests.support.layout import write_layout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_layout(tmp_path / "layout", tar([item("f", "x")]))
    (tmp_path / "images.toml").write_text(
        '[images.a]\nimage = "oci:layout"\n'
        '[bundles.b]\nimage = "a"\ncommand = ["/f"]\nenv_file = "my.env"\n'
    )
    (tmp_path / "my.env").write_text("A=1\n")
    time.sleep(0.1)
    expect(doit_oci(tmp_path, "bundle"))
    return tmp_path


@pytest.mark.parametrize("words", [(), ("bundle",)])
def test_nothing_to_build_needs_no_doit(words: tuple[str, ...], project: Path) -> None:
    assert not loads_doit(project, *words)


def test_a_single_target_needs_no_doit_and_two_do(project: Path) -> None:
    assert not loads_doit(project, "bundle:b")
    assert loads_doit(project, "bundle:b", "layout:a")


def record(project: Path) -> Path:
    return project / "build" / "ready" / f"{ALL}.json"


def edit(path: str, content: str) -> Callable[[Path], object]:
    return lambda project: (project / path).write_text((project / path).read_text() + content)


def gone(path: str) -> Callable[[Path], object]:
    return lambda project: (project / path).unlink()


def cut(path: str) -> Callable[[Path], object]:
    """In place, with the time that it had: no other name, no other inode, no younger file."""

    def change(project: Path) -> None:
        before = os.stat(project / path)
        os.truncate(project / path, before.st_size - 1)
        os.utime(project / path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


def replaced(path: str) -> Callable[[Path], object]:
    """By another file of the same size and time."""

    def change(project: Path) -> None:
        before, content = os.stat(project / path), (project / path).read_bytes()
        other = project / f"{path}.other"
        other.write_bytes(content[:-1] + b" ")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(project / path)

    return change


def emptied(path: str) -> Callable[[Path], object]:
    return lambda project: os.truncate(project / path, 0)


def blob_of(
    kind: str, change: Callable[[str], Callable[[Path], object]]
) -> Callable[[Path], object]:
    """The same change to a blob in the store."""

    def changed(project: Path) -> None:
        lock = json.loads((project / "images.lock").read_bytes())
        found = lock["images"]["a"]["platforms"]["linux/amd64"]
        found = found["layers"][0] if kind == "layer" else found[kind]
        change("build/blobs/" + found["digest"].replace(":", "/"))(project)

    return changed


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "the declaration": (edit("images.toml", 'hostname = "x"\n'), ["config:b", "bundle:b"]),
    "a watched file": (edit("my.env", "B=2\n"), ["config:b", "bundle:b"]),
    "config.json": (edit("build/bundles/b/config.json", " "), ["config:b"]),
    "a tree is gone": (lambda p: shutil.rmtree(p / "build/bundles/b/rootfs"), ["rootfs:b"]),
    "a bundle is gone": (
        lambda p: shutil.rmtree(p / "build/bundles/b"),
        ["rootfs:b", "config:b"],
    ),
    "a layout is gone": (lambda p: shutil.rmtree(p / "build/layouts/a"), ["layout:a"]),
    "a stamp is gone": (lambda p: (p / "build/stamps/bundle/b.json").unlink(), ["bundle:b"]),
    "a layout's marker is gone": (
        lambda p: (p / "build/layouts/a/oci-layout").unlink(),
        ["layout:a"],
    ),
    "a blob's name in a layout is gone": (
        lambda p: next((p / "build/layouts/a/blobs/sha256").iterdir()).unlink(),
        ["layout:a"],
    ),
    "recorded entries are gone": (lambda p: (p / "build/entries/b.jsonl").unlink(), ["rootfs:b"]),
    **{
        f"a {step} stamp is {word}": (
            change(f"build/stamps/{step}/{name}.json"),
            [f"{step}:{name}"],
        )
        for step, name in (("layout", "a"), ("rootfs", "b"), ("config", "b"), ("bundle", "b"))
        for word, change in (("gone", gone), ("replaced", replaced))
    },
    "index.json is cut": (cut("build/layouts/a/index.json"), ["layout:a"]),
    **{
        f"{kind} is {word}": (blob_of(kind, change), [])
        for kind in ("manifest", "config", "layer")
        for word, change in (("gone", gone), ("emptied", emptied))
    },
    "a damaged record": (lambda p: record(p).write_text("[]"), []),
    "no record": (lambda p: record(p).unlink(), []),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen(name: str, project: Path) -> None:
    change, steps = CHANGES[name]
    change(project)
    result = doit_oci(project, "bundle")
    expect(result)
    done = re.findall(r"^\.  (\w+:\w+)", result.stderr.decode(), re.MULTILINE)
    assert set(steps) <= set(done)
    expect(doit_oci(project, "verify"))


def test_after_a_change_the_record_is_made_anew(project: Path) -> None:
    edit("my.env", "B=2\n")(project)
    time.sleep(0.1)
    expect(doit_oci(project, "bundle"))
    assert not loads_doit(project, "bundle")


def test_of_very_many_names_every_single_one_is_looked_at(tmp_path: Path) -> None:
    """As many as are shared between two processes."""
    names = [f"n{number}" for number in range(MANY + 2)]
    (tmp_path / "state" / "many").mkdir(parents=True)
    for name in names:
        (tmp_path / "state" / "many" / name).write_text("x")
    state, path = str(tmp_path / "state"), tmp_path / "record"
    head = {
        "version": VERSION,
        "boot": boot_id(),
        "cwd": os.getcwd(),
        "files": {},
        "names": {"many": names},
        "groups": [["many", "", "many", False]],
    }
    found = marks(state, "many", names, "", place=False)
    path.write_bytes(json.dumps(head).encode() + b"\n" + found.tobytes())
    assert is_unchanged(str(path), state)
    for name in (names[0], names[MANY // 2], names[-1]):
        changed = tmp_path / "state" / "many" / name
        kept = tmp_path / "kept"
        changed.rename(kept)
        assert not is_unchanged(str(path), state)
        kept.rename(changed)
        path.write_bytes(
            json.dumps(head).encode() + b"\n" + marks(state, "many", names, "", False).tobytes()
        )
        assert is_unchanged(str(path), state)
