"""A small model of applying layers, written from layer.md and umoci's behaviour, slow and plain.

It keeps a rootfs as nested dictionaries and applies whiteouts by looking each name up in the
lower layers; it shares no code with the real one.
"""

from __future__ import annotations

import tarfile
from typing import Any

Node = dict[str, Any]
"""``kind``, ``layer`` that it is of, and ``names`` (directories) or ``is`` (everything else)."""

KINDS = {
    tarfile.REGTYPE: "file", tarfile.SYMTYPE: "symlink", tarfile.CHRTYPE: "char",
    tarfile.FIFOTYPE: "fifo",
}  # fmt: skip


class Refused(Exception):
    """A stack that is not well formed."""


def directory(layer: int, meta: Any = None) -> Node:
    return {"kind": "dir", "layer": layer, "names": {}, "meta": meta}


def walk(root: Node, path: str, layer: int | None, budget: int = 40) -> list[Node] | None:
    """The directories on the way to ``path``, symlinks followed; made by ``layer`` if given."""
    trail = [root]
    parts = path.split("/")
    while parts:
        part = parts.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            trail = trail[:-1] or [root]
            continue
        node = trail[-1]["names"].get(part)
        if node is not None and node["kind"] == "symlink":
            budget -= 1
            if budget < 0:
                if layer is None:
                    return None
                raise Refused("loop")
            if node["target"].startswith("/"):
                trail = [root]
            parts = [*node["target"].split("/"), *parts]
            continue
        if node is None or node["kind"] != "dir":
            if layer is None:
                return None
            if node is not None and node["layer"] == layer:
                raise Refused("file and directory")
            node = trail[-1]["names"][part] = directory(layer)
        trail.append(node)
    return trail


def lower_directory(root: Node, path: str, own: dict[str, Any]) -> Node | None:
    """What ``path`` is in the lower layers, seen with the layer's own entries in mind."""
    parts = path.split("/") if path else []
    for count in range(1, len(parts) + 1):
        said = own.get("/".join(parts[:count]))
        if said is None:
            continue
        if said["kind"] == "symlink":
            start = "" if said["target"].startswith("/") else "/".join(parts[: count - 1])
            rest = "/".join(parts[count:])
            trail = walk(root, f"{start}/{said['target']}/{rest}", None)
            return trail[-1] if trail else None
        trail = walk(root, "/".join(parts[: count - 1]), None)
        node = trail[-1]["names"].get(parts[count - 1]) if trail else None
        if said["kind"] != "dir" or node is None or node["kind"] != "dir":
            return None
    trail = walk(root, path, None)
    return trail[-1] if trail else None


def meta_of(info: tarfile.TarInfo) -> tuple[int, int, int, int]:
    mode = 0o777 if info.type == tarfile.SYMTYPE else info.mode
    return mode, info.uid, info.gid, int(info.mtime) * 10**9


def apply(root: Node, layer: int, entries: list[Any]) -> None:
    whiteouts, plain, own = [], [], {}
    for info, data in entries:
        path = info.name.rstrip("/")
        parent, _, name = path.rpartition("/")
        if name == ".wh..wh..opq":
            whiteouts.append((parent, None))
        elif name.startswith(".wh."):
            whiteouts.append((parent, name[4:]))
            own.setdefault(f"{parent}/{name[4:]}".lstrip("/"), {"kind": "gone"})
        else:
            plain.append((path, info, data))
    for path, info, _ in plain:
        kind = "dir" if info.type == tarfile.DIRTYPE else KINDS.get(info.type, "file")
        own[path] = {"kind": kind, "target": info.linkname}
    found = [(lower_directory(root, parent, own), name) for parent, name in whiteouts]
    for place, name in found:
        if place is not None:
            if name is None:
                place["names"].clear()
            else:
                place["names"].pop(name, None)
    for path, info, data in plain:
        put(root, layer, path, info, data)


def put(root: Node, layer: int, path: str, info: tarfile.TarInfo, data: bytes) -> None:
    parent, _, name = path.rpartition("/")
    trail = walk(root, parent, layer)
    assert trail is not None
    names = trail[-1]["names"]
    old = names.get(name)
    if info.type == tarfile.DIRTYPE:
        if old is None or old["kind"] != "dir":
            old = names[name] = directory(layer)
        old["meta"], old["layer"] = meta_of(info), layer
    elif info.type == tarfile.LNKTYPE:
        target_parent, _, target = info.linkname.rpartition("/")
        place = walk(root, target_parent, None)
        node = place[-1]["names"].get(target) if place else None
        if node is None or node["kind"] == "dir":
            raise Refused("hard link")
        names[name] = node
    else:
        names[name] = {
            "kind": KINDS[info.type],
            "layer": layer,
            "meta": meta_of(info),
            "data": data,
            "target": info.linkname,
        }


def flatten(node: Node, path: str = "") -> dict[str, Any]:
    """Kind, metadata, content and inode of every path."""
    found: dict[str, Any] = {}
    if node["kind"] == "dir":
        found[path] = ("dir", node["meta"] or (0o755, 0, 0, 0), b"", "", None)
        for name, inner in node["names"].items():
            found |= flatten(inner, f"{path}/{name}".lstrip("/"))
    else:
        target = node["target"] if node["kind"] == "symlink" else ""
        data = node["data"] if node["kind"] == "file" else b""
        found[path] = (node["kind"], node["meta"], data, target, id(node))
    return found


def rootfs(stack: list[list[Any]]) -> dict[str, Any]:
    """What a stack of layers makes. Raises: Refused."""
    root = directory(-1)
    for number, entries in enumerate(stack):
        apply(root, number, entries)
    return flatten(root)
