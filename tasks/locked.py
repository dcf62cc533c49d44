"""What the locks name of a state directory, for gc: the plan's own lock, and those of other
projects that use the same one."""

from __future__ import annotations

import contextlib
import os

from .gc.unreached import Reachable
from .project.lock import load_lock
from .sharing import other_projects
from .warm.lock_index import open_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .project.plan import Plan


class Locked:
    """The locks as they are on the disk: read again when one of them has changed."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._signature: object = None
        self._found = Reachable()

    def reachable(self) -> Reachable:
        """What they name, and the declaration. Raises: DeclarationError."""
        signature = self._signed()
        if signature != self._signature:
            self._found, self._signature = self._read(), signature
        return self._found

    def _signed(self) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        space = self._plan.workspace
        for each in (space, *other_projects(space)):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(each.lock)
                found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
        return found

    def _read(self) -> Reachable:
        space, declared = self._plan.workspace, self._plan.images.images
        images, bundles = set(declared), set(self._plan.bundle_names())
        blobs, diff_ids = set(), set()
        for lock in (open_lock(space), *(load_lock(each.lock) for each in other_projects(space))):
            images.update(lock.images)
            bundles.update(lock.bundles)
            for _, image in lock.each_image():
                if image.index is not None:
                    blobs.add(image.index)
                for platform in image.platforms.values():
                    blobs |= {platform.manifest.digest, platform.config.digest}
                    blobs |= {layer.descriptor.digest for layer in platform.layers}
                    diff_ids |= {layer.diff_id for layer in platform.layers}
        return Reachable(
            images=frozenset(images),
            bundles=frozenset(bundles),
            blobs=frozenset(blobs),
            diff_ids=frozenset(diff_ids),
        )
