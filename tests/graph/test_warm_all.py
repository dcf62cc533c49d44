"""Everything is current: said by one record, and never when anything at all is different."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.warm import ALL
from tests.support.command import CHECKOUT, DOOR, doit_oci, expect
from tests.support.layers import item, tar
from tests.support.layout import write_layout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_layout(tmp_path / "layout", tar([item("f", "x")]))
    (tmp_path / "images.toml").write_text(
        '[images.a]\nimage = "oci:layout"\n'
        '[bundles.b]\nimage = "a"\ncommand = ["/f"]\nenv_file = "my.env"\n'
    )
    (tmp_path / "my.env").write_text("A=1\n")
    time.sleep(0.1)
    expect(doit_oci(tmp_path, "bundle"))
    return tmp_path


def loads_doit(project: Path, *words: str) -> bool:
    code = f"{DOOR.rpartition(';')[0]}; main(sys.argv[1:]); print('doit' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        check=True,
        capture_output=True,
    )
    return done.stdout.split()[-1] == b"True"


@pytest.mark.parametrize("words", [(), ("bundle",)])
def test_nothing_to_build_needs_no_doit(words: tuple[str, ...], project: Path) -> None:
    assert not loads_doit(project, *words)


def test_a_single_target_is_still_doits(project: Path) -> None:
    assert loads_doit(project, "bundle:b")


def record(project: Path) -> Path:
    return project / "build" / "ready" / f"{ALL}.json"


def edit(path: str, content: str) -> Callable[[Path], object]:
    return lambda project: (project / path).write_text((project / path).read_text() + content)


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "the declaration": (edit("images.toml", 'hostname = "x"\n'), ["config:b", "bundle:b"]),
    "a watched file": (edit("my.env", "B=2\n"), ["config:b", "bundle:b"]),
    "config.json": (edit("build/bundles/b/config.json", " "), ["config:b"]),
    "a tree is gone": (lambda p: shutil.rmtree(p / "build/bundles/b/rootfs"), ["rootfs:b"]),
    "a bundle is gone": (
        lambda p: shutil.rmtree(p / "build/bundles/b"),
        ["rootfs:b", "config:b"],
    ),
    "a layout is gone": (lambda p: shutil.rmtree(p / "build/layouts/a"), ["layout:a"]),
    "a stamp is gone": (lambda p: (p / "build/stamps/bundle/b.json").unlink(), ["bundle:b"]),
    "a damaged record": (lambda p: record(p).write_text("[]"), []),
    "no record": (lambda p: record(p).unlink(), []),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen(name: str, project: Path) -> None:
    change, steps = CHANGES[name]
    change(project)
    result = doit_oci(project, "bundle")
    expect(result)
    done = re.findall(r"^\.  (\w+:\w+)", result.stderr.decode(), re.MULTILINE)
    assert set(steps) <= set(done)
    time.sleep(0.1)
    expect(doit_oci(project, "bundle"))
    assert not loads_doit(project, "bundle")
