"""One run of one bundle: prepare the container's directory, launch, wait, remove."""

from __future__ import annotations

import json
import os
import signal
import time

from .. import overlay
from . import adapt, container, launch
from .find import find_executable, find_runtime
from .host import CAPABILITIES, Host
from .supervise import Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ...errors import RuntimeFailed
    from ...progress import Progress
    from ..user_namespace import IdMap
    from .container import Container

TIMED_OUT = 124  # as timeout(1) says it
LIMITS_REQUIRED = "required"
LIMITS_IF_POSSIBLE = "if-possible"
LOG = "runtime.log"


class Settings:
    """What is asked of a run. Paths are absolute."""

    __slots__ = (
        "args", "bundle", "cgroup_limits", "entrypoint", "init", "name", "network", "persistent",
        "progress", "project", "run_folder", "runtime", "stop_grace", "timeout", "tty",
    )  # fmt: skip

    def __init__(
        self,
        *,
        bundle: str,
        name: str,
        run_folder: str,
        project: str,
        runtime: str | None,
        runtime_args: Sequence[str],
        args: Sequence[str] | None,
        entrypoint: Sequence[str],
        persistent: bool,
        network: str | None,
        timeout: float | None,
        stop_grace: float,
        cgroup_limits: str,
        tty: bool | None,
        init: bool,
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
        self.progress = progress


def load_config(bundle: str, name: str) -> dict[str, Any]:
    """The bundle's portable config.json, parsed anew so that it can be changed."""
    try:
        with open(f"{bundle}/config.json", encoding="utf-8") as stream:
            config = json.load(stream)
    except (FileNotFoundError, NotADirectoryError):
        raise failure(
            "has no config.json", name, hint=f"build it: doit-oci bundle:{name}"
        ) from None
    except ValueError as error:
        raise failure(f"config.json is not JSON: {error}", name) from error
    if not isinstance(config, dict) or "process" not in config or "root" not in config:
        raise failure("config.json has no process or no root", name)
    return config


class Session:
    """A container from the making of its directory to the removal of it.

    ``standard_files`` take the place of our own standard input, output and error.
    """

    def __init__(
        self, settings: Settings, *, standard_files: tuple[int, int, int] | None = None
    ) -> None:
        self.settings = settings
        self.standard_files = standard_files
        self.config = load_config(settings.bundle, settings.name)
        self.terminal = standard_files is None and self._wants_terminal()
        self.host = Host()
        self.delegated = not self.host.is_rootless
        self.upper = overlay.UPPER
        self.work = overlay.WORK
        self.group = ""
        self.failed = True
        self.timed_out = False

    def run(
        self,
        *,
        started: Callable[[Container], None] | None = None,
        tick: Callable[[], None] | None = None,
    ) -> int:
        """Start the container, wait for it, remove its directory; returns its exit status."""
        settings = self.settings
        supervisor = Supervisor(
            stop_signal=stop_signal(self.config),
            stop_grace=settings.stop_grace,
            timeout=settings.timeout,
        )
        with supervisor:
            box = container.create_container(settings.run_folder, settings.name)
            try:
                return self._launch_and_wait(box, supervisor, started, tick)
            finally:
                self._clean(box)

    def _launch_and_wait(
        self,
        box: Container,
        supervisor: Supervisor,
        started: Callable[[Container], None] | None,
        tick: Callable[[], None] | None,
    ) -> int:
        terminal_mode = _save_terminal() if self.terminal else None
        child = 0
        reader, writer = os.pipe()
        try:
            child = self._start(self._prepare(box), writer, supervisor)
            os.close(writer)
            process = self._read_report(reader)
            self._record(box, process)
            if started is not None:
                started(box)
            status = supervisor.wait(child, process, passes_through=self.terminal, tick=tick)
            child = 0
        finally:
            if child:
                _kill(child)
            os.close(reader)
            if terminal_mode is not None:
                _restore_terminal(terminal_mode)
        if status != 0:
            self._raise_failed_start(box)
        self.failed = False
        self.timed_out = supervisor.timed_out
        return TIMED_OUT if supervisor.timed_out else status

    def _start(self, prepared: launch.Launch, writer: int, supervisor: Supervisor) -> int:
        try:
            return launch.start(
                prepared,
                writer,
                own_group=not self.terminal and supervisor.in_main_thread,
                mask=supervisor.mask,
                id_map=self.host.id_map,
            )
        except OSError as error:
            raise failure(
                f"cannot create the container's namespaces: {error}",
                self.settings.name,
                hint="`doit-oci doctor` says what this host lacks",
            ) from error

    def _prepare(self, box: Container) -> launch.Launch:
        settings, config = self.settings, self.config
        rootfs = os.path.join(settings.bundle, config["root"].get("path", "rootfs"))
        adapt.set_process(
            config,
            entrypoint=settings.entrypoint,
            args=settings.args,
            terminal=self.terminal,
            terminal_type=os.environ.get("TERM", "xterm"),
            init=self._find_init() if settings.init else None,
        )
        self._adapt_host(box)
        adapt.set_root(config, box.path(overlay.MERGED))
        os.mkdir(box.path(overlay.MERGED), 0o755)
        os.symlink(rootfs, box.path(overlay.LOWER))
        read_only = bool(config["root"].get("readonly")) and adapt.is_self_contained(config, rootfs)
        if not read_only:
            os.mkdir(box.path(overlay.UPPER), 0o755)
            os.mkdir(box.path(overlay.WORK), 0o700)
        with open(box.path("config.json"), "w", encoding="utf-8") as stream:
            json.dump(config, stream)
        return launch.Launch(
            argv=self._command(box),
            folder=box.folder,
            read_only=read_only,
            upper=self.upper,
            work=self.work,
            volatile=not settings.persistent,
            fuse=None if read_only else find_executable("fuse-overlayfs"),
            hide_unified=settings.runtime.kind == "crun" and _crun_refuses_hybrid(),
            standard_files=self.standard_files,
        )

    def _command(self, box: Container) -> list[str]:
        runtime = self.settings.runtime
        no_groups = runtime.kind == "crun" and not self.delegated
        return [
            runtime.path,
            "--root",
            box.path(container.STATE),
            "--log",
            box.path(LOG),
            *(("--cgroup-manager", "disabled") if no_groups else ()),
            *runtime.arguments,
            "run",
            "--bundle",
            box.folder,
            box.identifier,
        ]

    def _adapt_host(self, box: Container) -> None:
        settings, config, host = self.settings, self.config, self.host
        missing = adapt.resolve_sources(config, settings.project)
        if missing is not None:
            raise failure(
                f"the volume source {missing} does not exist",
                settings.name,
                hint=f"create it: mkdir -p {missing}",
            )
        self._set_network(box)
        self._check_limits()
        if host.effective_map is not None:
            self._fit_user_namespace(host.effective_map)
        adapt.fit_capabilities(config, host.bounding, CAPABILITIES, self._note)
        if not host.seccomp and adapt.drop_seccomp(config):
            self._note("this kernel has no seccomp: running without the profile")
        if self.delegated:
            self.group = adapt.set_group(config, f"/doit-oci-{box.identifier}")
        else:
            config["linux"].pop("cgroupsPath", None)

    def _fit_user_namespace(self, id_map: IdMap) -> None:
        refused = adapt.fit_user_namespace(self.config, id_map.has, self._note)
        if refused is not None:
            raise failure(
                f"runs as {refused}, which this user namespace does not have",
                self.settings.name,
                hint="give this user a range in /etc/subuid and /etc/subgid and install newuidmap",
            )

    def _set_network(self, box: Container) -> None:
        config = self.config
        mode = self.settings.network or ("none" if adapt.has_own_network(config) else "host")
        if mode != "none":
            _write_resolver(box, config.get("hostname"))
        adapt.set_network(config, mode, None if mode == "none" else box.folder)

    def _check_limits(self) -> None:
        if not (self.config.get("linux") or {}).get("resources"):
            return
        from .. import cgroup

        needed = cgroup.declared_limits(self.config)
        missing = cgroup.unavailable(needed, privileged=self.delegated)
        if not missing:
            return
        names = ", ".join(missing)
        if self.settings.cgroup_limits == LIMITS_REQUIRED:
            raise failure(
                f"this host cannot limit {names}, which the bundle asks for",
                self.settings.name,
                hint='take the limits out, or say cgroup_limits = "if-possible"',
            )
        self._note(f"running without limits on {names}")
        adapt.drop_limits(self.config)

    def _note(self, text: str) -> None:
        self.settings.progress.note(f"{self.settings.name}: {text}")

    def _record(self, box: Container, child: int) -> None:
        settings = self.settings
        box.write_record(
            {
                "name": settings.name,
                "process": child,
                "started": process_start(child),
                "created": time.time(),
                "group": self.group,
                "runtime": [settings.runtime.path, settings.runtime.kind],
                "arguments": list(settings.runtime.arguments),
                "args": self.config["process"]["args"],
                "terminal": self.terminal,
            }
        )

    def _read_report(self, reader: int) -> int:
        """Until the child has become the runtime, which closes the pipe; returns its number."""
        process = 0
        text = b""
        while block := os.read(reader, 65536):
            text += block
        for line in text.splitlines():
            kind, message = json.loads(line)
            if kind == "error":
                raise failure(f"cannot prepare the container: {message}", self.settings.name)
            if kind == "child":
                process = int(message)
            else:
                self._note(message)
        return process

    def _raise_failed_start(self, box: Container) -> None:
        """A runtime that could not start the container wrote why into its log."""
        try:
            with open(box.path(LOG), encoding="utf-8", errors="replace") as stream:
                text = stream.read()
        except FileNotFoundError:
            return
        message = log_error(text)
        if message:
            raise failure(message, self.settings.name)

    def _clean(self, box: Container) -> None:
        state = f"{box.path(container.STATE)}/{box.identifier}"
        if self.failed or os.path.exists(state):  # the runtime had no time to tidy up
            remove_group(self.group)
        box.remove()

    def _wants_terminal(self) -> bool:
        wanted = self.settings.tty
        if wanted is None:
            wanted = bool(self.config["process"].get("terminal")) or None
        if wanted is None:
            return os.isatty(0) and os.isatty(1)
        return wanted

    def _find_init(self) -> str:
        for name in ("catatonit", "docker-init", "tini-static", "tini"):
            path = find_executable(name)
            if path is not None:
                return path
        raise failure(
            "init = true needs catatonit, docker-init or tini on this host",
            self.settings.name,
            hint="apt-get install catatonit",
        )


def remove_stale(run_folder: str) -> None:
    """Remove what killed runs left; containers that ended and are kept for ``logs`` stay."""
    for box in container.stale_containers(run_folder):
        record = container.load_record(box.folder)
        if record is not None and container.EXITED in record:
            box.release()
            continue
        if record is not None:
            if process_start(record["process"]) == record["started"]:
                _signal(record["process"], signal.SIGKILL)
            remove_group(record["group"])
        box.remove()


def remove_group(group: str) -> None:
    from .. import cgroup

    if group:
        cgroup.remove_group(group)


def process_start(process: int) -> str:
    """When a process started, in clock ticks: with its number, what tells it from a later one."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def stop_signal(config: dict[str, Any]) -> int:
    """The signal that asks the container to end; image-spec's annotation, or SIGTERM."""
    name = str((config.get("annotations") or {}).get(adapt.STOP_SIGNAL, "SIGTERM"))
    return parse_signal(name) or signal.SIGTERM


def parse_signal(name: str) -> int | None:
    """``SIGINT``, ``int``, ``2``, ``RTMIN+3`` → number; None for what is no signal."""
    if name.isdigit():
        return int(name) if 0 < int(name) <= signal.SIGRTMAX else None
    text, _, offset = name.upper().removeprefix("SIG").partition("+")
    number = getattr(signal, "SIG" + text, None)
    if not isinstance(number, int) or (offset and not offset.isdigit()):
        return None
    return int(number) + int(offset or 0)


def log_error(text: str) -> str:
    """The last error of a runtime's log, or "": runc's logfmt, JSON, or crun's plain lines."""
    message = ""
    for line in text.splitlines():
        if "level=error" in line or "level=fatal" in line:
            message = line.partition(" msg=")[2].strip('"').replace('\\"', '"')
        elif '"level":"error"' in line or '"level":"fatal"' in line:
            message = json.loads(line)["msg"]
        elif line and "level=" not in line and '"level"' not in line:
            message = line
    return message


def failure(message: str, subject: str, hint: str | None = None) -> RuntimeFailed:
    from ...errors import RuntimeFailed

    return RuntimeFailed(message, subject=subject, hint=hint)


def _write_resolver(box: Container, hostname: str | None) -> None:
    """Copies of this host's resolv.conf and hosts: a container may write into its own."""
    for name in ("resolv.conf", "hosts"):
        try:
            with open(f"/etc/{name}", encoding="utf-8", errors="surrogateescape") as stream:
                text = stream.read()
        except OSError:
            text = "127.0.0.1 localhost\n" if name == "hosts" else ""
        if name == "hosts" and hostname:
            text = f"{text.rstrip()}\n127.0.1.1 {hostname}\n"
        with open(box.path(name), "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)


def _crun_refuses_hybrid() -> bool:
    """crun before 1.9 wants no controller on version 2 where version 1 is mounted as well."""
    try:
        with open("/sys/fs/cgroup/unified/cgroup.controllers", encoding="ascii") as stream:
            return bool(stream.read().strip())
    except OSError:
        return False


def _save_terminal() -> list[Any] | None:
    import termios

    try:
        return termios.tcgetattr(0)
    except termios.error:
        return None


def _restore_terminal(mode: list[Any]) -> None:
    import termios

    try:
        termios.tcsetattr(0, termios.TCSADRAIN, mode)
    except termios.error:
        pass


def _kill(child: int) -> None:
    _signal(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _signal(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass
