"""A container's directory under build/run/containers, and the lock that says somebody tends it.

``<id>.lock`` is held, with flock, by the process that supervises the container, from before its
directory exists until after it is gone. A lock that can be taken therefore belongs to a run that
was killed, and whoever takes it may remove what that run left.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

RECORD = "container.json"
STATE = "state"
EXITED = "exited"
OUT_OF_MEMORY, TIMED_OUT = "out_of_memory", "timed_out"
PAUSED = "paused"


class Container:
    """One container's id, directory and held lock."""

    __slots__ = ("folder", "identifier", "lock")

    def __init__(self, folder: str, identifier: str, lock: int) -> None:
        self.folder = folder
        self.identifier = identifier
        self.lock = lock

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def write_record(self, record: dict[str, Any]) -> None:
        """Replace container.json; readers see the old one or the new one."""
        temporary = self.path(RECORD + ".new")
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump(record, stream)
        os.replace(temporary, self.path(RECORD))

    def remove(self) -> None:
        """Remove the directory, then the lock."""
        remove_tree_of_any_owner(self.folder)
        os.unlink(self.folder + ".lock")
        os.close(self.lock)

    def remove_layers(self) -> None:
        """Remove all but the record and the logs."""
        for entry in os.scandir(self.folder):
            if entry.is_dir(follow_symlinks=False):
                remove_tree_of_any_owner(entry.path)
            elif entry.is_symlink():
                os.unlink(entry.path)

    def release(self) -> None:
        """Keep the directory and leave it to whoever comes next."""
        os.close(self.lock)


def containers_folder(run_folder: str) -> str:
    return f"{run_folder}/containers"


def create_container(run_folder: str, name: str) -> Container:
    """A new, empty container directory with an id of its own."""
    parent = containers_folder(run_folder)
    os.makedirs(parent, exist_ok=True)
    while True:
        identifier = f"{name}-{os.urandom(4).hex()}"
        folder = f"{parent}/{identifier}"
        lock = _take_new_lock(folder + ".lock")
        if lock is not None:
            os.mkdir(folder, 0o711)
            return Container(folder, identifier, lock)


def _take_new_lock(path: str) -> int | None:
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    if os.fstat(lock).st_nlink == 0:  # a sweep came between open and flock
        os.close(lock)
        return None
    return lock


def stale_containers(run_folder: str) -> Iterator[Container]:
    """Containers that nobody tends, each with its lock now held by us."""
    parent = containers_folder(run_folder)
    try:
        names = os.listdir(parent)
    except FileNotFoundError:
        return
    for name in names:
        if name.endswith(".lock"):
            container = take_container(parent, name[: -len(".lock")])
            if container is not None:
                yield container


def take_container(parent: str, identifier: str) -> Container | None:
    """The container, with its lock held, unless somebody else holds it or it is gone."""
    folder = f"{parent}/{identifier}"
    try:
        lock = os.open(folder + ".lock", os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    if os.fstat(lock).st_nlink == 0:
        os.close(lock)
        return None
    return Container(folder, identifier, lock)


def is_tended(folder: str) -> bool:
    """Whether somebody holds the container's lock; it is not while that is taken and let go."""
    box = take_container(*os.path.split(folder))
    if box is None:
        return os.path.exists(folder + ".lock")
    box.release()
    return False


def load_record(folder: str) -> dict[str, Any] | None:
    """What container.json says, or None where a run was killed before it wrote one."""
    return load_object(f"{folder}/{RECORD}")


def load_object(path: str) -> dict[str, Any] | None:
    """A file's JSON object; None where it is not there, not ours to read, or no such."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (FileNotFoundError, NotADirectoryError, PermissionError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def is_paused(folder: str, record: dict[str, Any]) -> bool:
    """Whether its processes are frozen, by the kernel or by a runtime that has its own way."""
    if os.path.exists(f"{folder}/{PAUSED}"):
        return True
    if not record["group"]:
        return False
    from .. import cgroup

    return cgroup.is_frozen(record["group"])


def mark_paused(folder: str, *, paused: bool) -> None:
    """Remember it of a runtime that does not use the kernel's freezer."""
    if paused:
        os.close(os.open(f"{folder}/{PAUSED}", os.O_WRONLY | os.O_CREAT, 0o600))
    elif os.path.exists(f"{folder}/{PAUSED}"):
        os.unlink(f"{folder}/{PAUSED}")


def remove_tree_of_any_owner(folder: str) -> None:
    """Remove a directory in which a rootless container wrote as its subordinate ids."""
    try:
        remove_tree(folder)
    except PermissionError:
        from .. import user_namespace
        from .find import find_executable

        if os.geteuid() == 0:
            raise
        id_map = user_namespace.find_id_map(find_executable)
        if not user_namespace.run_mapped(id_map, lambda: remove_tree(folder)):
            raise


def remove_tree(folder: str) -> None:
    """Remove a directory and all below it, without following links.

    Overlayfs leaves directories of mode 000, which their owner has to open first.
    """
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    except PermissionError:
        os.chmod(folder, 0o700)
        entries = list(os.scandir(folder))
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
        else:
            _unlink(entry.path, folder)
    _retry_busy(folder)


def _unlink(path: str, folder: str) -> None:
    try:
        os.unlink(path)
    except PermissionError:
        os.chmod(folder, 0o700)
        os.unlink(path)


def _retry_busy(folder: str) -> None:
    """A mount namespace that has just ended may hold a mount for some milliseconds more."""
    for _ in range(200):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.01)
        else:
            return
    os.rmdir(folder)
