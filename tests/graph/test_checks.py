"""check:BUNDLE, called as users call it: what is asked, what is remembered, what CI reads."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tasks.check import _shown

from ..support.command import doit_oci, expect, steps_done

TOML = """
[images.hello-world]
image = "builtin:hello-world"

[bundles.good]
image = "hello-world"
[bundles.good.check]
status = 0
stdout = "Hello from"

[bundles.also]
image = "hello-world"
[bundles.also.check]
stdout = "/Hello from [a-z-]+!/"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "images.toml").write_text(TOML)
    return tmp_path


def test_a_pass_is_remembered_until_the_bundle_or_the_question_changes(project: Path) -> None:
    first = doit_oci(project, "check:good")
    expect(first)
    assert "check" in steps_done(first)
    again = doit_oci(project, "check:good")
    expect(again)
    assert "check" not in steps_done(again)
    text = TOML.replace('stdout = "Hello from"', 'stdout = "Hello"')
    (project / "images.toml").write_text(text)
    asked = doit_oci(project, "check:good")
    expect(asked)
    assert steps_done(asked) == ["check"]
    changed = text.replace("[bundles.good]\n", '[bundles.good]\nenvironment = { A = "b" }\n')
    (project / "images.toml").write_text(changed)
    built = doit_oci(project, "check:good")
    expect(built)
    assert steps_done(built) == ["config", "bundle", "check"]


def test_a_difference_fails_and_is_told_also_to_ci(project: Path) -> None:
    (project / "images.toml").write_text(TOML.replace('"Hello from"', '"Goodbye"'))
    failed = doit_oci(project, "check:good")
    expect(failed, 1)
    assert "Goodbye" in failed.stderr.decode()
    (report,) = (project / "build/checks").glob("good*.xml")
    assert ET.parse(report).getroot().find(".//failure") is not None
    expect(doit_oci(project, "check:good"), 1)


def test_all_checks_run_and_one_failure_is_the_status(project: Path) -> None:
    expect(doit_oci(project, "check"))
    assert len(list((project / "build/checks").glob("*.xml"))) == 2
    (project / "images.toml").write_text(TOML.replace('"Hello from"', '"Goodbye"'))
    expect(doit_oci(project, "check"), 1)


def test_a_failure_keeps_no_other_check_from_running(project: Path) -> None:
    failing = "".join(
        f"[bundles.b{number}]\nimage = 'hello-world'\n[bundles.b{number}.check]\nstdout = 'No'\n"
        for number in range(9)
    )
    (project / "images.toml").write_text(TOML + failing)
    said = doit_oci(project, "check", "-n", "2")
    expect(said, 1)
    assert said.stderr.count(b"error: check:b") == 9
    assert len(list((project / "build/checks").glob("*.xml"))) == 11


@pytest.mark.parametrize("word", ["forget", "clean"])
def test_a_pass_can_be_forgotten(project: Path, word: str) -> None:
    expect(doit_oci(project, "check:good"))
    expect(doit_oci(project, word, "good"))
    assert "check" in steps_done(doit_oci(project, "check:good"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("stdout = '/[/'", "images.toml:8: bundles.good.check.stdout: '/[/' is no pattern"),
        ("stderr = ['x', '/(/']", "bundles.good.check.stderr: '/(/' is no pattern"),
        ("files = { '/a' = '/*/' }", "'/*/' is no pattern: nothing to repeat"),
    ],
)
def test_what_is_no_pattern_is_told_before_anything_runs(
    project: Path, line: str, said: str
) -> None:
    wrong = doit_oci_with(project, TOML.replace("status = 0", line, 1).replace('stdout = "H', '#"'))
    expect(wrong, 3)
    assert said in wrong.stderr.decode()


def doit_oci_with(project: Path, text: str) -> subprocess.CompletedProcess[bytes]:
    (project / "images.toml").write_text(text)
    return doit_oci(project, "check:good")


def test_what_a_container_writes_does_nothing_to_a_terminal(project: Path) -> None:
    control = "\x1b]0;title\x07"
    assert _shown(f"a{control}\nb") == "a\ufffd]0;title\ufffd\n    b"


def test_an_empty_table_asks_for_status_0(project: Path) -> None:
    text = TOML.split("[bundles.good.check]", maxsplit=1)[0] + "[bundles.good.check]\n"
    (project / "images.toml").write_text(text)
    assert "check" in steps_done(doit_oci(project, "check:good"))
    (project / "images.toml").write_text(
        text.replace('image = "hello-world"\n', 'image = "hello-world"\nentrypoint = ["/no"]\n')
    )
    expect(doit_oci(project, "check:good"), 1)
