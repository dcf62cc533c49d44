"""Several processes on any mix of targets: each step is done once, and nothing is lost."""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import CHECKOUT, DOOR, doit_oci, expect, start_doit_oci, start_patched
from tests.support.layers import item, tar
from tests.support.layout import busybox_layer, write_layout

IMAGES, BUNDLES = "abc", {"x": "a", "y": "a", "z": "b"}
MIXES = [
    ["bundle"],
    ["bundle:x", "bundle:z"],
    ["layout:c", "rootfs:y"],
    ["config:z", "bundle:c"],
    ["bundle:y", "layout:a"],
    ["rootfs:x", "config:x"],
    ["rootfs:a", "rootfs:b", "rootfs:c"],
    ["-n", "3"],
]
"""What the processes ask for, by their number."""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Three images, which share their lowest layer, and three bundles of their own."""
    shared = tar([item(f"shared/{number}", "s" * number) for number in range(100)])
    text = ""
    for name in IMAGES:
        own = tar([item(f"own/{name}-{number}", name) for number in range(50)])
        write_layout(tmp_path / f"layout-{name}", shared, own)
        text += f'[images.{name}]\nimage = "oci:layout-{name}"\n'
    for name, image in BUNDLES.items():
        text += f'[bundles.{name}]\nimage = "{image}"\ncommand = ["{name}"]\n'
    (tmp_path / "images.toml").write_text(text)
    return tmp_path


def start(place: Path, *words: str) -> subprocess.Popen[bytes]:
    return start_doit_oci(place, "--json", *words)


def events(process: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
    said = process.communicate(timeout=100)[1].decode()
    assert process.returncode == 0, said
    return [json.loads(line) for line in said.splitlines()]


def work_of(told: list[dict[str, Any]]) -> collections.Counter[str]:
    """How often each step was done, each blob fetched and each layer unpacked."""
    return collections.Counter(
        f"{each['kind']} {each['subject']}"
        for each in told
        if each["event"] == "finish"
        and each["outcome"] == "done"
        and not (each["kind"] == "step" and each["subject"].startswith("blob:"))
    )


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_each_step_is_done_once_by_one_of(processes: int, here: Path) -> None:
    running = [start(here, *MIXES[number]) for number in range(processes)]
    done = sum((work_of(events(each)) for each in running), collections.Counter[str]())
    wanted = {f"step layout:{name}" for name in IMAGES}
    for name in [*IMAGES, *BUNDLES]:
        wanted |= {f"step {step}:{name}" for step in ("rootfs", "config", "bundle")}
    steps = {each for each in done if each.startswith("step ")}
    assert steps == wanted
    assert {each: count for each, count in done.items() if count != 1} == {}
    kinds = collections.Counter(each.partition(" ")[0] for each in done)
    assert (kinds["blob"], kinds["layer"]) == (4, 4)
    lock = json.loads((here / "images.lock").read_bytes())
    assert sorted(lock["images"]) == sorted(IMAGES)
    assert sorted(lock["bundles"]) == sorted([*IMAGES, *BUNDLES])
    expect(doit_oci(here, "verify"))
    assert work_of(events(start(here, "bundle"))) == {}


@pytest.mark.parametrize("milliseconds", [90, 130, 160, 190, 220, 260])
def test_what_was_done_before_a_kill_is_not_done_again(milliseconds: int, here: Path) -> None:
    running = start(here, "bundle")
    time.sleep(milliseconds / 1000)
    running.kill()
    said = running.communicate(timeout=100)[1].decode().splitlines()
    before = work_of([json.loads(line) for line in said if line.endswith("}")])
    after = work_of(events(start(here, "bundle")))
    assert before & after == {}
    expect(doit_oci(here, "verify"))
    assert work_of(events(start(here, "bundle"))) == {}


def test_a_change_is_taken_up_once(here: Path) -> None:
    expect(doit_oci(here, "bundle"))
    declaration = here / "images.toml"
    declaration.write_text(declaration.read_text().replace("command = [", 'command = ["new", '))
    running = [start(here, "bundle") for _ in range(4)]
    done = sum((work_of(events(each)) for each in running), collections.Counter[str]())
    assert done == {f"step {step}:{name}": 1 for name in BUNDLES for step in ("config", "bundle")}


def test_a_lock_that_lost_its_bundles_is_completed_without_work(here: Path) -> None:
    expect(doit_oci(here, "bundle"))
    whole = (here / "images.lock").read_bytes()
    lock = json.loads(whole)
    lock["bundles"] = {}
    (here / "images.lock").write_text(json.dumps(lock))
    assert work_of(events(start(here, "bundle"))) == {}
    assert (here / "images.lock").read_bytes() == whole


def test_no_entry_is_lost_where_each_process_has_a_state_directory(here: Path) -> None:
    names = [*IMAGES, *BUNDLES] * 2
    running = [
        start(here, "--dir", f"build-{number}", f"bundle:{name}")
        for number, name in enumerate(names)
    ]
    for each in running:
        events(each)
    lock = json.loads((here / "images.lock").read_bytes())
    assert sorted(lock["images"]) == sorted(IMAGES)
    assert sorted(lock["bundles"]) == sorted([*IMAGES, *BUNDLES])
    assert [name for name in os.listdir(here) if name.startswith(".")] == []


STUCK = """
import time
import tasks.rootfs
build = tasks.rootfs.build_rootfs
def build_rootfs(**about):
    if about["entries"].stem == "c":
        print("stuck", flush=True)
        time.sleep(600)
    return build(**about)
tasks.rootfs.build_rootfs = build_rootfs
"""


def test_nobody_waits_for_what_it_does_not_need(here: Path) -> None:
    """One process is stuck in the middle of an image; others, also of the same layer, go on."""
    stuck = start_patched(here, STUCK, "bundle:c")
    try:
        assert stuck.stdout is not None
        assert stuck.stdout.readline() == b"stuck\n"
        expect(doit_oci(here, *(f"bundle:{name}" for name in ("a", "b", *BUNDLES))))
        for words in (["layout:c"], ["gc"], ["verify"], ["lock", "--update"]):
            expect(doit_oci(here, *words))
        assert stuck.poll() is None
    finally:
        stuck.kill()
        stuck.communicate()
    expect(doit_oci(here, "bundle:c"))


BETWEEN = """
import sys
import tasks.steps
import tasks.config_json
write = tasks.config_json.write_config
def write_config(**about):
    print("between", flush=True)
    sys.stdin.readline()
    return write(**about)
tasks.config_json.write_config = write_config
"""


@pytest.mark.parametrize(
    "words", [["bundle:x"], ["-n", "2", "bundle:x", "bundle:z"], ["digest", "x"]]
)
def test_clean_waits_for_a_build_that_goes_on(words: list[str], here: Path) -> None:
    """The build stops behind its rootfs, which clean would take away from under it."""
    with start_patched(here, BETWEEN, *words) as building:
        assert building.stdout is not None
        assert building.stdin is not None
        assert building.stdout.readline() == b"between\n"
        with start_doit_oci(here, "clean") as cleaning:
            assert cleaning.stderr is not None
            assert b"waiting for a build" in cleaning.stderr.readline()
            assert (here / "build/entries/x.jsonl").exists()
            building.communicate(b"\n\n", timeout=100)
            assert building.returncode == 0
            cleaning.communicate(timeout=100)
            assert cleaning.returncode == 0
    assert not (here / "build/bundles").exists()


def test_clean_does_not_wait_for_a_container(here: Path) -> None:
    """One that was built and started by the same command is a build no longer."""
    write_layout(here / "busybox", busybox_layer())
    with (here / "images.toml").open("a") as file:
        file.write('[images.long]\nimage = "oci:busybox"\n')
    with start_patched(here, "", "run:long", "--", "sh", "-c", "echo up; read line") as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        result = doit_oci(here, "clean")
        expect(result, 1)
        assert b"waiting" not in result.stderr
        running.communicate(b"\n", timeout=100)
        assert running.returncode in (0, 1)


KILLED_WHILE_IT_WRITES = """
import os, signal
real = os.fsync
def fsync(descriptor):
    if os.readlink(f"/proc/self/fd/{descriptor}").endswith("/.images.lock.tmp"):
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)
os.fsync = fsync
"""


def test_what_a_kill_left_of_the_lock_is_taken_over(here: Path) -> None:
    expect(doit_oci(here, "lock", "a"))
    whole = (here / "images.lock").read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_IT_WRITES + DOOR, "lock", "b"],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert (here / ".images.lock.tmp").exists()
    assert (here / "images.lock").read_bytes() == whole
    expect(doit_oci(here, "lock", "b"))
    assert sorted(json.loads((here / "images.lock").read_bytes())["images"]) == ["a", "b"]
    assert not (here / ".images.lock.tmp").exists()
