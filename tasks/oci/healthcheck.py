"""Healthcheck: the command that says whether a running container does its work.

The runtime specification has no place for it, so it travels in config.json as an annotation, in
the words of the image configuration: what stands in the bundle is what runs. There it is whole:
Test without CMD-SHELL, every other field set, durations in nanoseconds.
Source: Docker Image Specification 1.2 "Healthcheck"; Compose "healthcheck".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ..value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NONE, EXEC, SHELL = "NONE", "CMD", "CMD-SHELL"
DEFAULT_SHELL = ("/bin/sh", "-c")
SECOND = 10**9
DURATIONS = {
    "interval": ("Interval", 30.0),
    "timeout": ("Timeout", 30.0),
    "start_period": ("StartPeriod", 0.0),
    "start_interval": ("StartInterval", 5.0),
}
RETRIES = 3


class Healthcheck(Value):
    """``args`` is run in the container every ``interval``, and fails by a status or by taking
    longer than ``timeout``; all times are in seconds.

    ``retries`` failures in a row make a container unhealthy. Until it was healthy once, or
    ``start_period`` is over, it is asked every ``start_interval`` and failures do not count.
    """

    args: tuple[str, ...]
    interval: float
    timeout: float
    start_period: float
    start_interval: float
    retries: int


def make_healthcheck(
    image: Mapping[str, Any], declared: Mapping[str, Any], shell: Sequence[str] = DEFAULT_SHELL
) -> dict[str, Any] | None:
    """The annotation's object, from the image's Healthcheck and the declaration's over it.

    ``declared`` has times in seconds; ``shell`` runs a CMD-SHELL. None where nothing is to be run.
    Raises: ValueError for an image's Healthcheck that is none.
    """
    test = declared.get("test", image.get("Test")) or [NONE]
    if not isinstance(test, list) or not all(isinstance(word, str) for word in test):
        raise ValueError("its Test is no list of texts")
    kind, *args = test
    if kind == NONE:
        return None
    if kind == SHELL and args:
        # Several words: buildah splits the text, and podman joins it again.
        args = [*shell, " ".join(args)]
    elif kind != EXEC or not args:
        raise ValueError(f"its Test begins with {kind!r}, not with CMD or CMD-SHELL and a command")
    found: dict[str, Any] = {"Test": [EXEC, *args]}
    for key, (name, default) in DURATIONS.items():
        if key in declared:
            found[name] = round(declared[key] * SECOND)
        else:
            found[name] = _positive(image, name) or round(default * SECOND)
    found["Retries"] = declared.get("retries") or _positive(image, "Retries") or RETRIES
    return found


def _positive(image: Mapping[str, Any], name: str) -> int:
    value = image.get(name) or 0
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"its {name} is {value!r}, which is no positive number")
    return value


def parse_healthcheck(text: str) -> Healthcheck:
    """The annotation's text. Raises: ValueError."""
    try:
        value = json.loads(text)
        kind, *args = value["Test"]
        times = {key: value[name] / SECOND for key, (name, _) in DURATIONS.items()}
        found = Healthcheck(args=tuple(args), retries=int(value["Retries"]), **times)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"no health check: {error!r}") from None
    if kind != EXEC or not args or not all(isinstance(word, str) for word in args):
        raise ValueError("no health check: its Test is no CMD")
    if min(found.interval, found.timeout, found.start_interval, found.retries) <= 0:
        raise ValueError("no health check: a time or its Retries is no positive number")
    return found
