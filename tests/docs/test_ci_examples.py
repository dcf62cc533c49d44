"""The CI examples: short, well formed, and with words that this program knows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.commands import COMMANDS
from tests.support.command import doit_oci, expect

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "ci"
NAMES = ("github-actions.yml", "gitlab-ci.yml", "Jenkinsfile")
OPTION = re.compile(r"(--[a-z-]+)")


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_under_thirty_lines_and_names_no_registry_host(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert len(text.splitlines()) < 30
    assert not re.search(r"\b[a-z0-9-]+\.(io|com|org|net)\b", text)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_uses_commands_that_there_are(name: str, tmp_path: Path) -> None:
    text = (FOLDER / name).read_text()
    calls = re.findall(r"doit-oci (?!'|\")([^\n'\"]+)", text)
    assert len(calls) >= 3
    for call in calls:
        words = [word for word in call.split() if not word.startswith("--")]
        command = words[0] if words else ""
        assert command in {*COMMANDS, "bundle", "||"}, call
        if command in COMMANDS:
            help_text = expect(doit_oci(tmp_path, command, "--help"))
            for option in OPTION.findall(call):
                assert option in help_text or option in ("--locked", "--shard"), call


def test_the_github_example_is_a_workflow() -> None:
    found: dict[Any, Any] = yaml.safe_load((FOLDER / "github-actions.yml").read_text())
    assert set(found) == {True, "permissions", "jobs"}  # YAML 1.1 takes "on" for a boolean
    for job in found["jobs"].values():
        assert job["runs-on"]
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
    text = (FOLDER / "github-actions.yml").read_text()
    assert text.count("${{") == text.count("}}")


def test_the_gitlab_example_is_a_pipeline() -> None:
    found = yaml.safe_load((FOLDER / "gitlab-ci.yml").read_text())
    for job in found.values():
        assert isinstance(job["script"], list)
        assert job["cache"]["paths"] == ["build/"]
        assert job["parallel"] == 3


def test_the_jenkinsfile_closes_what_it_opens() -> None:
    text = re.sub(
        r"//.*|'''(.|\n)*?'''|'[^'\n]*'|\"[^\"\n]*\"", "", (FOLDER / "Jenkinsfile").read_text()
    )
    waiting = []
    pairs = {")": "(", "]": "[", "}": "{"}
    for character in text:
        if character in pairs.values():
            waiting.append(character)
        elif character in pairs:
            assert waiting.pop() == pairs[character]
    assert not waiting


def test_the_steps_of_the_examples_work_on_a_project(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text('[images.hello]\nimage = "builtin:hello-world"\n')
    expect(doit_oci(tmp_path, "lock"))
    key, restore = expect(doit_oci(tmp_path, "cache", "key")).splitlines()
    assert key.startswith(restore)
    expect(doit_oci(tmp_path, "lock", "--check"))
    for number in (1, 2, 3):
        expect(doit_oci(tmp_path, "bundle", "--shard", f"{number}/3"))
    expect(doit_oci(tmp_path, "--locked", "bundle", "--shard", "1/3"))
    expect(doit_oci(tmp_path, "gc", "--max-size", "5GB"))
