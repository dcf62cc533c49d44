"""gc: what no lock reaches goes, and nothing else ever does."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.gc.sweep import Removal, collect
from tasks.gc.unreached import Reachable
from tasks.oci.digest import Digest
from tasks.project.workspace import Workspace

NOW = 2_000_000_000.0
DAY = 86_400.0
ROOT = Path(__file__).resolve().parents[2]


def sha(content: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(content).hexdigest())


class Made:
    """A state directory with two of everything, called keep and drop."""

    def __init__(self, parent: Path) -> None:
        self.space = Workspace(project=parent, state=parent / "build")
        self.keep = Reachable(
            images=frozenset({"keep"}),
            bundles=frozenset({"keep"}),
            blobs=frozenset({sha(b"keep")}),
            diff_ids=frozenset({sha(b"keep layer")}),
        )
        for name in ("keep", "drop"):
            self.make(name)

    def make(self, name: str) -> None:
        space = self.space
        put(space.blob(sha(name.encode())), name.encode() * 5000)
        put(space.layout(name) / "index.json", b"{}")
        os.makedirs(space.layout(name) / "blobs" / "sha256")
        os.link(
            space.blob(sha(name.encode())),
            space.layout(name) / "blobs" / "sha256" / sha(name.encode()).encoded,
        )
        layer = space.layers / "sha256" / name
        put(
            layer / "layer.json",
            json.dumps({"diff_id": str(sha(f"{name} layer".encode()))}).encode(),
        )
        put(layer / "pool" / "1", b"content" * 1000)
        put(space.config_json(name), b"{}")
        os.makedirs(space.rootfs(name))
        os.link(layer / "pool" / "1", space.rootfs(name) / "file")
        os.chmod(space.rootfs(name), 0o555)
        put(space.entries(name), b"")
        put(space.unrepresented(name), b"")
        put(space.ready(name), b"{}")
        for step in ("rootfs", "config", "bundle", "layout"):
            put(space.stamp(step, name), b"{}")
        os.makedirs(space.tmp, exist_ok=True)
        os.makedirs(space.state / "locks", exist_ok=True)

    def collect(self, **more: object) -> list[Removal]:
        found: list[Removal] = collect(
            workspace=self.space,
            reachable=lambda: self.keep,
            **{"now": NOW, **more},  # type: ignore[arg-type]
        )
        return found

    def age(self, path: Path, seconds: float) -> None:
        os.utime(path, (NOW - seconds, NOW - seconds))

    def names(self) -> set[str]:
        """Every path in the state directory but those that say nothing."""
        found = set()
        for parent, directories, files in os.walk(self.space.state):
            for name in directories + files:
                found.add(os.path.relpath(os.path.join(parent, name), self.space.state))
        return {name for name in found if not name.startswith(("locks", "tmp"))}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def kinds(removals: list[Removal]) -> list[str]:
    return [f"{each.kind} {each.path}" for each in removals]


def test_gc_removes_everything_of_an_image_that_left_the_lock(made: Made) -> None:
    dropped = sha(b"drop").encoded
    removals = made.collect()
    assert kinds(removals) == [
        "bundle bundles/drop",
        "layout layouts/drop",
        "layer layers/sha256/drop",
        f"blob blobs/sha256/{dropped}",
    ]
    left = {name for name in made.names() if "drop" in name or dropped in name}
    assert not left


def test_gc_leaves_everything_that_a_lock_references(made: Made) -> None:
    kept = sha(b"keep").encoded
    before = {name for name in made.names() if "keep" in name or kept in name}
    assert len(before) > 10
    made.collect(max_age=0.0, max_size=0)
    assert {name for name in made.names() if "keep" in name or kept in name} == before


def test_gc_twice_finds_nothing(made: Made) -> None:
    made.collect()
    assert made.collect() == []
    assert [name for name in os.listdir(made.space.tmp) if name[0] != "."] == []


def test_dry_run_says_the_same_and_changes_nothing(made: Made) -> None:
    before = made.names()
    said = made.collect(dry_run=True)
    assert made.names() == before
    assert said == made.collect()


def test_freed_bytes_are_those_that_no_other_name_holds(made: Made) -> None:
    said = {each.kind: each.freed for each in made.collect(dry_run=True)}
    blob = os.stat(made.space.blob(sha(b"drop"))).st_blocks * 512
    assert said["blob"] >= blob  # its bytes go with the last of its names
    assert said["layout"] == size_by_du(made.space.layout("drop")) - blob + 4096  # and its stamp
    before = size_by_du(made.space.state)
    freed = sum(each.freed for each in made.collect())
    assert before - size_by_du(made.space.state) == freed


def size_by_du(root: Path) -> int:
    done = subprocess.run(["du", "-s", "-B1", root], capture_output=True, check=True)
    return int(done.stdout.split()[0])


def test_max_age_keeps_what_was_used_since(made: Made) -> None:
    old = made.space.blob(sha(b"old"))
    young = made.space.blob(sha(b"young"))
    for path, age in ((old, 31 * DAY), (young, 29 * DAY)):
        put(path, b"x")
        made.age(path, age)
    removed = [each.path for each in made.collect(max_age=30 * DAY) if each.kind == "blob"]
    assert f"blobs/sha256/{sha(b'old').encoded}" in removed
    assert young.exists()


def test_max_size_takes_the_longest_unused_first_and_then_stops(made: Made) -> None:
    made.collect()
    paths = [made.space.blob(sha(b"%d" % number)) for number in range(4)]
    for number, path in enumerate(paths):
        put(path, b"x" * 100_000)
        made.age(path, number * DAY)
    size = size_by_du(made.space.state)
    made.collect(max_size=size - 150_000)
    assert [path.exists() for path in paths] == [True, True, False, False]


def test_max_size_that_is_kept_removes_nothing(made: Made) -> None:
    assert made.collect(max_size=1 << 40) == []


def test_gc_leaves_a_bundle_that_somebody_builds(made: Made) -> None:
    guard = made.space.guard("rootfs-drop")
    put(guard, b"")
    with guard.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert "bundle bundles/drop" not in kinds(made.collect())
    assert made.space.config_json("drop").exists()
    assert "bundle bundles/drop" in kinds(made.collect())


def test_gc_leaves_a_bundle_under_a_running_container(made: Made) -> None:
    container = made.space.run / "containers" / "drop-1"
    container.mkdir(parents=True)
    (container / "lower").symlink_to(made.space.rootfs("drop"))
    made.collect()
    assert (made.space.rootfs("drop") / "file").exists()


def test_gc_removes_what_a_killed_build_left_a_day_ago_and_not_earlier(made: Made) -> None:
    put(made.space.tmp / "sha256-aa.partial", b"half")
    made.age(made.space.tmp / "sha256-aa.partial", DAY / 2)
    assert not [each for each in made.collect() if each.kind == "unfinished"]
    made.age(made.space.tmp / "sha256-aa.partial", 2 * DAY)
    with (made.space.tmp / "sha256-aa.partial").open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert not [each for each in made.collect() if each.kind == "unfinished"]
    assert kinds(made.collect()) == ["unfinished tmp/sha256-aa.partial"]
    put(made.space.tmp / ".aa.1-2-3.tmp", b"whole, but without its name")
    made.age(made.space.tmp / ".aa.1-2-3.tmp", DAY / 2)
    assert not [each for each in made.collect() if each.kind == "unfinished"]
    made.age(made.space.tmp / ".aa.1-2-3.tmp", 2 * DAY)
    assert kinds(made.collect()) == ["unfinished tmp/.aa.1-2-3.tmp"]


@pytest.mark.parametrize(
    "name", ["bundles/keep/.config.json.1-2-3.tmp", "stamps/bundle/.keep.json.1-2-3.tmp", ".a.tmp"]
)
def test_gc_removes_small_files_that_a_kill_left_beside_their_names(made: Made, name: str) -> None:
    put(made.space.state / name, b"whole, but without its name")
    made.age(made.space.state / name, DAY / 2)
    assert not [each for each in made.collect() if each.kind == "unfinished"]
    made.age(made.space.state / name, 2 * DAY)
    assert kinds(made.collect()) == [f"unfinished {name}"]


def test_gc_removes_what_a_killed_import_left(made: Made) -> None:
    left = made.space.state / "bundles" / ".x.partial-1"
    put(left / "rootfs" / "file", b"half")
    made.age(left, 2 * DAY)
    descriptor = os.open(left, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    made.collect()
    assert left.exists()
    os.close(descriptor)
    assert "unfinished bundles/.x.partial-1" in kinds(made.collect())
    assert not left.exists()


def test_gc_of_a_directory_that_is_not_there_finds_nothing(tmp_path: Path) -> None:
    space = Workspace(project=tmp_path, state=tmp_path / "none")
    assert collect(workspace=space, reachable=Reachable, now=NOW, dry_run=True) == []
    assert not space.state.exists()


def test_gc_does_not_touch_what_it_does_not_know(made: Made) -> None:
    put(made.space.state / "notes.txt", b"mine")
    put(made.space.blobs / "sha256" / "README", b"mine")
    put(made.space.database, b"")
    made.collect()
    assert (made.space.state / "notes.txt").exists()
    assert (made.space.blobs / "sha256" / "README").exists()
    assert made.space.database.exists()


def test_what_the_lock_comes_to_name_meanwhile_stays(made: Made) -> None:
    everything = made.keep.replacing(
        images=frozenset({"keep", "drop"}),
        bundles=frozenset({"keep", "drop"}),
        blobs=frozenset({sha(b"keep"), sha(b"drop")}),
        diff_ids=frozenset({sha(b"keep layer"), sha(b"drop layer")}),
    )
    answers = [made.keep, everything]

    def reachable() -> Reachable:
        put(made.space.lock, b"x" * (3 - len(answers)))
        return answers.pop(0) if len(answers) > 1 else answers[0]

    before = made.names()
    assert collect(workspace=made.space, reachable=reachable, now=NOW) == []
    assert made.names() == before


def test_gc_killed_in_the_middle_is_finished_by_the_next(made: Made) -> None:
    program = (
        "import sys, os, signal; from pathlib import Path; import tasks.store.layers.builder as b;"
        "b.remove_here = lambda path: os.kill(os.getpid(), signal.SIGKILL);"
        "from tasks.gc.sweep import collect; from tasks.gc.unreached import Reachable; from tasks.project.workspace import Workspace;"
        "p = Path(sys.argv[1]);"
        "collect(workspace=Workspace(project=p, state=p / 'build'), reachable=Reachable, now=0.0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, made.space.project],
        env={"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -9
    assert not made.space.bundle("drop").exists() or made.space.config_json("drop").exists()
    made.keep = Reachable()
    made.collect()
    folders = ("blobs/sha256", "layers/sha256", "stamps/")
    assert not [n for n in made.names() if n.count("/") and not n.startswith(folders)]
    assert not list(made.space.blobs.glob("*/*"))
    assert [name for name in os.listdir(made.space.tmp) if name[0] != "."] == []
