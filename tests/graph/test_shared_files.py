"""Files that bundles share: one copy on the disk, and nothing that a run does reaches it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import doit_oci, expect
from tests.support.layers import item, tar
from tests.support.layout import busybox_layer, write_layout

ALTER = """
for file in /data/*; do
    chmod 777 $file && chown 5:5 $file && touch -d @1 $file && echo more >> $file || exit 1
    cat $file > $file.copy && mv $file.copy $file || exit 1
done
for file in /data/* /bin/ec*; do ln $file $file.link && rm $file || exit 1; done
mv /data /moved && mkdir /data && echo done
"""
COMMANDS = ("ln", "rm", "mv", "chmod", "chown", "touch", "mkdir")
BUNDLES = {"one": "", "two": "", "kept": "persistent = true", "user": 'user = "1000:1000"'}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    data = tar(
        [item(f"data/f{x}", f"{x}" * 5000, uid=x, mode=0o666) for x in range(5)]
        + [item(f"bin/{name}", link="busybox") for name in COMMANDS]
    )
    write_layout(tmp_path / "image", busybox_layer(), data)
    text = '[defaults]\ncap_add = ["CHOWN", "FOWNER", "DAC_OVERRIDE", "SYS_ADMIN"]\n'
    text += '[images.a]\nimage = "oci:image:latest"\n'
    for name, keys in BUNDLES.items():
        text += f'[bundles.{name}]\nimage = "a"\n{keys}\n'
    (tmp_path / "images.toml").write_text(text)
    expect(doit_oci(tmp_path, "bundle"))
    return tmp_path


def pools(project: Path) -> dict[str, Any]:
    """Everything of every shared inode: what it holds, and when anything of it last changed."""
    found = {}
    for path in sorted((project / "build/layers").glob("*/*/pool/*")):
        status = path.lstat()
        held = (
            os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).digest()
        )
        found[str(path)] = (*status[:7], status.st_mtime_ns, status.st_ctime_ns, held)
    return found


def test_bundles_of_one_image_take_one_copy(project: Path) -> None:
    trees = [project / "build/bundles" / name / "rootfs" for name in BUNDLES]
    files = [path.relative_to(trees[0]) for path in trees[0].rglob("*") if not path.is_dir()]
    assert len(files) > 10
    for file in files:
        assert len({(tree / file).lstat().st_ino for tree in trees}) == 1


@pytest.mark.parametrize("name", BUNDLES)
def test_no_run_alters_a_shared_file(project: Path, name: str) -> None:
    before = pools(project)
    assert len(before) > 10
    done = doit_oci(project, f"run:{name}", "--", "/bin/sh", "-c", ALTER)
    if name != "user":
        assert expect(done) == "done\n"
    assert pools(project) == before
    expect(doit_oci(project, "verify"))
    if name == "kept":
        again = doit_oci(project, "run:kept", "--", "/bin/busybox", "ls", "/data")
        assert expect(again) == ""
        assert pools(project) == before
