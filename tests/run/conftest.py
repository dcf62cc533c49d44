"""Bundles as root and as ordinary users, under each runtime."""

from __future__ import annotations

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


@pytest.fixture(params=["root", "subordinate ids", "a single id"])
def anyone(
    request: pytest.FixtureRequest, users: dict[str, OrdinaryUser | None], tmp_path: Path
) -> Bundle:
    """A bundle that each kind of user has and runs."""
    return Bundle(tmp_path / "p", users[request.param])


@pytest.fixture
def box(tmp_path: Path) -> Bundle:
    """A bundle of root's."""
    return Bundle(tmp_path / "p")
