"""What is asked of one run, and the portable configuration that it starts from."""

from __future__ import annotations

import json

from .failure import failure
from .find import find_runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ...progress import Progress

LIMITS_REQUIRED = "required"
LIMITS_IF_POSSIBLE = "if-possible"
NETWORKS = ("none", "host", "user")


class Settings:
    """What is asked of a run. Paths are absolute, times in seconds."""

    __slots__ = (
        "args", "bundle", "cgroup_limits", "entrypoint", "init", "log", "name", "network",
        "persistent", "progress", "project", "run_folder", "runtime", "stop_grace", "timeout",
        "tty",
    )  # fmt: skip

    def __init__(
        self,
        *,
        bundle: str,
        name: str,
        run_folder: str,
        project: str,
        runtime: str | None,
        runtime_args: Sequence[str] = (),
        args: Sequence[str] | None = None,
        entrypoint: Sequence[str] = (),
        persistent: bool = False,
        network: str | None = None,
        timeout: float | None = None,
        stop_grace: float = 10.0,
        cgroup_limits: str = LIMITS_REQUIRED,
        tty: bool | None = None,
        init: bool = False,
        log: Mapping[str, int] = {},
        progress: Progress,
    ) -> None:
        self.bundle = bundle
        self.name = name
        self.run_folder = run_folder
        self.project = project
        self.runtime = find_runtime(runtime, runtime_args)
        self.args = args
        self.entrypoint = entrypoint
        self.persistent = persistent
        self.network = network
        self.timeout = timeout
        self.stop_grace = stop_grace
        self.cgroup_limits = cgroup_limits
        self.tty = tty
        self.init = init
        self.log = log
        self.progress = progress

    def note(self, text: str) -> None:
        """Tell people something about this run."""
        self.progress.note(f"{self.name}: {text}")

    def failure(self, message: str, hint: str | None = None) -> Exception:
        """A RuntimeFailed about this run's bundle."""
        return failure(message, self.name, hint)

    def load_config(self) -> dict[str, Any]:
        """The bundle's portable config.json, parsed anew so that it can be changed."""
        try:
            with open(f"{self.bundle}/config.json", encoding="utf-8") as stream:
                config = json.load(stream)
        except (FileNotFoundError, NotADirectoryError):
            hint = f"build it: doit-oci bundle:{self.name}"
            raise self.failure("has no config.json", hint) from None
        except ValueError as error:
            raise self.failure(f"config.json is not JSON: {error}") from error
        if not isinstance(config, dict) or "process" not in config or "root" not in config:
            raise self.failure("config.json has no process or no root")
        return config
