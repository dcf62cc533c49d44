"""Bundles as root and as ordinary users, under each runtime."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.docker_registry import need
from tests.support.ordinary_user import OrdinaryUser, ordinary_user


@pytest.fixture(params=["runc", "crun"])
def runtime(request: pytest.FixtureRequest) -> str:
    need(request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def users() -> Iterator[dict[str, OrdinaryUser | None]]:
    with ordinary_user(subordinate=True) as many, ordinary_user(subordinate=False) as single:
        yield {"root": None, "subordinate ids": many, "a single id": single}


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that ordinary users reach: another pytest that starts closes tmp_path to them."""
    folder = Path(tempfile.mkdtemp(prefix="doit-oci-run-"))
    folder.chmod(0o755)
    yield folder / "p"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["root", "subordinate ids", "a single id"])
def anyone(
    request: pytest.FixtureRequest, users: dict[str, OrdinaryUser | None], place: Path
) -> Bundle:
    """A bundle that each kind of user has and runs."""
    return Bundle(place, users[request.param])


@pytest.fixture
def box(place: Path) -> Bundle:
    """A bundle of root's."""
    return Bundle(place)
