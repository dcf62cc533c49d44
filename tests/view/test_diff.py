"""``diff``: what became another between two images, bundles or locks."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.oci.entry import DIRECTORY, FILE, Entry
from tasks.store.entries_difference import compare_entries
from tasks.view.config_words import image_config_words, runtime_config_words

from ..support.command import doit_oci, expect
from ..support.images import make_image
from .golden import check_golden
from .layouts import tree, write_layout

BASE = tree({"etc/": b"", "etc/base": b"base\n" * 100, "etc/old": b"x" * 10})
OLD = tree({"bin/": b"", "bin/tool": b"one" * 1000, "bin/same": b"same"}, mode=0o755)
NEW = tree(
    {"bin/": b"", "bin/tool": b"other" * 1000, "bin/same": b"same", "etc/.wh.old": b"", "n": b"n"},
    mode=0o755,
)
RETIMED = tree({"bin/": b"", "bin/same": b"same"}, mode=0o700, mtime=2_000_000)
TOML = """\
[defaults]
platform = "linux/amd64"

[images.old]
image = "oci:old"

[images.new]
image = "oci:new"

[bundles.loud]
image = "new"
environment = { LEVEL = "high" }
mem_limit = "64m"
"""


def execution(**more: Any) -> dict[str, Any]:
    return {"config": {"Cmd": ["/bin/tool"], "Env": ["PATH=/bin", "A=1"], **more}}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "images.toml").write_text(TOML)
    old = make_image(BASE, OLD, config=execution())
    new = make_image(BASE, NEW, RETIMED, config=execution(Env=["PATH=/bin:/usr/bin"], User="7"))
    write_layout(tmp_path / "old", old)
    write_layout(tmp_path / "new", new)
    return tmp_path


def steady(text: str) -> str:
    """Without what differs from one compressor to the next: digests and sizes of layers."""
    text = re.sub(r"(layers?) (\w+) \([^)]+\)", r"\1 \2 (SIZE)", text)
    return re.sub(r"sha256:[0-9a-f]{64}  .*", "DIGEST  SIZE", text)


def test_two_built_images_are_compared_in_every_way(project: Path) -> None:
    expect(doit_oci(project, "bundle"))
    check_golden("diff-built.txt", steady(expect(doit_oci(project, "diff", "old", "new"))))
    check_golden(
        "diff-bundles.txt", steady(expect(doit_oci(project, "diff", "new", "bundle:loud")))
    )


def test_what_is_not_unpacked_is_said(project: Path) -> None:
    expect(doit_oci(project, "lock"))
    check_golden("diff-locked.txt", steady(expect(doit_oci(project, "diff", "old", "new"))))


def test_the_json_says_the_same(project: Path) -> None:
    expect(doit_oci(project, "bundle"))
    (found,) = json.loads(expect(doit_oci(project, "diff", "old", "new", "--json"))).values()
    files = {each["path"]: each["change"] for each in found["files"]}
    assert files == {
        "/bin/same": "changed",
        "/bin/tool": "changed",
        "/etc/old": "removed",
        "/n": "added",
    } | ({"/bin": "changed"} if "/bin" in files else {})
    assert [len(found["layers"][kind]) for kind in ("shared", "removed", "added")] == [1, 1, 2]


def test_lock_update_prints_what_changed(project: Path) -> None:
    expect(doit_oci(project, "lock"))
    kept = project / "kept.lock"
    kept.write_bytes((project / "images.lock").read_bytes())
    shutil.rmtree(project / "old")
    shutil.copytree(project / "new", project / "old")
    updated = doit_oci(project, "lock", "--update", "old")
    expect(updated)
    said = updated.stderr.decode()
    for words in ('User was added: "7"', "1 layer shared", "1 layer removed", "Env.A was taken"):
        assert words in said, said
    told = expect(doit_oci(project, "diff", "kept.lock", "images.lock"))
    assert told.startswith("old for linux/amd64\n")
    assert 'User was added: "7"' in told


@pytest.mark.parametrize(
    ("words", "status"),
    [(["diff", "old"], 3), (["diff", "old", "nope"], 3), (["diff", "old", "new"], 3)],
    ids=["one side", "an unknown name", "nothing is locked"],
)
def test_what_cannot_be_compared(project: Path, words: list[str], status: int) -> None:
    expect(doit_oci(project, *words), status)


def entry(path: bytes, sha256: str) -> Entry:
    kind = DIRECTORY if sha256 == "d" else FILE
    return Entry(path=path, type=kind, mode=0o644, uid=0, gid=0, mtime=0, sha256=sha256)


TREES = st.dictionaries(st.sampled_from([b"a", b"a-b", b"a/b", b"b", b"c"]), st.sampled_from("xyd"))


@given(TREES, TREES)
def test_changes_turn_one_tree_into_the_other(
    tmp_path_factory: pytest.TempPathFactory, old: dict[bytes, str], new: dict[bytes, str]
) -> None:
    folder = tmp_path_factory.mktemp("trees")
    for name, found in (("old", old), ("new", new)):
        lines = [entry(path, sha256).to_line() for path, sha256 in sorted(found.items())]
        (folder / name).write_bytes(b"".join(lines))
    made = dict(old)
    for change in compare_entries(folder / "old", folder / "new"):
        if change.new is None:
            assert change.old is not None
            del made[change.old.path]
        else:
            made[change.new.path] = change.new.sha256 or "d"
    assert made == new
    assert bool(list(compare_entries(folder / "old", folder / "new"))) == (old != new)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            {"process": {"args": ["a", "b c"]}},
            {"process": {"args": ["a"]}},
            ['command line changed from "a \'b c\'" to "a"'],
        ),
        (
            {"process": {"env": ["A=1", "B=2"]}},
            {"process": {"env": ["B=3", "A=1"]}},
            ['Env.B changed from "2" to "3"'],
        ),
        (
            {"process": {"capabilities": {"bounding": ["A", "B"], "effective": ["A"]}}},
            {"process": {"capabilities": {"bounding": ["A"], "effective": ["B"]}}},
            ['capabilities lost "B"'],
        ),
        (
            {"mounts": [{"destination": "/tmp", "type": "tmpfs"}]},
            {"mounts": [{"destination": "/tmp", "type": "bind"}]},
            ['mounts./tmp.type changed from "tmpfs" to "bind"'],
        ),
    ],
)
def test_runtime_configurations_in_words(old: Any, new: Any, said: list[str]) -> None:
    assert list(runtime_config_words(old, new)) == said


def test_empty_members_of_an_image_configuration_are_none() -> None:
    full = {"config": {"Cmd": ["x"], "Labels": None, "Volumes": {}, "User": ""}}
    assert list(image_config_words(full, {"config": {"Cmd": ["x"]}})) == []
