"""What this process may do on this host: read once per run."""

from __future__ import annotations

from .. import user_namespace
from .find import find_executable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..user_namespace import IdMap

CAPABILITIES = (  # noqa: SIM905  a list of 41 lines says no more
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID "
    "CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST "
    "CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO "
    "CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE "
    "CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE "
    "CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM "
    "CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE"
).split()
FULL = (1 << len(CAPABILITIES)) - 1


class Host:
    """``id_map`` is set where a run needs a user namespace of its own.

    ``effective_map`` is the map that the container's ids go through, None for the initial one.
    """

    __slots__ = ("bounding", "effective_map", "filtered", "id_map", "seccomp")

    def __init__(self) -> None:
        status = _read_status()
        privileged = int(status["CapEff"], 16) >> user_namespace.SYS_ADMIN & 1
        self.seccomp = "Seccomp" in status
        self.filtered = status.get("Seccomp", "0") != "0"
        self.id_map: IdMap | None = None
        self.effective_map: IdMap | None = None
        if privileged:
            self.bounding = int(status["CapBnd"], 16)
            own = user_namespace.own_id_map()
            self.effective_map = None if user_namespace.is_initial(own) else own
        else:
            self.bounding = FULL
            self.id_map = user_namespace.find_id_map(find_executable)
            self.effective_map = self.id_map

    @property
    def is_rootless(self) -> bool:
        return self.effective_map is not None

    def lacks_x32(self) -> bool:
        """Whether this kernel certainly does not execute programs of the x32 ABI."""
        from .. import kernel

        return not self.filtered and not kernel.runs_x32()

    def use_single_id(self) -> None:
        """Where newuidmap is installed but refuses to work."""
        self.id_map = self.effective_map = user_namespace.single_id_map()


def _read_status() -> dict[str, str]:
    with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
        lines = [line.partition(":") for line in stream]
    return {name: value.strip() for name, _, value in lines}
