"""The bundle digest: the same whoever computes it, wherever, and different for any difference."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.bundle import bundle_digest
from tasks.errors import StoreError
from tasks.oci.entry import Entry
from tests.support.other_user import as_other_user
from tests.support.trees import CONFIG

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = b"".join(
    Entry(
        path=path, type="file", mode=0o644, uid=1, gid=2, mtime=3, size=0, sha256="0" * 64
    ).to_line()
    for path in (b"a", b"latin-\xe9", "ä".encode())
)
# Made with sha256sum and printf, not with this program.
GOLDEN = "sha256:6e175056ff8a300d86a9542f5dad0506364cbc766f62e7827eec4d1d437f814d"


def put(where: Path, entries: bytes = ENTRIES, config: bytes = CONFIG) -> tuple[Path, Path]:
    where.mkdir(exist_ok=True, parents=True)
    (where / "entries.jsonl").write_bytes(entries)
    (where / "config.json").write_bytes(config)
    return where / "entries.jsonl", where / "config.json"


def test_digest_is_the_golden_one(tmp_path: Path) -> None:
    entries, config = put(tmp_path)
    assert bundle_digest(entries=entries, config_json=config) == GOLDEN


@pytest.mark.parametrize(
    ("entries", "config"),
    [(ENTRIES + b"\n", CONFIG), (ENTRIES, CONFIG + b" "), (b"", CONFIG), (CONFIG, ENTRIES)],
    ids=["entries", "config", "no entries", "swapped"],
)
def test_digest_differs_for_a_difference_in(entries: bytes, config: bytes, tmp_path: Path) -> None:
    paths = put(tmp_path, entries, config)
    assert bundle_digest(entries=paths[0], config_json=paths[1]) != GOLDEN


def test_digest_of_a_bundle_that_is_not_built_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="build the bundle first"):
        bundle_digest(entries=tmp_path / "none", config_json=tmp_path / "none")


ENVIRONMENTS: dict[str, tuple[int, dict[str, str]]] = {
    "umask 022": (0o022, {}),
    "umask 077": (0o077, {}),
    "umask 0": (0, {}),
    "time zone": (0o022, {"TZ": "Asia/Kathmandu"}),
    "C locale": (0o022, {"LC_ALL": "C"}),
    "ASCII locale": (0o022, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
    "hash seed": (0o022, {"PYTHONHASHSEED": "7"}),
    "optimised": (0o022, {"PYTHONOPTIMIZE": "2"}),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_digest_and_entry_lines_do_not_depend_on(name: str, tmp_path: Path) -> None:
    put(tmp_path / "a directory of its own")
    program = (
        "from tasks.bundle import bundle_digest as digest; from tasks.oci.entry import Entry;"
        "from pathlib import Path; where = Path('a directory of its own');"
        "lines = (where / 'entries.jsonl').read_bytes().splitlines(True);"
        "assert [Entry.from_line(line).to_line() for line in lines] == lines;"
        "assert Entry.from_line(lines[1]).path == b'latin-\\xe9';"
        "print(digest(entries=where / 'entries.jsonl', config_json=where / 'config.json'))"
    )
    umask, environment = ENVIRONMENTS[name]
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), **environment},
        umask=umask,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == GOLDEN


def test_digest_is_the_same_for_another_user(tmp_path: Path) -> None:
    where = tmp_path / "other"
    entries, config = put(where)
    where.chmod(0o755)

    def compute() -> None:
        found = bundle_digest(entries=entries, config_json=config)
        assert found == GOLDEN, found

    as_other_user(compute, cwd=where)
