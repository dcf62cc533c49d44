"""check:BUNDLE, called as users call it: what is asked, what is remembered, what CI reads."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

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
