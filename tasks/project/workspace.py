"""Workspace: every path in the state directory, computed here and nowhere else.

Names of images and bundles are checked by the schema to be single path components.
"""

from __future__ import annotations

from pathlib import Path

from ..oci.digest import Digest
from ..value import Value

STATE_DIRECTORY = "build"
DECLARATION = "images.toml"
LOCK = "images.lock"
BUILDING = "building"
"""The guard that builds share, and that whoever takes their results away holds alone."""


class Workspace(Value):
    """``project`` holds images.toml and images.lock; ``state`` is ``build/`` or ``--dir``."""

    project: Path
    state: Path

    @property
    def declaration(self) -> Path:
        return self.project / DECLARATION

    @property
    def lock(self) -> Path:
        return self.project / LOCK

    @property
    def blobs(self) -> Path:
        return self.state / "blobs"

    def blob(self, digest: Digest) -> Path:
        return self.state / f"blobs/{digest.algorithm}/{digest.encoded}"

    def layout(self, image: str) -> Path:
        return self.state / f"layouts/{image}"

    @property
    def layers(self) -> Path:
        return self.state / "layers"

    def bundle(self, bundle: str) -> Path:
        return self.state / f"bundles/{bundle}"

    def rootfs(self, bundle: str) -> Path:
        return self.state / f"bundles/{bundle}/rootfs"

    def config_json(self, bundle: str) -> Path:
        return self.state / f"bundles/{bundle}/config.json"

    def stamp(self, step: str, name: str) -> Path:
        """Where a finished step writes its key, last of all."""
        return self.state / f"stamps/{step}/{name}.json"

    def entries(self, bundle: str) -> Path:
        """The recorded entries of a bundle's rootfs, sorted by path."""
        return self.state / f"entries/{bundle}.jsonl"

    def unrepresented(self, bundle: str) -> Path:
        """What this host or file system could not represent of a rootfs, JSON lines."""
        return self.state / f"entries/{bundle}.unrepresented.jsonl"

    def ready(self, bundle: str) -> Path:
        """What a warm start needs to run a bundle, with the signatures it rests on."""
        return self.state / f"ready/{bundle}.json"

    def provenance(self, bundle: str) -> Path:
        return self.state / f"provenance/{bundle}.json"

    @property
    def record(self) -> Path:
        """The events of the last build that did anything: what ``report`` draws."""
        return self.state / "report/last.jsonl"

    @property
    def checks(self) -> Path:
        """Which bundle digests have passed which checks."""
        return self.state / "checks"

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def projects(self) -> Path:
        """The projects that build into a state directory which is not inside of them."""
        return self.state / "projects"

    @property
    def tmp(self) -> Path:
        """Work in progress: nothing here is ever read as a result, and any of it may vanish."""
        return self.state / "tmp"

    def guard(self, name: str) -> Path:
        """The lock file that two processes on one step meet at."""
        return self.state / f"locks/{name}"

    @property
    def database(self) -> Path:
        return self.state / "state.db"

    @property
    def compiled(self) -> Path:
        """images.toml as checked JSON, so that a warm start parses no TOML."""
        return self.state / "images.json"

    @property
    def lock_index(self) -> Path:
        """A large images.lock once more, one entry a line, so that one target reads its own."""
        return self.state / "lock.json"
