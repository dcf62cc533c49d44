"""``doctor`` as people call it: anywhere, also where there is no project."""

from __future__ import annotations

import json
from pathlib import Path

from ..support.command import doit_oci, expect


def test_doctor_answers_without_a_project(tmp_path: Path) -> None:
    told = expect(doit_oci(tmp_path, "doctor"))
    found = json.loads(expect(doit_oci(tmp_path, "doctor", "--json")))
    assert {each["state"] for each in found} <= {"good", "limited", "missing"}
    for each in found:
        assert each["subject"] in told
        assert each["text"]
    assert any(each["subject"].startswith("runtime") for each in found)
    assert list(tmp_path.iterdir()) == []


def test_doctor_looks_at_the_projects_own_state_directory(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text("")
    (tmp_path / "below").mkdir()
    expect(doit_oci(tmp_path / "below", "doctor"))
    assert list((tmp_path / "below").iterdir()) == []


def test_doctor_takes_no_names(tmp_path: Path) -> None:
    expect(doit_oci(tmp_path, "doctor", "nonsense"), 3)
