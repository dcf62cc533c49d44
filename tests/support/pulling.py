"""Pull an image in one word, and see what was said meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tasks.blob import fetch_blobs
from tasks.oci.locked_image import LockedImage
from tasks.oci.platform import parse_platform
from tasks.oci.reference import parse_image
from tasks.oci.registry_settings import Registry
from tasks.progress import Silent
from tasks.resolve import resolve_image
from tasks.store.blob_store import BlobStore
from tasks.store.registry.connection import CHOICE
from tasks.store.registry.limits import Limits
from tasks.store.transports.sources import Sources

QUICK = Limits(
    connect_timeout=30,
    read_timeout=30,
    attempts=3,
    backoff=0.001,
    backoff_cap=0.002,
    retry_after_cap=0.05,
    ahead_time=30,
)


class Noting(Silent):
    """Progress that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Puller:
    """A state directory, and an environment of its own with nothing of this machine in it.

    It is one process: what was asked once is asked over the same connection again."""

    state: Path
    environ: dict[str, str]
    progress: Noting = field(default_factory=Noting)
    limits: Limits = QUICK
    sources: Sources = field(default_factory=Sources)

    @property
    def blobs(self) -> Path:
        return self.state / "blobs"

    @property
    def store(self) -> BlobStore:
        return BlobStore(self.blobs)

    def resolve(
        self,
        image: str,
        *platforms: str,
        known: LockedImage | None = None,
        registries: Sequence[Registry] | None = None,
        offline: bool = False,
    ) -> LockedImage:
        reference = parse_image(image, folder=self.state)
        return resolve_image(
            name="test",
            reference=reference,
            platforms=[parse_platform(text) for text in platforms or ("linux/amd64",)],
            known=known,
            blobs=self.blobs,
            registries=self.settings(image) if registries is None else registries,
            offline=offline,
            progress=self.progress,
            environ=self.environ,
            limits=self.limits,
            sources=self.sources,
        )

    def fetch(
        self,
        image: str,
        locked: LockedImage,
        registries: Sequence[Registry] | None = None,
        **more: Any,
    ) -> Mapping[str, str]:
        return fetch_blobs(
            image="test",
            reference=parse_image(image, folder=self.state),
            descriptors=[blob for found in locked.platforms.values() for blob in found.blobs],
            blobs=self.blobs,
            tmp=self.state / "tmp",
            registries=self.settings(image) if registries is None else registries,
            progress=self.progress,
            environ=self.environ,
            limits=self.limits,
            sources=self.sources,
            **more,
        )

    def pull(self, image: str, *platforms: str, **more: Any) -> LockedImage:
        locked = self.resolve(image, *platforms, **more)
        self.fetch(image, locked, registries=more.get("registries"))
        return locked

    def settings(self, image: str) -> tuple[Registry, ...]:
        """The registry of an image, declared as plain HTTP."""
        reference = parse_image(image, folder=self.state)
        return (Registry(prefix=reference.registry, insecure=True),) if reference.registry else ()

    def stored(self) -> set[str]:
        """Every digest that has its final name."""
        return {str(digest) for digest in self.store.digests()}

    def leftovers(self) -> list[str]:
        tmp = self.state / "tmp"
        return sorted(path.name for path in tmp.iterdir()) if tmp.is_dir() else []


@pytest.fixture
def puller(tmp_path: Path, transport: str) -> Puller:
    """Pulls with nothing of this machine, once over our own wire and once through requests."""
    home = tmp_path / "home"
    home.mkdir()
    environ = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    if transport == "requests":
        environ[CHOICE] = transport
    return Puller(tmp_path / "build", environ)


@pytest.fixture(params=["wire", "requests"])
def transport(request: pytest.FixtureRequest) -> str:
    """Which transport pulls; what is tested has to hold for both."""
    return str(request.param)
