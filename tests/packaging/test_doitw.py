"""doitw wherever its checkout lies, and whatever leads to it; nothing is installed here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import doit
import pytest

from ..support.command import CHECKOUT, expect


def checkout(where: Path) -> Path:
    """What doitw needs of a checkout, with an environment that has all that the lock asks for."""
    where.mkdir(parents=True)
    for name in ("tasks", "specs", ".ci"):
        shutil.copytree(CHECKOUT / name, where / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("doitw", "images.toml", "images.lock"):
        shutil.copy(CHECKOUT / name, where)
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(where / ".venv")], check=True
    )
    shutil.copy(where / ".ci/requirements.txt", where / ".venv")
    return where


def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    packages = str(Path(doit.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": packages}
    env.pop("DOIT_OCI_VENV", None)
    return subprocess.run(
        words, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    "name", ["plain", "with blanks and ü", "deep/" * 30 + "down", "it's", 'a"b', "a$HOME`b"]
)
def test_a_checkout_lies_anywhere_and_moves(tmp_path: Path, name: str) -> None:
    place = checkout(tmp_path / name)
    assert "run:hello-world" in expect(call("./doitw", "list", cwd=place))
    assert "run:hello-world" in expect(call(place / ".venv/bin/doit-oci", "list", cwd=place))
    assert "Hello from" in expect(call("sh", place / "doitw", "run:hello-world", cwd=tmp_path))
    moved = place.rename(tmp_path / "moved here")
    assert "run:hello-world" in expect(call("./doitw", "list", cwd=moved))
    assert "run:hello-world" in expect(call(moved / ".venv/bin/doit-oci", "list", cwd=moved))


def test_links_lead_to_it(tmp_path: Path) -> None:
    place = checkout(tmp_path / "place")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/one").symlink_to("../place/doitw")
    (tmp_path / "two").symlink_to(tmp_path / "bin/one")
    assert "run:hello-world" in expect(call(tmp_path / "two", "list", cwd=tmp_path / "bin"))
    assert sorted(path.name for path in (tmp_path / "bin").iterdir()) == ["one"]
    assert (place / ".venv/linked").exists()


def test_scripts_of_a_checkout_that_moved_name_its_interpreter(tmp_path: Path) -> None:
    place = checkout(tmp_path / "place")
    expect(call("./doitw", "list", cwd=place))
    script = place / ".venv/bin/other"
    script.write_text(f"#!{place}/.venv/bin/python\nimport sys\nprint(sys.prefix)\n")
    script.chmod(0o755)
    moved = place.rename(tmp_path / "moved")
    expect(call("./doitw", "list", cwd=moved))
    assert expect(call(moved / ".venv/bin/other", cwd=moved)).strip() == str(moved / ".venv")
