"""The lock that this checkout ships: what is built from it is what it says."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.command import CHECKOUT, doit_oci, expect


def test_the_committed_lock_holds_what_is_built(tmp_path: Path) -> None:
    """After a step's epoch is bumped: `./doitw bundle:hello-world`, and commit images.lock."""
    for name in ("images.toml", "images.lock"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    toml = tmp_path / "images.toml"
    toml.write_text(toml.read_text() + '\n[defaults]\nplatform = "linux/amd64"\n')
    expect(doit_oci(tmp_path, "bundle:hello-world", "--locked", "--offline"))
    assert (tmp_path / "images.lock").read_bytes() == (CHECKOUT / "images.lock").read_bytes()
