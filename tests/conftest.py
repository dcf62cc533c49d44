"""Fixtures that many tests need live in tests/support, one module per thing."""

from __future__ import annotations

pytest_plugins = [
    "tests.support.docker_registry",
    "tests.support.fake_registry",
    "tests.support.pulling",
]
