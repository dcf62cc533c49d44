"""The same layers as an ordinary user: with subordinate ids, and with one id only."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from tests.store.test_layers_model import write_layout
from tests.support.layers import Images, item, tar
from tests.support.ordinary_user import OrdinaryUser, ordinary_user

LAYER = [
    item("./", mode=0o755),
    item("bin/", mode=0o555),
    item("bin/su", "su", mode=0o4755),
    item("bin/tool", "tool", mode=0o555, uid=33, gid=44),
    item("secret", "s", mode=0o000, uid=33),
    item("locked/", mode=0o500, uid=12, gid=13),
    item("locked/in/", mode=0o000),
    item("locked/in/file", "deep", uid=5, gid=70000),
    item("dev/"),
    item("dev/null", type="char", device=(1, 3), mode=0o666),
    item("dev/pipe", type="fifo", uid=9),
    item("link", link="bin/tool", uid=7),
    item("hard", type="link", link="bin/tool"),
    item("capable", "c", pax={"SCHILY.xattr.user.note": "kept"}),
]
UPPER = [item("bin/.wh.su"), item("locked/in/other", "x"), item("etc/new", "n", uid=1)]

BUILD = """
import json, sys
from pathlib import Path
from tasks.rootfs import LayerSource, build_rootfs
from tasks.store.layers.builder import remove_tree
state = Path("state")
notes = []
class Told:
    def start(self, kind, subject, total=None): return 0
    def advance(self, item, count): pass
    def finish(self, item, outcome="done"): pass
    def note(self, text): notes.append(text)
    def pause(self): return lambda: None
layers = [LayerSource.from_json(json.loads(line)) for line in open("layers")]
facts = build_rootfs(layers=layers, layers_dir=state / "layers",
    destination=state / "bundles/it/rootfs", entries=state / "entries/it.jsonl",
    unrepresented=state / "entries/it.unrepresented.jsonl", tmp=state / "tmp", progress=Told())
print(json.dumps({"facts": facts, "notes": notes}))
"""
SAYING = f"""
try:
{indent(BUILD, "    ")}
except Exception as error:
    print(type(error).__name__, error)
"""
REMOVE = """
from pathlib import Path
from tasks.store.layers.builder import remove_tree
remove_tree(Path("state"))
"""


@pytest.fixture(params=[True, False], ids=["subordinate ids", "one id"])
def user(request: pytest.FixtureRequest) -> Iterator[OrdinaryUser]:
    with ordinary_user(subordinate=request.param) as found:
        yield found


def prepare(user: OrdinaryUser, images: Images, *streams: bytes) -> Path:
    """The user's own directory with blobs and a list of layers."""
    place = Path(user.home) / "place"
    place.mkdir()
    lines = []
    for stream in streams:
        source = images.layer(stream)
        blob = place / source.path.name
        blob.write_bytes(source.path.read_bytes())
        lines.append(json.dumps({**source.to_json(), "path": str(blob)}) + "\n")
    (place / "layers").write_text("".join(lines))
    os.chown(place, user.uid, user.gid)
    return place


def owner_of(path: Path, user: OrdinaryUser) -> tuple[int, int]:
    """What the mapping says an owner on the disk is inside."""
    found = path.lstat()

    def inside(identifier: int, own: int, table: str) -> int:
        if identifier == own:
            return 0
        for line in Path(table).read_text().splitlines():
            name, first, count = line.split(":")
            if name == user.name and int(first) <= identifier < int(first) + int(count):
                return identifier - int(first) + 1
        return -1

    return (
        inside(found.st_uid, user.uid, "/etc/subuid"),
        inside(found.st_gid, user.gid, "/etc/subgid"),
    )


def test_an_ordinary_user_gets_the_same_entries_as_root(
    user: OrdinaryUser, images: Images, tmp_path: Path
) -> None:
    streams = tar(LAYER), tar(UPPER)
    _, as_root = images.build(*streams)
    place = prepare(user, images, *streams)
    user.run(BUILD, cwd=place)
    assert (place / "state/entries/it.jsonl").read_bytes() == images.entries().read_bytes()

    rootfs = place / "state/bundles/it/rootfs"
    found = {os.fsdecode(path.relative_to(rootfs)) for path in rootfs.rglob("*")}
    assert found == set(as_root) - {""}
    assert stat.S_IMODE((rootfs / "locked").stat().st_mode) == 0o500
    assert stat.S_IMODE((rootfs / "locked/in").stat().st_mode) == 0
    assert (rootfs / "locked/in/file").read_text() == "deep"
    assert (rootfs / "hard").stat().st_ino == (rootfs / "bin/tool").stat().st_ino
    assert os.getxattr(rootfs / "capable", "user.note") == b"kept"
    assert stat.S_IMODE((place / "state/bundles/it").stat().st_mode) == 0o700
    null = (rootfs / "dev/null").lstat()
    assert stat.S_ISREG(null.st_mode)
    assert null.st_size == 0
    check_owners(user, rootfs, place / "state/entries/it.unrepresented.jsonl")

    user.run(REMOVE, cwd=place)
    assert not (place / "state").exists()


def check_owners(user: OrdinaryUser, rootfs: Path, unrepresented: Path) -> None:
    lost = [json.loads(line) for line in unrepresented.read_text().splitlines()]
    kinds = {(line["path"], line["what"]) for line in lost}
    assert ("dev/null", "device") in kinds
    if user.subordinate:
        assert owner_of(rootfs / "bin/tool", user) == (33, 44)
        assert owner_of(rootfs / "locked", user) == (12, 13)
        assert owner_of(rootfs / "link", user) == (7, 0)
        assert kinds == {("dev/null", "device"), ("locked/in/file", "owner")}
        return
    assert kinds == {("dev/null", "device"), ("dev/pipe", "owner"), ("link", "owner")}
    recorded = {
        "bin/tool": b"\x08\x21\x10\x2c",
        "secret": b"\x08\x21\x10\xff\xff\xff\xff\x0f",
        "locked": b"\x08\x0c\x10\x0d",
        "locked/in/file": b"\x08\x05\x10\xf0\xa2\x04",
    }
    for path, value in recorded.items():
        assert os.getxattr(rootfs / path, "user.rootlesscontainers") == value
    assert "user.rootlesscontainers" not in os.listxattr(rootfs / "capable")


def test_a_second_build_by_an_ordinary_user_replaces_the_first(
    user: OrdinaryUser, images: Images
) -> None:
    place = prepare(user, images, tar(LAYER), tar(UPPER))
    first: Any = json.loads(user.run(BUILD, cwd=place))
    second: Any = json.loads(user.run(BUILD, cwd=place))
    assert (first["facts"]["unpacked"], second["facts"]["unpacked"]) == ("2", "0")
    assert os.listdir(place / "state/tmp") == [".unpack.lock"]


def test_where_ids_cannot_be_mapped_owners_are_recorded(images: Images) -> None:
    with ordinary_user(subordinate=True) as user:
        place = prepare(user, images, tar(LAYER))
        for name in ("newuidmap", "newgidmap"):
            (place / name).write_text("#!/bin/sh\nexit 1\n")
            (place / name).chmod(0o755)
        said: Any = json.loads(user.run(BUILD, cwd=place, path=str(place)))
        assert "owners are recorded" in said["notes"][0]
        tool = place / "state/bundles/it/rootfs/bin/tool"
        assert tool.stat().st_uid == user.uid
        assert os.getxattr(tool, "user.rootlesscontainers") == b"\x08\x21\x10\x2c"

        user.run(BUILD, cwd=place)
        assert owner_of(tool, user) == (33, 44)
        user.run(REMOVE, cwd=place)
        assert not (place / "state").exists()


def test_owners_are_recorded_as_umoci_records_them(images: Images) -> None:
    with ordinary_user(subordinate=False) as user:
        streams = [
            tar([
                item("root", "r"), item("both", "b", uid=33, gid=44), item("user", "u", uid=300),
                item("group/", gid=70000, mode=0o500), item("read-only", "", mode=0o400, uid=5),
            ])
        ]  # fmt: skip
        place = prepare(user, images, *streams)
        user.run(BUILD, cwd=place)
        write_layout(place / "layout", streams)
        unpack = ["umoci", "unpack", "--rootless", "--image", "layout:1", "umoci"]
        user.run(f"import subprocess; subprocess.run({unpack}, check=True)", cwd=place)
        recorded = [
            {
                path.name: os.getxattr(path, "user.rootlesscontainers")
                for path in (place / tree).iterdir()
                if "user.rootlesscontainers" in os.listxattr(path)
            }
            for tree in ("state/bundles/it/rootfs", "umoci/rootfs")
        ]
        ours, theirs = recorded
        # umoci loses those of what its owner may not write.
        assert theirs.keys() == {"both", "user"}
        assert ours.keys() == {"both", "user", "group", "read-only"}
        assert ours | theirs == ours
        assert ours["group"] == b"\x08\xff\xff\xff\xff\x0f\x10\xf0\xa2\x04"


@pytest.mark.parametrize("options", ["size=3m", "size=64m,nr_inodes=60"], ids=["space", "inodes"])
def test_a_full_disk_is_said_to_an_ordinary_user(
    user: OrdinaryUser, images: Images, options: str
) -> None:
    place = prepare(user, images, tar([item(f"f{x}", bytes(100_000), uid=x) for x in range(100)]))
    state = place / "state"
    state.mkdir()
    owned = f"{options},mode=700,uid={user.uid},gid={user.gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", owned, "none", str(state)], check=True)
    try:
        said = user.run(SAYING, cwd=place)
        assert said.startswith("StoreError")
        assert "free some space" in said
        assert os.listdir(state / "tmp") == [".unpack.lock"]
        assert not (state / "bundles/it/rootfs").exists()
    finally:
        subprocess.run(["umount", str(state)], check=True)


def test_killed_as_an_ordinary_user(user: OrdinaryUser, images: Images) -> None:
    """At moments of a fixed choice; the next run ends as if nothing had been, and cleans up."""
    made = random.Random(3)
    streams = [
        tar([item(f"l{n}/f{x}", made.randbytes(40_000), uid=x) for x in range(120)]) for n in (1, 2)
    ]
    place = prepare(user, images, *streams)
    for _ in range(4):
        process = user.start(BUILD, cwd=place)
        time.sleep(made.uniform(0.05, 0.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if (place / "state/bundles/it/rootfs").exists():
            assert len(list((place / "state/bundles/it/rootfs").rglob("*"))) == 242
    user.run(BUILD, cwd=place)
    _, as_root = images.build(*streams)
    assert len(as_root) == 243
    assert (place / "state/entries/it.jsonl").read_bytes() == images.entries().read_bytes()
    for _ in range(50):
        user.run(BUILD, cwd=place)
        if os.listdir(place / "state/tmp") == [".unpack.lock"]:
            return
        time.sleep(0.1)
    raise AssertionError(os.listdir(place / "state/tmp"))
