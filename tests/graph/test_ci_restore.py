"""build/ as a CI's cache gives it back: other inodes, and whatever its archive does not keep.

What was fetched is used; what was unpacked is not believed to be as it was, and made again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.graph.test_ordinary_user import IMAGES as OWNED
from tests.graph.test_ordinary_user import LAYER
from tests.graph.test_reproducible import project
from tests.support.command import doit_oci, expect, steps_done
from tests.support.layers import tar
from tests.support.layout import write_layout
from tests.support.ordinary_user import ordinary_user


def packed(*words: str) -> Callable[[Path, Path], None]:
    """By tar, with more words for unpacking."""

    def restore(source: Path, target: Path) -> None:
        archive = subprocess.run(
            ["tar", "-C", source, "-cf", "-", "build"], capture_output=True, check=True
        ).stdout
        subprocess.run(["tar", "-C", target, "-xf", "-", *words], input=archive, check=True)

    return restore


def plain_copies(source: Path, target: Path) -> None:
    """As an archive of names and bytes does it: no links, no modes, no owners."""
    for path in (source / "build").rglob("*"):
        copy = target / path.relative_to(source)
        if path.is_dir() and not path.is_symlink():
            copy.mkdir(parents=True, exist_ok=True)
        elif path.is_file() and not path.is_symlink():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o644)


RESTORED = {
    "times of whole seconds": packed(),
    "owners lost": packed("--no-same-owner", "--no-same-permissions"),
    "times lost": packed("-m"),
    "names and bytes only": plain_copies,
}


@pytest.mark.parametrize("how", RESTORED)
def test_a_restored_state_directory_needs_no_network_and_is_right(how: str, tmp_path: Path) -> None:
    first = project(tmp_path / "first")
    digest = expect(doit_oci(first, "digest", "b"))
    runner = project(tmp_path / "runner")
    shutil.copy(first / "images.lock", runner)
    shutil.rmtree(runner / "layout")
    RESTORED[how](first, runner)
    result = doit_oci(runner, "bundle:b", "--locked", "--offline")
    expect(result)
    assert expect(doit_oci(runner, "digest", "b", "--locked", "--offline")) == digest
    assert "rootfs" in steps_done(result)
    assert not [step for step in steps_done(result) if step in ("blob", "config", "bundle")]
    expect(doit_oci(runner, "verify"))


def test_a_state_directory_that_was_given_away_is_not_believed(tmp_path: Path) -> None:
    """A workflow gives build/ to itself, so that its cache may be saved without root."""
    here = project(tmp_path / "here", '[bundles.c]\nimage = "a"\n')
    expect(doit_oci(here, "bundle:b"))
    subprocess.run(["chown", "-hR", "4242:4242", here / "build"], check=True)
    expect(doit_oci(here, "bundle:c", "bundle:b"))
    expect(doit_oci(here, "verify"))
    assert (here / "build/bundles/b/rootfs/etc").stat().st_uid == 12


def test_what_clean_leaves_of_roots_build_any_user_can_pack() -> None:
    with ordinary_user(subordinate=False) as user:
        here = project(Path(user.home) / "theirs")
        expect(doit_oci(here, "bundle"))

        def packs() -> bool:
            words = ["tar", "-C", here, "-cf", "/dev/null", "build"]
            done = subprocess.run(
                words, user=user.uid, group=user.gid, capture_output=True, check=False
            )
            return done.returncode == 0

        assert not packs()
        expect(doit_oci(here, "clean"))
        assert packs()


def test_what_clean_leaves_any_user_can_pack(tmp_path: Path) -> None:
    """Files of subordinate ids cannot be read by whoever saves a CI's cache."""
    with ordinary_user(subordinate=True) as user:
        place = Path(user.home) / "place"
        place.mkdir()
        write_layout(place / "layout", tar(LAYER))
        (place / "images.toml").write_text(OWNED)
        subprocess.run(["chown", "-R", f"{user.uid}:{user.gid}", place], check=True)
        digest = expect(user.doit_oci(place, "digest", "b"))

        def by_user(*words: str) -> int:
            done = subprocess.run(
                words, cwd=place, user=user.uid, group=user.gid, capture_output=True, check=False
            )
            return done.returncode

        assert by_user("tar", "-cf", "cache.tar", "build") != 0
        expect(user.doit_oci(place, "clean"))
        assert by_user("tar", "-cf", "cache.tar", "build") == 0
        for name in ("build", "layout"):
            shutil.rmtree(place / name)
        assert by_user("tar", "-xf", "cache.tar") == 0
        result = user.doit_oci(place, "digest", "b", "--locked", "--offline")
        assert expect(result) == digest
        assert os.stat(place / "build/bundles/b/rootfs/secret").st_uid == user.uid
