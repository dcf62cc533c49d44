"""Read layers back that were unpacked in another boot: a power cut may have taken bytes of them."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import struct
from contextlib import ExitStack, closing
from hashlib import sha256
from pathlib import Path

from ...boot import READ_BACK
from ...progress import Progress
from . import index, staging, unpack
from .build import Build, load_unsure
from .held import DamagedError, Held
from .index import CHECKED, FILE_CODE, HARD_LINK_CODE, SYMLINK_CODE, pool_name

READ = 1 << 18


def settle(build: Build, work: Path, progress: Progress) -> None:
    """Look at each layer once whose content may not have reached the disk.

    One that is whole says so from now on; another is left for unpacking, which takes it away.
    """
    for number, source in enumerate({x.diff_id: x for x in build.layers}.values()):
        if load_unsure(build, source) is None:
            continue
        path = build.layer_path(source)
        with staging.locked(build.guard(source), fcntl.LOCK_EX):
            facts = load_unsure(build, source)
            if facts is None:
                continue
            progress.note(f"layer {source.diff_id} was unpacked before a restart; reading it back")
            if is_whole(path):
                made = work / f"facts-{number}"
                made.write_text(json.dumps(facts | {"boot": READ_BACK}, sort_keys=True) + "\n")
                os.replace(made, path / unpack.LAYER_FILE)


def is_whole(path: Path) -> bool:
    """Whether a layer's pool and what it holds are what its index says."""
    held: Held | None = None
    try:
        with ExitStack() as opened:
            pool = os.open(path / unpack.POOL, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, pool)
            for _, record in index.records_of(path / unpack.INDEX_FILE):
                if index.is_held(record):
                    held = held or opened.enter_context(closing(Held(path)))
                    held.go_to(index.Meta(record))
                elif not _is_there(pool, record):
                    return False
    except (OSError, struct.error, AssertionError, DamagedError):
        return False
    return True


def _is_there(pool: int, record: bytes) -> bool:
    kind, number, _, _, size = CHECKED.unpack_from(record)
    if kind == index.DIRECTORY_CODE or kind >= HARD_LINK_CODE:
        return True
    name = pool_name(number)
    if kind == SYMLINK_CODE:
        return os.readlink(name.encode(), dir_fd=pool) == index.target_of(record)
    if kind != FILE_CODE:
        os.stat(name, dir_fd=pool, follow_symlinks=False)
        return True
    wanted = index.sha256_of(record)
    return wanted == index.ABSENT or _holds(pool, name, size, wanted)


def _holds(pool: int, name: str, size: int, wanted: bytes) -> bool:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=pool)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return False
        running = sha256()
        while piece := os.read(fd, READ):
            running.update(piece)
        return running.digest() == wanted
    finally:
        os.close(fd)
