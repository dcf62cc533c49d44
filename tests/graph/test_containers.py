"""Detached containers and persistent bundles, called as users call them."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from ..support.bundles import wait_for
from ..support.command import doit_oci, expect


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a busybox image made by umoci."""
    layout = tmp_path / "busybox"
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox, "busybox is missing: apt-get install busybox-static"
    shutil.copy(busybox, root / "bin/busybox")
    for applet in ("sh", "sleep", "cat", "echo", "id"):
        (root / "bin" / applet).symlink_to("busybox")
    for words in (
        ["init", "--layout", str(layout)],
        ["new", "--image", f"{layout}:1"],
        ["insert", "--image", f"{layout}:1", str(root / "bin"), "/bin"],
        ["config", "--image", f"{layout}:1", "--config.cmd", "/bin/sh"],
    ):
        subprocess.run(["umoci", *words], check=True, capture_output=True)
    (tmp_path / "images.toml").write_text(
        f'[images.busybox]\nimage = "oci:{layout}:1"\n'
        '[bundles.long]\nimage = "busybox"\n'
        'command = ["sh", "-c", "echo started; sleep 60"]\nstop_grace_period = "1s"\n'
        '[bundles.kept]\nimage = "busybox"\npersistent = true\n'
    )
    return tmp_path


def test_a_detached_container_from_start_to_end(project: Path) -> None:
    expect(doit_oci(project, "run:long", "--detach"))
    try:
        (row,) = json.loads(expect(doit_oci(project, "ps", "--json")))
        assert (row["bundle"], row["status"]) == ("long", "running")
        out = expect(doit_oci(project, "exec", "long", "--", "echo", "A=b", "", "--x"))
        assert out == "A=b  --x\n"
        expect(doit_oci(project, "exec", "long", "--", "sh", "-c", "exit 7"), 7)
        deadline = time.monotonic() + 60
        while "started" not in expect(doit_oci(project, "logs", "long")):
            assert time.monotonic() < deadline
        expect(doit_oci(project, "delete", "long"), 1)
    finally:
        expect(doit_oci(project, "kill", "long"))
    deadline = time.monotonic() + 60
    while json.loads(expect(doit_oci(project, "ps", "--json")))[0]["status"] != "exited":
        assert time.monotonic() < deadline
    expect(doit_oci(project, "delete", "long"))
    assert json.loads(expect(doit_oci(project, "ps", "--json"))) == []


def test_clean_leaves_a_running_container_its_tree(project: Path) -> None:
    expect(doit_oci(project, "bundle"))
    expect(doit_oci(project, "run:long", "--detach"))
    try:
        for words in (["clean", "long"], ["clean", "bundle:long"], ["clean"]):
            result = doit_oci(project, *words)
            expect(result, 1)
            assert "long: kept, because a container runs from it" in result.stderr.decode()
        assert [path.name for path in (project / "build/bundles").iterdir()] == ["long"]
        assert expect(doit_oci(project, "exec", "long", "--", "echo", "in")) == "in\n"
        expect(doit_oci(project, "verify", "long"))
    finally:
        expect(doit_oci(project, "kill", "long"))
    wait_for(lambda: "running" not in expect(doit_oci(project, "ps")))
    expect(doit_oci(project, "clean", "long"))
    assert not (project / "build/bundles/long").exists()


def test_containers_are_reached_while_the_declaration_is_wrong(project: Path) -> None:
    expect(doit_oci(project, "run:long", "--detach"))
    good = (project / "images.toml").read_text()
    (project / "images.toml").write_text(good + "\nnonsense = 1\n[[[")
    assert "long" in expect(doit_oci(project, "ps"))
    assert expect(doit_oci(project, "exec", "long", "--", "echo", "in")) == "in\n"
    expect(doit_oci(project, "kill", "long", "BOGUS"), 3)
    expect(doit_oci(project, "kill", "long"))
    expect(doit_oci(project, "logs", "long"))
    expect(doit_oci(project, "delete", "long"))
    expect(doit_oci(project, "delete", "long"), 3)


def test_a_persistent_bundle_keeps_until_it_is_reset(project: Path) -> None:
    write, read = ["sh", "-c", "echo kept > /note"], ["cat", "/note"]
    expect(doit_oci(project, "run:kept", "--", *write))
    assert expect(doit_oci(project, "run:kept", "--", *read)) == "kept\n"
    expect(doit_oci(project, "reset:kept"))
    expect(doit_oci(project, "run:kept", "--", *read), 1)
    expect(doit_oci(project, "verify", "kept"))


@pytest.mark.parametrize("words", [["exec", "long"], ["kill"], ["stats", "a", "b"]])
def test_wrong_words_end_with_3(project: Path, words: list[str]) -> None:
    expect(doit_oci(project, *words), 3)


def test_what_is_not_there_is_said(project: Path) -> None:
    result = doit_oci(project, "logs", "long")
    expect(result, 1)
    assert "ps" in result.stderr.decode()


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("check:long", "check:long: has nothing to be checked against\nhint: say what is expected"),
        ("reset:long", "reset:long: keeps nothing from one run to the next\nhint: only a bundle"),
    ],
)
def test_what_a_bundle_has_not_is_said(project: Path, word: str, why: str) -> None:
    result = doit_oci(project, word)
    expect(result, 3)
    assert why in result.stderr.decode()
