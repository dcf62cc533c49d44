"""Kills, full disks, neighbours and altered files: what stands under a final name is whole."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import StoreError
from tasks.progress import Silent
from tasks.rootfs import LayerSource
from tasks.store.layers.builder import remove_tree
from tasks.store.layers.index import pool_name
from tests.support.bundles import wait_for
from tests.support.layers import Images, item, tar
from tests.support.trees import scan_entries

CHECKOUT = Path(__file__).resolve().parents[2]

BUILD = """
import json, sys
from pathlib import Path
from tasks.rootfs import LayerSource, build_rootfs
state, name = Path(sys.argv[1]), sys.argv[2]
layers = [LayerSource.from_json(json.loads(line)) for line in open(sys.argv[3])]
print(json.dumps(build_rootfs(layers=layers, layers_dir=state / "layers",
    destination=state / "bundles" / name / "rootfs", entries=state / "entries" / f"{name}.jsonl",
    unrepresented=state / "entries" / f"{name}.unrepresented.jsonl", tmp=state / "tmp")))
"""


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def layers_with_much(images: Images) -> list[LayerSource]:
    """Three layers that are worth workers: they do not compress."""
    made = random.Random(4)
    return [
        images.layer(
            tar(
                [item(f"l{layer}/f{number}", made.randbytes(40_000)) for number in range(150)]
                + [item(f"l{layer}/.wh.none"), item("shared", f"{layer}")]
            )
        )
        for layer in range(3)
    ]


def spawn(images: Images, layers: list[LayerSource], name: str = "it") -> subprocess.Popen[str]:
    wanted = images.state / "wanted"
    if not wanted.exists():
        wanted.write_text("".join(json.dumps(layer.to_json()) + "\n" for layer in layers))
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(images.state), name, str(wanted)],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> Any:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out)


def unpacked(images: Images) -> list[Path]:
    place = images.state / "layers/sha256"
    return [x for x in place.iterdir() if x.suffix != ".lock"] if place.exists() else []


@pytest.mark.parametrize("whole_group", [True, False], ids=["all of them", "the parent only"])
def test_killed_at_random_moments(images: Images, whole_group: bool) -> None:
    layers = layers_with_much(images)
    chance = random.Random(7)
    for _ in range(6):
        process = spawn(images, layers)
        time.sleep(chance.uniform(0.05, 0.6))
        if whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate()
        for layer in unpacked(images):
            assert (layer / "layer.json").exists()
        if images.rootfs().exists():
            assert len(list(images.rootfs().rglob("*"))) == 454
    finish(spawn(images, layers))
    assert scan_entries(images.rootfs()) == list(images.recorded().values())
    assert (images.rootfs() / "shared").read_text() == "2"
    assert len(unpacked(images)) == 3
    wait_until_clean(images)


def wait_until_clean(images: Images) -> None:
    """The next run removes what is left; a child of a killed parent may need a moment to end."""
    for _ in range(100):
        images.build(tar([item("f", "f")]), name="cleaner")
        if os.listdir(images.state / "tmp") == [".unpack.lock"]:
            return
        time.sleep(0.1)
    raise AssertionError(os.listdir(images.state / "tmp"))


def test_neighbours_do_not_repeat_each_other(images: Images) -> None:
    layers = layers_with_much(images)
    processes = [spawn(images, layers, name) for name in ("one", "two", "three")]
    facts = [finish(process) for process in processes]
    assert sum(int(found["unpacked"]) for found in facts) == 3
    listed = [images.entries(name).read_bytes() for name in ("one", "two", "three")]
    assert listed[0] == listed[1] == listed[2]


def test_two_bundles_share_their_files(images: Images) -> None:
    stream = tar([item("d/"), item("d/f", "x" * 10_000), item("s", link="d")])
    one, _ = images.build(stream, name="one")
    two, _ = images.build(stream, tar([item("own", "o")]), name="two")
    for name in ("d/f", "s"):
        assert (one / name).lstat().st_ino == (two / name).lstat().st_ino
    assert (one / "d").stat().st_ino != (two / "d").stat().st_ino


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_text("altered"),
        lambda path: path.chmod(0o666),
        lambda path: path.open("a").close() or os.truncate(path, 3),
        lambda path: os.utime(path, (5, 5)),
    ],
    ids=["written", "chmod", "truncated", "touched"],
)
def test_an_altered_shared_file_is_not_shared_on(
    images: Images, harm: Callable[[Path], object]
) -> None:
    stream = tar([item("f", "as the layer says", mode=0o644)])
    one, _ = images.build(stream, name="one")
    harm(one / "f")
    told = Told()
    two, found = images.build(stream, name="two", progress=told)
    assert scan_entries(two) == list(found.values())
    assert "altered" in told.notes[0]
    three, found = images.build(stream, name="three", progress=told)
    assert len(told.notes) == 1
    assert (three / "f").stat().st_ino == (two / "f").stat().st_ino


def test_a_missing_shared_file_is_unpacked_anew(images: Images) -> None:
    stream = tar([item("f", "f"), item("g", "g")])
    images.build(stream)
    (pool,) = [layer / "pool" for layer in unpacked(images)]
    (pool / pool_name(0)).unlink()
    rootfs, _ = images.build(stream, name="two")
    assert (rootfs / "f").read_text() == "f"


@pytest.mark.parametrize("name", ["layer.json", "index"])
def test_a_damaged_layer_is_unpacked_anew(images: Images, name: str) -> None:
    stream = tar([item("f", "f"), item("g", "g")])
    images.build(stream)
    (layer,) = unpacked(images)
    (layer / name).write_bytes((layer / name).read_bytes()[:-5])
    rootfs, _ = images.build(stream, name="two")
    assert (rootfs / "f").read_text() == "f"


@pytest.fixture
def damaged_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """An ext4 of its own with an unpacked layer; given back with an inode of it damaged, so that
    the kernel answers EBADMSG to whoever looks at it."""
    image, place = tmp_path / "ext4", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "metadata_csum", str(image)], check=True)
    mount = ["mount", "-o", "loop,errors=continue", str(image), str(place)]
    subprocess.run(mount, check=True)

    def damage(name: str) -> Path:
        (layer,) = (place / "state/layers/sha256").glob("*[0-9a-f]")
        subprocess.run(["umount", str(place)], check=True)
        # A test beside this one may be in a mount namespace that has a copy of ours for a moment.
        devices = ["losetup", "--associated", str(image)]
        wait_for(lambda: not subprocess.run(devices, check=True, capture_output=True).stdout)
        ask = ["debugfs", "-R", f"imap /{(layer / name).relative_to(place)}", str(image)]
        said = subprocess.run(ask, check=True, capture_output=True, text=True).stdout
        found = re.search(r"located at block (\d+), offset (0x[0-9a-f]+)", said)
        assert found, said
        with image.open("r+b") as file:
            file.seek(int(found[1]) * 1024 + int(found[2], 16) + 0x64)
            file.write(b"\x5a\xa5")
        subprocess.run(mount, check=True)
        with pytest.raises(OSError, match="Bad message"):
            (layer / name).stat()
        return place

    yield damage
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("name", ["layer.json", "index", f"pool/{pool_name(0)}", "unrepresented"])
def test_a_layer_that_the_disk_does_not_give_back_is_unpacked_anew(
    tmp_path: Path, damaged_disk: Callable[[str], Path], name: str
) -> None:
    images = Images(tmp_path / "disk/state")
    stream = tar([item("f", "f"), item("g", "g")])
    images.build(stream)
    damaged_disk(name)
    for bundle in ("two", "three"):
        rootfs, found = images.build(stream, name=bundle)
        assert scan_entries(rootfs) == list(found.values())


def test_new_trees_get_a_part_of_an_ext4_of_their_own(
    tmp_path: Path, damaged_disk: Callable[[str], Path]
) -> None:
    """Where inodes were freed a moment ago, ext4 takes many times as long to find others."""
    Images(tmp_path / "disk/state").build(tar([item("f", "f")]))
    words = ["lsattr", "-d", str(tmp_path / "disk/state/tmp")]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert "T" in said.split()[0]


def test_the_blobs_are_not_needed_once_layers_are_unpacked(images: Images) -> None:
    source = images.layer(tar([item("f", "f")]))
    images.build(source)
    source.path.unlink()
    rootfs, _ = images.build(source, name="two")
    assert (rootfs / "f").read_text() == "f"


def test_a_missing_blob_is_said(images: Images) -> None:
    source = images.layer(tar([item("f", "f")]))
    source.path.unlink()
    with pytest.raises(StoreError) as caught:
        images.build(source)
    assert source.path.name in str(caught.value)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    mounted = []

    def mount(options: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)], check=True)
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("options", ["size=3m", "size=64m,nr_inodes=60"], ids=["space", "inodes"])
def test_a_full_disk_is_said_and_leaves_nothing(
    small_disk: Callable[[str], Path], options: str
) -> None:
    disk = small_disk(options)
    images = Images(disk / "state")
    images.build(tar([item("f", "small")]))
    before = sorted(os.listdir(disk / "state/layers/sha256"))
    big = tar([item(f"f{number}", bytes(100_000)) for number in range(100)])
    with pytest.raises(StoreError, match="cannot unpack") as caught:
        images.build(big)
    assert "free some space" in str(caught.value)
    assert (images.rootfs() / "f").read_text() == "small"
    assert os.listdir(disk / "state/tmp") == [".unpack.lock"]
    left = [x for x in os.listdir(disk / "state/layers/sha256") if not x.endswith(".lock")]
    assert left == [x for x in before if not x.endswith(".lock")]


def test_layers_on_another_file_system_are_copied(
    images: Images, small_disk: Callable[[str], Path]
) -> None:
    disk = small_disk("size=16m")
    os.symlink(disk, images.state / "layers")
    entries = [
        item("d/", mode=0o700),
        item("d/f", "x" * 5000, mode=0o4755, uid=5),
        item("s", link="d"),
        item("p", type="fifo", uid=3, mode=0o622),
        item("n", type="char", device=(1, 3), mode=0o666),
        item("x", "x", pax={"SCHILY.xattr.user.a": "b"}),
    ]
    rootfs, found = images.build(tar(entries))
    assert scan_entries(rootfs) == list(found.values())
    assert (rootfs / "d/f").stat().st_dev != disk.stat().st_dev


def test_a_container_keeps_the_tree_it_runs_from(images: Images, tmp_path: Path) -> None:
    rootfs, _ = images.build(tar([item("f", "old")]))
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={rootfs},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(
        ["mount", "-t", "overlay", "-o", options, "overlay", str(tmp_path / "merged")], check=True
    )
    try:
        images.build(tar([item("f", "new")]))
        assert (rootfs / "f").read_text() == "new"
        assert (tmp_path / "merged/f").read_text() == "old"
    finally:
        subprocess.run(["umount", str(tmp_path / "merged")], check=True)
    images.build(tar([item("f", "newer")]))
    # A neighbour's mount namespace may have a copy of the mount for a moment.
    wait_until_clean(images)


def test_our_own_container_keeps_the_tree_it_runs_from(images: Images, tmp_path: Path) -> None:
    """Its overlay has a relative name in a namespace of its own; its directory says more."""
    containers = tmp_path / "containers"
    (containers / "one").mkdir(parents=True)
    rootfs, _ = images.build(tar([item("f", "old")]))
    (containers / "one/lower").symlink_to(rootfs)
    with open(containers / "one.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        images.build(tar([item("f", "new")]), containers=containers)
        (kept,) = (images.state / "tmp").glob("*/old/f")
        assert kept.read_text() == "old"
    images.build(tar([item("f", "newer")]), containers=containers)
    assert os.listdir(images.state / "tmp") == [".unpack.lock"]


def test_a_mount_in_a_tree_is_never_emptied(images: Images, tmp_path: Path) -> None:
    rootfs, _ = images.build(tar([item("mnt/"), item("f", "old")]))
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    subprocess.run(["mount", "--bind", str(precious), str(rootfs / "mnt")], check=True)
    try:
        with pytest.raises(StoreError, match="mounted"):
            remove_tree(rootfs)
        with pytest.raises(StoreError, match="mounted"):
            images.build(tar([item("f", "new")]))
        assert (precious / "file").read_text() == "kept"
        assert (rootfs / "f").read_text() == "old"
    finally:
        subprocess.run(["umount", str(rootfs / "mnt")], check=True)
    remove_tree(rootfs)
    assert not rootfs.exists()


def test_remove_tree_takes_what_there_is(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    remove_tree(tmp_path / "file")
    deep = tmp_path / "deep"
    place = deep
    for _ in range(300):
        place.mkdir()
        place = place / "d"
    (tmp_path / "kept").write_text("kept")
    (deep / "link").symlink_to(tmp_path)
    remove_tree(deep)
    assert [x.name for x in tmp_path.iterdir()] == ["kept"]


def test_nobody_else_can_look_into_a_bundle_or_a_pool(images: Images) -> None:
    rootfs, _ = images.build(tar([item("su", "su", mode=0o4755)]))
    assert rootfs.parent.stat().st_mode & 0o777 == 0o700
    assert all(layer.stat().st_mode & 0o777 == 0o700 for layer in unpacked(images))
    shutil.rmtree(images.state)


def test_a_large_old_tree_is_removed_after_the_build(images: Images) -> None:
    many = tar([item(f"d{number % 50}/f{number}", "") for number in range(5_200)])
    images.build(many)
    rootfs, found = images.build(many, tar([item("own", "o")]))
    assert scan_entries(rootfs) == list(found.values())
    for _ in range(300):
        if os.listdir(images.state / "tmp") == [".unpack.lock"]:
            return
        time.sleep(0.1)
    raise AssertionError(os.listdir(images.state / "tmp"))
