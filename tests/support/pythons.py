"""Other Pythons: those that `./doitw test` unpacks (.ci/pythons.txt), and those that are here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import doit
import pytest

from tests.support.command import CHECKOUT

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
WHO = "import os, sys; print('%d.%d' % sys.version_info[:2], os.uname().machine)"
ENVIRONMENT = Path(sys.prefix)
PACKAGES = f"{CHECKOUT}:{Path(doit.__file__).resolve().parents[1]}"


@dataclass(frozen=True, kw_only=True)
class Python:
    """One interpreter. ``tree`` is the root file system that it has to see as its own, if any."""

    version: str
    machine: str
    program: str
    tree: Path | None = None
    origin: str = ""
    env: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.version} on {self.machine}{self.origin}"

    def run(self, folder: Path, code: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run ``code`` in ``folder``, with this checkout and this Python's packages to import."""
        return subprocess.run(
            [*self._start(), "-c", code, *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": PACKAGES, **self.env},
            capture_output=True,
            check=False,
        )

    def _start(self) -> list[str]:
        if self.tree is None:
            return [self.program]
        if not self.tree.is_dir():
            pytest.fail(f"no {self.tree}: `./doitw test` unpacks it, with mmdebstrap")
        if self.machine != os.uname().machine:
            # It finds its libraries, and the interpreter its modules, below the tree first.
            return [f"qemu-{self.machine}-static", "-L", str(self.tree), self.program]
        loader = next(self.tree.glob("usr/lib*/ld-linux*.so.*"))
        libraries = next(self.tree.glob("usr/lib/*-linux-gnu"))
        return [str(loader), "--library-path", str(libraries), self.program]


def unpacked_pythons() -> list[Python]:
    """Those of .ci/pythons.txt, whether they are here or not."""
    found = []
    for line in (CHECKOUT / ".ci/pythons.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        suite, architecture, version = line.split()
        tree = ENVIRONMENT / "pythons" / f"{suite}-{architecture}"
        found.append(
            Python(
                version=version,
                machine=MACHINES[architecture],
                program=str(tree / "usr/bin/python3"),
                tree=tree,
                origin=f" of {suite}",
                env={"PYTHONHOME": str(tree / "usr")},
            )
        )
    return found


def found_pythons() -> list[Python]:
    """This one, and one of each other version on PATH or where pyenv and uv keep theirs."""
    home, machine = Path.home(), os.uname().machine
    here = ".".join(map(str, sys.version_info[:2]))
    found = {here: Python(version=here, machine=machine, program=sys.executable)}
    for version in VERSIONS:
        places = [
            shutil.which(f"python{version}"),
            *sorted((home / ".pyenv/versions").glob(f"{version}.*/bin/python")),
            *sorted((home / ".local/share/uv/python").glob(f"cpython-{version}.*/bin/python")),
        ]
        for place in filter(None, places):
            done = subprocess.run([place, "-c", WHO], capture_output=True, text=True, check=False)
            if done.returncode == 0 and done.stdout.split()[0] == version:
                other = Python(version=version, machine=machine, program=str(place))
                found.setdefault(version, other)
    return list(found.values())
