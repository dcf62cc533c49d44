"""What may import what (docs: the layers), read from every import statement in tasks/.

    errors, progress, value ← oci ← project ← steps ← wiring ← doors
                       oci ← store   ← steps

project and store do not know each other, steps do not know each other, only doors know doit.
Wiring is what puts steps together, and what shows them: every other module at the top of tasks/.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.command import CHECKOUT

TASKS = CHECKOUT / "tasks"
GROUND = {
    "",
    "boot",
    "command_line",
    "errors",
    "figures",
    "interrupt",
    "progress",
    "standard_files",
    "turns",
    "value",
}
FOLDERS = {"oci": "oci", "project": "project", "store": "store", "commands": "door", "view": "door"}
STEPS = {
    *(
        "add",
        "blob",
        "bundle",
        "cache_key",
        "check",
        "clean",
        "config_json",
        "containers",
        "doctor",
        "export",
    ),
    *("gc", "import_bundle", "init"),
    *("inspect", "layout", "provenance", "remote_cache", "resolve", "rootfs", "run", "shard"),
    *("validate", "verify"),
}
PURE = {"builtin"}
DOORS = {"api", "cli", "direct", "project_folder", "doit_bridge", "graph", "creators", "completion"}
MAY_IMPORT = {
    "ground": {"ground"},
    "oci": {"ground", "oci"},
    "project": {"ground", "oci", "project"},
    "store": {"ground", "oci", "store"},
    "step": {"ground", "oci", "project", "store"},
    "wiring": {"ground", "oci", "project", "store", "step", "wiring"},
    "door": {"ground", "oci", "project", "store", "step", "wiring", "door"},
}
HEAVY = ("requests", "urllib3", "jsonschema", "rich", "tomlkit", "tomllib", "subprocess")
WARM_HEAVY = (*HEAVY, "doit", "dataclasses", "inspect", "argparse", "logging", "tempfile", "shutil")


def layer_of(module: str) -> str:
    """The layer of a module named relative to tasks, as ``oci.digest``."""
    first = module.partition(".")[0]
    if first in GROUND:
        return "ground"
    if first in FOLDERS:
        return FOLDERS[first]
    if first in PURE:
        return "oci"
    if first in DOORS:
        return "door"
    return "step" if first in STEPS else "wiring"


def module_name(path: Path) -> str:
    parts = path.relative_to(TASKS).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    place = TASKS.joinpath(*name.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name (relative to tasks; absolute names with their first part) of each import."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    package = [part for part in package if part]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, f"/{each.name}") for each in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, f"/{node.module}"
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1]
            stem = [*start, *(node.module.split(".") if node.module else ())]
            for each in node.names:
                longer = ".".join([*stem, each.name])
                yield node.lineno, longer if is_module(longer) else ".".join(stem)


def problems(path: Path) -> Iterator[str]:
    name = module_name(path)
    layer = layer_of(name)
    family = name.partition(".")[0]
    for line, target in imported(path):
        where = f"tasks/{path.relative_to(TASKS)}:{line}"
        if target.startswith("/"):
            first = target[1:].partition(".")[0]
            if first in ("tasks", "specs", "doit_oci", "tests"):
                yield f"{where} imports {first} by its absolute name"
            if first == "doit" and layer != "door":
                yield f"{where} imports doit; only {', '.join(sorted(DOORS))} and commands may"
            continue
        if not is_module(target) and target:
            yield f"{where} imports {target}, which is not there"
            continue
        other = layer_of(target)
        inside = layer == "step" and target.partition(".")[0] == family
        if other not in MAY_IMPORT[layer] and not inside:
            yield f"{where} ({layer}) imports {target} ({other})"


@pytest.mark.parametrize(
    "path", sorted(TASKS.rglob("*.py")), ids=lambda path: module_name(path) or "tasks"
)
def test_no_import_goes_upwards_or_sideways(path: Path) -> None:
    assert list(problems(path)) == []


def test_every_step_is_there() -> None:
    assert {name for name in STEPS | PURE | DOORS if not is_module(name)} == set()


def test_the_reader_of_imports_sees_each_form(tmp_path: Path) -> None:
    path = TASKS / "oci" / "of_this_test.py"
    source = "import doit\nfrom ..store.guard import guard\ndef f():\n    from .. import run\n"
    tree = tmp_path / "of_this_test.py"
    tree.write_text(source)

    class Elsewhere(type(path)):  # type: ignore[misc]
        def read_text(self, *rest: object, **given: object) -> str:
            return source

    found = list(problems(Elsewhere(path)))
    assert len(found) == 3, found


def loaded_by(code: str, folder: Path) -> set[str]:
    """The modules that a fresh interpreter has after ``code``."""
    end = "print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys\n{code}\n{end}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *sys.path[1:]])},
        stdout=subprocess.PIPE,
        check=True,
    )
    return set(done.stdout.decode().split())


def test_the_warm_path_loads_nothing_heavy(tmp_path: Path) -> None:
    loaded = loaded_by("import tasks.cli, tasks.warm.bundle, tasks.run, json", tmp_path)
    assert "tasks.run" in loaded
    assert not loaded & set(WARM_HEAVY), sorted(loaded & set(WARM_HEAVY))


@pytest.mark.parametrize("module", ["graph", "doit_bridge", "commands", "steps"])
def test_importing_a_module_loads_no_library_of_an_action(module: str, tmp_path: Path) -> None:
    # What doit itself loads is not ours to save.
    before = loaded_by("import doit.doit_cmd, doit.cmd_run, doit.task", tmp_path)
    loaded = loaded_by(f"import tasks.{module}", tmp_path) - before
    assert not loaded & set(HEAVY), sorted(loaded & set(HEAVY))
