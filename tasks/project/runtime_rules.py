"""config.json against the runtime specification: its schema, and what no schema can say.

Spec: runtime-spec 1.2 config.md, config-linux.md. What depends on a host (whether a hook's program
or a mount's source is there) is the runtime's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from .schema import Violation, load_schema, violations_of
from .suggestion import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONFIG = "runtime-spec/config"
OWN_NAMESPACE = {"hostname": "uts", "domainname": "uts"}
ERRNO_ACTIONS = frozenset({"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"})
NEEDS_MOUNT = ("maskedPaths", "readonlyPaths", "rootfsPropagation")


def runtime_violations(config: Any) -> list[Violation]:
    """All violations, by place; the rules beside the schema are for documents that it accepts."""
    found = violations_of(CONFIG, config)
    if found:
        return found
    return [violation for rule in RULES for violation in rule(config)]


def unknown_keys(patch: Mapping[str, Any]) -> list[Violation]:
    """Keys of a patch that the specification does not know.

    A document may hold them (its section "Extensibility"), but a patch that sets one is far more
    often a slip of the pen, which would do nothing and say nothing.
    """
    schema = load_schema(CONFIG)
    return list(_unknown(patch, schema, schema["$defs"], ()))


def _unknown(
    value: Any, schema: Mapping[str, Any], defs: Mapping[str, Any], path: tuple[str | int, ...]
) -> Iterator[Violation]:
    if "$ref" in schema:
        schema = defs[schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from _unknown(item, schema.get("items", {}), defs, (*path, place))
    if not isinstance(value, Mapping):
        return
    known = schema.get("properties", {})
    for name, inner in value.items():
        if name in known:
            yield from _unknown(inner, known[name], defs, (*path, name))
        elif isinstance(schema.get("additionalProperties"), dict):
            yield from _unknown(inner, schema["additionalProperties"], defs, (*path, name))
        elif known:
            guess = did_you_mean(name, known)
            yield Violation((*path, name), f"the runtime specification has no such key{guess}")


def _duplicates(
    items: Any, key: Callable[[Any], Any], path: tuple[str | int, ...], what: str
) -> Iterator[Violation]:
    seen = set()
    for place, item in enumerate(items or ()):
        name = key(item)
        if name in seen:
            yield Violation((*path, place), f"a second {what} {name}")
        seen.add(name)


def _process(config: Mapping[str, Any]) -> Iterator[Violation]:
    process = config.get("process")
    if process is None:
        return
    if "args" not in process:
        yield Violation(("process",), "lacks 'args', so that nothing can be started")
    yield from _duplicates(
        process.get("env"), lambda text: text.partition("=")[0], ("process", "env"), "variable"
    )
    limits = process.get("rlimits", ())
    where = ("process", "rlimits")
    yield from _duplicates(limits, lambda limit: limit["type"], where, "limit")
    for place, limit in enumerate(limits):
        if limit["soft"] > limit["hard"]:
            yield Violation((*where, place, "soft"), f"is above the hard limit {limit['hard']}")


def _capabilities(config: Mapping[str, Any]) -> Iterator[Violation]:
    sets = (config.get("process") or {}).get("capabilities") or {}
    for kind, within in (
        ("effective", "permitted"),
        ("ambient", "permitted"),
        ("permitted", "bounding"),
        ("inheritable", "bounding"),
    ):
        outside = set(sets.get(kind, ())) - set(sets.get(within, ()))
        for place, name in enumerate(sets.get(kind, ())):
            if name in outside:
                path = ("process", "capabilities", kind, place)
                yield Violation(path, f"{name} is not in the {within} set")


def _namespace_types(config: Mapping[str, Any]) -> set[str]:
    return {each["type"] for each in (config.get("linux") or {}).get("namespaces") or ()}


def _namespaces(config: Mapping[str, Any]) -> Iterator[Violation]:
    linux = config.get("linux")
    if linux is None:
        return
    types = _namespace_types(config)
    where = ("linux", "namespaces")
    yield from _duplicates(linux.get("namespaces"), lambda each: each["type"], where, "namespace")
    for key, needed in OWN_NAMESPACE.items():
        if config.get(key) and needed not in types:
            yield Violation((key,), f"needs a {needed} namespace")
    for key in NEEDS_MOUNT:
        if linux.get(key) and "mount" not in types:
            yield Violation(("linux", key), "needs a mount namespace")
    if linux.get("timeOffsets") and "time" not in types:
        yield Violation(("linux", "timeOffsets"), "needs a time namespace")
    for name in linux.get("sysctl", {}):
        needed = _sysctl_namespace(name)
        if needed and needed not in types:
            yield Violation(
                ("linux", "sysctl", name), f"would change the host: no {needed} namespace"
            )


def _sysctl_namespace(name: str) -> str:
    place = name.replace("/", ".")
    if place.startswith("net."):
        return "network"
    if place.startswith(("fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm")):
        return "ipc"
    return "uts" if place == "kernel.domainname" else ""


def _id_maps(config: Mapping[str, Any]) -> Iterator[Violation]:
    linux = config.get("linux") or {}
    for key in ("uidMappings", "gidMappings"):
        maps = linux.get(key) or ()
        if maps and "user" not in _namespace_types(config):
            yield Violation(("linux", key), "needs a user namespace")
        for side in ("containerID", "hostID"):
            yield from _overlaps(maps, side, ("linux", key))


def _overlaps(maps: Any, side: str, path: tuple[str | int, ...]) -> Iterator[Violation]:
    taken: list[tuple[int, int]] = []
    for place, each in enumerate(maps):
        first, end = each[side], each[side] + each["size"]
        if each["size"] == 0:
            yield Violation((*path, place, "size"), "maps nothing")
        if any(first < other_end and other < end for other, other_end in taken):
            yield Violation((*path, place, side), "overlaps a range before it")
        taken.append((first, end))


def _mounts(config: Mapping[str, Any]) -> Iterator[Violation]:
    """Two mounts at one place: the first one can never be seen."""
    yield from _duplicates(
        config.get("mounts"),
        lambda mount: mount["destination"].rstrip("/") or "/",
        ("mounts",),
        "mount at",
    )
    for place, mount in enumerate(config.get("mounts", ())):
        if ".." in mount["destination"].split("/"):
            yield Violation(("mounts", place, "destination"), "leads upwards")
        options = mount.get("options", ())
        if ("bind" in options or "rbind" in options) and not mount.get("source"):
            yield Violation(("mounts", place), "is a bind mount without a source")


def _devices(config: Mapping[str, Any]) -> Iterator[Violation]:
    linux = config.get("linux") or {}
    yield from _duplicates(
        linux.get("devices"), lambda each: each["path"], ("linux", "devices"), "device at"
    )


def _resources(config: Mapping[str, Any]) -> Iterator[Violation]:
    resources = (config.get("linux") or {}).get("resources") or {}
    memory = resources.get("memory") or {}
    limit, swap = memory.get("limit", -1), memory.get("swap", -1)
    where = ("linux", "resources", "memory")
    if 0 <= swap < limit:
        yield Violation((*where, "swap"), f"counts memory too, so it cannot be below limit {limit}")
    if limit >= 0 and memory.get("reservation", 0) > limit:
        yield Violation((*where, "reservation"), f"is above limit {limit}")
    yield from _duplicates(
        resources.get("hugepageLimits"),
        lambda each: each["pageSize"],
        ("linux", "resources", "hugepageLimits"),
        "limit for",
    )


def _seccomp(config: Mapping[str, Any]) -> Iterator[Violation]:
    seccomp = (config.get("linux") or {}).get("seccomp")
    if not seccomp:
        return
    path = ("linux", "seccomp")
    rules = seccomp.get("syscalls", ())
    if "defaultErrnoRet" in seccomp and seccomp["defaultAction"] not in ERRNO_ACTIONS:
        action = seccomp["defaultAction"]
        yield Violation((*path, "defaultErrnoRet"), f"means nothing with {action}")
    for place, rule in enumerate(rules):
        if "errnoRet" in rule and rule["action"] not in ERRNO_ACTIONS:
            where = (*path, "syscalls", place, "errnoRet")
            yield Violation(where, f"means nothing with {rule['action']}")
    if any(rule["action"] == "SCMP_ACT_NOTIFY" for rule in rules) and not seccomp.get(
        "listenerPath"
    ):
        yield Violation(path, "has a rule that notifies, and lacks 'listenerPath'")


def _root(config: Mapping[str, Any]) -> Iterator[Violation]:
    if "root" not in config and "hyperv" not in (config.get("windows") or {}):
        yield Violation((), "lacks 'root'")


def _other_systems(config: Mapping[str, Any]) -> Iterator[Violation]:
    for key in ("windows", "solaris", "zos", "freebsd"):
        if key in config:
            yield Violation((key,), "is for another system than Linux")


RULES = (
    _root,
    _process,
    _capabilities,
    _namespaces,
    _id_maps,
    _mounts,
    _devices,
    _resources,
    _seccomp,
    _other_systems,
)
