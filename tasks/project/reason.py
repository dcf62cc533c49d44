"""Reasons: the difference between two step keys, in words.

A stamp keeps the parts that its key was made from; what is other in them now is why a step runs.
Values of environment variables are never said: a build's log is read by many.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from ..figures import count_text, short_digest
from ..value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MISSING = object()
DIGEST_LENGTH = 64
LONGEST_VALUE = 80
PRIVATE = ("environment", "secrets")

INPUTS = {
    "image_config": "the image's configuration",
    "passwd": "the rootfs's /etc/passwd",
    "group": "the rootfs's /etc/group",
    "bundle": "the bundle",
}
DERIVED = {
    ("bundle", "rootfs"): "its rootfs",
    ("bundle", "config"): "its config.json",
}
ABSENT = "it is not in the store"
NEVER = "it was never built"
NEVER_RUN = "this bundle digest has not passed it here"
GONE = "its output is gone or was changed from outside"
SAME = {
    "layout": "its manifests are the same as when it was put together",
    "rootfs": "its layers are the same as when they were unpacked",
    "config": "the image's configuration and every override are the same as when it was written",
    "bundle": "its rootfs and its config.json are the same, and the lock holds their digest",
    "check": "this bundle digest has passed this check",
}


class Change(Value, kw_only=False):
    """One place in the parts, and what stood and stands there; MISSING where nothing does."""

    path: tuple[str, ...]
    old: Any
    new: Any


def reasons(
    before: Mapping[str, Any] | None, key: str, parts: Mapping[str, Any], *, full: bool = False
) -> tuple[str, ...]:
    """Why a step whose stamp is ``before`` would run; ``full`` writes digests out.

    A stamp of the same key means that the output does not stand.
    """
    if before is None:
        return (NEVER_RUN if parts.get("step") == "check" else NEVER,)
    if before.get("key") == key:
        return (GONE,)
    old = before.get("parts")
    if not isinstance(old, Mapping):
        return ("its stamp was written by another doit-oci",)
    return tuple(difference(old, parts, full=full)) or (GONE,)


def difference(
    old: Mapping[str, Any], new: Mapping[str, Any], *, full: bool = False
) -> Iterator[str]:
    """What is other in the parts of a key, a sentence without its full stop each.

    >>> parts = {"step": "config", "epoch": 1, "inputs": {}, "platform": "linux/amd64"}
    >>> list(difference(
    ...     {**parts, "params": {"overrides": {"hostname": "a"}}},
    ...     {**parts, "params": {"overrides": {"hostname": "b"}}},
    ... ))
    ['hostname changed from "a" to "b"']
    """
    show = _full if full else short_digest
    step = str(new.get("step", ""))
    if old.get("epoch") != new.get("epoch"):
        yield f"this doit-oci does the step otherwise (epoch {old.get('epoch')} → {new['epoch']})"
    if old.get("platform") != new.get("platform"):
        yield f"the platform changed from {old.get('platform')} to {new['platform']}"
    before, after = old.get("inputs"), new.get("inputs")
    if isinstance(before, list) and isinstance(after, list):
        yield from layer_changes(before, after, show)
    else:
        for change in changes(before, after):
            yield _input(step, change, show)
    for change in changes(_flat(old.get("params")), _flat(new.get("params"))):
        yield param_words(change, show)


def layer_changes(old: list[str], new: list[str], show: Callable[[str], str]) -> Iterator[str]:
    """What is other in a stack of layers, the base layer first."""
    same = 0
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    if same == len(old) == len(new):
        return
    if same == len(old):
        yield f"{count_text(len(new) - same, 'layer')} came on top of the {same} that are there"
    elif same == len(new):
        yield f"the top {count_text(len(old) - same, 'layer')} went away, {same} are left"
    elif same == len(old) - 1 == len(new) - 1:
        what = "the top layer" if same else "its only layer"
        yield f"{what} changed from {show(old[same])} to {show(new[same])}"
    else:
        yield (
            f"from layer {same + 1} up, {count_text(len(old) - same, 'layer')} became "
            f"{len(new) - same}: {show(old[same])} is now {show(new[same])}"
        )


def changes(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[Change]:
    """Every place where two documents differ, in the order of their names."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            yield from changes(old.get(name, MISSING), new.get(name, MISSING), (*path, name))
    elif isinstance(old, Mapping) and new is MISSING and old:
        for name in sorted(old):
            yield from changes(old[name], MISSING, (*path, name))
    elif isinstance(new, Mapping) and old is MISSING and new:
        for name in sorted(new):
            yield from changes(MISSING, new[name], (*path, name))
    elif old != new:
        yield Change(path, old, new)


def _flat(params: Any) -> Any:
    """Overrides are named as in images.toml: ``environment.DEBUG``."""
    if not isinstance(params, Mapping):
        return params
    inner = params.get("overrides")
    rest = {name: value for name, value in params.items() if name != "overrides"}
    return {**rest, **inner} if isinstance(inner, Mapping) else params


def _input(step: str, change: Change, show: Callable[[str], str]) -> str:
    name = change.path[0] if change.path else "inputs"
    derived = DERIVED.get((step, name))
    if derived:
        return f"{derived} changed"
    if name == "files":
        return _moved(f"the file {change.path[-1]}", change, show, tell=False)
    if step == "layout":
        return _moved(f"the manifest for {name}", change, show)
    return _moved(INPUTS.get(name, f"the input {'.'.join(change.path)}"), change, show)


def param_words(change: Change, show: Callable[[str], str]) -> str:
    """One changed parameter; texts of lists are said as what was gained and lost."""
    name = ".".join(change.path)
    old, new = change.old, change.new
    lists = [[] if side is MISSING else side for side in (old, new)]
    if all(isinstance(side, list) for side in lists) and change.path[-1:] != ("spec",):
        gone = [each for each in lists[0] if each not in lists[1]]
        come = [each for each in lists[1] if each not in lists[0]]
        said = [
            f"{verb} {', '.join(_value(each, show) for each in side)}"
            for verb, side in (("gained", come), ("lost", gone))
            if side
        ]
        return f"{name} {' and '.join(said)}" if said else f"{name} has another order"
    if change.path[-1:] == ("spec",):
        return "spec changed"
    return _moved(name, change, show, tell=change.path[:1] not in [(each,) for each in PRIVATE])


def _moved(name: str, change: Change, show: Callable[[str], str], *, tell: bool = True) -> str:
    if change.old is MISSING:
        return f"{name} was added" + (f": {_value(change.new, show)}" if tell else "")
    if change.new is MISSING:
        return f"{name} was taken out"
    if not tell:
        return f"{name} changed"
    return f"{name} changed from {_value(change.old, show)} to {_value(change.new, show)}"


def _value(value: Any, show: Callable[[str], str]) -> str:
    if isinstance(value, str) and _is_digest(value):
        return show(value)
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _is_digest(text: str) -> bool:
    return ":" in text and len(text.partition(":")[2]) >= DIGEST_LENGTH


def _full(text: str) -> str:
    return text
