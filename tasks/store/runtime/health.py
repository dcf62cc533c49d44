"""The health of a container, as its answers tell it and ``health.json`` keeps it.

Source: Docker Engine API 1.44, "Health".
"""

from __future__ import annotations

import json
import os
import time

from ...value import Value
from .container import load_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ...oci.healthcheck import Healthcheck

FILE = "health.json"
STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
KEPT = 5
"""How many probes are remembered."""


class Probe(Value):
    """One answer: when it was asked and had answered (seconds since the epoch), and how."""

    start: float
    end: float
    exit_status: int
    output: str

    def to_json(self) -> dict[str, Any]:
        return {
            "start": _moment(self.start),
            "end": _moment(self.end),
            "exitStatus": self.exit_status,
            "output": self.output,
        }


class Health:
    """What the answers say so far."""

    def __init__(self, check: Healthcheck, started: float) -> None:
        self.check = check
        self.status = STARTING
        self.failing_streak = 0
        self.log: list[dict[str, Any]] = []
        self._grace_until = started + check.start_period

    def take(self, probe: Probe) -> None:
        """Reckon with one more answer."""
        self.log = [*self.log, probe.to_json()][-KEPT:]
        if probe.exit_status == 0:
            self.status, self.failing_streak = HEALTHY, 0
            return
        if self._in_grace(probe.start):
            return
        self.failing_streak += 1
        if self.failing_streak >= self.check.retries:
            self.status = UNHEALTHY

    def pause(self, now: float) -> float:
        """Seconds until the container is to be asked again."""
        return self.check.start_interval if self._in_grace(now) else self.check.interval

    def _in_grace(self, moment: float) -> bool:
        return self.status == STARTING and moment < self._grace_until

    def to_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "failingStreak": self.failing_streak,
            "log": self.log,
        }

    def take_up(self, found: dict[str, Any]) -> None:
        """Go on from what an earlier watch has written."""
        self.status, self.log = found["status"], found["log"]
        self.failing_streak = found["failingStreak"]


def write_health(folder: str, health: Health) -> None:
    """Replace health.json; readers see the old one or the new one."""
    temporary = f"{folder}/{FILE}.new"
    with open(temporary, "w", encoding="utf-8") as stream:
        json.dump(health.to_json(), stream)
    os.replace(temporary, f"{folder}/{FILE}")


def load_health(folder: str) -> dict[str, Any] | None:
    """What health.json says; None where nothing watches."""
    return load_object(f"{folder}/{FILE}")


def _moment(seconds: float) -> str:
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{milliseconds:03}Z"
