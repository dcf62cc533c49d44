"""reproduce: equal builds give their digest, others the first path and field that differ."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tasks.errors import ContentError, DoitOciError
from tasks.oci.entry import Entry
from tasks.reproduce import Built, first_difference, reproduce
from tests.support.trees import write_entries

if TYPE_CHECKING:
    from pathlib import Path

BUILDER = """
import os, pathlib, sys
state = pathlib.Path("build")
assert pathlib.Path("images.toml").read_text() == "x = 1"
assert (state / "blobs" / "sha256" / "aa").read_bytes() == b"blob"
(state / "entries").mkdir()
(state / "bundles" / "b").mkdir(parents=True)
umask = os.umask(0)
mode = 0o777 & ~umask if sys.argv[1] == "umask" else 0o755
zone = os.environ["TZ"] if sys.argv[1] == "zone" else "none"
if sys.argv[1] == "fails":
    sys.exit("the reason why")
line = '{"gid":0,"mode":%d,"mtime":0,"path":"","type":"dir","uid":0}' % mode
(state / "entries" / "b.jsonl").write_text(line + chr(10))
config = '{"process": {"env": ["A=1", "TZ=%s"]}}' % zone
(state / "bundles" / "b" / "config.json").write_text(config)
"""


def build(tmp_path: Path, how: str) -> str:
    blob = tmp_path / "blobs" / "sha256" / "aa"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"blob")
    return reproduce(
        bundle="b",
        command=[sys.executable, "-c", BUILDER, how],
        files={"images.toml": b"x = 1", "env/ci.env": b""},
        blobs=[blob],
        blobs_root=tmp_path / "blobs",
        environ=dict(os.environ),
    )


def test_equal_builds_give_their_digest(tmp_path: Path) -> None:
    assert build(tmp_path, "same").startswith("sha256:")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("umask", "mode of / is 0o755 and 0o700"),
        ("zone", "config.json: process: env.1. is 'TZ=UTC' and 'TZ=Asia/Kathmandu'"),
    ],
)
def test_builds_that_differ_name_the_first_difference(
    how: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ContentError, match=message):
        build(tmp_path, how)


def test_a_build_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(DoitOciError, match=r"status 1 under umask 022(.|\n)*the reason why"):
        build(tmp_path, "fails")


ONE = Entry(path=b"a", type="file", mode=0o644, uid=0, gid=0, mtime=5, sha256="0" * 64)
DIFFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "mode": ({"mode": 0o600}, "mode of /a is 0o644 and 0o600"),
    "owner": ({"uid": 7}, "uid of /a is 0 and 7"),
    "time": ({"mtime": 6}, "mtime of /a is 5 and 6"),
    "content": ({"sha256": "1" * 64}, f"sha256 of /a is '{'0' * 64}' and '{'1' * 64}'"),
    "attribute": ({"xattrs": ((b"user.a", b"1"),)}, "xattrs of /a"),
    "name": ({"path": b"b"}, "/a is in one build only"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_first_difference_names_path_and_field(name: str, tmp_path: Path) -> None:
    changes, expected = DIFFERENCES[name]
    sides = []
    for side, entry in (("x", ONE), ("y", ONE.replacing(**changes))):
        write_entries(tmp_path / side, [entry])
        (tmp_path / f"{side}.json").write_text("{}")
        sides.append(Built(entries=tmp_path / side, config_json=tmp_path / f"{side}.json"))
    assert first_difference(*sides).startswith(expected)


def test_first_difference_names_what_only_one_build_has(tmp_path: Path) -> None:
    write_entries(tmp_path / "x", [ONE])
    write_entries(tmp_path / "y", [])
    (tmp_path / "c").write_text("{}")
    sides = [Built(entries=tmp_path / side, config_json=tmp_path / "c") for side in "xy"]
    assert first_difference(*sides) == "/a is in one build only"
