"""A fresh clone: the lock is there, committed by someone else, and the store is empty."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..support.command import doit_oci, expect
from ..support.docker_registry import RegistryServer, skopeo

BUILTIN = '[images.hello-world]\nimage = "builtin:hello-world"\n'


def test_a_committed_lock_is_enough_for_a_real_registry(
    tmp_path: Path, docker_registry: RegistryServer
) -> None:
    maker = tmp_path / "maker"
    maker.mkdir()
    (maker / "images.toml").write_text(BUILTIN)
    expect(doit_oci(maker, "layout:hello-world"))
    place = f"{docker_registry.host}/fresh/hello"
    layout = f"oci:{maker}/build/layouts/hello-world:latest"
    skopeo("copy", "--dest-tls-verify=false", layout, f"docker://{place}:1")
    (tmp_path / "images.toml").write_text(
        f'[[registry]]\nprefix = "{docker_registry.host}"\ninsecure = true\n'
        f'[images.hello]\nimage = "{place}:1"\n'
    )
    expect(doit_oci(tmp_path, "bundle:hello"))
    lock = (tmp_path / "images.lock").read_bytes()
    shutil.rmtree(tmp_path / "build")
    assert "Hello from" in expect(doit_oci(tmp_path, "run:hello", "--locked"))
    assert (tmp_path / "images.lock").read_bytes() == lock
    blob = next((tmp_path / "build/blobs/sha256").iterdir())
    content = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(content[:-1])
    assert "Hello from" in expect(doit_oci(tmp_path, "run:hello", "--locked"))
