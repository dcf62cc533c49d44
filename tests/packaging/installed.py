"""A fresh virtual environment with a built wheel in it, made without any index.

The locked requirements are those of the environment that runs this, found by their metadata.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path


def distributions(names: list[str]) -> Iterator[metadata.Distribution]:
    """The installed distributions that requirements name, and those that they need in turn."""
    seen: set[str] = set()
    pending = list(names)
    while pending:
        name = re.split(r"[^\w.-]", pending.pop(), maxsplit=1)[0].lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            # What another platform or Python version needs is not installed on this one.
            continue
        yield found
        pending += [each for each in found.requires or () if "extra ==" not in each]


def copy_requirements(destination: Path, names: list[str]) -> None:
    """Copy what requirements name from this environment into another folder."""
    for found in distributions(names):
        for path in found.files or ():
            if path.parts[0] == ".." or path.suffix == ".pyc":
                continue
            target = destination / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path.locate(), target)


def pip() -> list[str]:
    """A pip that can install into another environment: this one's, or its base's."""
    for python in (sys.executable, getattr(sys, "_base_executable", sys.executable)):
        command = [python, "-m", "pip"]
        if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode:
            continue
        return command
    raise SystemExit("no pip here: python3-pip is needed to install the wheel that was built")


def install(wheel: Path, folder: Path, requirements: list[str]) -> Path:
    """Make a virtual environment, install the wheel without an index, return its ``bin``."""
    venv.create(folder, with_pip=False)
    bin_folder = folder / "bin"
    command = [*pip(), "--python", str(bin_folder / "python"), "--disable-pip-version-check"]
    subprocess.run(
        [*command, "install", "--quiet", "--no-index", "--no-deps", str(wheel)],
        check=True,
    )
    site = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    copy_requirements(Path(site), requirements)
    (bin_folder / "doit").write_text(
        f"#!{bin_folder / 'python'}\nfrom doit.__main__ import main\nimport sys\nsys.exit(main())\n"
    )
    (bin_folder / "doit").chmod(0o755)
    return bin_folder
