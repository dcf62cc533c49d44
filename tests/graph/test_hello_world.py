"""The main job from end to end, as a user calls it: a real runtime, no network."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..support.command import CHECKOUT, DOOR, doit_oci, expect, steps_done

TOML = '[images.hello-world]\nimage = "builtin:hello-world"\n'
ALL_STEPS = ["blob", "layout", "rootfs", "config", "bundle"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "images.toml").write_text(TOML)
    return tmp_path


def test_first_run_does_all_steps_and_the_second_only_runs(project: Path) -> None:
    first = doit_oci(project, "run:hello-world")
    assert "Hello from doit-oci!" in expect(first)
    assert list(dict.fromkeys(steps_done(first))) == ALL_STEPS
    second = doit_oci(project, "run:hello-world")
    assert "Hello from doit-oci!" in expect(second)
    assert second.stderr == b""


def test_deleting_the_database_repeats_nothing(project: Path) -> None:
    expect(doit_oci(project, "run:hello-world"))
    for path in (project / "build").glob("state.db*"):
        path.unlink()
    shutil.rmtree(project / "build" / "ready", ignore_errors=True)
    again = doit_oci(project, "run:hello-world")
    expect(again)
    assert steps_done(again) == []


def test_an_edited_override_rebuilds_config_json_only(project: Path) -> None:
    expect(doit_oci(project, "bundle:hello-world"))
    rootfs = (project / "build/bundles/hello-world/rootfs").stat().st_ino
    with (project / "images.toml").open("a") as file:
        file.write('\n[bundles.hello-world]\nenvironment = { DEBUG = "1" }\n')
    again = doit_oci(project, "bundle:hello-world")
    expect(again)
    assert steps_done(again) == ["config", "bundle"]
    config = json.loads((project / "build/bundles/hello-world/config.json").read_text())
    assert "DEBUG=1" in config["process"]["env"]
    assert (project / "build/bundles/hello-world/rootfs").stat().st_ino == rootfs


def test_deleted_outputs_are_made_anew(project: Path) -> None:
    expect(doit_oci(project, "run:hello-world"))
    shutil.rmtree(project / "build/bundles/hello-world/rootfs")
    again = doit_oci(project, "run:hello-world")
    assert "Hello from" in expect(again)
    assert "rootfs" in steps_done(again)
    assert "blob" not in steps_done(again)


def test_the_bundle_runs_by_hand(project: Path) -> None:
    expect(doit_oci(project, "bundle:hello-world"))
    for runtime in ("runc", "crun"):
        assert shutil.which(runtime), f"{runtime} is missing: apt-get install {runtime}"
        words = f"{runtime} run --bundle build/bundles/hello-world by-hand-{os.getpid()}"
        # crun refuses cgroups in hybrid mode, whatever the bundle: hide the second hierarchy.
        words = f"umount /sys/fs/cgroup/unified 2>/dev/null; exec {words}"
        command = ["unshare", "--mount", "sh", "-c", words]
        out = subprocess.run(command, cwd=project, capture_output=True, check=False)
        assert b"Hello from" in out.stdout, out.stderr


def test_peers_accept_the_layout(project: Path) -> None:
    expect(doit_oci(project, "layout:hello-world"))
    layout = "build/layouts/hello-world"
    for command in (
        ["oci-image-tool", "validate", "--type", "image", "--ref", "name=latest", layout],
        ["skopeo", "inspect", f"oci:{layout}:latest"],
        ["skopeo", "copy", f"oci:{layout}", "oci:copied:x"],
        ["umoci", "unpack", "--image", f"{layout}:latest", "unpacked"],
    ):
        assert shutil.which(command[0]), f"{command[0]} is missing: apt-get install {command[0]}"
        done = subprocess.run(command, cwd=project, capture_output=True, check=False)
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["run:helo-world"], 3, "hello-world"),
        (["frobnicate"], 3, "frobnicate"),
        (["layout:nope"], 3, "nope"),
        (["run:"], 3, "no bundle"),
    ],
)
def test_unknown_targets_end_with_3(
    project: Path, words: list[str], status: int, said: str
) -> None:
    result = doit_oci(project, *words)
    expect(result, status)
    assert said in result.stderr.decode()


def test_a_folder_without_declaration_says_so(tmp_path: Path) -> None:
    result = doit_oci(tmp_path, "list")
    expect(result, 3)
    assert "images.toml" in result.stderr.decode()


def test_list_shows_what_can_be_run(project: Path) -> None:
    assert expect(doit_oci(project, "list")).split() == ["run:hello-world", "builtin:hello-world"]


def test_state_directory_moves(project: Path) -> None:
    expect(doit_oci(project, "run:hello-world", "--dir", "elsewhere"))
    expect(doit_oci(project, "run:hello-world", env={"DOIT_OCI_DIR": "third"}))
    assert not (project / "build").exists()
    assert (project / "elsewhere/bundles/hello-world/config.json").is_file()
    assert (project / "third/bundles/hello-world/config.json").is_file()


def test_locked_refuses_a_new_entry_and_takes_a_kept_one(project: Path) -> None:
    refused = doit_oci(project, "run:hello-world", "--locked")
    expect(refused, 3)
    assert "images.lock" in refused.stderr.decode()
    expect(doit_oci(project, "run:hello-world"))
    shutil.rmtree(project / "build")
    before = (project / "images.lock").read_bytes()
    expect(doit_oci(project, "run:hello-world", "--locked", "--offline"))
    assert (project / "images.lock").read_bytes() == before


def test_lock_check_tells_whether_the_lock_fits(project: Path) -> None:
    expect(doit_oci(project, "lock", "--check"), 3)
    expect(doit_oci(project, "lock"))
    expect(doit_oci(project, "lock", "--check"))
    (project / "images.toml").write_text("# a comment\r\n" + TOML.replace("\n", "\r\n"))
    expect(doit_oci(project, "lock", "--check"))
    (project / "images.toml").write_text(TOML + '[images.other]\nimage = "oci:somewhere"\n')
    result = doit_oci(project, "lock", "--check")
    expect(result, 3)
    assert "other" in result.stderr.decode()


def test_no_needless_network(project: Path) -> None:
    (project / "images.toml").write_text(
        TOML + '[images.far]\nimage = "registry.invalid/never/there:1"\n'
    )
    expect(doit_oci(project, "run:hello-world"))
    expect(doit_oci(project, "list"))
    failed = doit_oci(project, "run:far", "--offline")
    expect(failed, 1)
    assert "--offline" in failed.stderr.decode()


def test_building_all_again_does_nothing_until_something_is_missing(project: Path) -> None:
    more = '[bundles.other]\nimage = "hello-world"\n'
    (project / "images.toml").write_text(TOML + more)
    expect(doit_oci(project, "bundle"))
    for _ in range(2):
        again = doit_oci(project)
        expect(again)
        assert again.stderr == b""
    shutil.rmtree(project / "build/bundles/other/rootfs")
    mended = doit_oci(project, "bundle")
    expect(mended)
    assert steps_done(mended) == ["rootfs"]
    (project / "images.toml").write_text(TOML + more + 'environment = { A = "b" }\n')
    changed = doit_oci(project)
    expect(changed)
    assert steps_done(changed) == ["config", "bundle"]


def test_two_processes_share_the_work(project: Path) -> None:
    command = [sys.executable, "-c", DOOR, "run:hello-world"]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    children = [
        subprocess.Popen(
            command, cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for child in children:
        out, said = child.communicate(timeout=60)
        assert child.returncode == 0, said
        assert b"Hello from" in out


@pytest.mark.parametrize("delay", [0.05, 0.15, 0.25, 0.35, 0.5])
def test_kill_at_any_time_and_the_next_run_succeeds(project: Path, delay: float) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", DOOR, "run:hello-world"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert "Hello from" in expect(doit_oci(project, "run:hello-world"))


def test_the_committed_lock_fits_this_checkout() -> None:
    built_in = ["hello-world"]
    expect(doit_oci(CHECKOUT, "lock", "--check", *built_in))


@pytest.mark.parametrize("name", ["a:b,c", "b\\c", "x\"y'z", "line\nend", "-dash", "%s{0}"])
def test_a_project_may_have_any_name_that_is_a_text(tmp_path: Path, name: str) -> None:
    project = tmp_path / name
    project.mkdir()
    (project / "images.toml").write_text('[images.hello-world]\nimage = "builtin:hello-world"\n')
    for _ in range(2):
        assert "Hello from" in expect(doit_oci(project, "run:hello-world"))
    expect(doit_oci(project, "verify"))


def test_a_project_whose_name_is_no_text_is_told_so(tmp_path: Path) -> None:
    project = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    project.mkdir()
    (project / "images.toml").write_text('[images.hello-world]\nimage = "builtin:hello-world"\n')
    for _ in range(2):
        failed = doit_oci(project, "run:hello-world")
        expect(failed, 1)
        assert b"no UTF-8" in failed.stderr
    assert "Hello from" in expect(
        doit_oci(project, "--dir", str(tmp_path / "x"), "run:hello-world")
    )


UNREACHABLE = """
[images.far]
image = "registry.invalid/far:1"
[images.hello-world]
image = "builtin:hello-world"
[bundles.hello]
image = "hello-world"
"""


@pytest.mark.parametrize(
    "words", ["check", "bundle:h*", "run:hello*", "layout:hello*", "run:hello rootfs:*lo", "blob:*"]
)
def test_an_image_that_no_target_needs_is_asked_of_nobody(tmp_path: Path, words: str) -> None:
    (tmp_path / "images.toml").write_text(UNREACHABLE)
    expect(doit_oci(tmp_path, "--offline", "lock", "hello-world"))
    expect(doit_oci(tmp_path, "--offline", *words.split()))
    (blob, *_) = (tmp_path / "build/blobs/sha256").iterdir()
    expect(doit_oci(tmp_path, "--offline", f"blob:sha256:{blob.name}"))
    expect(doit_oci(tmp_path, "--offline", "blob:sha256:" + "0" * 64), 3)
    expect(doit_oci(tmp_path, "--offline", "bundle"), 1)


@pytest.mark.parametrize("words", ["run:a run:b run:c", "-n 2 run:a run:b run:c", "run:*"])
def test_several_containers_run_one_after_the_other(tmp_path: Path, words: str) -> None:
    (tmp_path / "images.toml").write_text(
        '[images.i]\nimage = "builtin:hello-world"\n'
        + "".join(f'[bundles.{name}]\nimage = "i"\n' for name in "abc")
    )
    for tail in ((), ("--", "/hello", "A=b", "-x")):
        count = 4 if words == "run:*" else 3
        done = doit_oci(tmp_path, *words.split(), *tail)
        assert expect(done).count("Hello from doit-oci!") == count
    assert "Hello from" in expect(doit_oci(tmp_path, "run:a", "--")), "nothing replaces the command"
    done = doit_oci(tmp_path, "run:a", "bundle:b", "run:c")
    assert expect(done).count("Hello from doit-oci!") == 2
