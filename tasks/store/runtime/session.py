"""One run of one bundle: make the container's directory, launch, wait, remove."""

from __future__ import annotations

import json
import os
import signal
import time

from ...oci.annotation import HEALTHCHECK
from ..cgroup import prepare_to_move
from . import container, launch, prepare
from .host import Host
from .signals import stop_signal
from .stale import process_start, remove_group, send_signal
from .supervise import TICK, Supervisor, is_main_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...oci.healthcheck import Healthcheck
    from ..cgroup import MemoryWatch
    from .container import Container
    from .health_watch import Watch
    from .settings import Settings
    from .terminal import Terminal

TIMED_OUT = 124  # as timeout(1) says it


class Session:
    """A container from the making of its directory to the removal of it.

    ``standard_files`` take the place of our own standard input, output and error. ``detached``
    leaves the directory with its exit status for ``logs``. ``watched``: its health is asked for,
    where config.json says how. ``gives_up``: a signal that would end us ends the container, too.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        standard_files: tuple[int, int, int] | None = None,
        detached: bool = False,
        watched: bool = True,
        gives_up: bool = False,
    ) -> None:
        self.gives_up = gives_up
        self.settings = settings
        self.standard_files = standard_files
        self.detached = detached
        self.config = settings.load_config()
        self.healthcheck = self._find_healthcheck() if watched else None
        self.has_terminal = standard_files is None and self._wants_terminal()
        self.has_own_group = not self._shares_terminal() and is_main_thread()
        self.host = Host()
        self.watch: Watch | None = None
        self.group = ""
        self.leaves = False
        self.limits_memory = False
        self.record: dict[str, Any] = {}
        self.unclean = True
        self.timed_out = False
        self.out_of_memory = False

    def run(
        self,
        *,
        started: Callable[[Container], None] | None = None,
        running: Callable[[], None] | None = None,
        ended: Callable[[], None] | None = None,
    ) -> int:
        """Start the container, wait for it, remove its directory; returns its exit status.

        ``started`` is called when the runtime has its process, ``running`` when the container
        has its own, ``ended`` before the directory goes.

        Raises:
            RuntimeFailed: it could not be started.
            StoreError: the state directory cannot hold it.
            Interrupted: a signal has ended it.
        """
        try:
            return self._run(started, running, ended)
        except OSError as error:
            from pathlib import Path

            from ..atomic import store_error

            where = Path(error.filename or self.settings.run_folder)
            raise store_error(error, where) from error

    def _run(
        self,
        started: Callable[[Container], None] | None,
        running: Callable[[], None] | None,
        ended: Callable[[], None] | None,
    ) -> int:
        settings = self.settings
        supervisor = Supervisor(
            stop_signal=stop_signal(self.config),
            stop_grace=settings.stop_grace,
            timeout=settings.timeout,
            gives_up=self.gives_up,
        )
        held = (
            prepare.take_persistent(settings.run_folder, settings.name)
            if settings.persistent
            else -1
        )
        with supervisor:
            box = container.create_container(settings.run_folder, settings.name)
            status: int | None = None
            try:
                status = self._run_in(box, supervisor, started, running)
            finally:
                if ended is not None:
                    ended()
                self._clean(box, status)
                if held >= 0:
                    os.close(held)
        if supervisor.ended_by:
            from ...interrupt import Interrupted

            raise Interrupted(supervisor.ended_by)
        return status

    def _run_in(
        self,
        box: Container,
        supervisor: Supervisor,
        started: Callable[[Container], None] | None,
        running: Callable[[], None] | None,
    ) -> int:
        if not self.has_terminal:
            return self._launch_and_wait(box, supervisor, None, started, running)
        from .terminal import Terminal, copy_size

        if self.settings.runtime.kind == "crun":
            supervisor.on_resize = copy_size
        with Terminal() as terminal:
            return self._launch_and_wait(box, supervisor, terminal, started, running)

    def _launch_and_wait(
        self,
        box: Container,
        supervisor: Supervisor,
        terminal: Terminal | None,
        started: Callable[[Container], None] | None,
        running: Callable[[], None] | None,
    ) -> int:
        files = self.standard_files if terminal is None else terminal.files
        child = 0
        memory: MemoryWatch | None = None
        reader, writer = os.pipe()
        try:
            child = self._start(box, files, writer, supervisor)
            os.close(writer)
            if self.group:
                prepare_to_move()
            process = self._read_report(reader)
            self._write_record(box, process)
            if terminal is not None:
                terminal.start()
            if self.limits_memory and not self.leaves:
                memory = self._watch_memory()
            if started is not None:
                started(box)
            status = supervisor.wait(
                child,
                process,
                passes_through=not self.has_own_group,
                tick=self._look_after(box, supervisor.mask, running),
            )
            child = 0
        finally:
            if self.watch is not None:
                self.watch.stop()
            if child:
                send_signal(child, signal.SIGKILL)
                os.waitpid(child, 0)
            os.close(reader)
        if status != 0:
            self._raise_failed_start(box)
        self.out_of_memory = self._ran_out_of_memory(memory)
        self.unclean = self.leaves
        self.timed_out = supervisor.timed_out
        return TIMED_OUT if supervisor.timed_out else status

    def _look_after(
        self, box: Container, mask: set[int], running: Callable[[], None] | None
    ) -> Callable[[], float | None] | None:
        """What to do again and again: wait for the container's process, then keep its watch.

        None for nothing; else it returns after how many seconds it wants to be called again.
        """
        if self.healthcheck is not None:
            from .health_watch import Watch

            self.watch = Watch(box.folder, self.record, self.healthcheck)
        if self.watch is None and running is None:
            return None
        is_running = False

        def look() -> float | None:
            nonlocal is_running
            if not is_running and not os.path.exists(box.path(prepare.PID_FILE)):
                return TICK
            again = None if self.watch is None else self.watch.keep(mask)
            if not is_running and running is not None:
                running()
            is_running = True
            return again

        return look

    def _start(
        self,
        box: Container,
        files: tuple[int, int, int] | None,
        writer: int,
        supervisor: Supervisor,
    ) -> int:
        try:
            try:
                return self._launch(box, files, writer, supervisor)
            except PermissionError as error:
                if self.host.id_map is None or self.host.id_map.is_single:
                    raise
                self.settings.note(f"{error.filename} {error.strerror}: running with a single id")
                self.host.use_single_id()
                self.config = self.settings.load_config()
                return self._launch(box, files, writer, supervisor)
        except OSError as error:
            raise self.settings.failure(
                f"cannot create the container's namespaces: {error}",
                "`doit-oci doctor` says what this host lacks",
            ) from error

    def _launch(
        self,
        box: Container,
        files: tuple[int, int, int] | None,
        writer: int,
        supervisor: Supervisor,
    ) -> int:
        prepared = prepare.Preparation(self.settings, self.host, box, self.config)
        prepared.is_announced = self.detached or self.healthcheck is not None
        prepared.adapt(terminal=self.has_terminal)
        self.group = prepared.group
        self.leaves = prepared.leaves
        self.limits_memory = prepared.limits_memory
        return launch.start(
            prepared.lay_out(files),
            writer,
            own_group=self.has_own_group,
            mask=supervisor.mask,
            id_map=self.host.id_map,
        )

    def _ran_out_of_memory(self, watch: MemoryWatch | None) -> bool:
        if watch is not None:
            return watch.was_exceeded()
        if not self.limits_memory:
            return False
        from ..cgroup import has_killed

        return has_killed(self.group)

    def _watch_memory(self) -> MemoryWatch:
        from ..cgroup import MemoryWatch

        return MemoryWatch(self.group)

    def _write_record(self, box: Container, process: int) -> None:
        settings = self.settings
        self.record = {
            "name": settings.name,
            "process": process,
            "started": process_start(process),
            "supervisor": os.getpid(),
            "created": time.time(),
            "group": self.group,
            "runtime": [settings.runtime.path, settings.runtime.kind],
            "arguments": list(settings.runtime.arguments),
            "args": self.config["process"]["args"],
            "stop_signal": stop_signal(self.config),
            "stop_grace": settings.stop_grace,
            "rootless": self.host.id_map is not None,
        }
        box.write_record(self.record)

    def _read_report(self, reader: int) -> int:
        """Until the child has become the runtime, which closes the pipe; returns its number."""
        process = 0
        text = b""
        while block := os.read(reader, 65536):
            text += block
        for line in text.splitlines():
            kind, message = json.loads(line)
            if kind == "error":
                raise self.settings.failure(f"cannot prepare the container: {message}")
            if kind == "child":
                process = int(message)
            else:
                self.settings.note(message)
        if process == 0:
            raise self.settings.failure("the container's first process was killed")
        return process

    def _raise_failed_start(self, box: Container) -> None:
        """A runtime that could not start the container wrote why into its log."""
        try:
            with open(box.path(prepare.LOG), encoding="utf-8", errors="replace") as stream:
                text = stream.read()
        except FileNotFoundError:
            return
        message = log_error(text)
        if message:
            raise self.settings.failure(message)

    def _clean(self, box: Container, status: int | None) -> None:
        if self.unclean or self.limits_memory or has_entries(box.path(container.STATE)):
            remove_group(self.group)  # the runtime is gone, or had no time to tidy up
        if self.detached and status is not None:
            self.record[container.EXITED] = status
            self.record[container.OUT_OF_MEMORY] = self.out_of_memory
            self.record[container.TIMED_OUT] = self.timed_out
            self.record["ended"] = time.time()
            box.write_record(self.record)
            box.remove_layers()
            box.release()
        else:
            box.remove()

    def _find_healthcheck(self) -> Healthcheck | None:
        """How the bundle says that its health is asked for. Raises: RuntimeFailed."""
        text = (self.config.get("annotations") or {}).get(HEALTHCHECK)
        if not text:
            return None
        from ...oci.healthcheck import parse_healthcheck

        try:
            return parse_healthcheck(text)
        except ValueError as error:
            raise self.settings.failure(f"annotation {HEALTHCHECK}: {error}") from None

    def _wants_terminal(self) -> bool:
        wanted = self.settings.tty
        if wanted is None and self.config["process"].get("terminal"):
            wanted = True
        return os.isatty(0) and os.isatty(1) if wanted is None else wanted

    def _shares_terminal(self) -> bool:
        """Whether the container writes to or reads from our terminal, in whichever way.

        Then it stays in our process group: another one would be stopped for touching it.
        """
        if self.standard_files is not None:
            return False
        return self.has_terminal or any(os.isatty(number) for number in (0, 1, 2))


def has_entries(folder: str) -> bool:
    try:
        return bool(os.listdir(folder))
    except FileNotFoundError:
        return False


def log_error(text: str) -> str:
    """The last error of a runtime's log, or "": runc's logfmt, JSON, or crun's plain lines."""
    message = ""
    for line in text.splitlines():
        if "level=error" in line or "level=fatal" in line:
            message = line.partition(" msg=")[2]
            if message.startswith('"'):
                message = message[1:-1].replace('\\"', '"')
        elif '"level":"error"' in line or '"level":"fatal"' in line:
            message = json.loads(line)["msg"]
        elif line and "level=" not in line and '"level"' not in line:
            message = line
    return message
