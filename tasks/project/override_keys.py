"""One table of a bundle's keys, read into one normal form.

The schema has already seen to the types; here is what it cannot say: grammar inside texts, units,
and keys that contradict each other. Spec: Compose "services".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..oci.capability import ALL, CAPABILITIES, parse_capability
from . import mount_syntax
from .mount_syntax import Report
from .quantity import parse_bytes, parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PLAIN_KEYS = """
annotations cgroup_limits cgroup_parent command cpu_period cpu_quota cpu_shares cpuset domainname
entrypoint group_add hooks hostname init ipc network oom_kill_disable oom_score_adj persistent pid
pids_limit read_only tty user userns uts working_dir
"""
PLAIN = frozenset(PLAIN_KEYS.split())
"""Keys whose value is already in its normal form, or nearly (see ``_plain``)."""

BYTES = frozenset({"mem_limit", "mem_reservation", "memswap_limit", "shm_size"})
DURATIONS = frozenset({"timeout", "stop_grace_period"})
RUN_ONLY = frozenset(
    {"init", "timeout", "stop_grace_period", "log", "persistent", "userns", "cgroup_limits"}
)
"""Keys that say how a bundle is run, not what config.json holds: they are in no step key."""

CONTRADICTIONS = (
    ("cpus", "cpu_quota", "both limit the processor's time"),
    ("cpus", "cpu_period", "both limit the processor's time"),
)


def normalise(table: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The normal form of one table; ``report`` is told the path below it and what is wrong."""
    found: dict[str, Any] = {}
    for first, second, why in CONTRADICTIONS:
        if first in table and second in table:
            report((second,), f"{first} is set too, and {why}; keep one of them")
    for key, value in table.items():
        reader = READERS.get(key)
        if reader is None and key not in PLAIN:
            continue
        said = _below(report, key)
        for name, normal in (reader(value, said) if reader else _plain(key, value, said)).items():
            if isinstance(normal, dict) and isinstance(found.get(name), dict):
                for twice in sorted(found[name].keys() & normal.keys()):
                    report((key,), f"{twice!r} is set twice in this table")
                found[name] = {**found[name], **normal}
            else:
                found[name] = normal
    _check_together(found, report)
    return found


def _below(report: Report, key: str) -> Report:
    return lambda path, message: report((key, *path), message)


def _check_together(found: Mapping[str, Any], report: Report) -> None:
    for target in sorted(found.get("volumes", {}).keys() & found.get("tmpfs", {}).keys()):
        report(("tmpfs",), f"{target} is a volume too")
    for name in sorted(set(found.get("cap_add", ())) & set(found.get("cap_drop", ()))):
        report(("cap_drop",), f"{name} is in cap_add too")


def _plain(key: str, value: Any, report: Report) -> dict[str, Any]:
    if key == "user":
        value = str(value)
        _check_ids(value.split(":"), report)
    if key == "group_add":
        value = [str(group) for group in value]
        _check_ids(value, report)
    if key in ("entrypoint", "command") and isinstance(value, str):
        value = split_words(value, report)
    if key == "working_dir" and not value.startswith("/"):
        report((), f"{value!r} is no absolute path")
    return {key: value}


def _check_ids(words: list[str], report: Report) -> None:
    from ..oci.accounts import is_too_large

    for word in words:
        if is_too_large(word):
            report((), f"{word} is no user or group number, which end at 4294967294")


def split_words(text: str, report: Report) -> list[str]:
    """Split as a shell would, without expanding anything."""
    import shlex

    try:
        return shlex.split(text)
    except ValueError as error:
        report((), f"cannot be split into words: {error}")
        return []


def _environment(value: Any, report: Report) -> dict[str, Any]:
    found: dict[str, str] = {}
    pairs = (
        value.items()
        if isinstance(value, Mapping)
        else (text.partition("=")[::2] for text in value)
    )
    for place, (name, content) in enumerate(pairs):
        at = (name,) if isinstance(value, Mapping) else (place,)
        if not isinstance(value, Mapping) and "=" not in value[place]:
            report(
                at,
                f"{name!r} has no value, and none is taken from the host, because the bundle would "
                f"then differ from host to host; write {name}=… or keep it in an env_file",
            )
        if not name or "=" in name or "\0" in name:
            report(at, f"{name!r} is no name of a variable")
        if name in found:
            report(at, f"{name} is set twice")
        found[name] = text_of(content)
    return {"environment": found}


def text_of(value: object) -> str:
    """A scalar as Compose writes it into texts: ``true``, ``1``, ``1.5``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _env_file(value: Any, _: Report) -> dict[str, Any]:
    files = []
    for item in [value] if isinstance(value, (str, Mapping)) else value:
        table = {"path": item} if isinstance(item, str) else item
        files.append({"path": table["path"], "required": table.get("required", True)})
    return {"env_file": files}


def _ulimits(value: Mapping[str, Any], report: Report) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, limit in value.items():
        both = limit if isinstance(limit, Mapping) else {"soft": limit, "hard": limit}
        soft, hard = both["soft"], both["hard"]
        if hard != -1 and (soft == -1 or soft > hard):
            report((name,), f"the soft limit {soft} is above the hard limit {hard}")
        found[name] = {"soft": soft, "hard": hard}
    return {"ulimits": found}


def _capabilities(key: str) -> Callable[[Any, Report], dict[str, Any]]:
    def read(value: Any, report: Report) -> dict[str, Any]:
        found = []
        for place, text in enumerate(value):
            name = parse_capability(text)
            if name is None:
                from .suggestion import did_you_mean

                known = [known.removeprefix("CAP_") for known in CAPABILITIES] + [ALL]
                guess = did_you_mean(text.upper().removeprefix("CAP_"), known)
                report((place,), f"{text!r} is no capability{guess}")
            else:
                found.append(name)
        return {key: sorted(set(found))}

    return read


def _bytes(key: str) -> Callable[[Any, Report], dict[str, Any]]:
    def read(value: Any, report: Report) -> dict[str, Any]:
        size = -1 if value == -1 and key == "memswap_limit" else parse_bytes(value)
        if size is None:
            report((), f"{value!r} is no size; expected a number with b, k, m or g, like 64m")
        return {key: size or 0}

    return read


def _duration(key: str) -> Callable[[Any, Report], dict[str, Any]]:
    def read(value: Any, report: Report) -> dict[str, Any]:
        seconds = parse_duration(value)
        if seconds is None:
            report((), f"{value!r} is no duration; expected seconds, or a text like 1m30s")
        return {key: seconds or 0.0}

    return read


def _cpus(value: Any, report: Report) -> dict[str, Any]:
    try:
        cpus = float(value)
    except ValueError:
        cpus = 0.0
    if not 0.01 <= cpus < 1e6:
        report((), f"{value!r} is no number of processors; expected at least 0.01")
        return {}
    return {"cpu_quota": round(cpus * 100_000), "cpu_period": 100_000}


def _sysctls(value: Mapping[str, Any], report: Report) -> dict[str, Any]:
    from ..oci.runtime_linux import sysctl_namespace

    for name in value:
        if not sysctl_namespace(name):
            report(
                (name,),
                "belongs to the host, not to a namespace of the container; expected net.*, "
                "fs.mqueue.*, kernel.domainname, kernel.sem, kernel.shm* or kernel.msg*",
            )
    return {"sysctls": {name: text_of(setting) for name, setting in value.items()}}


def _annotations(value: Mapping[str, Any], _: Report) -> dict[str, Any]:
    return {"annotations": {name: text_of(text) for name, text in value.items()}}


SHORTEST = 0.001
"""Seconds; Docker's limit for what is done again and again."""


def _healthcheck(value: Mapping[str, Any], report: Report) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, given in value.items():
        if key == "test":
            found[key] = _test(given, _below(report, key))
        elif key == "retries":
            found[key] = given
        elif key != "disable":
            seconds = parse_duration(given)
            found |= _duration(key)(given, _below(report, key))
            if key != "start_period" and seconds is not None and seconds < SHORTEST:
                report((key,), f"{given!r} is too short; expected at least 1ms")
    if value.get("disable"):
        if "test" in found:
            report(("disable",), "test is set too; keep one of them")
        found["test"] = ["NONE"]
    return {"healthcheck": found}


def _test(value: str | list[str], report: Report) -> list[str]:
    """Spec: Compose "healthcheck", "test"."""
    if isinstance(value, str):
        return ["CMD-SHELL", value]
    kind, *words = value
    if kind not in ("NONE", "CMD", "CMD-SHELL"):
        report((0,), f"{kind!r} is no way to ask; expected CMD, CMD-SHELL or NONE before the words")
    elif kind == "CMD" and not words:
        report((), "has no command behind CMD")
    elif kind == "CMD-SHELL" and len(words) != 1:
        report((), "expected one text behind CMD-SHELL")
    elif kind == "NONE" and words:
        report((), "has words behind NONE")
    return value


def _log(value: Mapping[str, Any], report: Report) -> dict[str, Any]:
    found = dict(value)
    if "max_size" in found:
        size = parse_bytes(found["max_size"])
        if not size:
            report(("max_size",), f"{found['max_size']!r} is no size")
        found["max_size"] = size or 0
    return {"log": found}


def _stop_signal(value: Any, report: Report) -> dict[str, Any]:
    from ..oci.signal_name import parse_signal

    name = parse_signal(str(value))
    if name is None:
        report((), f"{value!r} is no signal")
    return {"stop_signal": name or "SIGTERM"}


def _seccomp(value: str, _: Report) -> dict[str, Any]:
    return {"security": {"seccomp": value}}


def _security_opt(value: Any, report: Report) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for place, text in enumerate(value):
        name, _, setting = (
            text.replace(":", "=", 1).partition("=") if "=" not in text else text.partition("=")
        )
        parsed = _security_setting(name, setting)
        if parsed is None:
            report((place,), f"{text!r} is no security option that works without an engine")
            continue
        for key in parsed.keys() & found.keys():
            report((place,), f"{key} is set twice")
        found |= parsed
    return {"security": found}


def _security_setting(name: str, setting: str) -> dict[str, Any] | None:
    if name == "no-new-privileges" and setting in ("", "true", "false"):
        return {"no_new_privileges": setting != "false"}
    if name in ("seccomp", "apparmor") and setting:
        return {name: setting}
    if (name, setting) == ("label", "disable"):
        return {"selinux_label": ""}
    if name == "label" and setting.count(":") >= 3:
        return {"selinux_label": setting}
    if (name, setting) == ("systempaths", "unconfined"):
        return {"unconfined_paths": True}
    return None


READERS: Mapping[str, Callable[[Any, Report], dict[str, Any]]] = {
    "annotations": _annotations,
    "cap_add": _capabilities("cap_add"),
    "cap_drop": _capabilities("cap_drop"),
    "cpus": _cpus,
    "devices": lambda value, report: {"devices": mount_syntax.devices(value, report)},
    "env_file": _env_file,
    "environment": _environment,
    "healthcheck": _healthcheck,
    "labels": _annotations,
    "log": _log,
    "seccomp": _seccomp,
    "secrets": lambda value, report: {"secrets": mount_syntax.secrets(value, report)},
    "security_opt": _security_opt,
    "stop_signal": _stop_signal,
    "sysctls": _sysctls,
    "tmpfs": lambda value, report: {"tmpfs": mount_syntax.tmpfs(value, report)},
    "ulimits": _ulimits,
    "volumes": lambda value, report: {"volumes": mount_syntax.volumes(value, report)},
    **{key: _bytes(key) for key in BYTES},
    **{key: _duration(key) for key in DURATIONS},
}
