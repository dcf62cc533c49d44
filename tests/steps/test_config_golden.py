"""config.json for images as the world has them, byte for byte; and held against umoci's.

A change of a golden file is reviewed like code: UPDATE_GOLDEN=1 writes them anew.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tasks.project.runtime_rules import runtime_violations
from tests.support.busybox_bundle import (
    GROUP,
    PASSWD,
    Project,
    image_config,
    new_name,
    runtime_words,
)
from tests.support.docker_registry import need

GOLDEN = Path(__file__).parents[1] / "golden" / "config"
NAMES = sorted(path.name for path in GOLDEN.iterdir())
ACCOUNTS = (
    "nobody:x:65534:65534:nobody:/home:/bin/false\npostgres:x:999:999::/var/lib/postgresql:\n"
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    found = Project(tmp_path)
    (found.rootfs / "etc/passwd").write_text(PASSWD + ACCOUNTS)
    (found.rootfs / "etc/group").write_text(GROUP + "nogroup:x:65534:\npostgres:x:999:\n")
    found.add_directory("prometheus", mode=0o777, uid=65534, gid=65534)
    found.add_directory("var/lib/postgresql/data", mode=0o1777, uid=999, gid=999)
    return found


def configure(project: Project, name: str) -> dict[str, Any]:
    image = json.loads((GOLDEN / name / "image.json").read_bytes())
    return project.configure((GOLDEN / name / "bundle.toml").read_text(), image)


@pytest.mark.parametrize("name", NAMES)
def test_golden(project: Project, name: str) -> None:
    config = configure(project, name)
    written = (project.bundle / "config.json").read_bytes()
    golden = GOLDEN / name / "config.json"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_bytes(written)
    assert written == golden.read_bytes()
    assert runtime_violations(config) == []


RUNNABLE = [name for name in NAMES if name not in ("everything", "hello-world")]


@pytest.mark.parametrize("runtime", ["runc", "crun"])
@pytest.mark.parametrize("name", RUNNABLE)
def test_runtimes_accept_it(project: Project, name: str, runtime: str) -> None:
    """With another program, because only the configuration is of that image."""
    (project.folder / "site").mkdir()
    (project.folder / "pgpass").touch()
    config = configure(project, name)
    config["process"]["args"] = ["/bin/true"]
    (project.bundle / "config.json").write_text(json.dumps(config))
    words = [*runtime_words(runtime), "run", "--bundle", str(project.bundle), new_name()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def umoci(*words: str | Path) -> None:
    need("umoci")
    done = subprocess.run(["umoci", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def theirs(tmp_path: Path) -> dict[str, Any]:
    """What `umoci unpack` makes of the same image."""
    layout, etc = tmp_path / "layout", tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_text(PASSWD)
    (etc / "group").write_text(GROUP)
    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:x")
    umoci("insert", "--image", f"{layout}:x", etc, "/etc")
    umoci(
        *("config", "--image", f"{layout}:x", "--config.user", "web"),
        *("--config.volume", "/data", "--config.label", "a=b", "--config.env", "A=1"),
        *("--config.entrypoint", "/e", "--config.cmd", "c", "--config.workingdir", "/srv"),
        *("--config.exposedports", "80/tcp", "--config.stopsignal", "SIGINT", "--author", "me"),
    )
    umoci("unpack", "--image", f"{layout}:x", tmp_path / "bundle")
    found: dict[str, Any] = json.loads((tmp_path / "bundle/config.json").read_bytes())
    return found


@pytest.fixture
def ours(project: Project, theirs: dict[str, Any]) -> dict[str, Any]:
    created = theirs["annotations"]["org.opencontainers.image.created"]
    image = image_config(
        User="web",
        Volumes={"/data": {}},
        Labels={"a": "b"},
        Env=[theirs["process"]["env"][0], "A=1"],
        Entrypoint=["/e"],
        Cmd=["c"],
        WorkingDir="/srv",
        ExposedPorts={"80/tcp": {}},
        StopSignal="SIGINT",
    )
    return project.configure("", {**image, "author": "me", "created": created})


def test_the_process_is_umocis(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for key in ("args", "cwd", "user", "rlimits", "noNewPrivileges"):
        assert ours["process"][key] == theirs["process"][key], key
    assert set(ours["process"]["env"]) == set(theirs["process"]["env"]) - {"TERM=xterm"}


def test_the_annotations_are_umocis(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    known = theirs["annotations"]
    assert {name: ours["annotations"].get(name) for name in known} == known


def test_the_mounts_are_umocis(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    def by_place(config: dict[str, Any]) -> dict[str, str]:
        return {mount["destination"]: mount["type"] for mount in config["mounts"]}

    assert by_place(ours) == by_place(theirs)


def test_the_rest_is_umocis_or_stricter(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """The differences are those that docs/decisions/0003 names."""
    for kind, names in ours["process"]["capabilities"].items():
        assert set(names) <= set(theirs["process"]["capabilities"][kind]), kind
    assert ours["root"] == {"path": "rootfs"} == theirs["root"]
    masked = set(ours["linux"]["maskedPaths"])
    assert masked >= set(theirs["linux"]["maskedPaths"])
    assert masked | set(ours["linux"]["readonlyPaths"]) >= set(theirs["linux"]["readonlyPaths"])
    mine = {each["type"] for each in ours["linux"]["namespaces"]}
    assert mine - {each["type"] for each in theirs["linux"]["namespaces"]} == {"cgroup"}
    assert "seccomp" in ours["linux"]


def test_defaults_are_those_of_runc_spec_or_stricter(project: Project) -> None:
    theirs = json.loads((GOLDEN.parent / "runc-spec-1.1.5.json").read_bytes())
    ours = project.configure("")
    assert {
        key: ours["process"][key] for key in ("capabilities", "rlimits", "noNewPrivileges")
    } == {key: theirs["process"][key] for key in ("capabilities", "rlimits", "noNewPrivileges")}
    for mine, peers in zip(ours["mounts"], theirs["mounts"], strict=True):
        assert {**mine, "options": []} == {**peers, "options": []}
        assert set(peers.get("options", ())) <= set(mine["options"])
    assert set(theirs["linux"]["maskedPaths"]) <= set(ours["linux"]["maskedPaths"])
    assert theirs["linux"]["readonlyPaths"] == ours["linux"]["readonlyPaths"]
    assert theirs["linux"]["resources"] == ours["linux"]["resources"]
