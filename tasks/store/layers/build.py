"""Build: all that one build of a rootfs needs, and where its layers lie."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from ...boot import is_sure
from ...value import Value
from . import unpack
from .source import LayerSource, UnpackLimits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROOT = "root"


class Build(Value):
    """Everything that one build needs.

    ``owners`` says how owners stand on the disk: ``root``, ``mapped`` with the ids, or ``single``
    for a user who cannot give files away. ``forks`` lets this process have workers; it must have
    no threads then. ``containers`` is where running containers say which tree they run from.
    """

    layers: Sequence[LayerSource]
    layers_dir: Path
    destination: Path
    entries: Path
    unrepresented: Path
    tmp: Path
    limits: UnpackLimits
    implied_mtime: int
    owners: str
    containers: Path | None = None
    forks: bool = False

    @property
    def single(self) -> bool:
        return self.owners == unpack.SINGLE

    def to_json(self) -> dict[str, Any]:
        paths = ("layers_dir", "destination", "entries", "unrepresented", "tmp")
        return {
            **{name: str(getattr(self, name)) for name in paths},
            "layers": [source.to_json() for source in self.layers],
            "limits": self.limits.to_json(),
            "implied_mtime": self.implied_mtime,
            "owners": self.owners,
            "containers": str(self.containers) if self.containers else None,
            "forks": self.forks,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Build:
        paths = ("layers_dir", "destination", "entries", "unrepresented", "tmp")
        return cls(
            **{name: Path(value[name]) for name in paths},
            layers=[LayerSource.from_json(source) for source in value["layers"]],
            limits=UnpackLimits(**value["limits"]),
            implied_mtime=value["implied_mtime"],
            owners=value["owners"],
            containers=Path(value["containers"]) if value["containers"] else None,
            forks=value["forks"],
        )

    def layer_path(self, source: LayerSource) -> Path:
        return self.layers_dir / source.diff_id.algorithm / source.diff_id.encoded

    def guard(self, source: LayerSource) -> Path:
        path = self.layer_path(source)
        return path.with_name(path.name + ".lock")


def load_facts(build: Build, source: LayerSource) -> dict[str, Any] | None:
    """What layer.json of an unpacked layer says, if it is one that this build can use.

    One that cannot be read, on a damaged disk for example, is not; nor is one that a power cut may
    have touched.
    """
    facts = _load(build, source)
    return facts if facts is not None and is_sure(facts.get("boot")) else None


def load_unsure(build: Build, source: LayerSource) -> dict[str, Any] | None:
    """The same of a layer that could be used, had a power cut certainly not touched it."""
    facts = _load(build, source)
    return facts if facts is not None and not is_sure(facts.get("boot")) else None


def _load(build: Build, source: LayerSource) -> dict[str, Any] | None:
    path = build.layer_path(source)
    try:
        facts: Any = json.loads((path / unpack.LAYER_FILE).read_bytes())
        if not isinstance(facts, dict) or not unpack.is_current(facts, source, owners=build.owners):
            return None
        if facts.get("place") != unpack.place(path / unpack.POOL):
            return None
        index_size = os.stat(path / unpack.INDEX_FILE).st_size
    except (OSError, ValueError):
        return None
    return facts if index_size == facts["index"] else None
