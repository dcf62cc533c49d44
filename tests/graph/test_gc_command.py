"""gc from the command line: what goes, by age and by size, and beside builds that run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.graph.test_reproducible import IMAGES, project
from tests.support.command import (
    doit_oci,
    expect,
    start_doit_oci,
    start_patched,
    steps_done,
)
from tests.support.layers import item, tar
from tests.support.layout import write_layout

DAY = 86_400
OLD = ("old", "older", "oldest")
"""Images that left the declaration, the youngest first."""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return project(tmp_path / "here")


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    return expect(doit_oci(project(tmp_path_factory.mktemp("plain") / "p"), "digest", "b"))


@pytest.fixture
def aged(here: Path) -> Path:
    """Bundle b, and three images that no lock names any more, unused for 10, 20 and 30 days."""
    for number, name in enumerate(OLD, 1):
        before = set((here / "build").rglob("*"))
        write_layout(here / f"layout-{name}", tar([item(name, os.urandom(1 << 20))]))
        (here / "images.toml").write_text(f'[images.{name}]\nimage = "oci:layout-{name}"\n')
        expect(doit_oci(here, f"bundle:{name}"))
        when = time.time() - number * 10 * DAY
        for path in set((here / "build").rglob("*")) - before:
            os.utime(path, (when, when), follow_symlinks=False)
    (here / "images.toml").write_text(IMAGES)
    expect(doit_oci(here, "lock"))
    expect(doit_oci(here, "bundle:b"))
    return here


def gc(place: Path, *words: str) -> set[str]:
    """The bundles that go; a dry run has to say the same before."""
    said = expect(doit_oci(place, "gc", "--json", "--dry-run", *words))
    assert expect(doit_oci(place, "gc", "--json", *words)) == said
    rows = json.loads(said)
    return {row["path"].partition("/")[2] for row in rows if row["kind"] == "bundle"}


def size(place: Path) -> int:
    done = subprocess.run(["du", "-s", "-B1", place / "build"], capture_output=True, check=True)
    return int(done.stdout.split()[0])


def test_gc_by_age_takes_what_was_not_used_for_so_long(aged: Path) -> None:
    assert gc(aged, "--max-age", "35") == set()
    assert gc(aged, "--max-age", "25d") == {"oldest"}
    assert gc(aged, "--max-age", "360h") == {"older"}
    assert (aged / "build/bundles/old/rootfs/old").exists()
    assert gc(aged, "--max-age", "0") == {"old"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-age=-1"], "-1: is no age"),
        (["--max-age", "nan"], "nan: is no age"),
        (["--max-age", "soon"], "soon: is no age"),
        (["--max-size", "much"], "much: is no size"),
        (["b"], "takes no names"),
    ],
)
def test_gc_refuses_what_it_does_not_understand(words: list[str], said: str, here: Path) -> None:
    result = doit_oci(here, "gc", *words)
    expect(result, 3)
    assert said in result.stderr.decode()


def test_gc_by_size_takes_the_longest_unused_until_it_fits(aged: Path) -> None:
    largest = size(aged) - (1 << 20)
    assert gc(aged, "--max-size", str(largest)) == {"oldest"}
    assert size(aged) <= largest
    declaration = (aged / "images.toml").read_text()
    (aged / "images.toml").write_text(f'{declaration}[cache]\nmax_size = "1KB"\n')
    assert gc(aged) == {"older", "old"}
    result = doit_oci(aged, "bundle:b")
    assert (expect(result), steps_done(result)) == ("", [])


def test_gc_says_what_a_cap_cannot_take(here: Path) -> None:
    expect(doit_oci(here, "bundle:b"))
    result = doit_oci(here, "gc", "--max-size", "1kB", "--dry-run")
    expect(result)
    said = result.stderr.decode().splitlines()[-1]
    assert said.endswith("bytes over the cap stay: a lock names them, or they are in use")
    assert 0 < int(said.split()[0]) < size(here)


def test_gc_keeps_what_the_lock_of_another_project_in_the_same_place_names(
    here: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    write_layout(there / "layout", tar([item("other", "x")]))
    (there / "images.toml").write_text('[images.other]\nimage = "oci:layout"\n')
    shared = ("--dir", str(tmp_path / "shared"))
    expect(doit_oci(here, "bundle:b", *shared))
    expect(doit_oci(there, "bundle:other", *shared))
    for place in (here, there):
        result = doit_oci(place, "gc", *shared)
        expect(result)
        assert result.stderr.decode() == "freed 0 bytes in all\n"
    # A project of its own state directory is another one for who builds into it from elsewhere.
    expect(doit_oci(here, "bundle:b"))
    expect(doit_oci(there, "bundle:other", "--dir", str(here / "build")))
    assert gc(there, "--dir", str(here / "build")) == set()
    (there / "images.lock").unlink()
    assert gc(here, *shared) == {"other"}


def test_gc_frees_what_left_the_lock_and_the_rest_stays_built(here: Path, digest: str) -> None:
    write_layout(here / "other", tar([item("only-here", "x" * 100_000)]))
    with (here / "images.toml").open("a") as file:
        file.write('[images.gone]\nimage = "oci:other"\n')
    expect(doit_oci(here, "bundle:gone", "bundle:b"))
    (here / "images.toml").write_text(IMAGES)
    expect(doit_oci(here, "lock"))
    said = json.loads(expect(doit_oci(here, "gc", "--dry-run", "--json")))
    kinds = sorted(row["kind"] for row in said)
    assert kinds == ["blob", "blob", "blob", "bundle", "layer", "layout"]
    assert json.loads(expect(doit_oci(here, "gc", "--json"))) == said
    assert not list((here / "build").rglob("*gone*.json"))
    again = doit_oci(here, "bundle:b")
    expect(again)
    assert steps_done(again) == []
    assert expect(doit_oci(here, "digest", "b")) == digest


def test_gc_beside_builds_breaks_none_of_them(here: Path, digest: str) -> None:
    for _ in range(2):
        shutil.rmtree(here / "build", ignore_errors=True)
        (here / "images.lock").unlink(missing_ok=True)
        build = start_doit_oci(here, "bundle:b")
        while build.poll() is None:
            expect(doit_oci(here, "gc", "--max-age", "0"))
        said = build.communicate()[1].decode()
        assert build.returncode == 0, said
        assert expect(doit_oci(here, "digest", "b")) == digest
        expect(doit_oci(here, "verify"))


def test_gc_beside_several_builds_breaks_none_of_them(here: Path, digest: str) -> None:
    more = "".join(f'[bundles.c{n}]\nimage = "a"\ncommand = ["{n}"]\n' for n in range(4))
    (here / "images.toml").write_text(IMAGES + more)
    builds = [start_doit_oci(here, "bundle:b", f"bundle:c{number}") for number in range(4)]
    sweeps = 0
    while any(build.poll() is None for build in builds):
        expect(doit_oci(here, "gc", *(["--max-age", "0"] if sweeps % 2 else [])))
        sweeps += 1
    for build in builds:
        said = build.communicate()[1].decode()
        assert build.returncode == 0, said
    assert expect(doit_oci(here, "digest", "b")) == digest
    assert sorted(json.loads((here / "images.lock").read_bytes())["bundles"]) == [
        "b", "c0", "c1", "c2", "c3",
    ]  # fmt: skip
    expect(doit_oci(here, "verify"))


SLOW = """
import time
import tasks.store.layers.builder as builder
def remove_tree(path):
    print("removing", flush=True)
    time.sleep(600)
builder.remove_tree = remove_tree
"""


def test_nobody_waits_for_a_sweep(aged: Path) -> None:
    sweep = start_patched(aged, SLOW, "gc")
    try:
        assert sweep.stdout is not None
        assert sweep.stdout.readline() == b"removing\n"
        with (aged / "images.toml").open("a") as file:
            file.write('[bundles.new]\nimage = "a"\ncommand = ["new"]\n')
        expect(doit_oci(aged, "bundle:new"))
        assert "new" in json.loads((aged / "images.lock").read_bytes())["bundles"]
        assert sweep.poll() is None
    finally:
        sweep.kill()
        sweep.communicate()
    expect(doit_oci(aged, "gc"))
    assert [name for name in os.listdir(aged / "build/tmp") if name[0] != "."] == []
