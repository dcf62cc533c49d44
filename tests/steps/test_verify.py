"""verify: the first path that differs, and what differs; nothing on trees that are as they were."""

from __future__ import annotations

import ctypes
import encodings.ascii  # noqa: F401  a child that is another user cannot read it
import gzip
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.oci.digest import digest_bytes
from tasks.project.plan import Options
from tasks.project.workspace import Workspace
from tasks.project_folder import open_plan
from tasks.steps import Steps
from tasks.verify import verify as run_verify
from tasks.warm.declaration_cache import load_declaration
from tests.support.command import doit_oci, expect
from tests.support.other_user import NOBODY_WE_KNOW, as_other_user

PR_SET_DUMPABLE = 4
MTIME = 1_600_000_000


def add(tar: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> None:
    """One member; ``content`` and ``xattrs`` are for files."""
    member = tarfile.TarInfo(name)
    content = fields.pop("content", b"")
    xattrs = fields.pop("xattrs", {})
    member.type, member.mtime, member.mode = kind, MTIME, fields.pop("mode", 0o644)
    member.size = len(content)
    member.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in xattrs.items()}
    for key, value in fields.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(content))


def make_layer() -> bytes:
    """A little of everything that a tree can hold."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, "dir", tarfile.DIRTYPE, mode=0o755)
        add(tar, "dir/file", content=b"content", uid=33, gid=34, mode=0o640)
        add(tar, "dir/link", tarfile.SYMTYPE, linkname="file")
        add(tar, "dir/hard", tarfile.LNKTYPE, linkname="dir/file")
        add(tar, "dir/fifo", tarfile.FIFOTYPE)
        add(tar, "dir/null", tarfile.CHRTYPE, devmajor=1, devminor=3)
        add(tar, "empty", tarfile.DIRTYPE, mode=0o1777, uid=5)
        add(tar, "setuid", content=b"s", mode=0o4755)
        add(tar, "secret", content=b"nobody reads this", mode=0)
        add(tar, "attr", content=b"a", xattrs={"user.test": "value"})
    return stream.getvalue()


def make_layout(folder: Path) -> None:
    """A layout of one layer, made by hand."""
    layer = make_layer()
    packed = gzip.compress(layer, mtime=0)
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes, media_type: str) -> dict[str, Any]:
        digest = digest_bytes(content)
        (blobs / digest.encoded).write_bytes(content)
        return {"mediaType": media_type, "digest": str(digest), "size": len(content)}

    kind = "application/vnd.oci.image."
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/x"]},
        "rootfs": {"type": "layers", "diff_ids": [str(digest_bytes(layer))]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}manifest.v1+json",
        "config": put(json.dumps(config).encode(), f"{kind}config.v1+json"),
        "layers": [put(packed, f"{kind}layer.v1.tar+gzip")],
    }
    listed = put(json.dumps(manifest).encode(), f"{kind}manifest.v1+json")
    listed["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose bundle is built."""
    folder = tmp_path_factory.mktemp("built")
    make_layout(folder / "layout")
    (folder / "images.toml").write_text(
        '[images.box]\nimage = "oci:layout:v1"\nplatforms = ["linux/amd64"]\n'
        '[bundles.box]\nimage = "box"\nplatform = "linux/amd64"\n'
    )
    expect(doit_oci(folder, "bundle:box"))
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    """A copy of it, which may be damaged: cp keeps hard links, devices and attributes."""
    target = tmp_path / "project"
    assert os.system(f"cp -a {built} {target}") == 0
    return target


def verify(project: Path, *names: str) -> list[dict[str, str]]:
    result = doit_oci(project, "verify", *names, "--json")
    found: list[dict[str, str]] = json.loads(expect(result, result.returncode))
    assert result.returncode == (1 if found else 0)
    return found


def rootfs(project: Path) -> Path:
    return project / "build/bundles/box/rootfs"


def test_a_fresh_build_is_as_recorded(project: Path) -> None:
    assert verify(project) == []
    assert verify(project, "box") == []


def keep_time(path: Path, change: Callable[[Path], None]) -> None:
    """Change something so that only that differs, not the times."""
    before = [(each, os.lstat(each).st_mtime_ns) for each in (path.parent, path)]
    change(path)
    for each, time in before:
        if os.path.lexists(each):
            os.utime(each, ns=(time, time), follow_symlinks=False)


def relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("other")


def unshare(path: Path) -> None:
    """Another inode with the same everything, under two names of its own."""
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    os.chown(copy, 33, 34)
    path.unlink()
    copy.rename(path)
    os.link(path, path.parents[3] / "held")


DAMAGES: dict[str, tuple[str, Callable[[Path], None], str, str]] = {
    "content": (
        "dir/file",
        lambda p: p.write_bytes(b"CONTENT"),
        "/dir/file",
        "has content sha256:",
    ),
    "size": ("dir/file", lambda p: p.write_bytes(b"more content"), "/dir/file", "has 12 bytes"),
    "mode": (
        "setuid",
        lambda p: p.chmod(0o755),
        "/setuid",
        "has mode 0755, was unpacked with 4755",
    ),
    "owner": ("dir/file", lambda p: os.chown(p, 1, 34), "/dir/file", "belongs to 1:34"),
    "missing file": ("attr", lambda p: p.unlink(), "/attr", "is missing"),
    "missing directory": ("empty", lambda p: p.rmdir(), "/empty", "is missing"),
    "another kind": ("attr", lambda p: (p.unlink(), p.mkdir())[1], "/attr", "is a dir, was"),
    "link": ("dir/link", relink, "/dir/link", "leads to b'other'"),
    "attribute": (
        "attr",
        lambda p: os.setxattr(p, "user.test", b"other"),
        "/attr",
        "has not the attribute user.test",
    ),
    "further attribute": (
        "attr",
        lambda p: os.setxattr(p, "user.more", b"x"),
        "/attr",
        "has an attribute user.more",
    ),
    "capability": (
        "attr",
        lambda p: os.setxattr(
            p, "security.capability", bytes.fromhex("0100000200200000000000000000000000000000")
        ),
        "/attr",
        "has an attribute security.capability",
    ),
    "device": (
        "dir/null",
        lambda p: (p.unlink(), os.mknod(p, 0o020644, os.makedev(1, 5)))[1],
        "/dir/null",
        "is device (1, 5)",
    ),
    "hard link": ("dir/hard", unshare, "/dir/hard", "is no longer the same file as /dir/file"),
    "further file": ("empty/new", lambda p: p.touch(), "/empty/new", "was not unpacked"),
    "further file at the top": ("aaa", lambda p: p.touch(), "/aaa", "was not unpacked"),
    "further name that is no text": (
        "empty",
        lambda p: open(os.fsencode(p) + b"/\xff", "wb").close(),
        "/empty/\\xff",
        "was not unpacked",
    ),
}


@pytest.mark.parametrize("case", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_change_is_named(
    project: Path, case: tuple[str, Callable[[Path], None], str, str]
) -> None:
    name, change, place, message = case
    path = rootfs(project) / name
    if path.exists() or path.is_symlink():
        keep_time(path, change)
        if name == "dir/hard":
            os.utime(path, ns=(MTIME * 10**9, MTIME * 10**9))
    else:
        times = os.stat(path.parent).st_mtime_ns
        change(path)
        os.utime(path.parent, ns=(times, times))
    found = verify(project, "box")
    assert [each["place"] for each in found] == [place], found
    assert message in found[0]["message"]


def test_a_time_is_named(project: Path) -> None:
    os.utime(rootfs(project) / "attr", ns=(1, 1))
    assert "its time is 1 ns" in verify(project)[0]["message"]


def test_the_first_of_several_is_named(project: Path) -> None:
    for name in ("setuid", "attr", "empty"):
        (rootfs(project) / name).chmod(0o711)
    assert [each["place"] for each in verify(project)] == ["/attr"]


def test_blobs_are_rehashed(project: Path) -> None:
    blob = max((project / "build/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(blob.read_bytes())
    content[20] ^= 1
    blob.write_bytes(content)
    found = verify(project)
    assert [each["subject"] for each in found] == [f"blob sha256:{blob.name}"]
    assert "its bytes have digest" in found[0]["message"]


def test_config_json_is_held_against_the_lock(project: Path) -> None:
    path = project / "build/bundles/box/config.json"
    path.write_bytes(path.read_bytes() + b" ")
    assert "recorded is sha256:" in verify(project, "box")[0]["message"]


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("build/bundles/box/config.json", "is missing"),
        ("build/entries/box.jsonl", "has no recorded entries"),
        ("build/bundles/box/rootfs", "is missing"),
    ],
)
def test_what_is_gone_is_named(project: Path, gone: str, message: str) -> None:
    path = project / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert message in verify(project)[0]["message"]


@pytest.mark.parametrize("step", ["layout", "rootfs", "config"])
def test_what_was_not_asked_for_is_not_missed(tmp_path: Path, step: str) -> None:
    (tmp_path / "images.toml").write_text('[images.hello]\nimage = "builtin:hello-world"\n')
    expect(doit_oci(tmp_path, f"{step}:hello"))
    assert verify(tmp_path) == []


def test_a_tree_that_a_kill_left_without_its_entries_is_not_missed(project: Path) -> None:
    for name in ("entries/box.jsonl", "stamps/rootfs/box.json"):
        (project / "build" / name).unlink()
    assert verify(project) == []


def test_damaged_entries_are_an_error_and_no_traceback(project: Path) -> None:
    (project / "build/entries/box.jsonl").write_bytes(b"{}\n")
    assert "not an entry" in verify(project)[0]["message"]


def test_what_is_not_built_is_said(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text('[images.hello]\nimage = "builtin:hello-world"\n')
    assert verify(tmp_path) == []
    assert "built" in verify(tmp_path, "hello")[0]["message"]
    expect(doit_oci(tmp_path, "verify", "helo"), 3)


def test_a_tree_of_an_ordinary_user_is_as_recorded(built: Path, tmp_path: Path) -> None:
    """Owners are recorded in attributes, devices are empty files, and one file nobody may read."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("images.toml", "layout"):
        source = built / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY_WE_KNOW, NOBODY_WE_KNOW)
    load_declaration(Workspace(project=folder, state=tmp_path / "state"))

    def work() -> None:
        # A process that has changed its user is not dumpable, and then owns nothing in its /proc.
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)
        Steps(open_plan(Options(), folder)).build("box")
        plan = open_plan(Options(), folder)
        found = run_verify(plan=plan, names=[])
        assert found == [], found
        secret = plan.workspace.rootfs("box") / "secret"
        assert secret.stat().st_mode & 0o777 == 0
        secret.chmod(0o600)
        secret.write_text("nobody reads THIS")
        secret.chmod(0)
        os.utime(secret, ns=(MTIME * 10**9, MTIME * 10**9))
        found = run_verify(plan=plan, names=["box"])
        assert [each.place for each in found] == ["/secret"], found
        assert "has content" in found[0].message

    as_other_user(work, cwd=folder)
