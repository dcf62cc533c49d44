"""Find an OCI runtime on this host."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RUNTIMES = ("runc", "crun", "youki", "docker-runc", "runsc")
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
RUNSC_NETWORKS = ("none", "host")
HOW_TO_GET = (
    "install one: `apt-get install runc` (or crun) on Debian and Ubuntu, "
    '`dnf install crun` on Fedora; or name its path with `runtime = "/path"` in images.toml'
)


class RuntimeCommand:
    """An executable that speaks runc's command line, and the global options to call it with."""

    __slots__ = ("arguments", "kind", "path")

    def __init__(self, path: str, kind: str, arguments: Sequence[str] = ()) -> None:
        self.path = path
        self.kind = kind
        self.arguments = tuple(arguments)

    @property
    def leaves(self) -> bool:
        """Whether it can start a container and leave, handing it our standard files."""
        return self.kind in ("runc", "crun")

    def command(self, state: str, network: str) -> list[str]:
        """The command line up to the subcommand, with the folder of the runtime's state.

        ``network`` is the container's: gVisor has a network of its own, which needs a namespace
        that was set up for it. What a user says comes last and has the last word.
        """
        own = ("--network", network) if self.kind == "runsc" and network in RUNSC_NETWORKS else ()
        return [self.path, "--root", state, *own, *self.arguments]


def find_executable(name: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Look on PATH, then in the system's folders: an ordinary user's PATH often lacks sbin."""
    environment = os.environ if environment is None else environment
    folders = environment.get("PATH", "").split(":")
    for folder in (*folders, *SYSTEM_FOLDERS):
        path = f"{folder}/{name}"
        if folder.startswith("/") and os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


def find_runtime(name: str | None, arguments: Sequence[str] = ()) -> RuntimeCommand:
    """The runtime of that name or path; without a name the first of RUNTIMES that is installed.

    Raises:
        RuntimeFailed: it is not there, or not executable.
    """
    if name is None:
        for known in RUNTIMES:
            path = find_executable(known)
            if path:
                return RuntimeCommand(path, _kind(known), arguments)
        raise _missing(f"no OCI runtime is installed; looked for {', '.join(RUNTIMES)}", "runtime")
    path = os.path.abspath(name) if "/" in name else find_executable(name)
    if path is None:
        raise _missing("this OCI runtime is not on PATH", name)
    if not os.path.isfile(path):
        raise _missing("there is no such OCI runtime", name)
    if not os.access(path, os.X_OK):
        raise _missing("this OCI runtime is not executable", name)
    return RuntimeCommand(path, _kind(os.path.basename(path)), arguments)


def runtime_version(path: str) -> str:
    """What a runtime says of itself, in one line."""
    import subprocess

    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"does not start: {error}"
    return (done.stdout or done.stderr).partition("\n")[0] or "says no version"


def _kind(name: str) -> str:
    for known in RUNTIMES:
        if known in name:
            return "runc" if known == "docker-runc" else known
    return "runc"


def _missing(message: str, subject: str) -> Exception:
    from ...errors import RuntimeFailed

    return RuntimeFailed(message, subject=subject, hint=HOW_TO_GET)
