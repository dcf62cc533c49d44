"""Commands for detached containers: ps, exec, logs, kill, stop, pause, resume, delete, stats."""

from __future__ import annotations

import json
import sys
from typing import Any

from .. import containers
from ..doit_bridge import ProjectCommand
from ..errors import DeclarationError
from ..project_folder import find_workspace
from ..store.runtime.signals import parse_signal

CONTAINER = "BUNDLE or ID"


class ContainerCommand(ProjectCommand):
    """A command about one container, named by its bundle (the last one of it) or its id."""

    doc_usage = CONTAINER

    def one(self, names: list[str]) -> str:
        """The container's name. Raises: DeclarationError, also where it is nobody's name."""
        if len(names) != 1:
            raise DeclarationError(
                "expected one container", subject=self.name, hint="`doit-oci ps` lists them"
            )
        if not containers.list_containers(self.run_dir, names[0]):
            self.plan.bundle(names[0])
        return names[0]

    @property
    def run_dir(self) -> str:
        """Containers go on while images.toml is being edited, and can be stopped meanwhile."""
        return str(find_workspace(self.options).run)


class Ps(ContainerCommand):
    """``ps``"""

    doc_purpose = "list detached containers"
    doc_usage = "[BUNDLE]"

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        found = containers.list_containers(self.run_dir, self.one(names) if names else None)
        show = containers.containers_json if self.options.json else containers.containers_text
        sys.stdout.write(show(found))
        return 0


class Exec(ContainerCommand):
    """``exec BUNDLE -- CMD``"""

    doc_purpose = "run a command in a running container"
    doc_usage = f"{CONTAINER} [--user USER] [--workdir PATH] -- COMMAND [ARG...]"
    cmd_options = (
        {
            "name": "user",
            "short": "u",
            "long": "user",
            "type": str,
            "default": "",
            "help": "as this UID or NAME, and :GID or :GROUP",
        },
        {
            "name": "workdir",
            "short": "w",
            "long": "workdir",
            "type": str,
            "default": "",
            "help": "in this directory",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        if not self.options.args:
            raise DeclarationError(
                "expected a command behind --",
                subject="exec",
                hint="write it like `exec NAME -- sh -c 'id'`",
            )
        return containers.exec_in(
            run_dir=self.run_dir,
            name=self.one(names),
            args=self.options.args,
            user=given["user"] or None,
            working_dir=given["workdir"] or None,
        )


class Logs(ContainerCommand):
    """``logs BUNDLE [--follow]``"""

    doc_purpose = "print what a detached container wrote"
    doc_usage = f"{CONTAINER} [--follow]"
    cmd_options = (
        {
            "name": "follow",
            "short": "f",
            "long": "follow",
            "type": bool,
            "default": False,
            "help": "go on until the container ends",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        containers.write_logs(
            run_dir=self.run_dir, name=self.one(names), follow=bool(given["follow"])
        )
        return 0


class Kill(ContainerCommand):
    """``kill BUNDLE [SIGNAL]``"""

    doc_purpose = "send a signal to a container (default: KILL)"
    doc_usage = f"{CONTAINER} [SIGNAL]"

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        signal_name = names[1] if len(names) == 2 else "KILL"
        name = self.one(names[:1] if len(names) == 2 else names)
        if parse_signal(signal_name) is None:
            hint = "a name such as TERM, or a number"
            raise DeclarationError(f"{signal_name} is no signal", subject="kill", hint=hint)
        containers.kill_container(run_dir=self.run_dir, name=name, signal_name=signal_name)
        return 0


class Stop(ContainerCommand):
    """``stop BUNDLE``"""

    doc_purpose = "stop a container: its stop signal, then KILL after its grace period"

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        containers.stop_container(run_dir=self.run_dir, name=self.one(names))
        return 0


class Pause(ContainerCommand):
    """``pause BUNDLE``"""

    doc_purpose = "freeze all processes of a container"

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        containers.pause_container(run_dir=self.run_dir, name=self.one(names))
        return 0


class Resume(ContainerCommand):
    """``resume BUNDLE``"""

    doc_purpose = "let a frozen container go on"

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        containers.resume_container(run_dir=self.run_dir, name=self.one(names))
        return 0


class Delete(ContainerCommand):
    """``delete BUNDLE [--force]``"""

    doc_purpose = "remove an ended container and its logs"
    doc_usage = f"{CONTAINER} [--force]"
    cmd_options = (
        {
            "name": "force",
            "short": "f",
            "long": "force",
            "type": bool,
            "default": False,
            "help": "kill it first if it runs",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        containers.delete_container(
            run_dir=self.run_dir, name=self.one(names), force=bool(given["force"])
        )
        return 0


class Stats(ContainerCommand):
    """``stats BUNDLE``"""

    doc_purpose = "print a container's memory, processor time and processes as JSON"

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        found = containers.container_stats(run_dir=self.run_dir, name=self.one(names))
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
