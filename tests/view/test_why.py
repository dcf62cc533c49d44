"""``why`` and ``graph``: what would run, in words and as pictures, without running it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ..support.command import doit_oci, expect, steps_done
from .golden import check_golden

TOML = """\
[defaults]
platform = "linux/amd64"

[images.hello-world]
image = "builtin:hello-world"

[bundles.hello]
image = "hello-world"
environment = { DEBUG = "0" }
"""
STATES = ["layout:hello-world", "rootfs:hello", "config:hello", "bundle:hello"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "images.toml").write_text(TOML)
    return tmp_path


def edit(project: Path, old: str, new: str) -> None:
    path = project / "images.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_ino, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def break_rootfs(project: Path) -> None:
    shutil.rmtree(project / "build/bundles/hello/rootfs")


def lose_a_blob(project: Path) -> None:
    for path in (project / "build/blobs/sha256").iterdir():
        if path.stat().st_size > 1000:
            path.unlink()


CASES = {
    "built": lambda project: None,
    "environment": lambda project: edit(project, 'DEBUG = "0"', 'DEBUG = "1"'),
    "two-overrides": lambda project: edit(
        project, "environment", 'hostname = "h"\nworking_dir = "/"\nenvironment'
    ),
    "rootfs-gone": break_rootfs,
    "blob-lost": lose_a_blob,
    "stamp-gone": lambda project: (project / "build/stamps/config/hello.json").unlink(),
}


def test_why_before_anything_is_resolved(project: Path) -> None:
    check_golden("why-unresolved.txt", expect(doit_oci(project, "why", "run:hello", "--offline")))
    assert not (project / "images.lock").exists()


@pytest.mark.parametrize("case", CASES)
def test_why_in_words(project: Path, case: str) -> None:
    expect(doit_oci(project, "bundle:hello"))
    CASES[case](project)
    expect(doit_oci(project, "list"))
    before = snapshot(project)
    check_golden(f"why-{case}.txt", expect(doit_oci(project, "why", "run:hello")))
    assert snapshot(project) == before


@pytest.mark.parametrize("case", CASES)
def test_why_agrees_with_doit_info_and_with_the_build(project: Path, case: str) -> None:
    expect(doit_oci(project, "bundle:hello"))
    CASES[case](project)
    told = json.loads(expect(doit_oci(project, "why", "bundle:hello", "--json")))["tasks"]
    states = {task["task"]: task["state"] for task in told}
    for task in STATES:
        info = doit_oci(project, "info", task).stdout.decode()
        assert ("up-to-date" in info) == (states[task] == "up to date"), (task, info)
    built = doit_oci(project, "bundle:hello")
    expect(built)
    due = [task for task, state in states.items() if state == "would run"]
    assert steps_done(built) == [task.partition(":")[0] for task in due]


def test_the_origin_of_every_value(project: Path) -> None:
    expect(doit_oci(project, "bundle:hello"))
    config = json.loads((project / "build/bundles/hello/config.json").read_text())
    told = json.loads(expect(doit_oci(project, "why", "config:hello", "--json")))
    origins = {each["pointer"]: each for each in told["origins"]["hello"]}
    assert sorted(origins) == sorted(leaves(config, ""))
    (place,) = [p for p, each in origins.items() if each["value"] == "DEBUG=0"]
    assert origins[place]["origin"] == "bundle: environment.DEBUG"
    assert origins["/process/args/0"]["origin"] == "image"
    assert origins["/root/path"]["origin"] == "built-in"
    text = expect(doit_oci(project, "why", "config:hello"))
    assert "bundle: environment.DEBUG" in text
    assert "/process/noNewPrivileges" in text


def leaves(value: object, pointer: str) -> list[str]:
    if isinstance(value, dict) and value:
        inner = [(str(name).replace("~", "~0").replace("/", "~1"), v) for name, v in value.items()]
    elif isinstance(value, list) and value:
        inner = [(str(place), v) for place, v in enumerate(value)]
    else:
        return [pointer]
    return [leaf for name, v in inner for leaf in leaves(v, f"{pointer}/{name}")]


@pytest.mark.parametrize("form", ["text", "mermaid", "dot"])
def test_the_graph_as_text(project: Path, form: str) -> None:
    expect(doit_oci(project, "bundle:hello"))
    edit(project, 'DEBUG = "0"', 'DEBUG = "1"')
    env = {"PYTHONIOENCODING": "utf-8"}
    told = doit_oci(project, "graph", "run:hello", "--format", form, env=env)
    check_golden(f"graph.{form}.txt", expect(told))


def test_answers_where_only_ascii_can_be_shown(project: Path) -> None:
    env = {"PYTHONIOENCODING": "ascii"}
    assert "`-- bundle:hello" in expect(doit_oci(project, "graph", "run:hello", env=env))
    expect(doit_oci(project, "lock", env=env))
    told = expect(doit_oci(project, "diff", "hello-world", "hello", env=env))
    assert told.startswith("hello-world ? hello\n")


def test_two_bundles_share_a_layout_in_the_tree(project: Path) -> None:
    expect(doit_oci(project, "lock"))
    told = expect(doit_oci(project, "graph", env={"PYTHONIOENCODING": "utf-8"}))
    assert told.count("layout:hello-world") == 2
    assert told.count("(*)") == 1


def test_the_graph_as_svg_is_drawn_by_graphviz(project: Path) -> None:
    assert shutil.which("dot"), "dot is missing: apt-get install graphviz"
    told = expect(doit_oci(project, "graph", "run:hello", "--format", "svg"))
    root = ElementTree.fromstring(told)
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "run:hello" in texts
    assert "always runs" in texts


def test_names_that_try_to_be_markup_stay_text(project: Path) -> None:
    from tasks.view.picture.markup import draw_dot, draw_mermaid
    from tasks.view.why import DUE, Finding

    evil = Finding('bundle:"];<script>', DUE, ('a "quote" \\',), ())
    done = subprocess.run(
        ["dot", "-Tplain"], input=draw_dot([evil]).encode(), capture_output=True, check=True
    )
    assert done.stdout.count(b"\nnode ") == 1
    assert "<script>" not in draw_mermaid([evil])


@pytest.mark.parametrize("words", [["why", "nope"], ["why", "frob:hello"], ["graph", "run:nope"]])
def test_unknown_targets_end_with_3(project: Path, words: list[str]) -> None:
    expect(doit_oci(project, *words), 3)


def test_a_check_is_judged_by_the_bundle_that_it_would_run(project: Path) -> None:
    with (project / "images.toml").open("a") as file:
        file.write('\n[bundles.hello.check]\nstdout = "Hello from"\n')
    told = []
    for words in (["bundle:hello"], ["check:hello"], []):
        if words:
            expect(doit_oci(project, *words))
        else:
            edit(project, 'DEBUG = "0"', 'DEBUG = "1"')
        told.append(
            expect(doit_oci(project, "why", "check:hello")).splitlines()[-1].split("  ")[-1].strip()
        )
    assert told == [
        "would run because this bundle digest has not passed it here",
        "up to date because this bundle digest has passed this check",
        "not known yet: bundle:hello runs first; a digest that passed is not run again",
    ]
