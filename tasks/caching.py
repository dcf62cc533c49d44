"""The remote cache as the plan declares it: asked before an image's own place, told when allowed.

The key is that of a bundle in the lock, so that nothing need be built to ask. Whatever goes wrong
with a cache costs a warning and a build.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import DeclarationError, DoitOciError, OfflineError, RegistryError
from .project.plan import Plan, blobs_of

if TYPE_CHECKING:
    from .locking import Locking
    from .remote_cache import Moved
    from .store.remote.cache import RemoteCache


class Caching:
    """Push and pull of single bundles."""

    def __init__(self, plan: Plan, locking: Locking) -> None:
        self.plan = plan
        self.locking = locking
        self._given_up = False

    @property
    def remote(self) -> str:
        """The declared address, or nothing."""
        return str(self.plan.images.cache.get("remote") or "")

    @property
    def may_push(self) -> bool:
        return bool(self.remote and self.plan.images.cache.get("push") and not self._offline)

    @property
    def _offline(self) -> bool:
        """A cache in a directory is no network."""
        return self.plan.options.offline and not self.remote.startswith("file:")

    @contextmanager
    def _open(self, name: str) -> Iterator[RemoteCache]:
        from .store.remote.cache import open_cache

        if not self.remote:
            raise DeclarationError(
                "no remote cache is declared",
                subject=self.plan.workspace.declaration.name,
                hint='say [cache] remote = "oci://registry/repository", or "file:///path"',
            )
        if self._offline:
            raise OfflineError(
                "the network is needed for it, and is refused",
                subject=f"remote cache: {name}",
                hint="run it without --offline",
            )
        cache = open_cache(
            self.remote,
            registries=self.locking.registries(),
            environ=os.environ,
            progress=self.plan.progress,
            mount_from=self._origin(name),
        )
        try:
            yield cache
        finally:
            cache.close()

    def _origin(self, name: str) -> str:
        """The repository that a bundle's image is from, where the cache's registry has it: its
        blobs need not be sent again."""
        origin = self.locking.reference(self.plan.bundle(name).image)
        host = self.remote.removeprefix("oci://").partition("/")[0]
        same = self.remote.startswith("oci://") and origin.is_remote and origin.registry == host
        return origin.repository if same else ""

    def locked(self, name: str) -> tuple[str, str] | None:
        """The key and the digest of a bundle that has been built somewhere before."""
        bundle = self.plan.bundle(name)
        return self.plan.locked_bundle(name, str(self.plan.platform(bundle)))

    def pull(self, name: str) -> Moved | None:
        """Fetch a bundle's blobs from the cache; None where it is no help. Raises: StoreError,
        OfflineError.

        A cache that failed once is not asked again: a hundred bundles would wait a hundred times.
        """
        from .remote_cache import pull

        locked = self.locked(name)
        if locked is None or self._given_up:
            return None
        key, digest = locked
        bundle = self.plan.bundle(name)
        verify_key = self.plan.images.cache.get("verify_key")
        keys = [verify_key] if isinstance(verify_key, str) else list(verify_key or ())
        with self._open(name) as cache:
            return pull(
                cache=cache,
                key=key,
                digest=digest,
                descriptors=blobs_of(self.plan.required(bundle)),
                others=self.locking.image_blobs(bundle.image),
                blobs=self.plan.workspace.blobs,
                tmp=self.plan.workspace.tmp,
                public_keys=[self.plan.workspace.project / path for path in keys],
                may_write=self.may_push,
                failed=self._give_up,
                progress=self.plan.progress,
            )

    def push(self, name: str) -> Moved:
        """Put a finished bundle into the cache. Raises: DeclarationError, RegistryError,
        OfflineError."""
        from .remote_cache import push

        locked = self.locked(name)
        if locked is None:
            raise DeclarationError(
                "has no key in the lock", subject=name, hint=f"run `doit bundle:{name}` first"
            )
        signing_key = self.plan.images.cache.get("signing_key")
        with self._open(name) as cache:
            return push(
                cache=cache,
                key=locked[0],
                descriptors=self.locking.image_blobs(self.plan.bundle(name).image),
                blobs=self.plan.workspace.blobs,
                tmp=self.plan.workspace.tmp,
                entries=self.plan.workspace.entries(name),
                config_json=self.plan.workspace.config_json(name),
                private_key=self.plan.workspace.project / signing_key if signing_key else None,
                progress=self.plan.progress,
            )

    def try_pull(self, name: str) -> None:
        """As a build does it: a cache that is declared is asked, and never fails the build."""
        if not self.remote or self._offline:
            return
        try:
            self.pull(name)
        except DeclarationError:
            raise
        except DoitOciError as error:
            self._say(error)

    def try_push(self, name: str) -> None:
        """As a build does it, where the declaration says ``push = true``."""
        if not self.may_push or self._given_up:
            return
        try:
            self.push(name)
        except DeclarationError:
            raise
        except DoitOciError as error:
            self._say(error)
            if isinstance(error, RegistryError):
                self._give_up()

    def _give_up(self) -> None:
        self._given_up = True

    def _say(self, error: DoitOciError) -> None:
        text = f"{error.subject}: {error.message}"
        self.plan.progress.note(f"{text}; going on without the remote cache")
