"""The build backend: setuptools, and the same bytes whoever builds, wherever and whenever.

setuptools takes modes from the umask, times from the files and the order from the directory.
Here the finished archives are written anew: sorted, with modes and owners of their own and one
time (SOURCE_DATE_EPOCH, or a fixed one). The sdist also gets what the wheel has no place for.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

FIXED_TIME = 1_735_689_600
"""Seconds since the epoch: 2025-01-01, where SOURCE_DATE_EPOCH says nothing."""
ZIP_STARTS = 315_532_800
ALSO_IN_SDIST = (
    ".ci/**/*", "CHANGELOG.md", "docs/**/*", "dodo.py", "doitw", "images.toml",
    "specs/**/*", "tests/**/*", ".github/**/*", ".pre-commit-hooks.yaml",
)  # fmt: skip
PROGRAMS = ("doitw", ".ci/run", ".ci/lock-requirements", ".ci/zipapp")


def chosen_time() -> int:
    """Seconds since the epoch that every member of an archive gets."""
    return max(int(os.environ.get("SOURCE_DATE_EPOCH", FIXED_TIME)), ZIP_STARTS)


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Build a wheel with setuptools and write its archive anew."""
    name = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    path = Path(wheel_directory, name)
    with zipfile.ZipFile(path) as archive:
        members = {each: archive.read(each) for each in archive.namelist()}
    date = time.gmtime(chosen_time())[:6]
    # The metadata comes last, as PEP 427 recommends.
    order = sorted(members, key=lambda each: (".dist-info/" in each, each))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in order:
            info = zipfile.ZipInfo(each, date)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, members[each])
    return name


def build_sdist(sdist_directory: str, config_settings: dict[str, Any] | None = None) -> str:
    """Build an sdist with setuptools, add the rest of the checkout and write it anew."""
    name = build_meta.build_sdist(sdist_directory, config_settings)
    path = Path(sdist_directory, name)
    top = name.removesuffix(".tar.gz")
    with tarfile.open(path) as archive:
        members = {
            each.name: archive.extractfile(each).read()  # type: ignore[union-attr]
            for each in archive
            if each.isfile()
            and not each.name.endswith("/setup.cfg")
            and ".egg-info" not in each.name
        }
    members |= {f"{top}/{found}": Path(found).read_bytes() for found in also_in_sdist()}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for each, content in sorted(members.items()):
            archive.addfile(member(each, content, top), io.BytesIO(content))
    with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=chosen_time()) as packed:
        packed.write(plain.getvalue())
    return name


def also_in_sdist() -> list[str]:
    found = [each for pattern in ALSO_IN_SDIST for each in Path().glob(pattern)]
    return [
        each.as_posix()
        for each in found
        if each.is_file() and "__pycache__" not in each.parts and each.suffix != ".pyc"
    ]


def member(name: str, content: bytes, top: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mtime = chosen_time()
    info.mode = 0o755 if name.removeprefix(f"{top}/") in PROGRAMS else 0o644
    return info
