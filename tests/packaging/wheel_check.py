"""Build wheel and sdist twice, compare their bytes and contents, install and use them.

``python -m tests.packaging.wheel_check`` (``./doitw wheel``); no network. ``--keep FOLDER`` copies
what was built there.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

from ..support.command import CHECKOUT
from .installed import install

NOT_COPIED = (".git", ".venv", "build", "dist", "site", "__pycache__", "*.egg-info", ".*_cache")
TOML = '[images.hello-world]\nimage = "builtin:hello-world"\n'
DODO = "from doit_oci.tasks.graph import *\n"
SAID = "Hello from doit-oci!"


def say(text: str) -> None:
    sys.stdout.write(f"wheel: {text}\n")


def build(folder: Path, *, umask: int, env: dict[str, str]) -> list[Path]:
    """Build an sdist, and a wheel from it, out of a copy of the checkout."""
    source = folder / "source"
    shutil.copytree(CHECKOUT, source, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
    for path in source.rglob("*"):
        if path.is_file():
            path.chmod((0o777 if os.access(path, os.X_OK) else 0o666) & ~umask)
    out = folder / "out"
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)],
        env={**os.environ, **env},
        umask=umask,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}\nwheel: the build failed")
    return sorted(out.iterdir())


def build_twice(folder: Path) -> tuple[Path, Path]:
    """The wheel and the sdist, the same bytes under different circumstances."""
    settings = (
        ("one", 0o022, {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"}),
        (
            "another/place",
            0o077,
            {"TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": "1735689600"},
        ),
    )
    first, second = (build(folder / place, umask=umask, env=env) for place, umask, env in settings)
    if [path.name for path in first] != [path.name for path in second]:
        raise SystemExit(f"wheel: different names: {first} {second}")
    for one, other in zip(first, second, strict=True):
        if not filecmp.cmp(one, other, shallow=False):
            raise SystemExit(f"wheel: {one.name} is not the same twice\n{differences(one, other)}")
        say(f"{one.name} twice the same, sha256:{hashlib.sha256(one.read_bytes()).hexdigest()}")
    wheel = next(path for path in first if path.suffix == ".whl")
    sdist = next(path for path in first if path.suffix == ".gz")
    return wheel, sdist


def differences(one: Path, other: Path) -> str:
    """Which members of two archives differ, for whoever has to find out why."""
    if one.suffix != ".whl":
        with tarfile.open(one) as left, tarfile.open(other) as right:
            tables = [{m.name: m.get_info() for m in each} for each in (left, right)]
    else:
        with zipfile.ZipFile(one) as left_zip, zipfile.ZipFile(other) as right_zip:
            tables = [
                {m.filename: {"crc": m.CRC, "attr": m.external_attr, "date": m.date_time}
                 for m in each.infolist()}
                for each in (left_zip, right_zip)
            ]  # fmt: skip
    a, b = tables
    return "\n".join(f"  {name}" for name in sorted({*a, *b}) if a.get(name) != b.get(name))


def check_contents(wheel: Path, sdist: Path) -> None:
    """Every module and schema is there under its new name, and nothing that was not meant."""
    wanted = {"doit_oci/__init__.py", "doit_oci/__main__.py", "doit_oci/tasks/py.typed"}
    for top in ("tasks", "specs"):
        for path in (CHECKOUT / top).rglob("*"):
            if path.is_file() and path.suffix not in (".pyc", ".md"):
                wanted.add(f"doit_oci/{path.relative_to(CHECKOUT)}")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        described = archive.read(next(n for n in archive.namelist() if n.endswith("/METADATA")))
    if names != wanted:
        missing, extra = sorted(wanted - names), sorted(names - wanted)
        raise SystemExit(f"wheel: missing {missing}, unexpected {extra}")
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    if f"Name: {project['name']}\n" not in described.decode():
        raise SystemExit("wheel: METADATA has another name")
    with tarfile.open(sdist) as tar:
        inside = {member.name.partition("/")[2]: member for member in tar}
    for needed in ("pyproject.toml", "doitw", "dodo.py", ".ci/reproducible_build.py", "LICENSE"):
        if needed not in inside:
            raise SystemExit(f"wheel: the sdist lacks {needed}")
    if inside["doitw"].mode != 0o755:
        raise SystemExit("wheel: doitw is not executable in the sdist")
    say(f"{len(names)} files, {wheel.stat().st_size} bytes; sdist {len(inside)} files")


def expect(command: list[str], folder: Path, said: str) -> None:
    """Run a command away from the checkout and look for a text in its standard output."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "DOIT_OCI_DIR")}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode or said not in done.stdout:
        raise SystemExit(
            f"wheel: {' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        )
    say(f"{Path(command[0]).name} {' '.join(command[1:])}: as expected")


def check_use(wheel: Path, folder: Path) -> None:
    """Install the wheel and do the main job from an empty folder, by both ways in."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    installed = install(wheel, folder / "venv", project["dependencies"])
    ours, stock, python = (str(installed / name) for name in ("doit-oci", "doit", "python"))
    plain = folder / "plain"
    plain.mkdir()
    (plain / "images.toml").write_text(TOML)
    expect([ours, "list"], plain, "run:hello-world")
    expect([ours, "run:hello-world"], plain, SAID)
    expect([ours, "run:hello-world"], plain, SAID)
    expect([python, "-m", "doit_oci", "run:hello-world"], plain, SAID)
    mixed = folder / "mixed"
    mixed.mkdir()
    (mixed / "images.toml").write_text(TOML)
    (mixed / "dodo.py").write_text(DODO)
    expect([stock, "run:hello-world"], mixed, SAID)
    expect(
        [python, "-c", "import doit_oci.tasks as t; print(t.__version__)"],
        plain,
        wheel.name.split("-")[1],
    )


def check_zipapp(wheel: Path, folder: Path) -> None:
    """The single file does the main job with the bare interpreter, and unpacks itself once."""
    command = [sys.executable, str(CHECKOUT / ".ci" / "zipapp"), str(wheel)]
    files = [folder / place / "doit-oci.pyz" for place in ("zip-one", "zip-two")]
    for file in files:
        file.parent.mkdir()
        subprocess.run([*command, str(file)], check=True)
    if not filecmp.cmp(*files, shallow=False):
        raise SystemExit("wheel: doit-oci.pyz is not the same twice")
    project = folder / "zipapp-project"
    project.mkdir()
    (project / "images.toml").write_text(TOML)
    bare = [
        "env",
        f"SHIV_ROOT={folder / 'unpacked'}",
        getattr(sys, "_base_executable", sys.executable),
    ]
    for _ in range(2):
        expect([*bare, "-I", "-S", str(files[0]), "run:hello-world"], project, SAID)
    if len(list((folder / "unpacked").iterdir())) > 2:
        raise SystemExit("wheel: doit-oci.pyz unpacked itself twice")
    say(f"doit-oci.pyz twice the same, {files[0].stat().st_size} bytes")


def main() -> int:
    """Check everything; the first thing that is wrong ends it with a word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="copy wheel and sdist into this folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="doit-oci-wheel-") as name:
        folder = Path(name)
        wheel, sdist = build_twice(folder)
        check_contents(wheel, sdist)
        check_use(wheel, folder)
        check_zipapp(wheel, folder)
        if given.keep:
            given.keep.mkdir(parents=True, exist_ok=True)
            for path in (wheel, sdist):
                shutil.copyfile(path, given.keep / path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
