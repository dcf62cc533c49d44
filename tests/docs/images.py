"""The images that the pages name, made by umoci of the host's static busybox."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ..support.command import doit_oci, expect
from ..support.docker_registry import need, skopeo

APPLETS = ("sh", "cat", "echo", "env", "false", "grep", "id", "ls", "sleep", "true", "uname")
REFERENCES = ("library/debian:12-slim", "library/busybox:1", "team/app:1.4")
HELLO = "library/hello-world:latest"


def tree(folder: Path) -> Path:
    """A root file system of busybox, with a bash that is its sh."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    shutil.copyfile(need("busybox"), programs / "busybox")
    (programs / "busybox").chmod(0o755)
    for name in APPLETS:
        (programs / name).symlink_to("busybox")
    (programs / "bash").write_text('#!/bin/sh\nexec sh "$@"\n')
    (programs / "bash").chmod(0o755)
    for name in ("etc", "data", "proc", "sys", "dev", "tmp", "run", "srv"):
        (folder / name).mkdir()
    (folder / "tmp").chmod(0o1777)
    (folder / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    return folder


def umoci(*words: str) -> None:
    subprocess.run([need("umoci"), *words], check=True, capture_output=True)


def publish(host: str, folder: Path) -> None:
    """Push every image that a page may name to a registry."""
    folder.mkdir()
    layout = folder / "layout"
    umoci("init", "--layout", str(layout))
    umoci("new", "--image", f"{layout}:base")
    umoci("insert", "--image", f"{layout}:base", str(tree(folder / "tree")), "/")
    umoci("config", "--image", f"{layout}:base", "--config.cmd", "bash")
    umoci("config", "--image", f"{layout}:base", "--config.env", "PATH=/bin")
    push = ("copy", "--quiet", "--dest-tls-verify=false")
    for reference in REFERENCES:
        skopeo(*push, f"oci:{layout}:base", f"docker://{host}/{reference}")
    hello = tree_of_hello(folder / "hello")
    skopeo(*push, f"oci:{hello}:latest", f"docker://{host}/{HELLO}")


def tree_of_hello(folder: Path) -> Path:
    """An image layout of hello-world: the built-in one, as a file."""
    folder.mkdir()
    (folder / "images.toml").write_text('[images.hello-world]\nimage = "builtin:hello-world"\n')
    expect(doit_oci(folder, "layout:hello-world"))
    return folder / "build/layouts/hello-world"
