"""Put a writable tree above a rootfs that must not change.

Works inside a private mount namespace and in the container's directory, whose relative names keep
the mount options free of characters that overlayfs would take for separators.
"""

from __future__ import annotations

import errno
import os
import stat

from . import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOWER = "lower"
MERGED = "merged"
UPPER = "upper"
WORK = "work"


def mount_overlay(
    *, upper: str, work: str, volatile: bool, fuse: str | None, note: Callable[[str], None]
) -> bool:
    """Mount ``lower`` (a link to the rootfs) with ``upper`` above it on ``merged``.

    Falls back to fuse-overlayfs, and at last to a copy. ``volatile`` is for upper directories
    that are thrown away: nothing in them has to reach the disk. Says whether a process serves it.
    """
    _copy_root_mode(upper)
    reason = mount_layers(upper=upper, work=work, volatile=volatile, fuse=None)
    if reason is None:
        return False
    if fuse is not None and mount_layers(upper=upper, work=work, volatile=False, fuse=fuse) is None:
        return True
    if not volatile:
        raise OSError(
            errno.EOPNOTSUPP, f"a persistent bundle needs overlayfs, which says {reason}", MERGED
        )
    note(f"overlayfs says {reason}: copying the rootfs for this run")
    _copy(MERGED)
    return False


def mount_layers(*, upper: str, work: str, volatile: bool, fuse: str | None) -> str | None:
    """Mount with the kernel's overlayfs, or with ``fuse``; returns the refusal in words."""
    layers = f"lowerdir={LOWER},upperdir={upper},workdir={work}"
    if fuse is not None:
        return None if _mount_fuse(fuse, layers) else f"{fuse} failed"
    options = [layers + ",userxattr", layers]
    if os.geteuid() == 0 and not _in_user_namespace():
        options.reverse()
    if volatile:
        options = [text + ",volatile" for text in options] + options
    reason = ""
    for text in options:
        try:
            kernel.mount("overlay", MERGED, "overlay", 0, text)
        except OSError as error:
            reason = reason or os.strerror(error.errno or errno.EINVAL)
        else:
            return None
    return reason


def mount_read_only() -> None:
    """Show the rootfs on ``merged`` in a way that nothing can write through."""
    kernel.mount(LOWER, MERGED, "", kernel.MS_BIND)
    for flags in (0, kernel.MS_NOSUID | kernel.MS_NODEV, kernel.MS_NODEV, kernel.MS_NOSUID):
        try:
            kernel.mount(
                "", MERGED, "", kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | flags
            )
        except PermissionError:
            continue
        return
    raise PermissionError(errno.EPERM, "cannot be mounted read-only", MERGED)


def _copy_root_mode(upper: str) -> None:
    """The merged root shows the upper directory's owner and mode, not the rootfs's."""
    status, own = os.stat(LOWER), os.stat(upper)
    if (status.st_uid, status.st_gid) != (own.st_uid, own.st_gid):
        os.chown(upper, status.st_uid, status.st_gid)
    os.chmod(upper, status.st_mode & 0o7777)


def find_in_layers(layers: Sequence[str], path: str) -> str | None:
    """Where a path of the merged tree lies; ``layers`` are directories, the topmost first.

    Links are followed inside the tree, as the container would. None: there is no such file.
    """
    waiting = [part for part in path.split("/") if part][::-1]
    done: list[str] = []
    for _ in range(1000):  # more steps than that are links that go round in circles
        if not waiting:
            return _find_layer(layers, done)
        part = waiting.pop()
        if part == ".":
            continue
        if part == "..":
            done = done[:-1]
            continue
        found = _find_layer(layers, [*done, part])
        if found is None:
            return None
        if os.path.islink(found):
            target = os.readlink(found)
            if target.startswith("/"):
                done = []
            waiting += [piece for piece in target.split("/") if piece][::-1]
        else:
            done.append(part)
    return None


def _find_layer(layers: Sequence[str], parts: list[str]) -> str | None:
    for layer in layers:
        place = layer
        opaque = False
        for part in parts:
            place = f"{place}/{part}"
            try:
                status = os.lstat(place)
            except (FileNotFoundError, NotADirectoryError):
                break
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:  # overlayfs's whiteout
                return None
            opaque = opaque or _is_opaque(place)
        else:
            return place
        if opaque:
            return None
    return None


def _is_opaque(place: str) -> bool:
    for name in ("trusted.overlay.opaque", "user.overlay.opaque"):
        try:
            if os.getxattr(place, name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False


def _in_user_namespace() -> bool:
    with open("/proc/self/uid_map", "rb") as stream:
        return stream.read().split() != [b"0", b"0", b"4294967295"]


def _mount_fuse(program: str, layers: str) -> bool:
    process = os.posix_spawn(
        program,
        [program, "-o", layers, MERGED],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
    )
    return os.waitpid(process, 0)[1] == 0


def _copy(target: str) -> None:
    import shutil

    os.rmdir(target)
    shutil.copytree(os.path.realpath(LOWER), target, symlinks=True, copy_function=_copy_file)
    _copy_owners(os.path.realpath(LOWER), target)


def _copy_file(source: str, target: str) -> str:
    import shutil

    status = os.lstat(source)
    if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
        return str(shutil.copy2(source, target, follow_symlinks=False))
    os.mknod(target, status.st_mode, status.st_rdev)
    return target


def _copy_owners(source: str, target: str) -> None:
    """Owners first, then modes: chown clears the set-user-id bit."""
    for folder, folders, files in os.walk(target, topdown=False):
        original = os.path.join(source, os.path.relpath(folder, target))
        for name in (*folders, *files):
            status = os.lstat(os.path.join(original, name))
            path = os.path.join(folder, name)
            os.lchown(path, status.st_uid, status.st_gid)
            if not stat.S_ISLNK(status.st_mode):
                os.chmod(path, stat.S_IMODE(status.st_mode))
