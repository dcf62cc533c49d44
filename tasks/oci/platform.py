"""Platform: os, architecture and variant, and which image runs on which.

Spec: image-spec 1.1 image-index.md, "platform".
"""

from __future__ import annotations

from ..errors import DeclarationError
from ..value import Value

ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "i686": ("386", ""),
    "i386": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loongarch64": ("loong64", ""),
    "mips64": ("mips64le", ""),
}
"""``uname -m`` (and Debian's names) to GOARCH and variant."""

ARM_FALLBACK = ("v8", "v7", "v6", "v5")


class Platform(Value, kw_only=False):
    """``os/architecture[/variant]``; ``variant`` is empty where it does not matter."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        tail = f"/{self.variant}" if self.variant else ""
        return f"{self.os}/{self.architecture}{tail}"

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Platform:
        """Read a descriptor's ``platform`` or an image configuration's own fields."""
        return normalise(
            cls(
                os=str(value.get("os", "")),
                architecture=str(value.get("architecture", "")),
                variant=str(value.get("variant", "") or ""),
            )
        )

    def to_json(self) -> dict[str, str]:
        found = {"architecture": self.architecture, "os": self.os}
        return found | {"variant": self.variant} if self.variant else found


def normalise(platform: Platform) -> Platform:
    """One spelling for each platform: arm64/v8 is arm64, arm is arm/v7, x86_64 is amd64."""
    architecture, variant = ARCHITECTURES.get(
        platform.architecture, (platform.architecture, platform.variant)
    )
    variant = platform.variant or variant
    if architecture == "arm64" and variant == "v8":
        variant = ""
    if architecture == "arm" and not variant:
        variant = "v7"
    if architecture == "amd64" and variant == "v1":
        variant = ""
    return Platform(platform.os, architecture, variant)


def parse_platform(text: str) -> Platform:
    """Parse ``os/architecture[/variant]``.

    >>> str(parse_platform("linux/arm64/v8"))
    'linux/arm64'

    Raises: DeclarationError.
    """
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise DeclarationError(
            "not a platform; expected os/architecture or os/architecture/variant",
            subject=text,
            hint='write it like "linux/amd64" or "linux/arm/v7"',
        )
    return normalise(Platform(*parts))


def rank(wanted: Platform, offered: Platform) -> int | None:
    """How well ``offered`` serves ``wanted``: 0 is best, None does not run there.

    An arm host runs its own variant and every older one; an arm64 or amd64 variant falls back
    to the plain architecture.
    """
    if (wanted.os, wanted.architecture) != (offered.os, offered.architecture):
        return None
    if wanted.variant == offered.variant:
        return 0
    if wanted.architecture == "arm":
        if wanted.variant not in ARM_FALLBACK or offered.variant not in ARM_FALLBACK:
            return None
        step = ARM_FALLBACK.index(offered.variant) - ARM_FALLBACK.index(wanted.variant)
        return step if step > 0 else None
    if not offered.variant:
        return 1
    return 2 if not wanted.variant else None
