"""Layers that want out, want everything, or are not what they were promised to be."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tasks.errors import (
    ContentError,
    DigestMismatch,
    DoitOciError,
    LayerError,
    LimitExceeded,
    SizeMismatch,
    UnsafeEntry,
    UnsupportedMediaType,
)
from tasks.oci.media_type import OCI_LAYER, OCI_LAYER_ZSTD
from tasks.rootfs import LayerSource, UnpackLimits
from tasks.store.layers import index
from tasks.store.layers.merge import Tree
from tests.support.layers import Images, item, tar

CHECKOUT = Path(__file__).resolve().parents[2]
UP = "../" * 12


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path / "state")


def snapshot(place: Path) -> dict[str, Any]:
    """Everything about a place that a layer must not change."""
    found = {}
    for parent, names, files in os.walk(place):
        for name in ["", *names, *files]:
            path = os.path.join(parent, name) if name else parent
            status = os.lstat(path)
            content = b""
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    content = file.read()
            found[path] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_nlink,
                status.st_ctime_ns, content, tuple(os.listxattr(path, follow_symlinks=False)),
            )  # fmt: skip
    return found


def outside(tmp_path: Path) -> Path:
    place = tmp_path / "outside"
    (place / "dir").mkdir(parents=True)
    (place / "victim").write_text("untouched")
    (place / "dir/victim").write_text("untouched")
    return place


ESCAPES: dict[str, Callable[[str], list[list[Any]]]] = {
    "a file through an absolute symlink": lambda out: [
        [item("s", link=out), item("s/victim", "mine", mode=0o777, uid=5)]
    ],
    "a file through an absolute symlink of a lower layer": lambda out: [
        [item("s", link=out)], [item("s/victim", "mine")]
    ],
    "a file through dots": lambda out: [[item("s", link=UP + out), item("s/victim", "mine")]],
    "through two symlinks": lambda out: [
        [item("a", link=out), item("b", link="a/dir"), item("b/victim", "mine")]
    ],
    "a file in the place of a symlink to a file": lambda out: [
        [item("s", link=f"{out}/victim")], [item("s", "mine", mode=0o777, uid=5)]
    ],
    "a directory's metadata through a symlink": lambda out: [
        [item("s", link=out)], [item("s/dir/", mode=0o777, uid=5, mtime=1)]
    ],
    "a directory that becomes a symlink after its metadata": lambda out: [
        [item("s/", mode=0o777, uid=5, mtime=1), item("s", link=out)]
    ],
    "metadata of a symlink": lambda out: [
        [item("s", link=f"{out}/victim", uid=5, gid=5, mode=0o777, mtime=1,
              pax={"SCHILY.xattr.user.x": "1"})]
    ],
    "a hard link out through a symlink": lambda out: [
        [item("s", link=out), item("h", type="link", link="s/victim"), item("h", "mine")]
    ],
    "a hard link to a symlink, then a write": lambda out: [
        [item("s", link=f"{out}/victim"), item("h", type="link", link="s")], [item("h", "mine")]
    ],
    "a whiteout through a symlink": lambda out: [
        [item("s", link=out)], [item("s/.wh.victim"), item("s/.wh.dir")]
    ],
    "an opaque whiteout through a symlink": lambda out: [
        [item("s", link=out)], [item("s/.wh..wh..opq")]
    ],
    "a whiteout through a symlink of its own layer": lambda out: [
        [item("s", link=out), item("s/.wh.victim")]
    ],
    "a device through a symlink": lambda out: [
        [item("s", link=out), item("s/victim", type="char", device=(1, 3))]
    ],
    "a fifo through a symlink": lambda out: [[item("s", link=out), item("s/dir", type="fifo")]],
    "a symlink through a symlink": lambda out: [
        [item("s", link=out), item("s/victim", link="/etc/shadow")]
    ],
    "proc of our own": lambda out: [
        [item("s", link="/proc/self/cwd"), item("s/victim", "mine")],
        [item("t", link="/proc/self/root"), item("t/victim", "mine")],
    ],
}  # fmt: skip


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
def test_nothing_outside_is_touched(
    images: Images, tmp_path: Path, escape: Callable[[str], list[list[Any]]]
) -> None:
    place = outside(tmp_path)
    before = snapshot(place)
    try:
        images.build(*map(tar, escape(str(place))))
    except DoitOciError:
        assert not images.rootfs().exists()
    assert snapshot(place) == before


@pytest.mark.parametrize(
    "entry",
    [
        item(f"{UP}outside/victim", "mine"),
        item("..", type="dir"),
        item("a/../../x", "mine"),
        item("h", type="link", link="../outside/victim"),
        item("h", type="link", link="/"),
        item(".", "mine", type="file"),
        item("/", link="/etc", type="symlink"),
        item(f"{UP}outside/.wh.victim"),
        item("../.wh..wh..opq"),
    ],
    ids=lambda entry: f"{entry[0].name} {entry[0].linkname}",
)
def test_names_that_lead_outside_are_refused(images: Images, tmp_path: Path, entry: Any) -> None:
    place = outside(tmp_path)
    before = snapshot(place)
    with pytest.raises(UnsafeEntry):
        images.build(tar([entry]))
    assert snapshot(place) == before
    assert not images.rootfs().exists()


@pytest.mark.parametrize(
    ("limits", "layers", "said"),
    [
        (UnpackLimits(entries=3), [[item(f"f{n}", "") for n in range(4)]], "entries"),
        (UnpackLimits(entries=3), [[item("a", ""), item("b", "")]] * 2, "entries"),
        (UnpackLimits(unpacked_bytes=99), [[item("f", "x" * 100)]], "unpacked_bytes"),
        (UnpackLimits(unpacked_bytes=99), [[item("f", "x" * 50)], [item("g", "x" * 50)]],
         "unpacked_bytes"),
        (UnpackLimits(header_bytes=99), [[item("n" * 200, "")]], "header_bytes"),
        (UnpackLimits(path_depth=3), [[item("a/b/c/d", "")]], "path_depth"),
        (UnpackLimits(compression_ratio=10), [[item("f", bytes(2 << 20))]], "compression_ratio"),
    ],
)  # fmt: skip
def test_limits(images: Images, limits: UnpackLimits, layers: Any, said: str) -> None:
    with pytest.raises(LimitExceeded) as caught:
        images.build(*[tar(layer) for layer in layers], limits=limits)
    assert said in str(caught.value.hint)
    assert not images.rootfs().exists()


def test_what_is_at_a_limit_is_fine(images: Images) -> None:
    limits = UnpackLimits(entries=3, unpacked_bytes=100, path_depth=3, header_bytes=4096)
    layer = [item("a/b/c", "x" * 60), item("f", "x" * 40), item("g", "")]
    _, found = images.build(tar(layer), limits=limits)
    assert "a/b/c" in found


STREAM = tar([item("f", "x" * 5000), item("g", os.urandom(3000))])
PACKED = gzip.compress(STREAM, mtime=0)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"diff_id": "0" * 64}, DigestMismatch),
        ({"digest": "0" * 64}, DigestMismatch),
        ({"size": len(PACKED) - 1}, SizeMismatch),
        ({"size": len(PACKED) + 1}, SizeMismatch),
        ({"size": 0}, SizeMismatch),
        ({"packed": PACKED[:-1]}, ContentError),
        ({"packed": PACKED[:200]}, ContentError),
        ({"packed": PACKED[:10]}, ContentError),
        ({"packed": PACKED[:-8] + bytes(8)}, ContentError),
        ({"packed": PACKED + b"garbage"}, ContentError),
        ({"packed": PACKED[:100] + bytes(50) + PACKED[150:]}, ContentError),
        ({"packed": b"BZh91AY&SY"}, UnsupportedMediaType),
        ({"packed": b"\xfd7zXZ\x00\x00"}, UnsupportedMediaType),
        ({"packed": zstandard.compress(STREAM)[:-20]}, ContentError),
        ({"packed": b"\x28\xb5\x2f\xfd" + bytes(50)}, ContentError),
        ({"packed": PACKED + gzip.compress(b"one more")}, DigestMismatch),
        ({"packed": gzip.compress(STREAM[:-1])}, DigestMismatch),
    ],
)
def test_layers_that_are_not_what_was_promised(
    images: Images, values: dict[str, Any], error: type[ContentError]
) -> None:
    with pytest.raises(error) as caught:
        images.build(images.layer(STREAM, **values))
    assert "layer sha256:" in str(caught.value)
    assert not images.rootfs().exists()
    assert os.listdir(images.state / "tmp") == [".unpack.lock"]
    assert not [x for x in os.listdir(images.state / "layers/sha256") if not x.endswith(".lock")]


@pytest.mark.parametrize(
    "stream",
    [
        STREAM[:300],
        STREAM[:600],
        STREAM[:5000],
        b"no tar at all" * 100,
        bytes(512) + STREAM,
        STREAM[:100] + b"9" + STREAM[101:],
    ],
)
def test_streams_that_are_no_tar(images: Images, stream: bytes) -> None:
    with pytest.raises(LayerError) as caught:
        images.build(stream)
    assert "layer sha256:" in str(caught.value)
    assert not images.rootfs().exists()


@pytest.mark.parametrize(
    "entry",
    [
        item("f", uid=0xFFFFFFFF),
        item("f", uid=1 << 33),
        item("n" * 256, "x"),
        item("/".join(["n" * 200] * 30), "x"),
        item("s", link="t" * 5000),
        item("s", type="symlink", link=""),
        item("d", type="char", device=(5000, 1)),
        item("f", pax={"mtime": "soon"}),
        item("f", pax={"uid": "-1"}),
        item("f", pax={"mtime": "9" * 40}),
        item("f", pax={"SCHILY.xattr.": "x"}),
    ],
    ids=range(11),
)
def test_entries_that_no_system_can_have(images: Images, entry: Any) -> None:
    with pytest.raises(DoitOciError) as caught:
        images.build(tar([entry]))
    assert "layer sha256:" in str(caught.value)
    assert not images.rootfs().exists()


def test_a_failed_build_leaves_the_tree_before_it(images: Images) -> None:
    images.build(tar([item("f", "old")]))
    with pytest.raises(LayerError):
        images.build(b"no tar at all" * 100)
    assert (images.rootfs() / "f").read_text() == "old"


def test_names_and_records_have_a_bound_in_memory() -> None:
    """Layers that say much in few bytes: the merge counts what it keeps."""
    target = b"t" * 4000
    tree = Tree()

    def records() -> Iterator[tuple[bytes, bytes]]:
        for number in range(200_000):
            record = index.pack(index.SYMLINK_CODE, number, target=target)
            yield str(number).encode(), record

    with pytest.raises(LimitExceeded, match="MiB"):
        tree.apply(0, records, whiteouts=0, subject="layer")


MEMORY = """
import json, sys
from pathlib import Path
from tasks.errors import DoitOciError
from tasks.rootfs import LayerSource, UnpackLimits, build_rootfs
state = Path(sys.argv[1])
layers = [LayerSource.from_json(json.loads(line)) for line in sys.stdin]
try:
    build_rootfs(layers=layers, layers_dir=state / "l", destination=state / "b/rootfs",
        entries=state / "e", unrepresented=state / "u", tmp=state / "t")
except DoitOciError as error:
    print(error)
"""


def resident(group: int) -> tuple[int, int]:
    """KiB of the process of a group that had most, and of all together now, shared pages once."""
    most = together = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError):
            if os.getpgid(int(pid)) != group:
                continue
            status = Path(f"/proc/{pid}/status").read_text()
            most = max(most, int(status.split("VmHWM:")[1].split()[0]))
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            together += int(rollup.split("Pss:")[1].split()[0])
    return most, together


def peak(images: Images, sources: list[LayerSource]) -> tuple[str, float, float]:
    """What unpacking says, and the MiB of its largest process and of all of them."""
    lines = [json.dumps(source.to_json()) + "\n" for source in sources]
    (images.state / "wanted").write_text("".join(lines))
    with (
        open(images.state / "wanted") as wanted,
        subprocess.Popen(
            [sys.executable, "-c", MEMORY, str(images.state / "m")],
            stdin=wanted, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, start_new_session=True,
        ) as done,
    ):  # fmt: skip
        found = [(0, 0)]
        while done.poll() is None:
            found.append(resident(done.pid))
            time.sleep(0.02)
        assert done.stdout
        said = done.stdout.read()
    assert done.returncode == 0
    return said, max(most for most, _ in found) / 1024, max(both for _, both in found) / 1024


def big(
    build: Callable[[Callable[[bytes], None]], None], *, kind: str = "gzip"
) -> tuple[bytes, str]:
    """A packed stream that is never whole in memory, and its digest."""
    import hashlib

    running = hashlib.sha256()
    packer: Any = (
        zlib.compressobj(1, wbits=31)
        if kind == "gzip"
        else (zstandard.ZstdCompressor().compressobj())
    )
    out = []

    def put(data: bytes) -> None:
        running.update(data)
        out.append(packer.compress(data))

    build(put)
    out.append(packer.flush())
    return b"".join(out), running.hexdigest()


def long_symlinks(put: Callable[[bytes], None]) -> None:
    for number in range(60_000):
        info, _ = item(f"s{number}", link="t" * 4000 + str(number))
        put(info.tobuf(format=1))


def deep_directories(put: Callable[[bytes], None]) -> None:
    for number in range(8_000):
        info, _ = item("/".join([str(number), *["d"] * 250]) + "/")
        put(info.tobuf(format=1))


def deep_whiteouts(put: Callable[[bytes], None]) -> None:
    for number in range(8_000):
        info, _ = item("/".join([str(number), *["d"] * 250, ".wh.x"]))
        put(info.tobuf(format=1))


def attributes(put: Callable[[bytes], None], count: int, pax: dict[str, str]) -> None:
    """Headers that compress a thousandfold, of attributes that no file system takes."""
    for number in range(count):
        info, _ = item(f"f{number}", "", pax=pax)
        put(info.tobuf(format=tarfile.PAX_FORMAT))


def large_attributes(put: Callable[[bytes], None]) -> None:
    attributes(put, 185, {"SCHILY.xattr.unheard.of": "v" * 1_000_000})


def many_attributes(put: Callable[[bytes], None]) -> None:
    attributes(put, 10, {f"SCHILY.xattr.{number:05}": "" for number in range(30_000)})


DEEP = "/".join(["d" * 200] * 20)


def links_in_a_deep_directory(put: Callable[[bytes], None]) -> None:
    for number in range(40_000):
        put(item(f"{number}", "")[0].tobuf(format=tarfile.GNU_FORMAT))
    for number in range(40_000):
        info, _ = item(f"{DEEP}/{number}", type="link", link=f"{number}")
        put(info.tobuf(format=tarfile.GNU_FORMAT))
        put(item(f"{number}", "")[0].tobuf(format=tarfile.GNU_FORMAT))
        info, _ = item(f"{DEEP}/{number}a", type="link", link=f"{DEEP}/{number}")
        put(info.tobuf(format=tarfile.GNU_FORMAT))


def deep_names(put: Callable[[bytes], None]) -> None:
    for number in range(100_000):
        put(item(f"{DEEP}/{number}", "")[0].tobuf(format=tarfile.GNU_FORMAT))


def zeros(put: Callable[[bytes], None]) -> None:
    info, _ = item("zeros")
    info.size = 400 << 20
    put(info.tobuf(format=1))
    block = bytes(1 << 20)
    for _ in range(400):
        put(block)


@pytest.mark.parametrize(
    ("build", "kind", "media_type"),
    [
        pytest.param(long_symlinks, "gzip", OCI_LAYER, marks=pytest.mark.slow),
        (deep_directories, "gzip", OCI_LAYER),
        (deep_whiteouts, "gzip", OCI_LAYER),
        (large_attributes, "gzip", OCI_LAYER),
        (many_attributes, "gzip", OCI_LAYER),
        (links_in_a_deep_directory, "gzip", OCI_LAYER),
        (zeros, "zstd", OCI_LAYER_ZSTD),
    ],
    ids=lambda value: value.__name__.replace("_", " ") if callable(value) else value,
)
def test_memory_has_a_bound(
    images: Images, build: Callable[[Callable[[bytes], None]], None], kind: str, media_type: str
) -> None:
    packed, digest = big(build, kind=kind)
    source = images.layer(b"", packed=packed, diff_id=digest, media_type=media_type)
    said, most, together = peak(images, [source])
    assert most < 512, f"{most} MiB"
    assert together < 512, f"{together} MiB"
    assert "Traceback" not in said


@pytest.mark.slow
def test_the_names_of_upper_layers_have_a_bound(images: Images) -> None:
    """They are kept while lower layers leave out what they hide."""
    packed, digest = big(deep_names)
    lower = [
        images.layer(tar([item("large", os.urandom(200_000)), item(f"{n}", "")])) for n in (1, 2)
    ]
    *_, together = peak(images, [*lower, images.layer(b"", packed=packed, diff_id=digest)])
    assert together < 512, f"{together} MiB"
