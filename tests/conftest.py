"""Fixtures that many tests need live in tests/support, one module per thing."""

from __future__ import annotations

import signal

# In this order: a module that another one imports has to be registered before it.
pytest_plugins = [
    "tests.support.docker_registry",
    "tests.support.certificates",
    "tests.support.fake_registry",
    "tests.support.pulling",
]


def pytest_configure() -> None:
    """What ``nohup`` or a shell's ``&`` has ignored would be ignored by all that is started here,
    and tests send just these signals."""
    for number, default in (
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGQUIT, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)
