"""User namespaces for an ordinary user: which ids can be mapped, and entering with them.

With ranges in /etc/subuid and /etc/subgid and newuidmap installed, id 0 is the user and ids from
1 on are the subordinate ones; otherwise there is one id. Standard error and output stay untouched.
"""

from __future__ import annotations

import os

from . import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Range = tuple[int, int, int]

SUBUID = "/etc/subuid"
SUBGID = "/etc/subgid"
SYS_ADMIN = 21


class IdMap:
    """Ranges of (inside, outside, count), and the programs that may write them."""

    __slots__ = ("gids", "newgidmap", "newuidmap", "uids")

    def __init__(
        self,
        uids: tuple[Range, ...],
        gids: tuple[Range, ...],
        newuidmap: str | None,
        newgidmap: str | None,
    ) -> None:
        self.uids = uids
        self.gids = gids
        self.newuidmap = newuidmap
        self.newgidmap = newgidmap

    @property
    def is_single(self) -> bool:
        return self.newuidmap is None

    def has(self, identifier: int) -> bool:
        """Whether the id, as the container sees it, exists as a user and as a group."""
        return all(
            any(first <= identifier < first + count for first, _, count in ranges)
            for ranges in (self.uids, self.gids)
        )


def single_id_map() -> IdMap:
    return IdMap(((0, os.geteuid(), 1),), ((0, os.getegid(), 1),), None, None)


def find_id_map(find_executable: Callable[[str], str | None]) -> IdMap:
    """The widest map that this user may have."""
    uids, gids = subordinate_ids(SUBUID), subordinate_ids(SUBGID)
    newuidmap, newgidmap = find_executable("newuidmap"), find_executable("newgidmap")
    if not uids or not gids or newuidmap is None or newgidmap is None:
        return single_id_map()
    return IdMap(_stack(os.geteuid(), uids), _stack(os.getegid(), gids), newuidmap, newgidmap)


def subordinate_ids(path: str) -> list[tuple[int, int]]:
    """This user's (first, count) ranges. Spec: subuid(5)."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            lines = stream.read().splitlines()
    except OSError:
        return []
    names = {str(os.geteuid()), _user_name()}
    ranges = []
    for line in lines:
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] in names and fields[1].isdigit() and fields[2].isdigit():
            ranges.append((int(fields[1]), int(fields[2])))
    return ranges


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _stack(own: int, ranges: list[tuple[int, int]]) -> tuple[Range, ...]:
    stacked = [(0, own, 1)]
    following = 1
    for first, count in ranges:
        stacked.append((following, first, count))
        following += count
    return tuple(stacked)


def own_id_map() -> IdMap:
    """The map of the namespace that this process is in."""
    return IdMap(_read_map("/proc/self/uid_map"), _read_map("/proc/self/gid_map"), None, None)


def _read_map(path: str) -> tuple[Range, ...]:
    with open(path, encoding="ascii") as stream:
        lines = [[int(word) for word in line.split()] for line in stream]
    return tuple((inside, outside, count) for inside, outside, count in lines)


def is_initial(id_map: IdMap) -> bool:
    return id_map.uids == ((0, 0, 4294967295),)


def write_map(process: int, id_map: IdMap) -> None:
    """Give a process that has just entered its new user namespace its ids.

    Raises:
        PermissionError: newuidmap refused; the ranges in /etc/subuid are not this user's.
    """
    if id_map.newuidmap is None or id_map.newgidmap is None:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", _text(id_map.uids)),
            ("gid_map", _text(id_map.gids)),
        ):
            with open(f"/proc/{process}/{name}", "w", encoding="ascii") as stream:
                stream.write(text)
        return
    _write_with(id_map.newuidmap, process, id_map.uids)
    _write_with(id_map.newgidmap, process, id_map.gids)


def _text(ranges: tuple[Range, ...]) -> str:
    return "\n".join(f"{inside} {outside} {count}" for inside, outside, count in ranges)


def _write_with(program: str, process: int, ranges: tuple[Range, ...]) -> None:
    words = _text(ranges).split()
    child = os.posix_spawn(program, [program, str(process), *words], os.environ)
    if os.waitpid(child, 0)[1] != 0:
        raise PermissionError(1, "refused to map this user's ids", program)


def enter(*, mapped: Callable[[], None], id_map: IdMap) -> None:
    """Go into a new user namespace as its root; for a process of one thread.

    ``mapped`` tells the parent that the namespace exists, and returns once the parent has
    called ``write_map``.
    """
    kernel.unshare(kernel.CLONE_NEWUSER)
    mapped()
    if not id_map.is_single:
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def fork_mapped(id_map: IdMap, work: Callable[[], None]) -> int:
    """Fork a child that does ``work`` as root of a new user namespace; returns its number.

    Raises:
        OSError: there can be no such namespace here, or its ids could not be mapped.
    """
    ready_reader, ready_writer = os.pipe()
    go_reader, go_writer = os.pipe()
    child = os.fork()
    if child == 0:
        _work_mapped(id_map, work, ready_writer, go_reader, (ready_reader, go_writer))
    os.close(ready_writer)
    os.close(go_reader)
    try:
        answer = os.read(ready_reader, 64)
        if answer != b"ready":
            number = int(answer or b"1")
            raise OSError(number, f"no user namespace: {os.strerror(number)}")
        write_map(child, id_map)
        os.write(go_writer, b"go")
    except OSError:
        os.close(go_writer)
        go_writer = -1
        os.waitpid(child, 0)
        raise
    finally:
        os.close(ready_reader)
        if go_writer >= 0:
            os.close(go_writer)
    return child


def _work_mapped(
    id_map: IdMap, work: Callable[[], None], ready: int, go: int, others: tuple[int, int]
) -> None:
    status = 1
    try:
        for descriptor in others:
            os.close(descriptor)

        def mapped() -> None:
            os.write(ready, b"ready")
            os.close(ready)
            if os.read(go, 2) != b"go":
                os._exit(1)

        try:
            enter(mapped=mapped, id_map=id_map)
        except OSError as error:
            os.write(ready, str(error.errno).encode())
            os._exit(1)
        work()
        status = 0
    except BaseException:  # noqa: BLE001  a forked child must never return into its parent's code
        status = 1
    finally:
        os._exit(status)


def run_mapped(id_map: IdMap | None, work: Callable[[], None]) -> bool:
    """Do ``work`` in a child that is root of a new user namespace; says whether it succeeded.

    Without a map the child is only a child.
    """
    if id_map is not None:
        return os.waitpid(fork_mapped(id_map, work), 0)[1] == 0
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0
