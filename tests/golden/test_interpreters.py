"""One digest under every Python that this machine has, and whatever the machine calls itself.

The goldens are compared by whichever Python and host run the tests; this looks for other Pythons
too, on PATH and where pyenv and uv keep theirs. They borrow this one's packages, of which only
those without compiled code load: so what has a fallback is tried without its library as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import doit
import pytest

from tests.golden.test_step_keys import DECLARATION, layer
from tests.support.command import CHECKOUT, DOOR, expect
from tests.support.layout import write_layout

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
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
ASK = "import sys; print('%d.%d' % sys.version_info[:2])"
HAS_ZSTD = "try: import zstandard\nexcept ImportError: import compression.zstd"
AS_ARM = """
import os
os.uname = lambda: os.uname_result(("Linux", "arm", "6.1", "#1", "aarch64"))
"""


def interpreters() -> dict[str, str]:
    """Each supported version that is here, and its program."""
    home = Path.home()
    found = {".".join(map(str, sys.version_info[:2])): sys.executable}
    for version in VERSIONS:
        places = [
            shutil.which(f"python{version}"),
            *sorted((home / ".pyenv/versions").glob(f"{version}.*/bin/python")),
            *sorted((home / ".local/share/uv/python").glob(f"cpython-{version}.*/bin/python")),
        ]
        for place in filter(None, places):
            done = subprocess.run([place, "-c", ASK], capture_output=True, text=True, check=False)
            if done.returncode == 0 and done.stdout.strip() == version:
                found.setdefault(version, str(place))
    return found


PYTHONS = interpreters()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    write_layout(tmp_path / "layout", layer(), compress=False)
    (tmp_path / "images.toml").write_text(DECLARATION + BUILTIN)
    return tmp_path


PACKAGES = {"PYTHONPATH": f"{CHECKOUT}:{Path(doit.__file__).resolve().parents[1]}"}


def run(here: Path, python: str, *words: str, first: str = "") -> None:
    done = subprocess.run(
        [python, "-c", first + DOOR, *words],
        cwd=here,
        env={**os.environ, **PACKAGES},
        capture_output=True,
        check=False,
    )
    expect(done)


def can(python: str, code: str) -> bool:
    done = subprocess.run(
        [python, "-c", code], env={**os.environ, **PACKAGES}, capture_output=True, check=False
    )
    return done.returncode == 0


def digests(here: Path, python: str, first: str = "") -> dict[str, str]:
    """Of each bundle, as it is locked after everything was built."""
    run(here, python, *(f"bundle:{name}" for name in BUNDLES), first=first)
    bundles = json.loads((here / "images.lock").read_bytes())["bundles"]
    return {name: next(iter(bundles[name].values()))["digest"] for name in BUNDLES}


@pytest.mark.parametrize("version", PYTHONS)
def test_digests_and_exports_are_the_golden_ones_under(version: str, here: Path) -> None:
    python = PYTHONS[version]
    found = digests(here, python)
    for ending in ENDINGS:
        if ending == ".tar.zst" and not can(python, HAS_ZSTD):
            continue
        run(here, python, "export", "changed", f"x{ending}")
        found[ending] = hashlib.sha256((here / f"x{ending}").read_bytes()).hexdigest()
    if os.environ.get("UPDATE_GOLDEN") and python == sys.executable:
        WRITTEN.write_text(json.dumps(found, indent=2) + "\n")
    golden = json.loads(WRITTEN.read_text())
    assert found == {name: golden[name] for name in found}
    assert {*found, ".tar.zst"} == set(golden)


def test_digests_are_the_golden_ones_where_the_kernel_says_another_machine(here: Path) -> None:
    golden = json.loads(WRITTEN.read_text())
    found = digests(here, sys.executable, first=AS_ARM)
    assert found == {name: golden[name] for name in BUNDLES}
