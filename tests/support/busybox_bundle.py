"""A bundle around a static busybox, made from a declaration and run by a real runtime."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.config_json import write_config
from tasks.oci.digest import digest_bytes
from tasks.oci.entry import DIRECTORY, Entry
from tasks.project.images import load_images

from .docker_registry import need

APPLETS = (
    "cat chroot df dmesg echo env false grep head hostname id kill ls mkdir mknod mount nice sh "
    "sleep stat sysctl touch true ulimit umount unshare wc"
)
PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv/web:/bin/sh\n"
GROUP = "root:x:0:\nweb:x:34:\naudio:x:29:web\nvideo:x:44:\n"
HYBRID = Path("/sys/fs/cgroup/unified")

_number = itertools.count()


def image_config(**config: Any) -> dict[str, Any]:
    """An image configuration; ``config`` are fields of its ``config`` object."""
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], **config},
        "rootfs": {"type": "layers", "diff_ids": []},
    }


class Project:
    """A project of one image, ``box``, whose rootfs is there already."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "build"
        self.bundle = self.state / "bundles" / "box"
        self.rootfs = self.bundle / "rootfs"
        self.entries = self.state / "entries" / "box.jsonl"
        self._entries: list[Entry] = []
        self._make_rootfs()

    def _make_rootfs(self) -> None:
        (self.rootfs / "bin").mkdir(parents=True)
        shutil.copy(need("busybox"), self.rootfs / "bin/busybox")
        for name in APPLETS.split():
            (self.rootfs / "bin" / name).symlink_to("busybox")
        for name in ("dev", "etc", "proc", "sys", "tmp"):
            (self.rootfs / name).mkdir()
        (self.rootfs / "tmp").chmod(0o1777)
        (self.rootfs / "etc/passwd").write_text(PASSWD)
        (self.rootfs / "etc/group").write_text(GROUP)

    def add_directory(self, path: str, *, mode: int, uid: int, gid: int) -> Path:
        """A directory of the image, on the disk and in the recorded entries."""
        place = self.rootfs / path
        place.mkdir(parents=True)
        place.chmod(mode)
        os.chown(place, uid, gid)
        name = os.fsencode(path)
        self._entries.append(Entry(path=name, type=DIRECTORY, mode=mode, uid=uid, gid=gid, mtime=0))
        return place

    def configure(self, keys: str, image: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write config.json for a bundle with these ``keys`` (TOML), and return it."""
        raw = json.dumps(image or image_config()).encode()
        digest = digest_bytes(raw)
        blob = self.state / "blobs" / digest.algorithm / digest.encoded
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(raw)
        self.entries.parent.mkdir(parents=True, exist_ok=True)
        self.entries.write_bytes(b"".join(each.to_line() for each in self._entries))
        declaration = self.folder / "images.toml"
        declaration.write_text(f'[images.box]\nimage = "oci:box"\n[bundles.box]\n{keys}\n')
        write_config(
            image_config=blob,
            bundle=load_images(declaration).bundle("box"),
            rootfs=self.rootfs,
            entries=self.entries,
            platform="linux/amd64",
            destination=self.bundle / "config.json",
        )
        found: dict[str, Any] = json.loads((self.bundle / "config.json").read_bytes())
        return found

    def run(self, runtime: str, script: str, keys: str = "", **config: Any) -> str:
        """What a shell script prints in the container, standard error included.

        The bundle is run by hand, as anybody may: nothing of doit-oci is between.
        """
        quoted = json.dumps(["/bin/sh", "-c", script])
        self.configure(f"command = {quoted}\n{keys}", image_config(**config) if config else None)
        command = [*runtime_words(runtime), "run", "--bundle", str(self.bundle), new_name()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def new_name() -> str:
    return f"doit-oci-test-{os.getpid()}-{next(_number)}"


def runtime_words(runtime: str) -> list[str]:
    """How a runtime is called here: crun refuses hybrid control groups until one of them hides."""
    need(runtime)
    if runtime == "crun" and HYBRID.is_dir():
        script = f'mount -t tmpfs none {HYBRID}; exec crun "$@"'
        return ["unshare", "--mount", "sh", "-c", script, "crun"]
    return [runtime]
