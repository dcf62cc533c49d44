"""What doctor finds has to be what runs find."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.doctor import examine_host, findings_text

CODE = """
import json, sys
from pathlib import Path
from tasks.doctor import examine_host
print(json.dumps([each.to_json() for each in examine_host(state=Path(sys.argv[1] if len(sys.argv) > 1 else "."))]))
"""


def test_root_has_everything_here(tmp_path: Path) -> None:
    found = {each.subject: each for each in examine_host(state=tmp_path)}
    for subject in (
        "runtime runc",
        "runtime crun",
        "overlay",
        "user namespaces",
        "cgroups",
        "init",
    ):
        assert found[subject].state == "good", findings_text([found[subject]])
    assert list(tmp_path.iterdir()) == []


def test_users_differ_in_their_ids(users, place: Path) -> None:
    place.mkdir()
    states = {}
    for name in ("subordinate ids", "a single id"):
        place.chmod(0o777)
        found = json.loads(users[name].run(CODE, cwd=place))
        states[name] = {each["subject"]: each["state"] for each in found}
        assert states[name]["overlay"] == "good"
    assert states["subordinate ids"]["subordinate ids"] == "good"
    assert states["a single id"]["subordinate ids"] == "limited"


def test_the_table_names_the_hint(tmp_path: Path) -> None:
    text = findings_text(examine_host(state=tmp_path))
    assert "runtime runc" in text
    assert text.endswith("\n")
