"""The difference of two configurations in words: of images, and of config.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..figures import short_digest
from ..project.reason import MISSING, changes, param_words

NAMES = {
    "process.args": "command line",
    "process.cwd": "working directory",
    "process.user.uid": "user",
    "process.user.gid": "group",
    "process.capabilities.bounding": "capabilities",
    "process.terminal": "terminal",
    "root.readonly": "read-only root",
    "linux.seccomp": "filter of system calls",
    "config.Cmd": "Cmd",
    "config.Entrypoint": "Entrypoint",
    "config.User": "User",
    "config.WorkingDir": "WorkingDir",
    "config.StopSignal": "StopSignal",
}


def _variable(item: Any) -> tuple[str, Any]:
    name, _, value = str(item).partition("=")
    return name, value


KEYED: Mapping[str, Callable[[Any], tuple[str, Any]]] = {
    "env": _variable,
    "mounts": lambda item: (item.get("destination", ""), item),
    "rlimits": lambda item: (item.get("type", ""), item),
}
"""Lists that are tables: how an item gives its name and its value."""
WHOLE = frozenset({"args", "Cmd", "Entrypoint"})
"""Lists whose order is their meaning."""


def image_config_words(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What an image says otherwise of how it runs; its layers and their history are not part."""
    yield from _words(_image(old), _image(new))


def runtime_config_words(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What a config.json says otherwise.

    >>> list(runtime_config_words({"process": {"cwd": "/"}}, {"process": {"cwd": "/srv"}}))
    ['working directory changed from "/" to "/srv"']
    """
    yield from _words(_runtime(old), _runtime(new))


def _words(old: Any, new: Any) -> Iterator[str]:
    for change in changes(old, new):
        name = NAMES.get(".".join(change.path))
        yield param_words(change.replacing(path=(name,) if name else change.path), short_digest)


def _image(document: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        key: document[key]
        for key in ("architecture", "variant", "os", "author", "created")
        if key in document
    }
    inner = document.get("config")
    if isinstance(inner, Mapping):
        config = {key: value for key, value in inner.items() if value not in (None, [], {}, "")}
        variables = config.pop("Env", None)
        if isinstance(variables, list):
            kept["Env"] = dict(KEYED["env"](item) for item in variables)
        for key in WHOLE & config.keys():
            config[key] = _line(config[key])
        kept["config"] = config
    return kept


def _runtime(document: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(document)
    process = dict(found.get("process") or {})
    if "env" in process:
        found["Env"] = dict(KEYED["env"](item) for item in process.pop("env"))
    if "rlimits" in process:
        found["rlimits"] = dict(KEYED["rlimits"](item) for item in process.pop("rlimits"))
    if "args" in process:
        process["args"] = _line(process["args"])
    if isinstance(process.get("capabilities"), Mapping):
        process["capabilities"] = {"bounding": process["capabilities"].get("bounding", [])}
    if "process" in found:
        found["process"] = process
    if "mounts" in found:
        found["mounts"] = dict(KEYED["mounts"](item) for item in found["mounts"])
    linux = found.get("linux")
    if isinstance(linux, Mapping) and "seccomp" in linux:
        found["linux"] = {**linux, "seccomp": _seccomp(linux["seccomp"])}
    return found


def _line(words: Any) -> Any:
    import shlex

    return shlex.join(map(str, words)) if isinstance(words, list) else words


def _seccomp(profile: Any) -> Any:
    """A table of hundreds of calls is another one or it is not."""
    from ..oci.canonical_json import canonical
    from ..oci.digest import digest_bytes

    return str(digest_bytes(canonical(profile))) if isinstance(profile, Mapping) else MISSING
