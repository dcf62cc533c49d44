"""Plan: what one invocation works from, and TaskDict, what a creator yields to doit."""

from __future__ import annotations

from _thread import allocate_lock

from ..errors import UnknownTarget
from ..oci.platform import Platform, parse_platform
from ..progress import Progress, Silent
from ..value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..oci.descriptor import Descriptor
    from ..oci.locked_image import LockedImage, LockedPlatform
    from ..turns import Turns
    from .images import BundleDeclaration, ImageSet
    from .lock import Lock
    from .workspace import Workspace


class Options(Value):
    """What the command line adds to the declaration; ``args`` is what stands after ``--``,
    ``words`` what stands before it and is none of our options."""

    state: str = ""
    locked: bool = False
    offline: bool = False
    json: bool = False
    quiet: bool = False
    detach: bool = False
    wait: bool = False
    shard: str | None = None
    args: tuple[str, ...] | None = None
    words: tuple[str, ...] = ()


class Unsaved:
    """What was found out and is not in images.lock yet, and when it has to be.

    ``bundles`` are key and digest by name and platform; ``holders`` counts those who write all of
    it at their end, until when it may wait.
    """

    SHARE = 10
    """Writing takes one part in so many of the time."""

    def __init__(self) -> None:
        self.images: dict[str, LockedImage] = {}
        self.bundles: dict[tuple[str, str], tuple[str, str]] = {}
        self.holders = 0
        self.guard = allocate_lock()
        self._due = 0.0

    def __bool__(self) -> bool:
        return bool(self.images or self.bundles)

    def saved(self, started: float, ended: float) -> None:
        self._due = ended + self.SHARE * (ended - started)

    def is_due(self, now: float) -> bool:
        return now >= self._due


class Plan:
    """The declaration, the lock and where things lie; what is found out is ``unsaved`` before it
    is in the lock, and stands for more than the lock does."""

    def __init__(
        self,
        *,
        workspace: Workspace,
        images: ImageSet,
        lock: Lock,
        host: Platform,
        options: Options | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.workspace, self.images, self.lock, self.host = workspace, images, lock, host
        self.options = options or Options()
        self.progress: Progress = progress or Silent()
        self.unsaved = Unsaved()
        self.turns: Turns | None = None

    def bundle(self, name: str) -> BundleDeclaration:
        """Raises: UnknownTarget."""
        return self.images.bundle(name)

    def platform(self, bundle: BundleDeclaration) -> Platform:
        """The platform a bundle is built for: its own, the default's, or this host's."""
        return parse_platform(bundle.platform) if bundle.platform else self.host

    def platforms(self, image: str) -> tuple[Platform, ...]:
        """Every platform that is wanted of an image: its own list and its bundles' platforms."""
        own = [parse_platform(text) for text in self.images.image(image).platforms]
        wanted = self.images.wanted(image)
        used = [parse_platform(text) if text else self.host for text in wanted]
        return tuple(dict.fromkeys([*own, *used]))

    def bundle_names(self) -> tuple[str, ...]:
        """Declared bundles, then the images that are bundles of their own name."""
        used = dict.fromkeys(self.images.bundles)
        return tuple(used | dict.fromkeys(self.images.images))

    def locked_image(self, image: str) -> LockedImage | None:
        return self.unsaved.images.get(image) or self.lock.image(image)

    def locked_bundle(self, name: str, platform: str) -> tuple[str, str] | None:
        """Key and digest of a bundle that was built before."""
        return self.unsaved.bundles.get((name, platform)) or self.lock.bundle(name, platform)

    def locked(self, image: str, platform: Platform) -> LockedPlatform | None:
        found = self.locked_image(image)
        return found.platforms.get(str(platform)) if found else None

    def required(self, bundle: BundleDeclaration) -> LockedPlatform:
        """The locked platform of a bundle's image; resolving has made sure that there is one."""
        found = self.locked(bundle.image, self.platform(bundle))
        if found is None:
            raise UnknownTarget(
                f"image {bundle.image} is not in the lock for {self.platform(bundle)}",
                subject=bundle.name,
                hint=f"run `doit lock {bundle.image}`",
            )
        return found


def blobs_of(platform: LockedPlatform) -> tuple[Descriptor, ...]:
    """Manifest, configuration and layers of one platform, each once."""
    found = (platform.manifest, platform.config, *(layer.descriptor for layer in platform.layers))
    return tuple({descriptor.digest: descriptor for descriptor in found}.values())
