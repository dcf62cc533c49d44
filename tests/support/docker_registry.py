"""The real docker-registry on a loopback port of its own, as fixtures."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class RegistryServer:
    """A running registry; ``host`` is ``name:port``; ``log`` is what it said, access included."""

    host: str
    folder: Path
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def requests(self) -> list[str]:
        """The methods and paths that were asked, in order, without the readiness probe."""
        time.sleep(0.05)
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            head = line.partition('"')[2].partition('"')[0].split(" ")
            if " HTTP/1" in line and len(head) == 3 and head[1] != "/probe":
                found.append(f"{head[0]} {head[1]}")
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def need(program: str) -> str:
    """A peer's path; a missing peer is a failure that names it, never a skip."""
    found = shutil.which(program)
    if found is None:
        pytest.fail(f"{program} is not installed: run ./doitw test, which installs it")
    return found


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the server ended at once:\n{log.read_text(errors='replace')[-2000:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.02)
    pytest.fail(f"the server does not listen:\n{log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def running_registry(folder: Path, **settings: Any) -> Iterator[RegistryServer]:
    """Start ``docker-registry serve``; ``settings`` are merged into its configuration.

    ``http`` and ``auth`` are tables as its documentation has them; JSON is YAML.
    """
    import json

    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    configuration: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": False}},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "data")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}"} | settings.pop("http", {}),
    } | settings
    path = folder / "config.yml"
    path.write_text(json.dumps(configuration))
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [need("docker-registry"), "serve", str(path)], stdout=output, stderr=output
        )
        try:
            wait_for_port(port, process, log)
            yield RegistryServer(f"127.0.0.1:{port}", folder, log, process)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def docker_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """One plain, anonymous registry for the whole session: use repository names of your own."""
    with running_registry(tmp_path_factory.mktemp("docker-registry")) as server:
        yield server


def skopeo(*arguments: str) -> bytes:
    """Run skopeo, with any policy and no credentials of this machine."""
    return subprocess.run(
        [need("skopeo"), "--insecure-policy", *arguments],
        check=True,
        capture_output=True,
        timeout=120,
    ).stdout
