"""LayerSource and UnpackLimits: what is unpacked, and how much of it at most."""

from __future__ import annotations

from pathlib import Path

from ...errors import LimitExceeded
from ...oci.descriptor import Descriptor
from ...oci.digest import Digest, parse_digest
from ...value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class LayerSource(Value):
    """``path`` is the blob as the store holds it (compressed); ``diff_id`` is of its tar stream."""

    descriptor: Descriptor
    diff_id: Digest
    path: Path

    def to_json(self) -> dict[str, Any]:
        return {
            "descriptor": self.descriptor.to_json(),
            "diff_id": str(self.diff_id),
            "path": str(self.path),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> LayerSource:
        return cls(
            descriptor=Descriptor.from_json(value["descriptor"], subject="layer"),
            diff_id=parse_digest(value["diff_id"]),
            path=Path(value["path"]),
        )


class UnpackLimits(Value):
    """Where unpacking stops with LimitExceeded. No real image comes near the defaults.

    ``entries`` and ``unpacked_bytes`` (files as they are read, holes included) are over all layers
    of an image; ``header_bytes`` is for one entry's extended headers; ``path_depth`` counts
    components; ``compression_ratio`` is unpacked over packed bytes of one layer.
    """

    entries: int = 1_000_000
    unpacked_bytes: int = 256 << 30
    header_bytes: int = 1 << 20
    path_depth: int = 256
    compression_ratio: int = 2_000

    def to_json(self) -> dict[str, int]:
        return self.as_dict()


def over(limit: str, message: str, *, subject: str) -> LimitExceeded:
    """The error for a limit that was reached; ``limit`` is the name of its field."""
    return LimitExceeded(
        message,
        subject=subject,
        hint=f"if the image is to be trusted, raise {limit} under [limits] in images.toml",
    )
