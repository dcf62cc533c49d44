"""Release what a layer holds and an image shows.

Each such file gets its inode in the pool, as if no upper layer had ever hidden it, and nothing is
inflated for that. Each step of putting them in place leaves a layer that is what its index says.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path

from ...boot import boot_id
from . import index, staging, unpack
from .build import Build, load_facts
from .held import DamagedError, Held, forget_held
from .materialise import AlteredLayer
from .pool import Metadata, Pool, Unrepresented
from .tar_reader import Member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def release(
    build: Build, work: Path, position: int, records: set[bytes]
) -> tuple[dict[str, Any], dict[bytes, bytes]]:
    """Release files of a layer, given by the records that its index had of them.

    Returns what layer.json says then, and each record as it is then: that may have been so before,
    where another image showed the file. Raises: AlteredLayer, OSError.
    """
    source = build.layers[position]
    layer = build.layer_path(source)
    with staging.locked(build.guard(source), fcntl.LOCK_EX):
        facts = load_facts(build, source)
        found = _find(layer, records)
        if facts is None or found is None:
            raise AlteredLayer(position)
        waiting = [record for record, (_, now) in found.items() if now == record]
        new = {record: now for record, (_, now) in found.items()}
        if waiting:
            made = work / f"released-{position}-{len(os.listdir(work))}"
            made.mkdir(0o700)
            (made / unpack.POOL).mkdir(0o700)
            try:
                new |= _write(layer, made, waiting, single=build.single)
            except DamagedError as error:
                raise AlteredLayer(position) from error
            places = {place: new[record] for record, (place, _) in found.items()}
            facts = _put_in_place(
                layer, made, places, facts | {"held": facts["held"] - len(waiting)}
            )
    return facts, new


def _find(layer: Path, records: set[bytes]) -> dict[bytes, tuple[int, bytes]] | None:
    """Where in the index the records stand, and what is there now; None where it is damaged."""
    wanted = {index.number_of(record): record for record in records}
    try:
        found = index.find_files(layer / unpack.INDEX_FILE, wanted)
    except (OSError, ValueError, struct.error):
        return None
    if len(found) < len(wanted) or any(
        now != wanted[number] and (len(now) != len(wanted[number]) or index.is_lacking(now))
        for number, (_, now) in found.items()
    ):
        return None
    return {wanted[number]: place for number, place in found.items()}


def _put_in_place(
    layer: Path, made: Path, places: dict[int, bytes], facts: dict[str, Any]
) -> dict[str, Any]:
    shutil.copyfile(layer / unpack.INDEX_FILE, made / unpack.INDEX_FILE)
    with open(made / unpack.INDEX_FILE, "r+b", buffering=0) as file:
        for place, record in places.items():
            os.pwrite(file.fileno(), record, place)
    facts |= {"boot": boot_id()}
    (made / unpack.LAYER_FILE).write_text(json.dumps(facts, sort_keys=True) + "\n")
    unpack.put_in_place(made, layer)
    if not facts["held"]:
        forget_held(layer)
    return facts


def _write(
    layer: Path, made: Path, records: Iterable[bytes], *, single: bool
) -> dict[bytes, bytes]:
    """The files as a pool; for each record the one that it has then.

    Raises: DamagedError, OSError.
    """
    path = made / unpack.POOL
    new = {}
    with ExitStack() as opened:
        held = opened.enter_context(closing(Held(layer)))
        pool = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, pool)
        notes = Unrepresented(opened.enter_context(open(made / unpack.UNREPRESENTED_FILE, "xb")))
        inodes = Pool(pool, str(path), Metadata(single=single, unrepresented=notes.add))
        for record in records:
            meta = index.Meta(record)
            held.go_to(meta)
            member = _member(meta)
            sha256 = inodes.add_file(meta.number, member, held)
            new[record] = index.pack_file(member, meta.number, sha256)
    return new


def _member(meta: index.Meta) -> Member:
    member = Member()
    member.mode, member.uid, member.gid = meta.mode, meta.uid, meta.gid
    member.mtime, member.size = meta.mtime, meta.size
    member.xattrs = index.xattrs_from(meta.xattrs)
    member.extents = None
    return member
