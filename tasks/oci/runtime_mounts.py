"""The mounts of config.json: the defaults, the image's Volumes, and the declaration's.

Spec: runtime-spec 1.2 config.md, "Mounts"; image-spec 1.1 conversion.md, "Config.Volumes".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from ..errors import ConversionError
from .config_draft import BUILT_IN, IMAGE, Draft
from .runtime_defaults import SCRATCH_OPTIONS, SCRATCH_OWNER, SHM, default_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Item = tuple[dict[str, Any], str]

    from .runtime_inputs import Inputs

PROJECT = "../../../"
"""From ``build/bundles/NAME`` to the folder of images.toml, see docs/decisions/0003."""
HOME = "~/"
SECRET_OPTIONS = ("rbind", "rprivate", "ro", "nosuid", "nodev", "noexec")
PROPAGATION = frozenset({"shared", "rshared", "slave", "rslave", "private", "rprivate"})

RESERVED = ((), ("proc",), ("sys",))
"""Where an image may not put volumes: they would take the place of what protects the host."""


def add_mounts(draft: Draft, inputs: Inputs) -> None:
    """Set ``mounts``: the defaults in their order, then the rest, parents before children."""
    found = {mount["destination"]: (mount, BUILT_IN) for mount in default_mounts()}
    _change_shared_memory(found, inputs)
    own: dict[str, Item] = {}
    for target in inputs.image.get("Volumes") or {}:
        path = volume_path(str(target))
        own[path] = (_scratch(path, inputs), IMAGE)
    for key in ("volumes", "tmpfs"):
        for target, mount in inputs.overrides.get(key, {}).items():
            own[target] = (_mount(target, mount, inputs), inputs.origin(key, target))
    for target, secret in inputs.overrides.get("secrets", {}).items():
        options = list(SECRET_OPTIONS)
        mount = _bind(target, secret["source"], options)
        own[target] = (mount, inputs.origin("secrets", target))
    for target in own:
        found.pop(target, None)
    behind = sorted(own.items(), key=lambda each: (each[0].count("/"), each[0]))
    draft.put_list(("mounts",), [*found.values(), *(item for _, item in behind)])


def _change_shared_memory(found: dict[str, Item], inputs: Inputs) -> None:
    if inputs.overrides.get("ipc") == "host":
        mount = _bind(SHM, SHM, ["rbind", "rprivate", "nosuid", "noexec", "nodev"])
        found[SHM] = (mount, inputs.origin("ipc"))
    elif "shm_size" in inputs.overrides:
        mount, _ = found[SHM]
        options = [word for word in mount["options"] if not word.startswith("size=")]
        mount["options"] = [*options, f"size={inputs.overrides['shm_size']}"]
        found[SHM] = (mount, inputs.origin("shm_size"))


def volume_path(target: str) -> str:
    """An image's volume as an absolute path. Raises: ConversionError."""
    path = PurePosixPath("/", target)
    if ".." in path.parts or path.parts[1:2] in RESERVED or str(path) in ("/", "/dev"):
        raise ConversionError(
            f"the image has a volume at {target!r}, which is no place for one",
            subject="",
            hint=f'take it out with unset = ["volumes.{target}"]',
        )
    return str(path)


def _scratch(target: str, inputs: Inputs) -> dict[str, Any]:
    """The runtimes copy what is in the directory, but not whom the directory itself belongs to."""
    mode, uid, gid = inputs.owners.get(target, SCRATCH_OWNER)
    owner = [f"mode={mode:o}", f"uid={uid}", f"gid={gid}"]
    return {
        "destination": target,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": [*SCRATCH_OPTIONS, *owner],
    }


def scratch_targets(image: Mapping[str, Any], overrides: Mapping[str, Any]) -> list[str]:
    """Volumes without a source, whose owner has to be looked up in the image, sorted."""
    own = overrides.get("volumes", {})
    taken = own.keys() | overrides.get("tmpfs", {}).keys() | overrides.get("secrets", {}).keys()
    found = {volume_path(str(target)) for target in image.get("Volumes") or {}} - taken
    return sorted(found | {name for name, mount in own.items() if mount["type"] == "scratch"})


def _mount(target: str, mount: Mapping[str, Any], inputs: Inputs) -> dict[str, Any]:
    if mount["type"] == "scratch":
        return _scratch(target, inputs)
    if mount["type"] == "tmpfs":
        options = list(mount["options"])
        return {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options}
    options = ["rbind", *mount["options"]]
    if not PROPAGATION.intersection(options):
        options.insert(1, "rprivate")
    if mount.get("read_only"):
        options.append("ro")
    return _bind(target, mount["source"], options)


def _bind(target: str, source: str, options: list[str]) -> dict[str, Any]:
    return {
        "destination": target,
        "type": "bind",
        "source": portable_source(source),
        "options": options,
    }


def portable_source(source: str) -> str:
    """A host path as the portable file holds it.

    >>> portable_source("./data/"), portable_source("/srv")
    ('../../../data', '/srv')
    """
    if source.startswith("/"):
        return str(PurePosixPath(source))
    if source == "~" or source.startswith(HOME):
        return source
    path = str(PurePosixPath(source))
    return PROJECT.rstrip("/") if path == "." else PROJECT + path
