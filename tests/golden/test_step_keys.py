"""Golden step keys and outputs: equal keys must mean equal outputs, in every version to come.

A change of what a step makes needs a new EPOCH in that step; then write the goldens anew with
``UPDATE_GOLDEN=1 pytest tests/golden/test_step_keys.py`` and review them like code.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tasks.oci.entry import DIRECTORY, FILE, SYMLINK, Entry
from tasks.store.tar_writer import END, member_header, padding
from tests.support.command import doit_oci, expect
from tests.support.layout import write_layout

GOLDEN = Path(__file__).with_name("step_keys.json")
SECOND = 1_000_000_000
PASSWD = b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"
CONTENTS = {b"etc/passwd": PASSWD, b"etc/group": b"root:x:0:\napp:x:1000:\n", b"bin/run": b"#!"}
DECLARATION = """
[defaults]
platform = "linux/amd64"
[images.golden]
image = "oci:layout"
[bundles.plain]
image = "golden"
[bundles.changed]
image = "golden"
entrypoint = ["/bin/run"]
command = ["--loud", "ä"]
environment = { B = "2", A = "1" }
user = "app"
read_only = true
hostname = "golden"
tmpfs = ["/tmp"]
cap_drop = ["ALL"]
ulimits = { nofile = 1024 }
annotations = { "org.example.a" = "b" }
[bundles.changed.spec]
process = { noNewPrivileges = true }
"""


def layer() -> bytes:
    """A tar stream that no library's version can change."""
    entries = [Entry(path=path, type=DIRECTORY, mode=0o755, uid=0, gid=0, mtime=SECOND)
               for path in (b"bin", b"etc")]  # fmt: skip
    entries += [
        Entry(path=path, type=FILE, mode=0o644, uid=0, gid=5, mtime=7 * SECOND, size=len(content))
        for path, content in CONTENTS.items()
    ]
    entries.append(
        Entry(path=b"bin/sh", type=SYMLINK, mode=0o777, uid=0, gid=0, mtime=0, target=b"run")
    )
    stream = b""
    for entry in entries:
        content = CONTENTS.get(entry.path, b"")
        stream += member_header(b"", entry) + content + padding(len(content))
    return stream + END


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Key, epoch and output digest of each step of each bundle."""
    project = tmp_path_factory.mktemp("golden")
    write_layout(project / "layout", layer(), compress=False)
    (project / "images.toml").write_text(DECLARATION)
    environment = {"SOURCE_DATE_EPOCH": "0"}
    found: dict[str, Any] = {}
    for name in ("plain", "changed"):
        expect(doit_oci(project, f"bundle:{name}", env=environment))
        for step in ("layout", "rootfs", "config", "bundle"):
            owner = "golden" if step == "layout" else name
            stamp = json.loads((project / f"build/stamps/{step}/{owner}.json").read_bytes())
            found[f"{step}:{owner}"] = {
                "key": stamp["key"],
                "epoch": stamp["parts"]["epoch"],
                "output": output(project / "build", step, owner, stamp),
            }
    return found


def output(state: Path, step: str, name: str, stamp: dict[str, Any]) -> str:
    place = {
        "layout": state / "layouts" / name / "index.json",
        "rootfs": state / "entries" / f"{name}.jsonl",
        "config": state / "bundles" / name / "config.json",
    }.get(step)
    if place is None:
        return str(stamp["facts"]["digest"])
    return "sha256:" + hashlib.sha256(place.read_bytes()).hexdigest()


def test_keys_and_outputs_are_the_golden_ones(built: dict[str, Any]) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert built.keys() == golden.keys()
    hold_against(built, golden)
    if os.environ.get("UPDATE_GOLDEN"):
        # Not before: a new golden must not be the way around a new epoch.
        GOLDEN.write_text(json.dumps(built, indent=2, sort_keys=True) + "\n")
        return
    assert built == golden, "an epoch was bumped: write the goldens anew with UPDATE_GOLDEN=1"


def hold_against(built: dict[str, Any], golden: dict[str, Any]) -> None:
    """Equal keys have equal outputs, and a key changes with its epoch."""
    for name, found in built.items():
        wanted = golden[name]
        if found["key"] == wanted["key"]:
            assert found["output"] == wanted["output"], (
                f"{name} makes something else of equal inputs: bump EPOCH in its step"
            )
        elif found["epoch"] == wanted["epoch"] and not follows(name, built, golden):
            pytest.fail(f"the key of {name} changed without its epoch: all caches would miss")


def follows(name: str, built: dict[str, Any], golden: dict[str, Any]) -> bool:
    """Whether a step before it has another key, so that its own must differ too."""
    step, _, bundle = name.partition(":")
    before = {"bundle": ("rootfs", "config"), "config": ("rootfs",)}.get(step, ())
    return any(
        built[f"{each}:{bundle}"]["key"] != golden[f"{each}:{bundle}"]["key"] for each in before
    )


ONE = {"key": "k1", "epoch": 1, "output": "o1"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"output": "o2"}, "bump EPOCH"),
        ({"key": "k2"}, "changed without its epoch"),
        ({"key": "k2", "output": "o2"}, "changed without its epoch"),
    ],
)
def test_a_change_needs_an_epoch(change: dict[str, Any], said: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception), match=said):
        hold_against({"rootfs:a": ONE | change}, {"rootfs:a": ONE})
    hold_against({"rootfs:a": ONE | change | {"key": "k3", "epoch": 2}}, {"rootfs:a": ONE})


def test_every_bundle_of_one_image_has_the_same_rootfs(built: dict[str, Any]) -> None:
    assert built["rootfs:plain"]["output"] == built["rootfs:changed"]["output"]
    assert built["config:plain"]["key"] != built["config:changed"]["key"]
