"""Places to cache in: a directory, a real registry, and a server that speaks S3."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tasks.oci.registry_settings import Registry
from tasks.progress import Silent
from tasks.store.remote.cache import RemoteCache, open_cache
from tests.support.docker_registry import RegistryServer, docker_registry, free_port, wait_for_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["docker_registry"]


class Heard(Silent):
    """Progress that remembers what people would have seen."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """moto's server in a process of its own; its address."""
    import boto3

    port = free_port()
    log = tmp_path_factory.mktemp("moto") / "log"
    program = "from moto.server import main; main()"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", program, "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=output,
        )
        try:
            wait_for_port(port, process, log)
            address = f"http://127.0.0.1:{port}"
            boto3.client(
                "s3",
                endpoint_url=address,
                region_name="us-east-1",
                aws_access_key_id="k",
                aws_secret_access_key="s",
            ).create_bucket(Bucket="cache")
            yield address
        finally:
            process.kill()
            process.wait()


def s3_environment(address: str) -> dict[str, str]:
    """What tells every client of S3 to ask this server."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


class Place:
    """A cache's address, opened anew for each use as another machine would."""

    def __init__(self, url: str, registries: tuple[Registry, ...] = ()) -> None:
        self.url = url
        self.registries = registries

    def open(self, progress: Silent | None = None, mount_from: str = "") -> RemoteCache:
        return open_cache(
            self.url,
            registries=self.registries,
            environ=dict(os.environ),
            progress=progress or Silent(),
            mount_from=mount_from,
        )


@pytest.fixture(params=["directory", "registry", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    name = request.node.originalname.replace("_", "-")[:80]
    if request.param == "directory":
        return Place(f"file://{tmp_path}/remote")
    if request.param == "s3":
        for key, value in s3_environment(request.getfixturevalue("s3_server")).items():
            monkeypatch.setenv(key, value)
        return Place(f"s3://cache/{name}")
    server: RegistryServer = request.getfixturevalue("docker_registry")
    return registry_place(server.host, f"cache/{name}")


def registry_place(host: str, repository: str) -> Place:
    return Place(f"oci://{host}/{repository}", (Registry(prefix=host, insecure=True),))
