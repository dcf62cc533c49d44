"""One digest under every Python from 3.11 to 3.14, and on an arm64 host as on an amd64 one.

The goldens are compared by whichever Python and host run the tests, by those that `./doitw test`
unpacks from other Debian releases, arm64's under emulation, and by others that are here. They
borrow this one's packages, of which only those without compiled code load: so what has a fallback
is tried without its library as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from tests.golden.test_step_keys import DECLARATION, layer
from tests.support.command import DOOR, expect
from tests.support.layout import write_layout
from tests.support.pythons import WHO, Python, found_pythons, unpacked_pythons

BUILTIN = """
[images.hello]
image = "builtin:hello-world"
[bundles.amd64]
image = "hello"
platform = "linux/amd64"
[bundles.arm64]
image = "hello"
platform = "linux/arm64"
"""
WRITTEN = Path(__file__).with_name("digests.json")
"""Digests of bundles and sha256 of exports; written anew with UPDATE_GOLDEN=1, like the step keys."""

BUNDLES = ("plain", "changed", "amd64", "arm64")
ENDINGS = (".tar", ".tar.gz", ".tar.zst")
HAS_ZSTD = "try: import zstandard\nexcept ImportError: import compression.zstd"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    write_layout(tmp_path / "layout", layer(), compress=False)
    (tmp_path / "images.toml").write_text(DECLARATION + BUILTIN)
    return tmp_path


PYTHONS = unpacked_pythons() + found_pythons()


def digests(here: Path, python: Python) -> dict[str, str]:
    """Of each bundle, as it is locked after everything was built."""
    expect(python.run(here, DOOR, *(f"bundle:{name}" for name in BUNDLES)))
    bundles = json.loads((here / "images.lock").read_bytes())["bundles"]
    return {name: next(iter(bundles[name].values()))["digest"] for name in BUNDLES}


@pytest.mark.parametrize("python", PYTHONS, ids=str)
def test_digests_and_exports_are_the_golden_ones_under(python: Python, here: Path) -> None:
    who = python.run(here, WHO)
    expect(who)
    assert who.stdout.split() == [python.version.encode(), python.machine.encode()]
    found = digests(here, python)
    for ending in ENDINGS:
        if ending == ".tar.zst" and python.run(here, HAS_ZSTD).returncode:
            continue
        expect(python.run(here, DOOR, "export", "changed", f"x{ending}"))
        found[ending] = hashlib.sha256((here / f"x{ending}").read_bytes()).hexdigest()
    if os.environ.get("UPDATE_GOLDEN") and python.program == sys.executable:
        WRITTEN.write_text(json.dumps(found, indent=2) + "\n")
    golden = json.loads(WRITTEN.read_text())
    assert found == {name: golden[name] for name in found}
    assert {*found, ".tar.zst"} == set(golden)
