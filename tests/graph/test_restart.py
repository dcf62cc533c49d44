"""A restart of the machine: trees that were never synced are read back before they are trusted.

Another boot is another text in a file of the kernel's, which stands over the real one in a mount
namespace of the command's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import CHECKOUT, DOOR, expect, steps_done
from tests.support.layers import item, tar
from tests.support.layout import write_layout

BOOT_ID = "/proc/sys/kernel/random/boot_id"
CONTENT = "what the layer says\n" * 300
LAYER = tar([item("etc/"), item("etc/file", CONTENT), item("etc/link", link="file"), item("x", "")])
IMAGES = '[images.a]\nimage = "oci:image:latest"\n[bundles.b]\nimage = "a"\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_layout(tmp_path / "image", LAYER)
    (tmp_path / "images.toml").write_text(IMAGES)
    return tmp_path


def doit_oci(project: Path, *words: str, boot: str = "") -> subprocess.CompletedProcess[bytes]:
    """A command in this boot, or in the one of that name."""
    command = [sys.executable, "-c", DOOR, *words]
    if boot:
        (project / boot).write_text(f"{boot}\n")
        over = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
        inside = ["sh", "-c", over, "sh", str(project / boot), BOOT_ID, *command]
        command = ["unshare", "--mount", *inside]
    return subprocess.run(
        command, cwd=project, capture_output=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip


def lose(path: Path) -> None:
    """The bytes of a file whose size and times had reached the disk before them."""
    found = path.stat()
    path.write_bytes(bytes(found.st_size))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def pools(project: Path) -> Iterator[Path]:
    return (project / "build/layers").glob("*/*/pool/*")


def test_a_tree_is_read_back_once_and_kept(project: Path) -> None:
    expect(doit_oci(project, "bundle:b"))
    rootfs = project / "build/bundles/b/rootfs"
    before = rootfs.stat().st_ino
    after = doit_oci(project, "bundle:b", boot="second")
    expect(after)
    assert b"reading it back" in after.stderr
    assert "rootfs" not in steps_done(after)
    assert rootfs.stat().st_ino == before
    for boot in ("second", "third", ""):
        again = doit_oci(project, "bundle:b", boot=boot)
        expect(again)
        assert b"reading it back" not in again.stderr
        assert not steps_done(again)


@pytest.mark.parametrize("words", [["bundle:b"], ["bundle"]], ids=["one target", "all"])
def test_what_a_power_cut_took_is_made_anew(project: Path, words: list[str]) -> None:
    for _ in range(2):
        expect(doit_oci(project, *words))
    file = project / "build/bundles/b/rootfs/etc/file"
    lose(file)
    # In this boot nobody looks: a run cannot write to it, and no power was cut.
    expect(doit_oci(project, *words))
    assert file.read_bytes() == bytes(len(CONTENT))
    after = doit_oci(project, *words, boot="second")
    expect(after)
    assert b"/etc/file" in after.stderr
    assert "rootfs" in steps_done(after)
    assert file.read_text() == CONTENT
    expect(doit_oci(project, "verify", "b", boot="second"))


@pytest.mark.parametrize(
    "name", ["layouts/a/index.json", "bundles/b/config.json", "provenance/b.json"]
)
@pytest.mark.parametrize("words", [["bundle:b"], ["bundle"]], ids=["one target", "all"])
@pytest.mark.parametrize("damage", ["short", "zeros"])
def test_a_file_that_a_power_cut_damaged_is_written_anew(
    project: Path, name: str, words: list[str], damage: str
) -> None:
    for _ in range(2):
        expect(doit_oci(project, *words))
    file = project / "build" / name
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] if damage == "short" else bytes(len(content)))
    expect(doit_oci(project, *words, boot="second"))
    assert file.read_bytes() == content


def test_layers_are_read_back_before_another_bundle_has_them(project: Path) -> None:
    expect(doit_oci(project, "bundle:b"))
    inodes = {path.lstat().st_ino for path in pools(project)}
    other = doit_oci(project, "bundle:a", boot="second")
    expect(other)
    assert b"reading it back" in other.stderr
    assert {path.lstat().st_ino for path in pools(project)} == inodes
    again = doit_oci(project, "clean", "rootfs:a")
    expect(again)
    quiet = doit_oci(project, "bundle:a", boot="third")
    assert b"layer" not in quiet.stderr


def test_a_layer_that_lost_bytes_is_unpacked_anew(project: Path) -> None:
    expect(doit_oci(project, "bundle:b"))
    (large,) = (path for path in pools(project) if path.lstat().st_size == len(CONTENT))
    lose(large)
    expect(doit_oci(project, "bundle:a", boot="second"))
    assert (project / "build/bundles/a/rootfs/etc/file").read_text() == CONTENT


@pytest.mark.parametrize("is_lost", [False, True], ids=["whole", "lost"])
def test_what_a_layer_holds_is_read_back_with_it(tmp_path: Path, is_lost: bool) -> None:
    hiding = tar([item("etc/"), item("etc/.wh.file")])
    write_layout(tmp_path / "image", LAYER, hiding)
    write_layout(tmp_path / "base", LAYER)
    (tmp_path / "images.toml").write_text(
        '[images.a]\nimage = "oci:image:latest"\n[images.b]\nimage = "oci:base:latest"\n'
    )
    expect(doit_oci(tmp_path, "bundle:a"))
    (held,) = (tmp_path / "build/layers").glob("*/*/held")
    before = held.parent.stat().st_ino
    if is_lost:
        lose(held)
    expect(doit_oci(tmp_path, "bundle:b", boot="second"))
    assert (tmp_path / "build/bundles/b/rootfs/etc/file").read_text() == CONTENT
    assert (held.parent.stat().st_ino == before) is not is_lost


def test_a_warm_run_starts_from_what_was_read_back(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text('[images.hello]\nimage = "builtin:hello-world"\n')
    for _ in range(2):
        expect(doit_oci(tmp_path, "run:hello"))
    lose(tmp_path / "build/bundles/hello/rootfs/hello")
    said = expect(doit_oci(tmp_path, "run:hello", boot="second"))
    assert "Hello" in said
