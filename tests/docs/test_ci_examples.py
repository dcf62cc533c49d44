"""The CI examples: short, well formed, and their steps do what they say, run as the CI runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command import CHECKOUT, DOOR, doit_oci, expect
from tests.support.layers import item, tar
from tests.support.layout import write_layout

FOLDER = CHECKOUT / "docs" / "ci"
SCHEMAS = {"github-actions.yml": "vendor.github-workflows", "gitlab-ci.yml": "vendor.gitlab-ci"}
NAMES = (*SCHEMAS, "Jenkinsfile")
SHARDS = 3
BUNDLES = tuple(f"b{number}" for number in range(12))


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_under_thirty_lines_and_names_no_registry_host(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert len(text.splitlines()) < 30
    assert not re.search(r"\b[a-z0-9-]+\.(io|com|org|net)\b", text)


@pytest.mark.parametrize("name", SCHEMAS)
def test_an_example_is_what_its_ci_accepts(name: str) -> None:
    words = ["-m", "check_jsonschema", "--builtin-schema", SCHEMAS[name], str(FOLDER / name)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


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


class Runner:
    """A project with a committed lock, and a machine where an installation is there already."""

    def __init__(self, where: Path) -> None:
        self.project = where / "project"
        self.project.mkdir()
        text = ""
        for name in BUNDLES:
            # A shard is chosen by the reference of an image: these have one each.
            write_layout(self.project / f"layout-{name}", tar([item(name, name)]))
            text += f'[images.{name}]\nimage = "oci:layout-{name}"\n'
        (self.project / "images.toml").write_text(text)
        expect(doit_oci(self.project, "bundle"))
        self.lock = (self.project / "images.lock").read_bytes()
        subprocess.run(["rm", "-r", self.project / "build"], check=True)
        programs = self.project / ".venv" / "bin"
        programs.mkdir(parents=True)
        self.install(programs / "doit-oci", f'exec {sys.executable} -c "{DOOR}" "$@"')
        for name in ("pip", "pipx", "python3"):
            self.install(programs / name, f'echo "{name} $*" >&2')
        self.path = f"{programs}:/usr/bin:/bin"

    def install(self, path: Path, line: str) -> None:
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def run(self, script: str, **variables: str) -> str:
        """Run a step; give back what it said."""
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self.project,
            env={"PATH": self.path, "HOME": os.environ["HOME"], "PYTHONPATH": str(CHECKOUT)}
            | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        expect(done)
        return done.stdout.decode() + done.stderr.decode()

    def built(self) -> set[str]:
        """Whose layers are there to be cached, which a build alone fetches; the lock is as it was."""
        assert (self.project / "images.lock").read_bytes() == self.lock
        found = set()
        for name, image in json.loads(self.lock)["images"].items():
            (platform,) = image["platforms"].values()
            digest = platform["layers"][0]["digest"].replace(":", "/")
            if (self.project / "build" / "blobs" / digest).exists():
                found.add(name)
        return found

    def check_shards(self, parts: list[set[str]]) -> None:
        """``parts`` are what was there after each shard, all on one machine."""
        assert parts[0] < parts[1] < parts[2] == set(BUNDLES)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def test_the_steps_of_the_github_example_build_every_bundle(runner: Runner) -> None:
    found: dict[Any, Any] = yaml.safe_load((FOLDER / "github-actions.yml").read_text())
    (job,) = found["jobs"].values()
    assert job["strategy"]["matrix"]["shard"] == [f"{n}/{SHARDS}" for n in range(1, SHARDS + 1)]
    outputs = runner.project / "outputs"
    parts = []
    for shard in job["strategy"]["matrix"]["shard"]:
        outputs.write_text("")
        for step in job["steps"]:
            script = step.get("run", ":").replace("${{ matrix.shard }}", shard)
            assert "${{" not in script
            runner.run(script, GITHUB_OUTPUT=str(outputs))
        parts.append(runner.built())
    said = dict(line.split("=") for line in outputs.read_text().splitlines())
    key, restore = expect(doit_oci(runner.project, "cache", "key")).splitlines()
    assert said == {"key": key, "restore": restore}
    (cache,) = [step["with"] for step in job["steps"] if "cache@" in step.get("uses", "")]
    for name in re.findall(r"steps\.key\.outputs\.(\w+)", str(cache)):
        assert name in said
    runner.check_shards(parts)


def gitlab_keys(cache: dict[str, Any], lock: str) -> list[str]:
    """The whole names that GitLab asks for, in order; it knows no prefixes."""
    key = cache["key"]
    first = key if isinstance(key, str) else f"{key['prefix']}-{lock}"
    return [first, *cache.get("fallback_keys", ())]


def test_the_gitlab_example_starts_with_what_an_older_lock_left() -> None:
    (job,) = yaml.safe_load((FOLDER / "gitlab-ci.yml").read_text()).values()
    saved = gitlab_keys(job["cache"], "old lock")[0]
    assert saved in gitlab_keys(job["cache"], "new lock")


def test_the_script_of_the_gitlab_example_builds_every_bundle(runner: Runner) -> None:
    found = yaml.safe_load((FOLDER / "gitlab-ci.yml").read_text())
    (job,) = found.values()
    assert (job["parallel"], job["cache"]["paths"]) == (SHARDS, ["build/"])
    variables = {"CI_PROJECT_DIR": str(runner.project), "CI_NODE_TOTAL": str(SHARDS)}
    for name, value in job["variables"].items():
        variables[name] = value.replace("$CI_PROJECT_DIR", str(runner.project))
    parts = []
    for number in range(1, SHARDS + 1):
        script = "\n".join([*job["before_script"], *job["script"]])
        runner.run(script, CI_NODE_INDEX=str(number), **variables)
        parts.append(runner.built())
    runner.check_shards(parts)


def test_the_shell_of_the_jenkinsfile_builds_every_bundle(runner: Runner) -> None:
    text = (FOLDER / "Jenkinsfile").read_text()
    assert f"(1..{SHARDS})" in text
    scripts = [
        block or one.replace("${number}", "{number}")
        for block, one in re.findall(r"\bsh (?:'''((?:.|\n)*?)'''|['\"]([^'\"]*)['\"])", text)
    ]
    assert len(scripts) == text.count("sh '") + text.count('sh "')
    parts = []
    for number in range(1, SHARDS + 1):
        for script in scripts:
            runner.run(script.replace("{number}", str(number)))
        parts.append(runner.built())
    runner.check_shards(parts)
