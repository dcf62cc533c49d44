"""The wheel's list of packages is written by hand, because they are renamed: it has to be whole."""

from __future__ import annotations

import re
import tomllib

from ..support.command import CHECKOUT

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))


def folders_with(top: str, pattern: str) -> set[str]:
    found = {path.parent for path in (CHECKOUT / top).rglob(pattern)}
    return {"doit_oci." + ".".join(path.relative_to(CHECKOUT).parts) for path in found}


def test_every_folder_of_tasks_and_specs_is_packaged() -> None:
    there = {"doit_oci", *folders_with("tasks", "*.py"), *folders_with("specs", "*.json")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == there


def test_every_folder_with_modules_is_a_package() -> None:
    for folder in {path.parent for path in (CHECKOUT / "tasks").rglob("*.py")}:
        assert (folder / "__init__.py").is_file(), folder


def test_the_version_stands_in_one_place() -> None:
    assert "version" in PROJECT["project"]["dynamic"]
    source = (CHECKOUT / "tasks" / "__init__.py").read_text("utf-8")
    assert re.search(r'^__version__ = "\d+\.\d+\.\d+', source, re.MULTILINE)


def test_what_is_installed_is_what_is_locked() -> None:
    declared = {line.replace(" ", "").lower() for line in PROJECT["project"]["dependencies"]}
    lines = (CHECKOUT / ".ci" / "requirements.in").read_text("utf-8").splitlines()
    locked = {line.replace(" ", "").lower() for line in lines if line and line[0] != "#"}
    assert declared == locked


def test_each_extra_is_known_to_the_tests() -> None:
    lines = (CHECKOUT / ".ci" / "requirements-dev.in").read_text("utf-8").splitlines()
    for extra in PROJECT["project"]["optional-dependencies"].values():
        for requirement in extra:
            name = re.split(r"[<>=]", requirement)[0]
            assert any(re.split(r"[<>=\[]", line)[0] == name for line in lines), name
