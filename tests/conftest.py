"""Fixtures that many tests need live in tests/support, one module per thing."""

from __future__ import annotations

# In this order: a module that another one imports has to be registered before it.
pytest_plugins = [
    "tests.support.docker_registry",
    "tests.support.certificates",
    "tests.support.fake_registry",
    "tests.support.pulling",
]
