"""Compose's words for mounts and devices, short and long, made into one form.

Spec: Compose "volumes", "tmpfs", "devices", "secrets"; runtime-spec 1.2 config.md, "mounts".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .quantity import parse_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Report = Callable[[tuple[str | int, ...], str], None]

PROPAGATION = frozenset({"shared", "rshared", "slave", "rslave", "private", "rprivate"})
FLAGS = frozenset({"nosuid", "nodev", "noexec", "suid", "dev", "exec", "noatime", "relatime"})
NO_EFFECT = frozenset(
    {"rw", "z", "Z", "cached", "delegated", "consistent", "nocopy", "bind", "rbind"}
)
TMPFS_DEFAULT = ("nosuid", "nodev", "noexec")
TMPFS_SIZED = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks")

KNOWN_DEVICES = {
    "/dev/cuse": ("c", 10, 203),
    "/dev/full": ("c", 1, 7),
    "/dev/fuse": ("c", 10, 229),
    "/dev/kmsg": ("c", 1, 11),
    "/dev/kvm": ("c", 10, 232),
    "/dev/loop-control": ("c", 10, 237),
    "/dev/net/tun": ("c", 10, 200),
    "/dev/null": ("c", 1, 3),
    "/dev/ppp": ("c", 108, 0),
    "/dev/random": ("c", 1, 8),
    "/dev/tty": ("c", 5, 0),
    "/dev/urandom": ("c", 1, 9),
    "/dev/vhost-net": ("c", 10, 238),
    "/dev/vhost-vsock": ("c", 10, 241),
    "/dev/watchdog": ("c", 10, 130),
    "/dev/zero": ("c", 1, 5),
}
"""Numbers that the kernel assigns for good (its admin-guide/devices.txt), so they need no host."""


def clean_target(target: str) -> str | None:
    """An absolute container path without ``//``, ``.`` and a trailing slash; None for others."""
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if not target.startswith("/") or ".." in parts or not parts or "\0" in target:
        return None
    return "/" + "/".join(parts)


def is_host_path(source: str) -> bool:
    """Whether a volume's source is a path, not the name of an engine's volume."""
    return source.startswith(("/", "./", "../", "~/")) or source in (".", "..", "~")


def at_place(report: Report, path: tuple[str | int, ...]) -> Callable[[str], None]:
    """``report`` for one place."""
    return lambda message: report(path, message)


def volumes(values: Any, report: Report) -> dict[str, Any]:
    """Volumes by target. A value is ``[SOURCE:]TARGET[:OPTIONS]`` or Compose's long form."""
    found: dict[str, Any] = {}
    for place, value in enumerate(values):
        parsed = (_long_volume if isinstance(value, Mapping) else _short_volume)(
            value, at_place(report, (place,))
        )
        if parsed is None:
            continue
        target, volume = parsed
        if target in found:
            report((place,), f"a second volume at {target}")
        found[target] = volume
    return found


def _short_volume(text: str, report: Callable[[str], None]) -> tuple[str, dict[str, Any]] | None:
    parts = text.split(":")
    if len(parts) == 1:
        parts = ["", *parts]
    if len(parts) > 3:
        report(f"{text!r} has too many colons; expected SOURCE:TARGET[:OPTIONS]")
        return None
    source, options = parts[0], parts[2].split(",") if len(parts) == 3 else []
    target = clean_target(parts[1])
    if target is None:
        report(f"{parts[1]!r} is no absolute path in the container")
        return None
    if not source:
        return target, {"type": "scratch"}
    if not is_host_path(source):
        report(
            f"{source!r} would be a named volume, which needs an engine; "
            f"for a directory beside images.toml write ./{text}"
        )
        return None
    volume: dict[str, Any] = {"type": "bind", "source": source, "options": []}
    for option in options:
        if option == "ro":
            volume["read_only"] = True
        elif option in PROPAGATION | FLAGS:
            volume["options"].append(option)
        elif option not in NO_EFFECT:
            report(f"{option!r} is no option of a volume")
    return target, volume


def _long_volume(
    value: Mapping[str, Any], report: Callable[[str], None]
) -> tuple[str, dict[str, Any]] | None:
    target = clean_target(value["target"])
    if target is None:
        report(f"{value['target']!r} is no absolute path in the container")
        return None
    kind, source = value.get("type", "bind"), value.get("source")
    if kind == "tmpfs":
        words = [f"{name}={value['tmpfs'][name]}" for name in sorted(value.get("tmpfs", {}))]
        if source is not None:
            report("a tmpfs has no source")
        options = tmpfs_options(",".join(words + ["ro"] * bool(value.get("read_only"))), report)
        return target, {"type": "tmpfs", "options": options}
    if source is None:
        report("a bind volume needs a source")
        return None
    if not is_host_path(source):
        report(f"{source!r} is no path; for one beside images.toml write ./{source}")
        return None
    volume = {"type": "bind", "source": source, "options": []}
    propagation = value.get("bind", {}).get("propagation")
    if propagation:
        volume["options"] = [propagation]
    if value.get("read_only"):
        volume["read_only"] = True
    return target, volume


def tmpfs(values: Any, report: Report) -> dict[str, Any]:
    """tmpfs mounts by target. A value is ``TARGET[:OPTIONS]``."""
    found: dict[str, Any] = {}
    for place, text in enumerate([values] if isinstance(values, str) else values):
        at = (place,) if not isinstance(values, str) else ()
        name, _, options = text.partition(":")
        target = clean_target(name)
        if target is None:
            report(at, f"{name!r} is no absolute path in the container")
            continue
        if target in found:
            report(at, f"a second tmpfs at {target}")
        found[target] = {
            "type": "tmpfs",
            "options": tmpfs_options(options, at_place(report, at)),
        }
    return found


def tmpfs_options(text: str, report: Callable[[str], None]) -> list[str]:
    """Mount options of a tmpfs: Docker's defaults, changed by ``text``."""
    found = dict.fromkeys(TMPFS_DEFAULT, "") | {"mode": "1777"}
    for word in filter(None, text.split(",")):
        name, _, value = word.partition("=")
        if name == "size":
            size = parse_bytes(value)
            if size is None:
                report(f"{value!r} is no size; expected a number with b, k, m or g")
                continue
            found["size"] = str(size)
        elif name in TMPFS_SIZED:
            found[name] = value
        elif name in ("ro", "rw", *FLAGS):
            found.pop({"suid": "nosuid", "dev": "nodev", "exec": "noexec"}.get(name, ""), None)
            if name not in ("rw", "suid", "dev", "exec"):
                found[name] = ""
        else:
            report(f"{word!r} is no option of a tmpfs")
    return [f"{name}={value}" if value else name for name, value in found.items()]


def devices(values: Any, report: Report) -> dict[str, Any]:
    """Devices by container path. A value is ``PATH[:TARGET[:rwm]]`` or a table with numbers."""
    found: dict[str, Any] = {}
    for place, value in enumerate(values):
        device = dict(value) if isinstance(value, Mapping) else _short_device(value)
        path = clean_target(device.get("path", ""))
        access = device.setdefault("access", "rwm")
        if path is None:
            report((place,), f"{value!r}: {device.get('path')!r} is no absolute path")
        elif not access or not set(access) <= set("rwm"):
            report((place,), f"{access!r} is no access; expected some of the letters rwm")
        elif "major" not in device and device.get("type") != "p":
            report(
                (place,),
                f"{device['host']} has no number that is the same on every host; write "
                f'{{ path = "{path}", type = "c", major = …, minor = … }} (see `stat`)',
            )
        else:
            if path in found:
                report((place,), f"a second device at {path}")
            found[path] = {
                **device,
                "path": path,
                "access": "".join(letter for letter in "rwm" if letter in access),
            }
            found[path].pop("host", None)
    return found


def _short_device(text: str) -> dict[str, Any]:
    host, _, rest = text.partition(":")
    target, _, access = rest.partition(":")
    if target and set(target) <= set("rwm"):
        target, access = "", target
    known = KNOWN_DEVICES.get(host)
    numbers = dict(zip(("type", "major", "minor"), known, strict=True)) if known else {}
    device: dict[str, Any] = {"path": target or host, "host": host, **numbers}
    return device | {"access": access} if access else device


def secrets(values: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Secrets by target. ``NAME = FILE`` appears as ``/run/secrets/NAME``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        table = {"file": value} if isinstance(value, str) else value
        target = table.get("target", name)
        path = clean_target(target if target.startswith("/") else f"/run/secrets/{target}")
        source = table["file"]
        if path is None:
            report((name,), f"{target!r} is no path in the container")
        elif path in found:
            report((name,), f"a second secret at {path}")
        else:
            found[path] = {"source": source if is_host_path(source) else f"./{source}"}
    return found
