"""What the lock says of bundles holds: with --locked, and where equal inputs give something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.graph.test_reproducible import IMAGES, project
from tests.support.command import doit_oci, expect

WORDS = (["bundle:b"], ["digest", "b"], ["run:b", "--", "echo", "hi"])


@pytest.fixture
def here(tmp_path: Path) -> Path:
    where = project(tmp_path / "here")
    expect(doit_oci(where, "bundle:b"))
    return where


def bundles(place: Path) -> dict[str, dict[str, dict[str, str]]]:
    found: dict[str, dict[str, dict[str, str]]]
    found = json.loads((place / "images.lock").read_bytes())["bundles"]
    return found


def lock_another_digest(place: Path) -> str:
    """What stands in the lock now for bundle b."""
    lock = json.loads((place / "images.lock").read_bytes())
    (entry,) = lock["bundles"]["b"].values()
    entry["digest"] = "sha256:" + "0" * 64
    (place / "images.lock").write_text(json.dumps(lock))
    return str(entry["digest"])


@pytest.mark.parametrize("words", WORDS, ids=lambda words: words[0])
@pytest.mark.parametrize("locked", [[], ["--locked"]], ids=["as it is", "--locked"])
def test_another_digest_than_the_locked_one_is_refused(
    words: list[str], locked: list[str], here: Path
) -> None:
    wanted = lock_another_digest(here)
    result = doit_oci(here, *locked, *words)
    expect(result, 1)
    assert f"expected bundle digest {wanted} as locked" in result.stderr.decode()
    assert result.stdout == b""


@pytest.mark.parametrize("words", WORDS, ids=lambda words: words[0])
def test_another_key_than_the_locked_one_is_refused_and_locked_anew(
    words: list[str], here: Path
) -> None:
    """A machine that has the bundle says of the lock what one that has nothing says."""
    right = (here / "images.lock").read_bytes()
    lock = json.loads(right)
    (entry,) = lock["bundles"]["b"].values()
    entry["key"] = "0" * 64
    (here / "images.lock").write_text(json.dumps(lock))
    result = doit_oci(here, "--locked", *words)
    expect(result, 3)
    assert "bundle b has changed in the lock" in result.stderr.decode()
    expect(doit_oci(here, *words))
    assert (here / "images.lock").read_bytes() == right


def test_update_accepts_what_is_built(here: Path) -> None:
    lock_another_digest(here)
    expect(doit_oci(here, "bundle:b"), 1)
    result = doit_oci(here, "lock", "--update")
    expect(result)
    assert "b: the next build locks its digest anew" in result.stderr.decode()
    digest = expect(doit_oci(here, "digest", "b")).strip()
    (entry,) = bundles(here)["b"].values()
    assert entry["digest"] == digest
    expect(doit_oci(here, "lock", "--update"))
    assert "b" in bundles(here)


CHANGES = {
    "a changed bundle": (IMAGES.replace("ö", "ü"), "bundle b has changed in the lock"),
    "a new bundle": (IMAGES + '[bundles.c]\nimage = "a"\n', "bundle c has no digest in the lock"),
    "a new image": (
        IMAGES + '[images.c]\nimage = "builtin:hello-world"\n',
        "image c is not in the lock",
    ),
    "another reference": (
        IMAGES.replace("oci:layout", "builtin:hello-world"),
        "image a is locked as oci:layout, declared as builtin:hello-world",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_locked_refuses_what_would_change_the_lock(change: str, here: Path) -> None:
    text, said = CHANGES[change]
    (here / "images.toml").write_text(text)
    before = (here / "images.lock").read_bytes()
    result = doit_oci(here, "bundle", "--locked")
    expect(result, 3)
    assert said in result.stderr.decode()
    assert (here / "images.lock").read_bytes() == before
    expect(doit_oci(here, "bundle"))
    expect(doit_oci(here, "bundle", "--locked"))
