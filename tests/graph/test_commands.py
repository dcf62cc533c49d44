"""The commands beside the graph, called as users call them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from ..support.command import doit_oci, expect, steps_done

TOML = '[images.hello-world]\nimage = "builtin:hello-world"\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "images.toml").write_text(TOML)
    return tmp_path


def digest_of(project: Path) -> str:
    return expect(doit_oci(project, "digest", "hello-world")).strip()


def test_digest_is_the_locked_one_and_a_run_leaves_it(project: Path) -> None:
    digest = digest_of(project)
    lock = json.loads((project / "images.lock").read_text())
    assert [found["digest"] for found in lock["bundles"]["hello-world"].values()] == [digest]
    expect(doit_oci(project, "run:hello-world"))
    assert digest_of(project) == digest
    expect(doit_oci(project, "verify", "hello-world"))


@pytest.mark.parametrize("suffix", ["", ".tar", ".tar.gz", ".tar.zst"])
def test_an_export_comes_back_as_the_same_bundle(project: Path, suffix: str) -> None:
    digest = digest_of(project)
    expect(doit_oci(project, "export", "hello-world", f"out{suffix}"))
    other = project / "other"
    other.mkdir()
    (other / "images.toml").write_text(TOML)
    result = doit_oci(other, "import", f"../out{suffix}", "--name", "taken")
    expect(result)
    assert digest in result.stderr.decode()
    again = doit_oci(other, "import", f"../out{suffix}", "--name", "taken")
    expect(again, 1)
    assert "taken" in again.stderr.decode()


def test_an_export_to_standard_output_is_refused(project: Path) -> None:
    result = doit_oci(project, "export", "hello-world", "-")
    expect(result, 3)
    assert "needs a path" in result.stderr.decode()
    assert not (project / "-").exists()


def test_an_imported_bundle_runs_without_a_declaration(project: Path) -> None:
    digest = digest_of(project)
    expect(doit_oci(project, "export", "hello-world", "out.tar"))
    other = project / "other"
    other.mkdir()
    (other / "images.toml").write_text("")
    expect(doit_oci(other, "import", "../out.tar"))
    assert "Hello from" in expect(doit_oci(other, "run:hello-world", "--offline", "--locked"))
    assert "Hello from" in expect(doit_oci(other, "run:hello-world", "--", "/hello"))
    assert expect(doit_oci(other, "digest", "hello-world")).strip() == digest
    assert expect(doit_oci(other, "list")) == "run:hello-world  imported\n"
    expect(doit_oci(other, "verify"))
    expect(doit_oci(other, "verify", "hello-world"))
    (other / "build/bundles/hello-world/rootfs/hello").write_bytes(b"x")
    expect(doit_oci(other, "verify"), 1)
    expect(doit_oci(other, "verify", "hello-world"), 1)
    expect(doit_oci(other, "bundle:hello-world"), 3)
    expect(doit_oci(other, "clean", "hello-world"))
    expect(doit_oci(other, "run:hello-world"), 3)


def test_what_is_left_of_a_bundle_that_is_no_more_declared_does_not_run(project: Path) -> None:
    expect(doit_oci(project, "run:hello-world"))
    (project / "images.toml").write_text("")
    expect(doit_oci(project, "run:hello-world"), 3)
    expect(doit_oci(project, "run:hello-world", "-n", "2"), 3)


def test_exports_are_the_same_bytes(project: Path) -> None:
    for name in ("one.tar.zst", "two.tar.zst"):
        expect(doit_oci(project, "export", "hello-world", name))
    assert (project / "one.tar.zst").read_bytes() == (project / "two.tar.zst").read_bytes()
    expect(doit_oci(project, "export", "hello-world", "one.tar.zst"), 1)


def test_validate_and_verify_find_what_was_damaged(project: Path) -> None:
    expect(doit_oci(project, "bundle:hello-world"))
    expect(doit_oci(project, "validate"))
    expect(doit_oci(project, "verify"))
    hello = project / "build/bundles/hello-world/rootfs/hello"
    content = hello.read_bytes()
    hello.write_bytes(content[:-1] + b"!")
    result = doit_oci(project, "verify")
    assert result.returncode == 1
    assert "hello" in (result.stdout + result.stderr).decode()


def test_gc_frees_what_nothing_names_and_keeps_the_rest(project: Path) -> None:
    expect(doit_oci(project, "bundle:hello-world"))
    blobs = set((project / "build/blobs/sha256").iterdir())
    stray = project / "build/blobs/sha256" / ("0" * 64)
    stray.write_bytes(b"stray")
    os.utime(stray, (0, 0))
    dry = doit_oci(project, "gc", "--dry-run")
    expect(dry)
    assert stray.name in dry.stderr.decode()
    assert stray.exists()
    expect(doit_oci(project, "gc"))
    assert set((project / "build/blobs/sha256").iterdir()) == blobs
    again = doit_oci(project, "run:hello-world")
    expect(again)
    assert steps_done(again) == []


def test_clean_keeps_the_blobs_and_forget_makes_steps_again(project: Path) -> None:
    expect(doit_oci(project, "run:hello-world"))
    expect(doit_oci(project, "clean", "--dry-run"))
    assert (project / "build/bundles/hello-world").exists()
    expect(doit_oci(project, "clean"))
    assert not (project / "build/bundles/hello-world").exists()
    again = doit_oci(project, "run:hello-world")
    expect(again)
    assert "blob" not in steps_done(again)
    expect(doit_oci(project, "forget", "hello-world"))
    again = doit_oci(project, "bundle:hello-world")
    expect(again)
    assert steps_done(again) == ["layout", "rootfs", "config", "bundle"]


def test_a_cold_runner_builds_from_the_cache_without_the_origin(project: Path) -> None:
    origin = project / "origin"
    copy = ["skopeo", "copy", f"oci:{project}/build/layouts/hello-world", f"oci:{origin}:1"]
    cache = project / "cache"
    cache.mkdir()
    expect(doit_oci(project, "layout:hello-world"))
    subprocess.run(copy, check=True, capture_output=True)
    toml = f'[images.hello]\nimage = "oci:{origin}:1"\n[cache]\nremote = "file://{cache}"\n'
    (project / "images.toml").write_text(toml)
    expect(doit_oci(project, "cache", "push", "hello"))
    expect(doit_oci(project, "clean"))
    subprocess.run(["rm", "-rf", "build", "origin"], cwd=project, check=True)
    assert "Hello from" in expect(doit_oci(project, "run:hello", "--locked"))


def test_cache_key_follows_the_lock(project: Path) -> None:
    first = expect(doit_oci(project, "cache", "key")).split()
    expect(doit_oci(project, "lock"))
    second = expect(doit_oci(project, "cache", "key")).split()
    assert first[0] != second[0]
    assert first[1] == second[1]
    assert second[0].startswith(second[1])


def test_reproduce_gives_the_bundle_digest(project: Path) -> None:
    assert expect(doit_oci(project, "reproduce", "hello-world")).strip() == digest_of(project)


def test_inspect_prints_json(project: Path) -> None:
    described = json.loads(expect(doit_oci(project, "inspect", "hello-world")))
    assert described["Os"] == "linux"
    config = json.loads(expect(doit_oci(project, "inspect", "hello-world", "--config")))
    assert config["config"]["Cmd"] == ["/hello"]
    raw = json.loads(expect(doit_oci(project, "inspect", "hello-world", "--raw")))
    assert raw["schemaVersion"] == 2


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["digest"], 3),
        (["digest", "nope"], 3),
        (["inspect", "nope"], 3),
        (["export", "hello-world"], 3),
        (["import", "missing.tar"], 1),
        (["cache", "push"], 3),
        (["cache", "steal"], 3),
        (["gc", "--max-size", "many"], 3),
        (["lock", "--locked"], 3),
        (["lock", "--nonsense"], 3),
    ],
)
def test_wrong_words_end_with_their_status(project: Path, words: list[str], status: int) -> None:
    expect(doit_oci(project, *words), status)


def test_a_command_behind_a_target_is_told_where_it_stands(project: Path) -> None:
    result = doit_oci(project, "layout:hello-world", "gc")
    expect(result, 3)
    assert "gc: is a command, and stands before everything else" in result.stderr.decode()


def test_a_declaration_error_inside_a_step_ends_with_3(project: Path) -> None:
    (project / "images.toml").write_text(
        TOML + '[bundles.b]\nimage = "hello-world"\nenv_file = "missing.env"\n'
    )
    result = doit_oci(project, "bundle:b")
    expect(result, 3)
    assert "missing.env" in result.stderr.decode()
