"""Release what a layer holds, for an image that shows some of it.

Each file then has its inode in the pool, as if no upper layer had ever hidden it, and nothing is
inflated for that. Each step of putting them in place leaves a layer that is what its index says.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import closing
from pathlib import Path

from ...boot import boot_id
from . import completing, index, staging, unpack
from .build import Build, load_facts
from .held import HELD_FILE, DamagedError, Held
from .materialise import AlteredLayer
from .pool import Metadata, Pool, Unrepresented
from .tar_reader import Member


def release(build: Build, work: Path, position: int) -> None:
    """Release all that a layer holds, if it still does. Raises: AlteredLayer, OSError."""
    source = build.layers[position]
    layer = build.layer_path(source)
    with staging.locked(build.guard(source), fcntl.LOCK_EX):
        facts = load_facts(build, source)
        if facts is None or not facts["held"]:
            return
        made = work / f"released-{position}-{len(os.listdir(work))}"
        made.mkdir(0o700)
        (made / unpack.POOL).mkdir(0o700)
        try:
            held = Held(layer)
        except OSError as error:
            raise AlteredLayer(position) from error
        with closing(held):
            try:
                _write(layer, made, held, single=build.single)
            except DamagedError as error:
                raise AlteredLayer(position) from error
        facts |= {"held": 0, "boot": boot_id()}
        (made / unpack.LAYER_FILE).write_text(json.dumps(facts, sort_keys=True) + "\n")
        completing.put_in_place(
            made,
            layer,
            pool=unpack.POOL,
            notes=unpack.UNREPRESENTED_FILE,
            last=(unpack.INDEX_FILE, unpack.LAYER_FILE),
            needless=HELD_FILE,
        )


def _write(layer: Path, made: Path, held: Held, *, single: bool) -> None:
    """The files of ``held`` as a pool, and the layer's index with their digests."""
    pool = os.open(made / unpack.POOL, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with (
            open(made / unpack.INDEX_FILE, "xb", buffering=1 << 16) as file,
            open(made / unpack.UNREPRESENTED_FILE, "xb") as unrepresented,
        ):
            metadata = Metadata(single=single, unrepresented=Unrepresented(unrepresented).add)
            inodes = Pool(pool, str(made / unpack.POOL), metadata)
            writer = index.Writer(file)
            for path, record in index.records_of(layer / unpack.INDEX_FILE):
                if not index.is_held(record):
                    writer.add(path, record)
                    continue
                meta = index.Meta(record)
                held.next(meta.size, meta.sha256)
                member = _member(meta)
                sha256 = inodes.add_file(meta.number, member, held)
                writer.add(path, index.pack_file(member, meta.number, sha256))
    finally:
        os.close(pool)


def _member(meta: index.Meta) -> Member:
    member = Member()
    member.mode, member.uid, member.gid = meta.mode, meta.uid, meta.gid
    member.mtime, member.size = meta.mtime, meta.size
    member.xattrs = index.xattrs_from(meta.xattrs)
    member.extents = None
    return member
