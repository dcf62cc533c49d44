"""ImageConfig: the document that says how an image runs and which layers it is made of.

Spec: image-spec 1.1 config.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ..errors import ContentError
from ..value import Value
from .digest import ChainID, DiffID, Digest, digest_bytes, parse_digest
from .manifest import load_object
from .platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ImageConfig(Value):
    """``document`` is the whole parsed configuration; ``diff_ids`` has the base layer first."""

    raw: bytes
    document: Mapping[str, Any]
    platform: Platform
    diff_ids: tuple[DiffID, ...]
    history: tuple[Mapping[str, Any], ...] = ()

    @property
    def digest(self) -> Digest:
        return digest_bytes(self.raw)

    @property
    def os(self) -> str:
        return self.platform.os

    @property
    def architecture(self) -> str:
        return self.platform.architecture

    @property
    def variant(self) -> str:
        return self.platform.variant

    @property
    def execution(self) -> Mapping[str, Any]:
        """The ``config`` object: Env, Cmd, Entrypoint and the like; empty when there is none."""
        found = self.document.get("config")
        return found if isinstance(found, dict) else {}


def parse_image_config(raw: bytes, *, subject: str) -> ImageConfig:
    """Raises: ContentError, InvalidDigest."""
    document = load_object(raw, subject=subject)
    rootfs = document.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if diff_ids is None:
        diff_ids = []
    if not isinstance(diff_ids, list) or not all(isinstance(text, str) for text in diff_ids):
        raise ContentError("rootfs.diff_ids is no list of digests", subject=subject)
    history = document.get("history")
    return ImageConfig(
        raw=raw,
        document=MappingProxyType(document),
        platform=Platform.from_json(document),
        diff_ids=tuple(DiffID(parse_digest(text)) for text in diff_ids),
        history=tuple(step for step in history if isinstance(step, dict))
        if isinstance(history, list)
        else (),
    )


def chain_id(diff_ids: Sequence[DiffID]) -> ChainID:
    """The identity of a stack of layers, the base layer first.

    Spec: image-spec 1.1 config.md, "Layer ChainID".
    """
    if not diff_ids:
        raise ValueError("a stack of no layers has no ChainID")
    chain: Digest = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = digest_bytes(f"{chain} {diff_id}".encode(), diff_id.algorithm)
    return ChainID(chain)
